"""Writing rows to a CSV or Parquet file as they come, so that memory does not grow with them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from aigc_pipeline.errors import ArtefactError, InputError

if TYPE_CHECKING:
    import polars as pl

# Also in the wide forms that a spreadsheet takes for the plain ones.
_FORMULA = r"^[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
_HARMLESS = r"^[+-][0-9 ().,/:-]*([0-9%]|[0-9][eE][+-]?[0-9]+)$"
FORMATS = (".csv", ".parquet")


def check_output(path: Path) -> None:
    """Raise InputError where a file of this name cannot be written, before any work is done."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--output: {path} ends in {path.suffix!r}; write .csv or .parquet")
    if not path.parent.is_dir():
        raise InputError(f"--output: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"--output: {path} is a folder; name a file")


def write_batches(
    batches: Iterable[pl.DataFrame], path: Path, *, keep_formulas: bool = False
) -> int:
    """Write data frames of one schema into one file, and return how many rows it has.

    The file appears under its name once it is complete. In CSV, a text that a spreadsheet would
    run as a formula gets an apostrophe before it, unless keep_formulas is set.
    Raises ArtefactError when the disk refuses.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    if path.suffix.lower() == ".csv":
        write = _write_csv
        batches = batches if keep_formulas else map(without_formulas, batches)
    else:
        from aigc_pipeline.parquet import stream_parquet as write
    try:
        rows = write(batches, part)
        os.replace(part, path)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _write_csv(batches: Iterable[pl.DataFrame], path: Path) -> int:
    rows = 0
    with path.open("xb") as handle:
        for index, batch in enumerate(batches):
            batch.write_csv(handle, include_header=index == 0)
            rows += batch.height
    return rows


def without_formulas(df: pl.DataFrame) -> pl.DataFrame:
    """A table whose texts, names of columns included, no spreadsheet takes for a formula.

    Those that start like one get an apostrophe before them (OWASP, CSV injection); signed numbers,
    dates and phone numbers, which can do nothing, stay as they are.
    """
    import polars as pl

    text = pl.col(pl.String)
    starts = text.str.contains(_FORMULA) & ~text.str.contains(_HARMLESS)
    df = df.with_columns(pl.when(starts).then("'" + text).otherwise(text).name.keep())
    names = pl.Series(df.columns, dtype=pl.String).str.contains(_FORMULA)
    return df.rename({n: f"'{n}" for n, bad in zip(df.columns, names, strict=True) if bad})
