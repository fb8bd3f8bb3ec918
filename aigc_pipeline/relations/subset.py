"""Parts of a dataset by entity: a row of a root table goes with all that hangs on it.

Whole entities are what two databases can be compared by: a customer without their orders, or half
of them, is no customer. A kept table is the same everywhere and always whole; the tables it owns
are roots, each row an entity. A reference to a row of another root may dangle in a part, in every
part of the same size alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.relations.graph import Graph, Relation


def root_table(graph: Graph, table: str) -> str:
    """The table whose rows a table's rows are counted in: at the top of its owners, not kept."""
    owner = graph.owner_of(table)
    if owner is None or graph.tables[owner.parent].keep:
        return table
    return root_table(graph, owner.parent)


@dataclass(frozen=True)
class Entities:
    """The tables of one database, and which entity each of their rows belongs to.

    numbers: int64 [rows] by table that is not kept; an entity of its root table, from 0. Rows
        without an owner have numbers of their own, from `counts[root]` on.
    counts: entities by root table.
    """

    graph: Graph
    tables: dict[str, pl.DataFrame]
    numbers: dict[str, np.ndarray]
    counts: dict[str, int]

    @classmethod
    def of(cls, tables: Mapping[str, pl.DataFrame], graph: Graph) -> Entities:
        """Follow every row to the top of its owners."""
        numbers: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for name in graph.order:
            if graph.tables[name].keep:
                continue
            root = root_table(graph, name)
            if root == name:
                numbers[name] = np.arange(tables[name].height)
                counts[name] = tables[name].height
            else:
                owner = graph.owner_of(name)
                assert owner is not None
                numbers[name] = _follow(tables, owner, numbers[owner.parent], counts[root])
        return cls(graph, dict(tables), numbers, counts)

    def sample(
        self, counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, pl.DataFrame]:
        """That many random entities of each root with all their rows; kept tables whole.

        Rows without an owner are taken at the rate of their root's entities.
        """
        chosen: dict[str, np.ndarray] = {}
        for root, total in self.counts.items():
            chosen[root] = np.zeros(total, dtype=bool)
            chosen[root][rng.permutation(total)[: counts[root]]] = True
        part = {}
        for name, df in self.tables.items():
            if name not in self.numbers:
                part[name] = df
                continue
            root = root_table(self.graph, name)
            number, total = self.numbers[name], self.counts[root]
            taken = rng.random(df.height) * total < counts[root]
            owned = number < total
            taken[owned] = chosen[root][number[owned]]
            part[name] = df.filter(pl.Series(taken, dtype=pl.Boolean))
        return part


def _follow(
    tables: Mapping[str, pl.DataFrame], owner: Relation, above: np.ndarray, total: int
) -> np.ndarray:
    """The entity of each child row, given those of its owner's rows."""
    parent = tables[owner.parent]
    known = parent.select(
        *(pl.col(key).alias(f"key {i}") for i, key in enumerate(owner.key)),
        pl.Series("entity", above, dtype=pl.Int64),
    ).unique(subset=[f"key {i}" for i in range(len(owner.key))], keep="first")
    wanted = tables[owner.child].select(
        pl.col(column).cast(known.schema[f"key {i}"], strict=False).alias(f"key {i}")
        for i, column in enumerate(owner.columns)
    )
    found = wanted.join(known, on=wanted.columns, how="left", maintain_order="left")[
        "entity"
    ].to_numpy()
    missing = np.isnan(found) if found.dtype.kind == "f" else np.zeros(len(found), dtype=bool)
    alone = total + np.arange(len(found))
    return np.where(missing, alone, np.nan_to_num(found)).astype(np.int64)
