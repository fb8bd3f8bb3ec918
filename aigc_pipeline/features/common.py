"""Values within bins that many subjects share, drawn as often as they occur.

A bin of a hundred payments may hold 1,250 a dozen times and 1,251 never. Such lumps are too small
for a token, but a table has thousands of them, and drawing evenly on the grid would flatten all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aigc_pipeline.features.codec import Subjects

LEAST = 5  # rows with a value, for its share to mean anything
MOST = 10_000  # values of a column


@dataclass(frozen=True)
class Common:
    """Repeated values by the cell they lie in: a bin and a level of roundness.

    cells, values: int64 [n], in rising order; shares: float64 [n], of all rows of the cell.
    """

    cells: np.ndarray
    values: np.ndarray
    shares: np.ndarray

    @classmethod
    def fit(cls, units: np.ndarray, cells: np.ndarray, subjects: Subjects) -> Common:
        """The values that at least `min_subjects` subjects, and five rows, share; [rows] each."""
        values, first, codes, counts = np.unique(
            units, return_index=True, return_inverse=True, return_counts=True
        )
        support = subjects.support(codes, len(values))
        kept = np.flatnonzero((support >= subjects.minimum) & (counts >= LEAST))
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")][:MOST])
        held = np.bincount(cells, minlength=1)
        found = cells[first[kept]].astype(np.int64)
        order = np.argsort(found, kind="stable")
        shares = counts[kept] / held[found]
        return cls(found[order], values[kept][order], shares[order])

    def draw(self, cells: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A repeated value of each cell, int64 [rows], and where one was drawn, bool [rows]."""
        first, past, until = self._within(cells)
        at = np.searchsorted(until, until[first] + rng.random(len(cells)), side="right") - 1
        drawn = (at >= first) & (at < past)
        values = np.zeros(len(cells), dtype=np.int64)
        values[drawn] = self.values[at[drawn]]
        return values, drawn

    def log_density(self, units: np.ndarray, cells: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Log probability of each value, of as many `choices` in its cell; float64 [rows]."""
        first, past, until = self._within(cells)
        density = (1 - (until[past] - until[first])) / np.maximum(choices - (past - first), 1)
        order = np.argsort(self.values)
        at = np.searchsorted(self.values[order], units)
        hit = at < len(order)
        hit[hit] = self.values[order[at[hit]]] == units[hit]
        density[hit] = self.shares[order[at[hit]]]
        return np.log(np.maximum(density, 1e-12))

    def _within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places [first, past) of each cell's values, and the shares summed up to each place."""
        until = np.concatenate([[0.0], self.shares.cumsum()])
        first, past = (np.searchsorted(self.cells, cells, side=s) for s in ("left", "right"))
        return first, past, until

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "cells": self.cells.tolist(),
            "values": self.values.tolist(),
            "shares": self.shares.tolist(),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Common:
        """The values `to_json` described."""
        cells, values = (np.array(state[name], dtype=np.int64) for name in ("cells", "values"))
        return cls(cells, values, np.array(state["shares"], dtype=np.float64))


NONE = Common(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
