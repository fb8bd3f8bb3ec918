"""Real and synthetic tables as arrays that know their parents, and sets of whole entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.relational.layout import (
    Layout,
    link,
    order_values,
)
from aigc_pipeline.evaluation.tables import MISSING, Coded, Coder, plain_values
from aigc_pipeline.relations import Relation


class Base:
    """Tables whose rows know their parents and their entity.

    links: by relation, the parent's row of each row, or NULL or ORPHAN.
    entity: by split table, the entity of each row, int64 [rows]: the row of its root, or for a row
        without owner a number of its own from the root's size on.
    """

    def __init__(self, tables: Mapping[str, pl.DataFrame], layout: Layout) -> None:
        self.tables = {name: tables[name] for name in layout.order}
        self.layout = layout
        self.rows = {name: df.height for name, df in self.tables.items()}
        self.links: dict[Relation, np.ndarray] = {
            r: link(self.tables[r.child], r, self.tables[r.parent]) for r in layout.graph.relations
        }
        self.entities = {root: self.rows[root] for root in layout.roots}  # their number
        self.entity: dict[str, np.ndarray] = {}
        for name in layout.order:
            if name in layout.pools:
                continue
            owner = layout.owner_of(name)
            if owner is None:
                self.entity[name] = np.arange(self.rows[name])
                continue
            at = self.links[owner]
            entity = self.entity[owner.parent][np.maximum(at, 0)] if self.rows[owner.parent] else at
            alone = at < 0
            root = layout.root_of(name)
            entity = entity.copy()
            entity[alone] = self.entities[root] + np.arange(alone.sum())
            self.entities[root] += int(alone.sum())
            self.entity[name] = entity

    @cached_property
    def plain(self) -> dict[str, pl.DataFrame]:
        """The compared columns as plain values."""
        return {
            name: plain_values(df, self.layout.schemas[name]) for name, df in self.tables.items()
        }

    def encode(self, coders: Mapping[str, Coder]) -> None:
        """Code all tables; `protected` and the metrics work on these."""
        nothing = np.zeros
        self.coded = {
            name: coders[name].encode(plain)
            if plain.width  # a frame without columns has no height either
            else Coded(nothing((self.rows[name], 0)), nothing((self.rows[name], 0), np.int32))
            for name, plain in self.plain.items()
        }
        self.protected = {name: _frame(self.coded[name], coders[name]) for name in self.coded}

    def up(self, table: str, top: str) -> np.ndarray:
        """The row of `top`, which owns `table` at some remove, of each row; -1 without one."""
        owner = self.layout.owner_of(table)
        assert owner is not None
        at = np.maximum(self.links[owner], -1)
        if owner.parent == top:
            return at
        above = self.up(owner.parent, top)
        return np.where(at >= 0, above[np.maximum(at, 0)], -1) if len(above) else at

    @cached_property
    def order(self) -> dict[str, np.ndarray]:
        """By ordered table, what its rows are ordered by: float64 [rows]."""
        return {
            name: order_values(self.tables[name], column)
            for name in self.layout.order
            if (column := self.layout.order_column(name)) is not None
        }


@dataclass(frozen=True)
class World:
    """Some entities of a base. rows: by table, theirs in rising order; those of pools are all."""

    base: Base
    rows: dict[str, np.ndarray]

    def take(self, chosen: Mapping[str, np.ndarray]) -> World:
        """Those of its entities that `chosen` marks: by root, bool [entities of the base]."""
        base, layout = self.base, self.base.layout
        return World(
            base,
            {
                name: rows
                if name in layout.pools
                else rows[chosen[layout.root_of(name)][base.entity[name][rows]]]
                for name, rows in self.rows.items()
            },
        )

    def count(self, root: str) -> int:
        """How many rows of a root it holds."""
        return len(self.rows[root])

    def order_of_entities(self, seed: int) -> dict[str, np.ndarray]:
        """By root, a random place in [0, 1) for each entity of the base, even among its own."""
        rng = np.random.default_rng(seed)
        places = {}
        for root in self.base.layout.roots:
            place = rng.random(self.base.entities[root])
            own = self.rows[root]
            place[own] = rng.permutation(len(own)) / max(len(own), 1)
            places[root] = place
        return places

    def between(
        self, places: Mapping[str, np.ndarray], low: Mapping[str, float], high: Mapping[str, float]
    ) -> World:
        """The entities whose place lies in [low, high) of their root."""
        tiny = 1e-12  # 3 * (1 / 3) is to be 1
        return self.take(
            {r: (p >= low[r] - tiny) & (p < high[r] - tiny) for r, p in places.items()}
        )

    def thin(self, share: Mapping[str, float], seed: int) -> World:
        """A random share of its entities, by root; a share of 1 or more is all of them."""
        if all(s >= 1 for s in share.values()):
            return self
        whole = {root: s if s < 1 else 2.0 for root, s in share.items()}
        return self.between(self.order_of_entities(seed), dict.fromkeys(share, 0.0), whole)


def _frame(coded: Coded, coder: Coder) -> pl.DataFrame:
    """A coded table as plain values again: extremes at their bounds, categories as codes."""
    numbers = {n: coded.numbers[:, i] for i, n in enumerate(coder.numeric)}
    codes = {n: coded.codes[:, i] for i, n in enumerate(coder.categories)}
    if not numbers and not codes:
        return pl.DataFrame(height=len(coded))
    return pl.DataFrame(
        [pl.Series(n, v, dtype=pl.Float64).fill_nan(None) for n, v in numbers.items()]
        + [
            pl.Series(n, np.where(v == MISSING, -1, v)).replace(-1, None).cast(pl.String)
            for n, v in codes.items()
        ]
    )
