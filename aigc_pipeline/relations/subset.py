"""Parts of a dataset by entity: a row of a root table goes with all that hangs on it.

Whole entities are what two databases can be compared by: a customer without their orders, or half
of them, is no customer. A kept table is the same everywhere and always whole; what it owns is
drawn by its rows, as the split into training and holdout does. A reference to a row of another
root may dangle in a part, in every part of the same size alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.links import find_link


@dataclass(frozen=True)
class Entities:
    """The tables of one database, and which entity each of their rows belongs to.

    numbers: int64 [rows] by table; an entity is a row of its root, from 0. Rows without an owner
        have numbers of their own, from the root's height on.
    present: int64 by root table, the entities there are; of a kept root those that own rows here.
    """

    graph: Graph
    tables: dict[str, pl.DataFrame]
    numbers: dict[str, np.ndarray]
    present: dict[str, np.ndarray]

    @classmethod
    def of(cls, tables: Mapping[str, pl.DataFrame], graph: Graph) -> Entities:
        """Follow every row to the top of its owners."""
        numbers: dict[str, np.ndarray] = {}
        owned: dict[str, list[np.ndarray]] = {}
        for name in graph.order:
            owner, root = graph.owner_of(name), graph.root_of(name)
            if owner is None:
                numbers[name] = np.arange(tables[name].height)
            else:
                total = tables[root].height
                numbers[name] = _follow(tables, owner, numbers[owner.parent], total)
            if not graph.tables[name].keep:
                owned.setdefault(root, []).append(numbers[name])
        present = {}
        for root, parts in owned.items():
            total = tables[root].height
            found = np.unique(np.concatenate(parts)) if graph.tables[root].keep else None
            present[root] = np.arange(total) if found is None else found[found < total]
        return cls(graph, dict(tables), numbers, present)

    @property
    def counts(self) -> dict[str, int]:
        """How many entities there are, by root table."""
        return {root: len(present) for root, present in self.present.items()}

    def sample(
        self, counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, pl.DataFrame]:
        """That many random entities of each root with all their rows; kept tables whole.

        Rows without an owner are taken at the rate of their root's entities.
        """
        chosen: dict[str, np.ndarray] = {}
        for root, present in self.present.items():
            chosen[root] = np.zeros(self.tables[root].height, dtype=bool)
            chosen[root][rng.permutation(present)[: counts[root]]] = True
        part = {}
        for name, df in self.tables.items():
            root = self.graph.root_of(name)
            if self.graph.tables[name].keep:
                part[name] = df
                continue
            number, total = self.numbers[name], len(chosen[root])
            taken = rng.random(df.height) * max(len(self.present[root]), 1) < counts[root]
            owned = number < total
            taken[owned] = chosen[root][number[owned]]
            part[name] = df.filter(pl.Series(taken, dtype=pl.Boolean))
        return part


def _follow(
    tables: Mapping[str, pl.DataFrame], owner: Relation, above: np.ndarray, total: int
) -> np.ndarray:
    """The entity of each child row, given those of its owner's rows."""
    row = find_link(tables, owner).row
    alone = total + np.arange(len(row))
    if not len(above):
        return alone
    return np.where(row >= 0, above[np.maximum(row, 0)], alone).astype(np.int64)
