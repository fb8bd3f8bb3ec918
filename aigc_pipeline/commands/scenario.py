"""`aigc scenario`: a what-if from the released model, published without training."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigc_pipeline.commands.conditions import WHERE, Balance, parse_balance, parse_where
from aigc_pipeline.errors import InputError

if TYPE_CHECKING:
    from aigc_pipeline.spec import Scenario


def scenario(
    dataset: Annotated[
        str, typer.Argument(help="Name of a dataset: the `name` in datasets/*.yaml.")
    ],
    name: Annotated[str, typer.Argument(help="Name of the scenario; its schema is DATASET__NAME.")],
    where: Annotated[
        list[str] | None, typer.Option(help=f"{WHERE}  Of related tables also TABLE.COLUMN.")
    ] = None,
    balance: Balance = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", "-n", min=1, help="Rows to make; by default as in the baseline."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the rows; by default the release's.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="What it is about, for the catalogue.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Take the scenario out of the warehouse instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make a what-if from the model of the release in force, and publish it.  Nothing is trained.

    Its tables are in the schema DATASET__NAME, and DATASET_marts.scenario_comparison puts them
    beside the baseline. All else in the warehouse stays as it is; `aigc rollback` undoes it.

    It lasts until the next run: a run publishes the scenarios of the dataset file. The line to keep
    it by is printed. Without conditions, the dataset file's scenario of that name is made.

    Examples:
      aigc scenario loans weak --where 'grade in (D, E, F)' --rows 10000
      aigc scenario loans indebted --where 'debt_to_income>=40' --where term=60
      aigc scenario churn half --balance churned:Yes=0.5
      aigc scenario loans weak --drop
    """
    from aigc_pipeline import stages
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.live import bar
    from aigc_pipeline.dataset_file import find_dataset
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.project import Project
    from aigc_pipeline.warehouse.record import Release

    lake = Lake.from_env()
    if drop:
        if where or balance or rows or description or seed is not None:
            raise InputError("--drop goes with no other option but --json")
        version = stages.drop_scenario(lake, dataset, name)
        told = {"dataset": dataset, "scenario": name, "release": version.id, "dropped": True}
        if as_json:
            show.print_json(told)
        else:
            show.say(f"{dataset}: release {version.id} is in force, without the scenario {name}")
        return
    asked = _asked(where, balance, rows, description)
    spec = find_dataset(dataset, Project.from_env().datasets)
    began = time.monotonic()
    with bar("scenario") as progress:
        version = stages.add_scenario(lake, spec, name, asked, seed=seed, progress=progress)
    seconds = round(time.monotonic() - began, 2)
    made = Release(version)
    counts = {
        ".".join(table.name): table.rows for table in made.notes.tables if table.scenario == name
    }
    keep = None if asked is None else keep_line(name, asked)
    if as_json:
        show.print_json(
            {
                "dataset": dataset,
                "scenario": name,
                "release": version.id,
                "based_on": made.notes.based_on,
                "rows": counts,
                "seconds": seconds,
                "keep": keep,
            }
        )
        return
    show.say(f"{dataset}: release {version.id}, {seconds:.1f} s")
    for place, count in counts.items():
        show.say(f"  {place}  {count:,} rows")
    compared = f"from {dataset}_marts.scenario_comparison where scenario = '{name}'"
    show.say(f"\n  aigc query {shlex.quote(compared)}")
    if keep is not None:
        show.say(
            f"\nThe next run ends it. To keep it, add under synthesis: scenarios: in the dataset"
            f" file:\n\n    {keep}"
        )


def keep_line(name: str, scenario: Scenario) -> str:
    """The line of a dataset file, under `scenarios:`, that stands for a scenario."""
    given = scenario.model_dump(exclude_unset=True, exclude_none=False)
    told = {key: given[key] for key in ("description", "where", "balance", "rows") if key in given}
    return f"{name}: {_flow(told)}"


def _flow(value: Any) -> str:
    """A value as YAML in one line that reads back as that very value."""
    from datetime import date

    from aigc_pipeline.yaml_text import scalar

    if isinstance(value, dict):
        parts = (f"{scalar(str(key))}: {_flow(inner)}" for key, inner in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    return scalar(value) if isinstance(value, str) else repr(value)


def _asked(
    where: list[str] | None, balance: list[str] | None, rows: int | None, description: str | None
) -> Scenario | None:
    """The options as a scenario; None where no condition is given."""
    from pydantic import ValidationError

    from aigc_pipeline.spec import Scenario

    if not where and not balance:
        if rows is not None or description is not None:
            raise InputError(
                "--rows and --description go with conditions; what the dataset file declares is"
                " made as it says"
            )
        return None
    given: dict[str, Any] = {
        "where": parse_where(where or []),
        "balance": parse_balance(balance or []),
    }
    given |= {"rows": rows, "description": description}
    try:
        return Scenario(**{key: value for key, value in given.items() if value})
    except ValidationError as error:
        problem = error.errors()[0]
        at = ".".join(map(str, problem["loc"]))
        text = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{at}: {text}" if at else text) from None
