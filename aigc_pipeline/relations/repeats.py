"""Values that come once under an owner: a flight number in an hour, a product in a basket.

A row is made given the one before it, and cannot know all that came earlier, so values would repeat
as often as chance has it. Here a row whose value its owner has had before is kept only so often
that repeats are as frequent as in the data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Kind

FEW = 10  # values of a column, up to which repeats say nothing
POSITIONS = 40  # told apart; later ones are alike


def repeat_rates(
    df: pl.DataFrame, groups: np.ndarray, columns: list[ColumnSchema]
) -> dict[str, list[float]]:
    """By category column of many values, the share of rows whose value came before, by position.

    df: rows by group, int64 [rows], in their order.
    """
    found = {}
    place = pl.DataFrame({"group": groups}).select(pl.int_range(pl.len()).over("group"))
    position = np.minimum(place.to_series().to_numpy(), POSITIONS - 1)
    for column in columns:
        values = df[column.name]
        if column.kind != Kind.CATEGORY or values.n_unique() <= FEW or not position.any():
            continue
        again = _keys(groups, values).is_first_distinct().not_().to_numpy()
        again &= values.is_not_null().to_numpy()
        rows = np.maximum(np.bincount(position, minlength=POSITIONS), 1)
        found[column.name] = (np.bincount(position, again, minlength=POSITIONS) / rows).tolist()
    return found


class Repeats:
    """What each owner has had so far, while rows are made."""

    def __init__(self, rates: Mapping[str, list[float]]) -> None:
        self.rates = rates
        self._had = {column: np.zeros(0, dtype=np.uint64) for column in rates}
        self._share: dict[str, float] = {}  # of the repeats of a step, that may be
        self._barred: dict[str, np.ndarray] = {}  # owners whose row may repeat none

    def accept(
        self, groups: np.ndarray, rows: pl.DataFrame, step: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Which rows of a step to keep, bool [rows]; groups: their owners, int64 [rows].

        Of the rows that repeat a value so many may as are wanted, going by the first ones of a
        step; whoever's may not gets rows until one does not.
        """
        kept = np.ones(len(rows), dtype=bool)
        for column, rates in self.rates.items():
            keys = _keys(groups, rows[column]).to_numpy()
            again = _is_in(keys, self._had[column]) & rows[column].is_not_null().to_numpy()
            if column not in self._share:
                wanted = rates[min(step, POSITIONS - 1)]
                self._share[column] = wanted / max(float(again.mean()), 1e-9)
                self._barred[column] = groups[:0]
            barred = np.isin(groups, self._barred[column])
            barred |= again & (rng.random(len(rows)) >= self._share[column])
            self._barred[column] = np.union1d(self._barred[column], groups[barred])
            kept &= ~again | ~barred
        return kept

    def add(self, groups: np.ndarray, rows: pl.DataFrame) -> None:
        """Note the rows a step has made."""
        self._share, self._barred = {}, {}
        for column in self.rates:
            keys = _keys(groups, rows[column]).to_numpy()
            self._had[column] = np.sort(np.concatenate([self._had[column], keys]))


def _is_in(keys: np.ndarray, had: np.ndarray) -> np.ndarray:
    """Which keys are among sorted ones, bool [keys]."""
    if not len(had):
        return np.zeros(len(keys), dtype=bool)
    return had[np.minimum(np.searchsorted(had, keys), len(had) - 1)] == keys


def _keys(groups: np.ndarray, values: pl.Series) -> pl.Series:
    """A number for each pair of owner and value."""
    pairs = pl.DataFrame([pl.Series("group", groups), values.alias("value")])
    return pairs.hash_rows(seed=0)
