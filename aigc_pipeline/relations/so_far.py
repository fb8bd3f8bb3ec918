"""What an owner has had so far, value by value: the context in which its next row is made.

The row before says where a history stands, but not what is left to come: a product that is in the
basket, a flight that has gone. So a row is made given how often its owner has had each value of the
categories that are neither trivial nor vast. As in a set or a multiset, the order is forgotten.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.relations.plan import POSITION, TablePlan

FEWEST, MOST = 10, 256  # values of a column whose counts are told


def counted_codecs(plan: TablePlan, codec: TableCodec) -> list[CategoryCodec]:
    """The codecs whose values are counted: the table's own categories, where there is an order."""
    if not plan.history:
        return []
    return [
        each
        for each in codec.codecs[codec.known_tokens :]
        if isinstance(each, CategoryCodec)
        and each.page is None
        and FEWEST < each.size <= MOST
        and set(each.columns) <= set(plan.own)
    ]


def context_of(rows: pl.DataFrame, plan: TablePlan, codec: TableCodec) -> np.ndarray | None:
    """The context of training rows, float32 [rows, values]; None where nothing is counted.

    rows: by owner and in their order, with their position under it.
    """
    codecs = counted_codecs(plan, codec)
    if not codecs:
        return None
    first = np.flatnonzero(rows[POSITION].to_numpy() == 0)
    sizes = np.diff(np.append(first, len(rows)))
    made = []
    for each in codecs:
        had = np.zeros((len(rows) + 1, each.size), dtype=np.int32)
        had[np.arange(1, len(rows) + 1), each.encode(rows)] = 1
        np.cumsum(had, axis=0, out=had)
        had = had[:-1]
        had -= np.repeat(had[first], sizes, axis=0)
        made.append(_scaled(had))
    return np.concatenate(made, axis=1)


class SoFar:
    """The same, kept while rows are made.

    owners: how many there are.
    """

    def __init__(self, plan: TablePlan, codec: TableCodec, owners: int) -> None:
        self.codecs = counted_codecs(plan, codec)
        self._had = [np.zeros((owners, each.size), dtype=np.int32) for each in self.codecs]

    def of(self, owners: np.ndarray) -> np.ndarray | None:
        """The context of the next row of some owners, float32 [owners, values]."""
        if not self.codecs:
            return None
        return np.concatenate([_scaled(had[owners]) for had in self._had], axis=1)

    def add(self, owners: np.ndarray, rows: pl.DataFrame) -> None:
        """Note the rows made for some owners, each of which comes once."""
        for each, had in zip(self.codecs, self._had, strict=True):
            had[owners, each.encode(rows)] += 1


def _scaled(counts: np.ndarray) -> np.ndarray:
    return np.log1p(counts, dtype=np.float32)
