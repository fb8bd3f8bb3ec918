"""`aigc impute` and `aigc outliers`: a model at work on a sparse or noisy table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aigc_pipeline.commands.tabular import (
    Delimiter,
    KeepFormulas,
    NullValues,
    load_model,
    read_plain,
)

if TYPE_CHECKING:
    import polars as pl


def impute(
    model: Annotated[Path, typer.Argument(help="A model folder that `aigc fit` wrote.")],
    table: Annotated[str, typer.Argument(help="The table to fill: CSV, Parquet, …")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .csv or .parquet.")
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", help="A column to fill; repeatable.  All learned ones by default."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed fills the same values.")] = 0,
    delimiter: Delimiter = ",",
    null: NullValues = None,
    keep_formulas: KeepFormulas = False,
) -> None:
    """Fill a table's missing cells from a model, given what is known of each row.

    Every other cell stays as it is. Each missing cell is a random draw, so that the table keeps its
    variety; another seed gives another one.

    Examples:
      aigc impute m customers.csv --output filled.csv
      aigc impute m customers.csv -o filled.parquet --column income --column age
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.live import bar
    from aigc_pipeline.commands.output import check_output, write_batches

    check_output(output)
    fitted = load_model(model)
    df = read_plain(table, delimiter, null)
    with bar("impute") as progress:
        filled = fitted.impute(df, columns=columns, seed=seed, progress=progress)
    before, after = (sum(frame.null_count().row(0)) for frame in (df, filled))
    write_batches([filled], output, keep_formulas=keep_formulas)
    show.say(f"filled {before - after:,} of {before:,} missing cells: {output}")


def outliers(
    model: Annotated[Path, typer.Argument(help="A model folder that `aigc fit` wrote.")],
    table: Annotated[str, typer.Argument(help="The table to look through: CSV, Parquet, …")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows to show.")] = 20,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write them to whole: .csv or .parquet."),
    ] = None,
    delimiter: Delimiter = ",",
    null: NullValues = None,
    keep_formulas: KeepFormulas = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the rows of a table that a model finds least plausible, and what is odd in each.

    Rows count from 1, the header left out. To leave such rows out of training, set
    generator.outliers in the dataset file, or --outliers of `aigc fit`.

    Examples:
      aigc outliers m customers.csv
      aigc outliers m customers.csv --rows 500 --output look_at.csv
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.commands.output import check_output, write_batches

    if output is not None:
        check_output(output)
    fitted = load_model(model)
    df = read_plain(table, delimiter, null)
    found = fitted.find_outliers(df, rows)
    if output is not None:
        write_batches([_whole(found, df)], output, keep_formulas=keep_formulas)
        show.note(f"wrote {found.height:,} rows to {output}")
    if as_json:
        show.print_json(found.to_dicts())
    elif output is None:
        show.frame(found)


def _whole(found: pl.DataFrame, df: pl.DataFrame) -> pl.DataFrame:
    """The rows that were found with all their columns, behind what was found of them."""
    import polars as pl

    about = found.rename({name: f"outlier_{name}" for name in found.columns})
    return pl.concat([about, df[found["row"] - 1]], how="horizontal")
