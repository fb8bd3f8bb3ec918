"""Polars tables as the pandas frames Great Expectations computes on.

It is fast on plain numpy columns only (int64, float64, datetime64[ns]) and stumbles over pandas'
nullable ones, so the same column looks different to different rules: that is a `View`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

_EXACT_IN_FLOAT = 2**53
_NANOSECOND_YEARS = (1678, 2261)  # whole years that fit datetime64[ns]


class View(Enum):
    """How a rule sees the columns.

    HEADER: names and pandas' nullable types (Int64, Float64, string, boolean, …), no rows.
    VALUES: whole numbers with missing ones as float64, dates as datetime64[ns], text as it is.
    TEXTS: whole numbers as such, so that 36 reads "36" and not "36.0".
    MOMENTS: like VALUES, with dates kept as text parsed, and missing where they do not parse.
    """

    HEADER = auto()
    VALUES = auto()
    TEXTS = auto()
    MOMENTS = auto()


def to_pandas(df: pl.DataFrame, view: View, formats: Mapping[str, str]) -> pd.DataFrame:
    """The rows of `df` in a view. formats: strptime formats of dates kept as text, by column."""
    import pandas as pd

    if view is View.HEADER:
        return pd.DataFrame({s.name: pd.Series([], dtype=pandas_type(s.dtype)) for s in df})
    if view is View.MOMENTS:
        df = df.with_columns(
            pl.col(name).str.to_datetime(formats[name], time_unit="us", strict=False)
            for name, dtype in df.schema.items()
            if name in formats and dtype == pl.String
        )
    return pd.DataFrame({s.name: _column(s, view) for s in df})


def type_name(dtype: pl.DataType | str) -> str:
    """A dtype's bare name: `Datetime` for `Datetime(time_unit='us', …)`."""
    return str(dtype).split("(")[0]


def pandas_type(dtype: pl.DataType | str) -> str:
    """The pandas type that stands for a Polars one in the HEADER view, by its name."""
    name = type_name(dtype)
    if name.startswith(("Int", "UInt", "Float")):
        return name
    others = {
        "Boolean": "boolean",
        "String": "string",
        "Date": "date32[day][pyarrow]",
        "Datetime": "datetime64[us]",
    }
    return others.get(name, "object")


def _column(series: pl.Series, view: View) -> Any:
    dtype = series.dtype
    if dtype.is_integer():
        return _whole_numbers(series, view)
    if dtype.is_float():
        return series.cast(pl.Float64).to_numpy()
    if dtype == pl.Boolean and not series.null_count():
        return series.to_numpy()
    if isinstance(dtype, pl.Date | pl.Datetime):
        moments = series.cast(pl.Datetime("us"))
        if moments.dt.year().is_between(*_NANOSECOND_YEARS).all():
            return moments.cast(pl.Datetime("ns")).to_numpy()
        return _objects(moments)
    return _objects(series)


def _whole_numbers(series: pl.Series, view: View) -> Any:
    top = max((abs(int(v)) for v in (series.min(), series.max()) if isinstance(v, int)), default=0)
    if not series.null_count() and top < 2**63:
        return series.cast(pl.Int64).to_numpy()
    if view is View.TEXTS or top > _EXACT_IN_FLOAT:
        return _objects(series)
    return series.cast(pl.Float64).to_numpy()


def _objects(series: pl.Series) -> pd.Series:
    """Python values and None, as pandas keeps text."""
    import pandas as pd

    return pd.Series(series.to_list(), dtype=object)
