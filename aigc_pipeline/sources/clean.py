"""What every table goes through, whatever its source: checks, and a small set of plain dtypes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import polars as pl

from aigc_pipeline.errors import InputError

# Fewer rows leave nothing to learn from once a holdout is set aside to judge by.
MIN_ROWS = 20
MIN_COLUMNS = 2


def clean(df: pl.DataFrame, at: str, *, min_rows: int = MIN_ROWS) -> pl.DataFrame:
    """A table with plain dtypes that has passed the checks common to all sources.

    Categorical, Enum and Time become String; Decimal and 128-bit integers become Float64; a
    Duration becomes its seconds as Float64; a Datetime becomes naive microseconds, and one with a
    time zone its UTC time; a column without a type becomes String. NaN becomes null.

    at: what to call the table in errors, e.g. "loans (data/loans.csv)". min_rows: 1 where nothing
    is learned from the table.
    Raises InputError for bad names, too few rows or columns, nested or binary columns, infinities.
    """
    check_names(df.columns, at)
    check_size(df, at, min_rows=min_rows)
    refused = {n: t for n, t in df.schema.items() if t.is_nested() or _is_opaque(t)}
    if refused:
        names = ", ".join(f"{name!r} ({dtype})" for name, dtype in refused.items())
        raise InputError(
            f"{at}: columns that hold no single plain value: {names}; turn them into plain columns"
            " or leave them out at the source"
        )
    return without_infinities(df.select(_plain(n, t) for n, t in df.schema.items()), at)


def check_names(names: Sequence[str], at: str) -> None:
    """Raise InputError for missing, repeated or case-only different names, and for patterns."""
    empty = [str(i) for i, name in enumerate(names, start=1) if not name.strip()]
    if empty:
        raise InputError(f"{at}: column {', '.join(empty)} has no name; give every column one")
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        shown = ", ".join(map(repr, repeated))
        raise InputError(f"{at}: more than one column is named {shown}; rename all but one")
    patterns = [name for name in names if is_pattern(name)]
    if patterns:
        raise InputError(f"{at}: {patterns[0]!r} cannot name a column, it is a pattern; rename it")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"{at}: the columns {other!r} and {name!r} differ only by case, which SQL ignores;"
                " rename one"
            )


def is_pattern(name: str) -> bool:
    """Whether Polars would take a name for all columns, or for a regular expression."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def check_size(df: pl.DataFrame, at: str, *, min_rows: int = MIN_ROWS) -> None:
    """Raise InputError for a table too small to learn from."""
    if df.width < MIN_COLUMNS:
        found = "no columns" if df.width == 0 else "only one column"
        raise InputError(
            f"{at}: the table has {found}, at least {MIN_COLUMNS} are needed; for a CSV file, check"
            " its `delimiter`"
        )
    if df.height < min_rows:
        found = {0: "no rows", 1: "only one row"}.get(df.height, f"only {df.height} rows")
        raise InputError(
            f"{at}: the table has {found}, at least {min_rows} are needed"
            + (" to learn from some and judge by the others" if min_rows > 1 else "")
        )


def without_infinities(df: pl.DataFrame, at: str) -> pl.DataFrame:
    """The table itself. Raises InputError where a float column holds an infinity."""
    floats = [name for name, dtype in df.schema.items() if dtype.is_float()]
    if not floats:
        return df
    counts = df.select(pl.col(floats).is_infinite().sum()).row(0)
    found = [(name, count) for name, count in zip(floats, counts, strict=True) if count]
    if found:
        names = ", ".join(f"{name!r} in {count} of {df.height} rows" for name, count in found)
        raise InputError(
            f"{at}: infinite numbers in column {names}; make them missing or finite at the source"
        )
    return df


def _is_opaque(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.Binary, pl.Object, pl.Unknown, pl.Extension))


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Time, pl.Null)):
        return column.cast(pl.String)
    if isinstance(dtype, (pl.Decimal, pl.Int128, pl.UInt128)):
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.cast(pl.Datetime("us"))
    return column.fill_nan(None) if dtype.is_float() else column
