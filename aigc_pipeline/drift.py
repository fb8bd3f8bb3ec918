"""How far a table's columns moved between two sources, or two releases.

The distance between two distributions is their total variation: the share of rows that would have
to change their value, 0 to 1. Numbers are compared in bins of equal mass of the earlier rows. Only
distances and shares of missing values are returned: no edge of a bin, no category, no extreme.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr

BINS = 20
MOST_VALUES = 200  # of a category, that are told apart
MATERIAL = 0.1  # a distance below this is no news, however sure
MATERIAL_NULLS = 0.05
ERRORS = 4.0  # standard errors beyond what chance would show


class ColumnDrift(BaseModel):
    """How far one column moved.

    distance: total variation between the values present, 0 to 1; None where one side has none.
    chance: the distance that two samples of these sizes of one distribution have on average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    column: str
    distance: float | None
    chance: float | None
    null_rate_before: float
    null_rate_after: float
    shifted: bool
    nulls_shifted: bool

    def describe(self) -> str:
        """What moved, in words."""
        words = []
        if self.shifted and self.distance is not None:
            words.append(f"{self.distance:.0%} of its values moved")
        if self.nulls_shifted:
            nulls = f"{self.null_rate_before:.1%} to {self.null_rate_after:.1%}"
            words.append(f"missing values went from {nulls}")
        return f"{self.column!r}: {' and '.join(words) or 'as before'}"


class TableDrift(BaseModel):
    """How far the columns of a table moved that both sides have; rows on either side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows_before: int
    rows_after: int
    columns: list[ColumnDrift]

    @property
    def moved(self) -> list[ColumnDrift]:
        """Columns that moved by more than chance and enough to matter, furthest first."""
        moved = [c for c in self.columns if c.shifted or c.nulls_shifted]
        return sorted(moved, key=lambda c: -(c.distance or 0.0))

    @property
    def largest(self) -> float | None:
        """The largest distance of any column."""
        return max((c.distance for c in self.columns if c.distance is not None), default=None)


def compare_tables(
    before: pl.DataFrame, after: pl.DataFrame, schemas: tuple[TableSchema, TableSchema]
) -> TableDrift:
    """How far each column moved that both tables have with the same kind; keys, ids and faked
    columns are left out, for they are made afresh or a row's own.

    schemas: of the earlier rows and of the later ones.
    """
    was = {column.name: column for column in schemas[0].judged}
    columns = [
        _compare(before, after, was[column.name], column)
        for column in schemas[1].judged
        if column.name in was
        and was[column.name].is_numeric == column.is_numeric
        and column.name in before.columns
        and column.name in after.columns
    ]
    return TableDrift(rows_before=len(before), rows_after=len(after), columns=columns)


def describe(drifts: Mapping[str, TableDrift]) -> list[str]:
    """The columns that moved, as `table.'column': what`."""
    return [f"{name}.{c.describe()}" for name, drift in drifts.items() for c in drift.moved]


def as_score(drift: TableDrift) -> dict[str, Any]:
    """The largest distance as a score in the form of `evaluation.Score`, as plain data."""
    return {
        "value": drift.largest,
        "reference": None,
        "better": "low",
        "why_not": None if drift.largest is not None else "no column could be compared",
        "description": "Largest distance between a column's distribution in this run's source and"
        " in the source of the run before, 0 to 1",
        "error": None,
    }


def _compare(
    before: pl.DataFrame, after: pl.DataFrame, was: ColumnSchema, now: ColumnSchema
) -> ColumnDrift:
    old = before.select(canonical_expr(was)).to_series()
    new = after.select(canonical_expr(now)).to_series()
    nulls = [series.null_count() / max(len(series), 1) for series in (old, new)]
    told: dict[str, Any] = {
        "column": now.name,
        "null_rate_before": round(nulls[0], 4),
        "null_rate_after": round(nulls[1], 4),
        "nulls_shifted": _apart(nulls[0], nulls[1], len(old), len(new)),
    }
    old, new = old.drop_nulls(), new.drop_nulls()
    if not len(old) or not len(new):
        return ColumnDrift(distance=None, chance=None, shifted=False, **told)
    counts = _binned(old, new) if now.is_numeric else _counted(old, new)
    first, second = (side / side.sum() for side in counts)
    distance = float(np.abs(first - second).sum() / 2)
    # Of two samples of one distribution: each cell's difference is about normal.
    share = counts.sum(axis=0) / counts.sum()
    variance = share * (1 - share) * (1 / len(old) + 1 / len(new))
    chance = float(np.sqrt(2 / np.pi) * np.sqrt(variance).sum() / 2)
    # What one cell has too much others have too little of, so cells move in pairs at worst.
    error = float(np.sqrt(2 * variance.sum() * (1 - 2 / np.pi)) / 2)
    limit = max(MATERIAL, chance + ERRORS * error)
    figures = {"distance": round(distance, 4), "chance": round(min(chance, 1.0), 4)}
    return ColumnDrift(shifted=distance > limit, **figures, **told)


def _binned(old: pl.Series, new: pl.Series) -> np.ndarray:
    """Rows in each bin, float64 [2, bins]; what lies beyond the old ends is in the outer bins."""
    values = old.to_numpy()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    # A value that many rows share is an edge, and a cell of its own: below, at and above it.
    cells = [
        np.searchsorted(edges, side, "left") + np.searchsorted(edges, side, "right")
        for side in (values, new.to_numpy())
    ]
    return np.stack([np.bincount(c, minlength=2 * len(edges) + 1) for c in cells]).astype(float)


def _counted(old: pl.Series, new: pl.Series) -> np.ndarray:
    """Rows with each of the most frequent values, and with any other; float64 [2, values]."""
    counts = [
        side.alias("value").value_counts(name="rows").rename({"rows": name})
        for side, name in ((old, "old"), (new, "new"))
    ]
    both = counts[0].join(counts[1], on="value", how="full", coalesce=True).fill_null(0)
    ranked = both.sort(pl.col("old") + pl.col("new"), "value", descending=[True, False])
    table = ranked.select("old", "new").to_numpy().astype(float).T
    rest = table[:, MOST_VALUES:].sum(axis=1, keepdims=True)
    return np.concatenate([table[:, :MOST_VALUES], rest], axis=1)


def _apart(before: float, after: float, rows_before: int, rows_after: int) -> bool:
    """Whether two shares differ by more than chance, and enough to matter."""
    share = (before * rows_before + after * rows_after) / max(rows_before + rows_after, 1)
    error = np.sqrt(share * (1 - share) * (1 / max(rows_before, 1) + 1 / max(rows_after, 1)))
    return bool(abs(after - before) > max(MATERIAL_NULLS, ERRORS * error))
