"""`aigc fit`, `aigc sample`: on plain files, without a dataset file or a lake."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aigc_pipeline.commands.conditions import WHERE, Balance, parse_balance, parse_where
from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.spec import MIN_SUBJECTS

if TYPE_CHECKING:
    import polars as pl

    from aigc_pipeline.spec import DpSpec, TableSpec
    from aigc_pipeline.tabular import TableModel

Quality = Literal["draft", "standard", "high"]
Family = Literal["autoregressive", "diffusion", "vae", "gan", "auto"]

Delimiter = Annotated[str, typer.Option(help="CSV column delimiter.")]
NullValues = Annotated[
    list[str] | None, typer.Option("--null", help="CSV text that means missing; repeatable.")
]
KeepFormulas = Annotated[
    bool,
    typer.Option(
        "--keep-formulas",
        help="Write texts such as =1+1 to CSV as they are.  By default an apostrophe goes before"
        " them, so that no spreadsheet runs them.",
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="COLUMN=KIND where the inferred kind is wrong; repeatable."),
]


def fit(
    train: Annotated[
        str, typer.Argument(help="The real table: CSV, Parquet, JSON lines or Excel.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder to write the model to.")],
    target: Annotated[
        str | None, typer.Option(help="Column that later scores predict; noted in the model.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Primary key: generated afresh, never learned.")
    ] = None,
    quality: Annotated[Quality, typer.Option(help="Effort of the training.")] = "standard",
    family: Annotated[
        Family, typer.Option(help="Kind of model; auto tries them all and keeps the best.")
    ] = "autoregressive",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    time_limit: Annotated[
        str | None, typer.Option(help="Limit on training, e.g. 60s or 2m.")
    ] = None,
    min_subjects: Annotated[
        int, typer.Option(min=1, help="Values of fewer rows than this are not learned.")
    ] = MIN_SUBJECTS,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0.0, help="Differential privacy: the budget, e.g. 3.  None by default."),
    ] = None,
    outliers: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.49, help="Share of rows, the least likely, to leave out of training."
        ),
    ] = 0.0,
    types: Types = None,
    delimiter: Delimiter = ",",
    null: NullValues = None,
) -> None:
    """Learn a table from a file, and write the model to a folder.

    Interrupted, the same command goes on from MODEL.checkpoint beside the folder.

    Examples:
      aigc fit train.csv --target income --model m
      aigc fit sales.parquet --model m --quality high --time-limit 5m
      aigc fit patients.csv --model m --epsilon 3
      aigc fit codes.csv --model m --type zip=category --null NA --null ?
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.live import bar
    from aigc_pipeline.sources import read_table
    from aigc_pipeline.spec import GeneratorSpec, PrivacySpec, parse_seconds
    from aigc_pipeline.tabular import fit_table
    from resources import ComputeResource

    _check_model_folder(model)
    dp = None if epsilon is None else _dp(epsilon)
    try:
        limit = None if time_limit is None else parse_seconds(time_limit)
    except ValueError as error:
        raise InputError(f"--time-limit: {error}") from None
    table = table_spec(train, delimiter, null, target=target, key=key, types=types)
    name = table_name(train)
    df = read_table(table.source, Path.cwd(), name=name)
    began = time.monotonic()
    with bar("fit") as progress:
        fitted = fit_table(
            df,
            table,
            name=name,
            generator=GeneratorSpec(
                family=family, quality=quality, time_limit=limit, outliers=outliers
            ),
            privacy=PrivacySpec(min_subjects=min_subjects, dp=dp),
            seed=seed,
            compute=ComputeResource().settings(),
            checkpoint=model.parent / f"{model.name}.checkpoint",
            progress=progress,
        )
    fitted.save(model)
    seconds = time.monotonic() - began
    show.say(f"learned {df.height:,} rows of {df.width} columns in {seconds:.1f} s: {model}")
    if fitted.card["outliers"]:
        show.say(f"  left out {fitted.card['outliers']:,} implausible rows")
    for seen in fitted.card["choice"]:
        show.say(f"  {_saw(seen)}")
    if (spent := fitted.card["dp"]) is not None:
        show.say(f"  spent epsilon {spent['epsilon']:.3f} at delta {spent['delta']:.2g}, per row")
    show.say(f"  next: aigc sample {model} --rows {df.height} --output synthetic.csv")


def sample(
    model: Annotated[Path, typer.Argument(help="A model folder that `aigc fit` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .csv or .parquet.")
    ],
    rows: Annotated[
        int | None, typer.Option("--rows", "-n", min=1, help="How many rows to make.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = 0,
    where: Annotated[list[str] | None, typer.Option(help=WHERE)] = None,
    balance: Balance = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            help="File with a row for each row to make, and in its columns the values that row has"
            " (empty: missing).  Columns left out are free."
        ),
    ] = None,
    keep_formulas: KeepFormulas = False,
) -> None:
    """Make synthetic rows with a model, in constant memory.

    Examples:
      aigc sample m --rows 32561 --output synthetic.csv
      aigc sample m -n 1000 -o old.parquet --where 'age>=60' --where sex=Female
      aigc sample m -n 500 -o some.csv --where grade=D --where grade=E
      aigc sample m -n 9000 -o even.csv --balance churned:yes=0.5 --balance churned:no=0.5
      aigc sample m -o like_these.csv --conditions these.csv
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.live import bar
    from aigc_pipeline.commands.output import check_output, write_batches

    check_output(output)
    if rows is None and conditions is None:
        raise InputError("--rows is missing; or give --conditions, a row for each row to make")
    asked, shares = parse_where(where or []), parse_balance(balance or [])
    fitted = load_model(model)
    frame = None if conditions is None else read_plain(conditions, ",", None)
    with bar("sample") as progress:
        batches = fitted.sample_batches(
            rows,
            seed=seed,
            where=asked or None,
            balance=shares or None,
            conditions=frame,
            progress=progress,
        )
        written = write_batches(batches, output, keep_formulas=keep_formulas)
    show.say(f"wrote {written:,} rows to {output}")


def table_spec(
    path: str,
    delimiter: str,
    null: list[str] | None,
    *,
    types: list[str] | None = None,
    **options: Any,
) -> TableSpec:
    """The part of a dataset file that these options stand for."""
    from aigc_pipeline.spec import ColumnSpec, Kind, Source, TableSpec

    columns = {}
    for text in types or []:
        column, equals, kind = text.rpartition("=")
        if not equals or kind not in list(Kind):
            hint = did_you_mean(kind, Kind)
            raise InputError(f"--type {text!r}: write COLUMN=KIND; kinds: {hint}")
        columns[column] = ColumnSpec(type=Kind(kind))
    if len(delimiter) != 1:
        raise InputError(f"--delimiter {delimiter!r}: give one character")
    if re.match(r"https?://", path):
        raise InputError(f"{path}: download the file first; a URL belongs in a dataset file")
    source = Source(file=path, delimiter=delimiter, null_values=["", *(null or [])])
    return TableSpec(source=source, columns=columns, **options)


def load_model(folder: Path) -> TableModel:
    """The model in a folder. Raises InputError where there is no such folder."""
    from aigc_pipeline.tabular import TableModel

    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such model folder; `aigc fit` writes one")
    return TableModel.load(folder)


def read_plain(path: str, delimiter: str, null: list[str] | None) -> pl.DataFrame:
    """A file's rows as they are, however few."""
    from aigc_pipeline.sources.files import read_files

    source = table_spec(path, delimiter, null).source
    return read_files(source, Path.cwd(), table_name(path))


def table_name(path: str) -> str:
    """A table's name from its file's: what a file system and SQL both take."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", Path(path).stem).strip(" .") or "table"


def _dp(epsilon: float) -> DpSpec:
    from aigc_pipeline.spec import DpSpec

    try:
        return DpSpec(epsilon=epsilon)
    except ValueError:
        raise InputError(
            f"--epsilon {epsilon:g}: give a number above 0, and at most 100; 1 to 10 is usual"
        ) from None


def _saw(candidate: dict[str, Any]) -> str:
    """What was seen of a family that was tried, as a line."""
    if candidate["failed"] is not None:
        return f"{candidate['family']}: failed ({candidate['failed']})"
    figures = {"detection AUC": "detection_auc", "utility gap": "utility_gap"}
    known = {name: candidate[key] for name, key in figures.items() if candidate[key] is not None}
    said = [f"{name} {figure:.3f}" for name, figure in known.items()]
    said += [f"{candidate['seconds']:.0f} s"]
    said += ["cut short by the time limit"] * candidate["cut_short"]
    said += ["chosen"] * candidate["chosen"]
    return f"{candidate['family']}: {', '.join(said)}"


def _check_model_folder(model: Path) -> None:
    """Refuse a folder that is something else than a model before minutes of training are spent."""
    if model.is_dir() and any(model.iterdir()) and not (model / "model.json").is_file():
        raise InputError(f"--model: {model} holds other files; name a new folder or an older model")
    if model.exists() and not model.is_dir():
        raise InputError(f"--model: {model} is a file; name a folder")


def check_parent(output: Path) -> None:
    if not output.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}; make it first")
