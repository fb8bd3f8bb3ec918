"""What came before a row under the same owner: the row before it, and the means so far.

A row is made given these, so that a table with an order is a sequence model: what comes next, and
when. Training reads them off the real rows; sampling keeps them up to date as rows are made.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from aigc_pipeline.relations.plan import LEFT, POSITION, ROWS
from aigc_pipeline.schema import ColumnSchema, canonical_expr
from aigc_pipeline.spec import Kind

GROUP = "(group)"
FEW_TIMES = 100  # values at most of an ordering column that comes back to them
PRIOR = 5.0  # rows that what is known of all values is worth, for each of them


def previous_name(column: str) -> str:
    """The wide column with a column's value in the row before."""
    return f"previous {column}"


def mean_name(column: str) -> str:
    """The wide column with a column's mean over the rows before."""
    return f"mean {column}"


def history_of(
    df: pl.DataFrame, groups: np.ndarray, columns: list[str], means: list[ColumnSchema]
) -> pl.DataFrame:
    """Position, number of rows, the row before and means so far; rows of a group in order.

    columns: of which the row before is told. means: numeric columns of which means are told.
    """
    df = df.with_columns(pl.Series(GROUP, groups))
    numbers = [canonical_expr(c).alias(c.name) for c in means]
    so_far = [
        (
            (expr.fill_null(0).cum_sum() - expr.fill_null(0))
            / (expr.is_not_null().cum_sum() - expr.is_not_null())
        )
        .over(GROUP)
        .fill_nan(None)
        .alias(mean_name(column.name))
        for column, expr in zip(means, numbers, strict=True)
    ]
    return df.select(
        pl.int_range(pl.len()).over(GROUP).alias(POSITION),
        pl.len().over(GROUP).cast(pl.Int64).alias(ROWS),
        (pl.len() - pl.int_range(pl.len())).over(GROUP).cast(pl.Int64).alias(LEFT),
        *(pl.col(c).shift(1).over(GROUP).alias(previous_name(c)) for c in columns),
        *so_far,
    )


def gaps_of(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How much an ordering column rises from row to row, NaN in a group's first; float64 [rows]."""
    gaps = np.full(len(values), np.nan)
    same = groups[1:] == groups[:-1]
    gaps[1:][same] = (values[1:] - values[:-1])[same]
    return gaps


def come_back(values: np.ndarray, gaps: np.ndarray) -> bool:
    """Whether an ordering column is told by where it stands, like a minute of the hour.

    values, gaps: of rows by owner and in order, float64 [rows]. Rows of one half are predicted from
    counts in the other: the next value given the last, against the gap alone.
    """
    later = np.flatnonzero(~np.isnan(gaps))
    code = np.unique(values, return_inverse=True)[1]
    size = int(code.max(initial=0)) + 1
    if size > FEW_TIMES or len(later) < 2:
        return False
    gap = np.unique(gaps[later], return_inverse=True)[1]
    before, after = code[later - 1], code[later]
    seen, asked = slice(0, None, 2), slice(1, None, 2)
    share = np.bincount(gap[seen], minlength=int(gap.max()) + 1) + 1.0
    by_gap = np.log(share / share.sum())[gap[asked]]
    overall = np.bincount(after[seen], minlength=size) + 1.0
    counts = np.tile(PRIOR * overall / overall.sum(), (size, 1))
    np.add.at(counts, (before[seen], after[seen]), 1.0)
    by_value = np.log(counts / counts.sum(1, keepdims=True))[before[asked], after[asked]]
    return float(by_value.mean()) > float(by_gap.mean())


def weekday_name(column: str) -> str:
    """The wide column with the day of the week of a known time."""
    return f"{column} (weekday)"


def weekday_of(values: pl.Series, column: ColumnSchema) -> pl.Series:
    """The day of the week of times, Int64 from 1, Monday: business has weeks."""
    frame = pl.DataFrame([values.alias(column.name)])
    seconds = frame.select(canonical_expr(column)).to_series()
    return (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us")).dt.weekday().cast(pl.Int64)


def with_weekdays(frame: pl.DataFrame, columns: Iterable[ColumnSchema]) -> pl.DataFrame:
    """The frame with the weekdays of those of some columns that it has and that are times."""
    found = [c for c in columns if c.name in frame.columns and c.kind == Kind.DATETIME]
    return frame.with_columns(
        weekday_of(frame[c.name], c).alias(weekday_name(c.name)) for c in found
    )


def room(
    bound: pl.Series, bound_schema: ColumnSchema, before: pl.Series, order: ColumnSchema
) -> pl.Series:
    """How far the next row may go: from the row before, if there is one, to the owner's bound."""
    end = pl.DataFrame([bound.alias(bound_schema.name)]).select(canonical_expr(bound_schema))
    start = pl.DataFrame([before.alias(order.name)]).select(canonical_expr(order))
    return end.to_series() - start.to_series().fill_null(0.0)


class History:
    """The same, kept while rows are made: one step for all owners at a time.

    columns, means: as in `history_of`; owners: how many there are.
    """

    def __init__(self, owners: int, columns: list[str], means: list[ColumnSchema]) -> None:
        self.columns, self.means = columns, means
        self._last: pl.DataFrame | None = None
        self._at = np.full(owners, -1)
        self._sum = np.zeros((owners, len(means)))
        self._count = np.zeros((owners, len(means)))

    def of(self, owners: np.ndarray, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        """What came before the next row of some owners; schema: dtypes of the columns."""
        if self._last is None:
            dtypes = {previous_name(c): schema[c] for c in self.columns}
            before = pl.DataFrame(schema=dtypes).clear(len(owners))
        else:
            taken = self._last.select(self.columns)[np.maximum(self._at[owners], 0)]
            known = pl.Series(self._at[owners] >= 0)
            before = taken.select(
                pl.when(known).then(pl.col(c)).alias(previous_name(c)) for c in self.columns
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sum[owners] / self._count[owners]
        made = [
            pl.Series(mean_name(c.name), means[:, i], nan_to_null=True)
            for i, c in enumerate(self.means)
        ]
        return before.with_columns(made)

    def add(self, owners: np.ndarray, rows: pl.DataFrame) -> None:
        """Note the rows made for some owners, each of which comes once."""
        self._last = rows
        self._at[:] = -1
        self._at[owners] = np.arange(len(owners))
        for i, column in enumerate(self.means):
            values = rows.select(canonical_expr(column)).to_series().to_numpy()
            known = ~np.isnan(values)
            self._sum[owners[known], i] += values[known]
            self._count[owners[known], i] += 1
