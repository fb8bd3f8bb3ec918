"""Derived columns: computed from others by a SQL expression, so that they hold in every row."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import TableSpec

MAX_DECIMALS = 9
_ON_GRID = 0.9
_NOT_ROWWISE = "{!r} looks at more than one row; a derived value comes from its own row alone"


def derived_columns(table: TableSpec) -> dict[str, str]:
    """SQL expression by derived column: those of `derive`, and the total of every sum."""
    sums = [c.sum for c in table.constraints if c.sum is not None]
    return {**table.derive, **{s.total: " + ".join(map(quoted, s.parts)) for s in sums}}


def quoted(name: str) -> str:
    """A column's name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def parse_expression(sql: str, at: FieldPath) -> tuple[pl.Expr, set[str]]:
    """A derive expression and the columns it names. Raises FieldError unless it works row by row.

    at: its field, for errors.
    """
    import sqlglot
    from sqlglot import exp

    try:
        expr = pl.sql_expr(sql)
        roots = set(expr.meta.root_names())
    except pl.exceptions.PolarsError as error:
        detail = str(error).splitlines()[0]
        raise FieldError(
            [(at, f"{sql!r} is no SQL expression that Polars reads: {detail}")]
        ) from None
    if not roots:
        raise FieldError([(at, f"{sql!r} names no column, so there is nothing to derive from")])
    try:
        tree = sqlglot.parse_one(sql)
    except sqlglot.errors.SqlglotError:
        return expr, roots  # Polars understands it; only the look for aggregates is missing
    if next(tree.find_all(exp.AggFunc, exp.Window, exp.Query, exp.Star), None) is not None:
        raise FieldError([(at, _NOT_ROWWISE.format(sql))])
    return expr, roots


def derive_order(table: TableSpec, at: FieldPath = ()) -> list[str]:
    """Derived columns, each after those it needs. Raises FieldError for a circle."""
    derived = derived_columns(table)
    needs = {
        name: parse_expression(sql, (*at, "derive", name))[1] & derived.keys()
        for name, sql in derived.items()
    }
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = [str(name) for name in error.args[1]]
        text = "derived from itself: " + " needs ".join(map(repr, circle))
        raise FieldError([((*at, "derive", circle[0]), text)]) from None


def apply_derive(
    df: pl.DataFrame,
    table: TableSpec,
    schema: TableSchema | None = None,
    *,
    at: FieldPath = (),
) -> pl.DataFrame:
    """The table with its derived columns computed afresh from the others.

    A column that is there keeps its place and dtype, and its number of decimals: 0.1 + 0.2 must
    not tell a computed value from a given one. A new column comes last, as computed. What divides
    by zero is missing.

    schema: gives dtype and decimals where `df` holds no values to tell them by. at: the table's
    field, for errors. Raises FieldError when an expression does not fit its column.
    """
    derived = derived_columns(table)
    for name in derive_order(table, at):
        field = (*at, "derive", name)
        expr, _ = parse_expression(derived[name], field)
        try:
            made = df.select(expr.alias(name)).to_series()
            # A function of the whole column gives another value for a part of it.
            part = df.head(10).select(expr.alias(name)).to_series()
            if len(made) != len(df) or not made.head(10).equals(part):
                raise FieldError([(field, _NOT_ROWWISE.format(derived[name]))])
            df = df.with_columns(_fit(made, *_form(df, name, schema)))
        except pl.exceptions.PolarsError as error:  # its message may quote values
            raise FieldError([(field, _misfit(derived[name], df, name, error))]) from None
    return df


def derive_agreement(df: pl.DataFrame, table: TableSpec) -> dict[str, tuple[int, int]]:
    """By derived column the source has too: rows whose value is as computed, of how many rows.

    Floats agree within half a unit of the column's last decimal; missing agrees with missing.
    """
    derived = apply_derive(df, table)
    agreement = {}
    for name in derived_columns(table):
        if name in df.columns:
            given, made = df[name], derived[name]
            same = given.eq_missing(made)
            if given.dtype.is_float():
                decimals = decimals_of(given)
                tolerance = 0.5 * 10.0 ** -(MAX_DECIMALS if decimals is None else decimals)
                same |= ((given - made).abs() <= tolerance * (1 + 1e-6)).fill_null(False)
            agreement[name] = (int(same.sum()), len(df))
    return agreement


def decimals_of(values: pl.Series) -> int | None:
    """Fewest decimal places that write the values, None where nine do not or there are none.

    One in ten distinct values may have more: sources now and then hold a few unrounded ones.
    Distinct, because a column that is mostly zero is no column of whole numbers.
    """
    numbers = values.drop_nulls().unique().to_numpy().astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    for decimals in range(MAX_DECIMALS + 1):
        scaled = numbers * 10.0**decimals
        if np.abs(scaled).max() > 2.0**52:
            return None
        # Sums of decimals are off by some units of the last binary place, and no more.
        noise = np.maximum(np.abs(scaled) * 1e-14, 1e-9)
        if np.mean(np.abs(scaled - np.rint(scaled)) <= noise) >= _ON_GRID:
            return decimals
    return None


def _misfit(sql: str, df: pl.DataFrame, name: str, error: Exception) -> str:
    if isinstance(error, pl.exceptions.ColumnNotFoundError):
        return f"{sql!r} names a column that is not there"
    if name in df.columns:
        return (
            f"{sql!r} cannot be computed, or its values do not fit the column's {df.schema[name]}"
        )
    return f"{sql!r} cannot be computed from columns of these types"


def _form(
    df: pl.DataFrame, name: str, schema: TableSchema | None
) -> tuple[pl.DataType | None, int | None]:
    """Dtype and decimals a derived column must have; None where they are free."""
    if schema is not None and name in schema.names:
        column = schema[name]
        return dtype_named(column.dtype), column.decimals
    if name in df.columns:
        dtype = df.schema[name]
        return dtype, decimals_of(df[name]) if dtype.is_float() else None
    return None, None


def _fit(made: pl.Series, dtype: pl.DataType | None, decimals: int | None) -> pl.Series:
    if made.dtype.is_float():
        made = made.set(~made.is_finite().fill_null(True), None)
        if decimals is not None:
            made = made.round(decimals)
        elif dtype is not None and dtype.is_integer():
            made = made.round(0)
    return made if dtype is None or made.dtype == dtype else made.cast(dtype)


def dtype_named(name: str) -> pl.DataType:
    """The Polars dtype whose text form a schema keeps."""
    return pl.Datetime("us") if name.startswith("Datetime") else getattr(pl, name)()
