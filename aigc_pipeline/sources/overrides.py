"""Types that a dataset file gives to columns, checked against the values that are there."""

from __future__ import annotations

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.sources.dates import guess_format, parse_dates
from aigc_pipeline.sources.guess import guess_kind
from aigc_pipeline.spec import ColumnSpec, Kind

# Nanoseconds since 1970 are below it, and twice as much still fits 64 bits.
LARGEST = 4e18
_TRUTHS = ["0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n", "t", "f"]


def column_kind(column: pl.Series, spec: ColumnSpec, at: FieldPath) -> tuple[Kind, str | None]:
    """Kind and text format of a column: as told, else as guessed.

    Raises FieldError when the values do not fit what the dataset file says, with the number of
    rows that do not.
    """
    kind, format = _kind(column, spec, at)
    if kind in (Kind.NUMBER, Kind.INTEGER) and _beyond(column):
        text = (
            f"holds numbers beyond {LARGEST:.0e}, whose last digits no model could keep; scale them"
            " at the source, or declare type: id or category"
        )
        raise FieldError([((*at, "type") if spec.type is not None else at, text)])
    return kind, format


def _beyond(column: pl.Series) -> bool:
    """Whether a number is too large for the whole numbers that grids count in."""
    numbers = column.cast(pl.Float64, strict=False).drop_nulls()
    return bool((numbers.abs() > LARGEST).any())


def _kind(column: pl.Series, spec: ColumnSpec, at: FieldPath) -> tuple[Kind, str | None]:
    if spec.pii is not None:
        if column.dtype != pl.String:
            text = (
                f"pii is faked as text, but the column holds {column.dtype}; use type: id instead"
            )
            raise FieldError([((*at, "pii"), text)])
        return spec.type or Kind.TEXT, None
    if spec.format is not None:
        if spec.type not in (None, Kind.DATETIME):
            raise FieldError(
                [((*at, "format"), f"a format goes with type datetime, not {spec.type}")]
            )
        return Kind.DATETIME, _dates(column, spec.format, at)
    if spec.type is None:
        guess = guess_kind(column)
        return guess.kind, guess.format
    if spec.type == Kind.DATETIME:
        return Kind.DATETIME, _dates(column, None, at)
    misfits = _misfits(column, spec.type)
    if misfits:
        rows = f"{misfits} of {len(column)} rows"
        text = f"the values of {rows} do not read as {spec.type}; choose another type or clean them"
        raise FieldError([((*at, "type"), text)])
    return spec.type, None


def _misfits(column: pl.Series, kind: Kind) -> int:
    """Rows whose value the kind cannot hold."""
    given = column.drop_nulls()
    if kind == Kind.CATEGORY or given.is_empty():
        return 0
    if kind == Kind.TEXT:
        return 0 if column.dtype == pl.String else len(given)
    if kind == Kind.BOOLEAN:
        texts = given.cast(pl.String).str.to_lowercase()
        odd = int((~texts.is_in(_TRUTHS)).sum())
        return odd or (0 if given.n_unique() <= 2 else len(given))
    if kind == Kind.ID:
        numeric = given.dtype.is_numeric()
        return (
            _misfits(column, Kind.INTEGER) if numeric else len(given) * (given.dtype != pl.String)
        )
    if given.dtype.is_temporal() or given.dtype == pl.Boolean:
        return len(given)
    numbers = given.cast(pl.Float64, strict=False)
    if kind == Kind.NUMBER:
        return int((~numbers.is_finite().fill_null(False)).sum())
    return int((numbers != numbers.round(0)).fill_null(True).sum())


def _dates(column: pl.Series, format: str | None, at: FieldPath) -> str | None:
    """The format of a column of dates: None where it holds true dates, else one that reads all."""
    if column.dtype.is_temporal():
        if format is not None:
            text = f"a format is for dates kept as text, but the column holds {column.dtype}"
            raise FieldError([((*at, "format"), text)])
        return None
    if column.dtype != pl.String:
        text = f"the column holds {column.dtype}, not dates; convert it at the source"
        raise FieldError([((*at, "type"), text)])
    given = column.drop_nulls()
    if format is None:
        format = guess_format(given)
        if format is None:
            text = "no one format reads all values; say it with `format`, e.g. %d/%m/%Y"
            raise FieldError([((*at, "type"), text)])
        return format
    try:
        unread = parse_dates(given, format).null_count()
    except pl.exceptions.PolarsError:
        raise FieldError([((*at, "format"), f"{format!r} is no strptime format")]) from None
    if unread:
        text = f"{format!r} does not read the values of {unread} of {len(column)} rows"
        raise FieldError([((*at, "format"), text)])
    return format
