"""`aigc evaluate`: a synthetic table beside the real one, on plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aigc_pipeline.commands.tabular import (
    Delimiter,
    NullValues,
    Types,
    check_parent,
    load_model,
    table_name,
    table_spec,
)
from aigc_pipeline.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

Language = Literal["en", "zh"]
# Share of the training file that judges where no holdout file is given.
HOLDOUT = 0.2


def evaluate(
    train: Annotated[str, typer.Argument(help="The real table that the model learned.")],
    synthetic: Annotated[str, typer.Argument(help="The synthetic table to judge.")],
    holdout: Annotated[
        str | None,
        typer.Option(
            help="Real rows that the model never saw.  By default a fifth of TRAIN, which the"
            " model may have seen: privacy and utility then look better than they are."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column to predict for the utility score.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Primary key: not compared.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Folder of the model behind SYNTHETIC: to judge how far it gives its training"
            " rows away, and to show which columns inform which.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML report to write.")
    ] = None,
    locale: Annotated[
        Language, typer.Option(help="Language of the report: English or Chinese.")
    ] = "en",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the judging models.")] = 0,
    types: Types = None,
    delimiter: Delimiter = ",",
    null: NullValues = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Judge a synthetic table: fidelity, utility and privacy, beside what fresh real rows get.

    Examples:
      aigc evaluate train.csv synthetic.csv --holdout test.csv --target income
      aigc evaluate train.csv synthetic.csv --output report.html --json
      aigc evaluate train.csv synthetic.csv --holdout test.csv --model m --output report.html
    """
    from aigc_pipeline import evaluation
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.live import bar
    from aigc_pipeline.commands.run import score_rows, show_scores
    from aigc_pipeline.sources import infer_schema, read_table

    if output is not None:
        check_parent(output)
    table = table_spec(train, delimiter, null, target=target, key=key, types=types)
    name = table_name(train)
    real = read_table(table.source, Path.cwd(), name=name)
    schema = infer_schema(real, name, table)
    other = {}
    for path in (holdout, synthetic):
        if path is not None:
            source = table_spec(path, delimiter, null).source
            other[path] = _like(real, read_table(source, Path.cwd(), name=table_name(path)), path)
    kept, unseen = (real, other[holdout]) if holdout else split(real, seed)
    fitted = None if model is None else load_model(model)
    with bar("evaluate") as progress:
        result = evaluation.evaluate(
            kept,
            unseen,
            other[synthetic],
            schema,
            target=target,
            model=fitted,
            seed=seed,
            progress=lambda message: progress(message, None),
        )
    scores = score_rows({name: result.model_dump(mode="json")["scores"]})
    if as_json:
        show.print_json(scores)
    else:
        show_scores(scores, [])
    if output is not None:
        from aigc_pipeline.durable import write_atomically
        from aigc_pipeline.pages import Messages
        from aigc_pipeline.spec import DatasetSpec

        spec = DatasetSpec(
            name="evaluation",
            title=f"{Path(synthetic).name} against {Path(train).name}",
            tables={name: table},
            locale=locale,
        )
        text = Messages(spec.locale)
        facts: dict[str, str] = {
            text("facts.real_file"): train,
            text("facts.synthetic_file"): synthetic,
            text("facts.holdout_file"): holdout or text("facts.split_off"),
        }
        report = evaluation.render_report(spec, {name: result}, [], facts)
        write_atomically(output, report.encode())
        show.note(f"wrote {output}")


def split(df: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows in two parts, drawn by `seed`: to compare with, and to hold out."""
    shuffled = df.sample(fraction=1.0, shuffle=True, seed=seed)
    held = max(1, round(df.height * HOLDOUT))
    return shuffled[held:], shuffled[:held]


def _like(real: pl.DataFrame, df: pl.DataFrame, path: str) -> pl.DataFrame:
    """A table with the real one's columns and dtypes. Raises InputError where it has others."""
    for column in real.columns:
        if column not in df.columns:
            raise InputError(
                f"{path}: there is no column {column!r}; {did_you_mean(column, df.columns)}"
            )
    df = df.select(real.columns)
    for column, dtype in real.schema.items():
        try:
            df = df.with_columns(df[column].cast(dtype))
        except Exception:  # Polars names the offending values, which must not be shown
            raise InputError(
                f"{path}: column {column!r} is {df.schema[column]}, in the real table it is {dtype}"
            ) from None
    return df
