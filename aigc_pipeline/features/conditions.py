"""Conditions on columns (`where`): checked against the schema, and as Polars expressions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath, InputError, did_you_mean
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.sources.derive import dtype_named
from aigc_pipeline.spec import Between, Condition, Kind, Where

Problem = tuple[FieldPath, str]


def check_where(where: Where, schema: TableSchema, at: FieldPath = ("where",)) -> None:
    """Raise FieldError for an unknown or generated column, or a value its type cannot take."""
    problems = _misnamed(where, schema, at)
    for name, condition in where.items():
        if name in schema.names and not schema[name].is_generated:
            try:
                condition_expr(schema[name], condition)
            except InputError as error:
                problems.append(((*at, name), str(error)))
    if problems:
        raise FieldError(problems)


def _misnamed(names: Iterable[str], schema: TableSchema, at: FieldPath) -> list[Problem]:
    """What is wrong with columns that conditions name: there is none, or it is made afresh."""
    problems: list[Problem] = []
    for name in names:
        if name not in schema.names:
            hint = did_you_mean(name, schema.names)
            problems.append(
                ((*at, name), f"there is no column {name!r} in {schema.name!r}; {hint}")
            )
        elif schema[name].is_generated:
            problems.append(((*at, name), "the column is made afresh, so it takes no condition"))
    return problems


def check_names(names: Iterable[str], schema: TableSchema, at: FieldPath) -> None:
    """Raise FieldError for columns that can take no condition."""
    if problems := _misnamed(names, schema, at):
        raise FieldError(problems)


def condition_expr(column: ColumnSchema, condition: Condition) -> pl.Expr:
    """Whether a row meets a condition on one column: a boolean expression, never null."""
    value = canonical_expr(column)
    if isinstance(condition, Between):
        low, high = bounds(column, condition)
        return value.is_between(low, high).fill_null(False)
    wanted = condition if isinstance(condition, list) else [condition]
    if not wanted:
        raise InputError("an empty list is met by no row")
    plain = [canonical_value(column, v) for v in wanted if v is not None]
    inside = value.is_in(plain).fill_null(False) if plain else pl.lit(False)
    return inside | value.is_null() if None in wanted else inside


def bounds(column: ColumnSchema, between: Between) -> tuple[float, float]:
    """Both ends of a range as canonical numbers, infinite where left out."""
    if not column.is_numeric:
        raise InputError(f"a range needs a number or date column, this one is {column.kind}")
    low = float("-inf") if between.min is None else canonical_value(column, between.min)
    high = float("inf") if between.max is None else canonical_value(column, between.max)
    if low > high:
        raise InputError(f"min {between.min!r} is above max {between.max!r}, so no row can meet it")
    return low, high


def canonical_value(column: ColumnSchema, value: Any) -> Any:
    """A condition's value as `schema.canonical` would give it: a float, or text."""
    try:
        if column.kind == Kind.DATETIME:
            return _seconds(value, column.format)
        if column.is_numeric:
            return float(value)
        if isinstance(value, bool):  # a flag may be kept as text, as a number or as a boolean
            flags = column.dtype in ("Boolean", "String")
            value = str(value).lower() if flags else int(value)
        if column.dtype.startswith("Float") and isinstance(value, int):
            value = float(value)
        return str(value)
    except (TypeError, ValueError, OverflowError):
        remedy = "a date such as 2018-03-31" if column.kind == Kind.DATETIME else "a number"
        raise InputError(f"{value!r} does not fit a {column.kind} column; write {remedy}") from None


def typed_cells(df: pl.DataFrame, schema: TableSchema, at: FieldPath) -> pl.DataFrame:
    """A frame's columns in the dtypes of a table's; NaN becomes null.

    Raises FieldError, which shows no value, where one does not fit its column.
    """
    made, problems = [], []
    for series in df.get_columns():
        column = schema[series.name]
        try:
            made.append(_typed(series, column))
        except (pl.exceptions.PolarsError, ValueError):  # its message may quote values
            text = f"its {series.dtype} values do not fit the column, which is {column.dtype}"
            problems.append(((*at, series.name), text))
    if problems:
        raise FieldError(problems)
    return pl.DataFrame(made)


def _typed(series: pl.Series, column: ColumnSchema) -> pl.Series:
    dtype = dtype_named(column.dtype)
    if isinstance(series.dtype, pl.Categorical | pl.Enum):
        series = series.cast(pl.String)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.dtype == dtype:
        return series
    if series.dtype == pl.String and dtype == pl.Boolean:
        return series.replace_strict({"true": True, "false": False}, return_dtype=dtype)
    if series.dtype == pl.String and dtype.is_temporal():
        return series.str.to_datetime().cast(dtype)
    if series.dtype.is_temporal() and column.format is not None:
        return series.dt.strftime(column.format)
    typed = series.cast(dtype)
    if dtype.is_integer() and series.dtype.is_float() and (typed != series).any():
        raise ValueError("a fraction in a column of whole numbers")
    return typed


def _seconds(value: Any, format: str | None) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            if format is None:
                raise
            value = datetime.strptime(value, format)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise TypeError("no date")
    return (value.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
