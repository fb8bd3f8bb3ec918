"""`aigc run`: a dataset from its source to a release, and what came of it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aigc_pipeline.errors import GateRefused
from aigc_pipeline.spec import Kind

if TYPE_CHECKING:
    from aigc_pipeline.commands.live import Display
    from aigc_pipeline.lake import Lake, Version
    from aigc_pipeline.schema import TableSchema
    from aigc_pipeline.spec import DatasetSpec

Quality = Literal["draft", "standard", "high"]


def run(
    dataset: Annotated[
        str, typer.Argument(help="Name of a dataset: the `name` in datasets/*.yaml.")
    ],
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of training, sampling and judging; by default the file's."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of each synthetic table; by default the file's.")
    ] = None,
    quality: Annotated[
        Quality | None, typer.Option(help="Effort of the training; by default the file's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make a dataset's synthetic tables: from the source to a release in the warehouse.

    Runs the graph that the Dagster UI shows, in this process: raw, validated, features, model,
    synthetic, evaluation, release. It ends with the scores beside those that fresh real rows
    get, the gates, where everything is, and one query with its answer.

    A missed gate ends the run with exit code 3: nothing is released, the last release stays.

    Examples:
      aigc run loans
      aigc run loans --quality draft --rows 1000     # a quick look
      aigc run loans --seed 7 --json > outcome.json  # same seed, same files
    """
    from aigc_pipeline.commands.graph import run_graph
    from aigc_pipeline.commands.live import make_display
    from aigc_pipeline.dataset_file import find_dataset
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.project import Project

    project, lake = Project.from_env(), Lake.from_env()
    spec = find_dataset(dataset, project.datasets)
    display = make_display()
    try:
        with display:
            run_graph(spec, project.root, display, seed=seed, rows=rows, quality=quality)
    except GateRefused:  # the scores say why, so they are shown before the refusal
        _tell(spec, _outcome(lake, spec, display), as_json)
        raise
    _tell(spec, _outcome(lake, spec, display), as_json)


def read_scores(evaluation: Version) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The scores of an evaluation, each beside that of fresh real rows, and its gates."""
    from aigc_pipeline.evaluation import scored

    stored = evaluation.read_json("scores.json")
    return score_rows(scored(stored)), stored["gates"]


def score_rows(scores: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A mapping for each score of each table, from the scores by table as plain data."""
    return [
        {
            "table": table,
            "score": name,
            "value": score["value"],
            "fresh_real_rows": score["reference"],
            "better": score["better"],
            "meaning": score["why_not"] or score["description"],
        }
        for table, found in scores.items()
        for name, score in found.items()
    ]


def show_scores(scores: list[dict[str, Any]], gates: list[dict[str, Any]]) -> None:
    """Scores and gates as tables on stdout."""
    from aigc_pipeline.commands import show

    better = {"low": "lower is better", "high": "higher is better", "half": "0.5 is best"}
    fields = ("table", "score", "value", "fresh_real_rows", "better", "meaning")
    show.table(
        ["table", "score", "synthetic", "fresh real rows", "", "meaning"],
        [[better.get(s[f], s[f]) if f == "better" else s[f] for f in fields] for s in scores],
        title="Scores",
    )
    if gates:
        show.table(
            ["", "gate", "table", "value", "limit"],
            [
                ["✓" if g["passed"] else "✗", g["score"], g["table"], g["value"], g["limit"]]
                for g in gates
            ],
            title="Gates",
        )


def _outcome(lake: Lake, spec: DatasetSpec, display: Display) -> dict[str, Any]:
    """All that a judged run has to say, as plain data; `release` is None where a gate refused."""
    from aigc_pipeline.warehouse import query

    evaluation, synthetic = _version(display, "evaluation"), _version(display, "synthetic")
    scores, gates = read_scores(evaluation)
    outcome: dict[str, Any] = {
        "dataset": spec.name,
        "release": None,
        "seconds": {stage: round(seconds, 2) for stage, seconds in display.seconds.items()},
        "scores": scores,
        "gates": gates,
        "paths": {"report": str(evaluation.path / "report.html"), "shards": str(synthetic.path)},
        "example": None,
    }
    if "release" in display.results:
        schemas = display.results["release"].metadata["schema"]
        sql = example_query(spec, schemas[next(iter(spec.tables))])
        version = _version(display, "release")
        outcome["release"] = version.id
        outcome["paths"]["dictionary"] = str(version.path / "dictionary.html")
        outcome["paths"]["warehouse"] = str(lake.warehouse)
        outcome["example"] = {"sql": sql, "rows": query(lake, sql).frame.rows(named=True)}
    return outcome


def _tell(spec: DatasetSpec, outcome: dict[str, Any], as_json: bool) -> None:
    """The outcome on stdout."""
    from aigc_pipeline.commands import show

    if as_json:
        show.print_json(outcome)
        return
    total = sum(outcome["seconds"].values())
    what = f"release {outcome['release']}" if outcome["release"] else "no release"
    show.say(f"\n{spec.title or spec.name}: {what}, {total:.1f} s")
    show_scores(outcome["scores"], outcome["gates"])
    for name, path in outcome["paths"].items():
        show.say(f"  {name:<10} {path}")
    if outcome["example"] is not None:
        sql, rows = outcome["example"]["sql"], outcome["example"]["rows"]
        show.say(f"\n  aigc query {shlex.quote(sql)}")
        show.table(list(rows[0]), [list(row.values()) for row in rows], write=show.exact)


def example_query(spec: DatasetSpec, schema: TableSchema) -> str:
    """A first query on a dataset's first table: its target by rows or mean, else its size."""
    from sqlglot import exp

    name, table = next(iter(spec.tables.items()))
    source = exp.table_(name, db=spec.name)
    if table.target is None:
        query = exp.select("count(*) AS n").from_(source)
    elif schema[table.target].kind in (Kind.NUMBER, Kind.INTEGER):
        mean = exp.alias_(exp.func("avg", exp.column(table.target)), "mean")
        query = exp.select("count(*) AS n", mean).from_(source)
    else:
        target = exp.column(table.target)
        query = exp.select(target, "count(*) AS n").from_(source)
        query = query.group_by(target).order_by("n DESC").limit(5)
    return query.sql(dialect="duckdb")


def _version(display: Display, stage: str) -> Version:
    version = display.results[stage].version
    assert version is not None  # a stage without one has failed, and so has the run
    return version
