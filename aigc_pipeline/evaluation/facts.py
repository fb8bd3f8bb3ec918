"""What queries may know of the real tables: protected values, ranges and round thresholds.

Synthesis leaves rare values and extremes out on purpose. So before any query runs, every database
is folded alike: values of fewer than `min_subjects` entities become "(other)", numbers and times
end at the `min_subjects`-th most extreme. What a query says of a table comes from what is left, so
its text may be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.tables import protected_range
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.relations import Graph
from aigc_pipeline.relations.subset import Entities
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import Kind

FEW = 30  # values a group-by shows whole; of more it shows the first ones
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class ColumnFacts:
    """What may be said of a column.

    values: those of enough entities, frequent first, of a category, boolean or integer of few
        values. low, high: protected ends of a number, or of a time in seconds since 1970.
    thresholds: round numbers near its quantiles. step: a round bin width.
    """

    column: ColumnSchema
    values: list[Any] = field(default_factory=list)
    low: float = -math.inf
    high: float = math.inf
    thresholds: list[float] = field(default_factory=list)
    step: float | None = None

    @property
    def is_dimension(self) -> bool:
        """Whether a group-by on it makes sense."""
        return len(self.values) >= 2

    @property
    def is_measure(self) -> bool:
        """Whether it can be added up and averaged."""
        return self.column.kind in (Kind.NUMBER, Kind.INTEGER) and self.high > self.low

    @property
    def is_time(self) -> bool:
        """Whether it is a time that varies."""
        return self.column.kind == Kind.DATETIME and 0 < self.high - self.low < math.inf


Facts = dict[str, dict[str, ColumnFacts]]


def know(
    real: Entities,
    schemas: Mapping[str, TableSchema],
    *,
    min_subjects: int,
    subject: str | None = None,
) -> Facts:
    """Facts of every table by column; keys, references, ids and faked columns are left out.

    subject: a column that names the subject, where a table has it; else entities are counted.
    """
    facts: Facts = {}
    for name, schema in schemas.items():
        df, spec = real.tables[name], real.graph.tables[name]
        if subject is not None and subject in df.columns:
            who = df[subject].rank("dense").fill_null(0)
        else:
            who = pl.Series(real.numbers[name])
        links = _links(real.graph, name)
        kept = 1 if spec.keep else min_subjects
        facts[name] = {
            column.name: _know(df, column, who, kept)
            for column in schema.columns
            if column.name not in links and not column.is_generated and df.height
        }
    return facts


def fold(tables: Mapping[str, pl.DataFrame], facts: Facts) -> dict[str, pl.DataFrame]:
    """The tables with rare values and extremes folded, their types kept."""
    return {
        name: df.with_columns(
            made
            for column in df.columns
            if (known := facts[name].get(column)) is not None
            and (made := _folded(df, known)) is not None
        )
        for name, df in tables.items()
    }


def independent(
    tables: Mapping[str, pl.DataFrame], facts: Facts, rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    """The tables with nothing between their columns: each shuffled by itself, all but links."""
    return {
        name: df.with_columns(
            pl.col(column).shuffle(seed=int(rng.integers(2**31))) for column in facts[name]
        )
        for name, df in tables.items()
    }


def _links(graph: Graph, table: str) -> set[str]:
    return {*graph.tables[table].keys, *graph.tables[table].references}


def _know(df: pl.DataFrame, column: ColumnSchema, who: pl.Series, min_subjects: int) -> ColumnFacts:
    if not column.is_numeric:
        return ColumnFacts(column, _supported(df[column.name], who, min_subjects))
    plain = df.select(canonical_expr(column))[column.name]
    low, high = protected_range(plain, who, min_subjects)
    if math.isinf(low):  # nothing is protected here
        ends = plain.drop_nulls()
        if ends.is_empty():
            return ColumnFacts(column, low=0.0, high=0.0)
        low, high = float(ends.min()), float(ends.max())  # type: ignore[arg-type]
    values = []
    if column.kind == Kind.INTEGER and high - low < FEW:
        values = _supported(df[column.name], who, min_subjects)
    inner = plain.drop_nulls().clip(low, high)
    tenths = [float(inner.quantile(q / 10) or 0.0) for q in range(1, 10)] if len(inner) else []
    step = _round_width((tenths[-1] - tenths[0]) / 8) if tenths else None
    if step is not None and column.kind == Kind.INTEGER:
        step = max(step, 1.0)
    thresholds = sorted({_round_to(q, step) for q in tenths[1:-1]}) if step else []
    return ColumnFacts(column, values, low, high, thresholds, step)


def _supported(values: pl.Series, who: pl.Series, min_subjects: int) -> list[Any]:
    """Values of at least that many subjects, frequent first."""
    counted = (
        pl.DataFrame({"value": values, "who": who})
        .drop_nulls("value")
        .group_by("value")
        .agg(pl.col("who").n_unique().alias("support"), pl.len().alias("rows"))
        .filter(pl.col("support") >= min_subjects)
        .sort("rows", "value", descending=[True, False])
    )
    return [value for value in counted["value"].to_list() if value != OTHER]


def _folded(df: pl.DataFrame, known: ColumnFacts) -> pl.Expr | None:
    name = known.column.name
    dtype, value = df.schema[name], pl.col(name)
    if not known.column.is_numeric:
        other = pl.lit(OTHER) if dtype in (pl.String, pl.Categorical, pl.Enum) else pl.lit(None)
        plain = value.cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else value
        supported = pl.Series(known.values, dtype=None if known.values else pl.String)
        kept = plain.is_in(supported.implode()) if known.values else pl.lit(False)
        return pl.when(plain.is_null() | kept).then(plain).otherwise(other).alias(name)
    if dtype.is_float():
        return value.fill_nan(None).clip(known.low, known.high)
    if dtype.is_integer() and math.isfinite(known.low):
        return value.clip(math.ceil(known.low), math.floor(known.high)).cast(dtype)
    if dtype.is_temporal() and known.is_time:
        low, high = (pl.lit(moment(end)).cast(dtype) for end in (known.low, known.high))
        return (
            value.clip(low, high) if dtype == pl.Date or dtype.base_type() == pl.Datetime else None
        )
    return None


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a date and time."""
    return _EPOCH + timedelta(seconds=seconds)


def _round_width(width: float) -> float | None:
    """The next 1, 2 or 5 times a power of ten."""
    if not width > 0 or not math.isfinite(width):
        return None
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def _round_to(value: float, step: float) -> float:
    return float(f"{round(value / step) * step:.12g}")
