"""Real and synthetic tables as arrays that know their parents, and samples of whole entities.

Training and holdout rows are two samples of one base, the real tables, so that a reference is
looked up among all real parents. Differences between distributions are larger the smaller the
samples are: what is to stand beside the holdout's figure is therefore computed on parts of the
synthetic tables with as many entities as the holdout has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation.relational.layout import (
    Layout,
    check_tables,
    link,
    order_values,
)
from aigc_pipeline.evaluation.tables import MISSING, Coded, Coder, plain_values
from aigc_pipeline.relations import Graph, Relation
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import TableSpec

PARTS = 4  # of the synthetic tables, at most
GROUPS = 5  # of the jackknife behind a reference's standard error
MAX_ENTITIES = 50_000  # of each root; more are sampled


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


@dataclass(frozen=True)
class Worlds:
    """All samples that a judgement compares.

    everyone: training and synthetic entities, all of them; `train` and `synthetic` are MAX_ENTITIES
    of each root at most.
    parts: of the synthetic tables, each with as many entities as `holdout_equal`; the synthetic
    tables themselves where there is no holdout. groups: the latter less one group of entities each.
    train_equal: as many training entities.
    """

    layout: Layout
    coders: dict[str, Coder]
    everyone: tuple[World, World]
    train: World
    holdout: World | None
    synthetic: World
    train_equal: World
    holdout_equal: World | None
    parts: list[World]
    groups: list[World]
    equal: dict[str, int]
    seed: int


def make_worlds(
    train: Mapping[str, pl.DataFrame],
    holdout: Mapping[str, pl.DataFrame],
    synthetic: Mapping[str, pl.DataFrame],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
    tables: Mapping[str, TableSpec],
    *,
    min_subjects: int,
    seed: int,
) -> Worlds:
    """Link the tables, code them alike, and draw the samples.

    Raises InputError for missing tables or key columns, values of the wrong type, and roots without
    any training or synthetic row.
    """
    whole = {name: train[name] for name in graph.order if tables[name].keep and name in train}
    synthetic = {**synthetic, **whole}
    holdout = {**holdout, **whole}
    for side, given in (("training", train), ("holdout", holdout), ("synthetic", synthetic)):
        check_tables(side, given, graph)
    real, both, pools = _real(train, holdout, graph, tables)
    layout = Layout(graph, tables, schemas, pools)
    for root in layout.roots:
        for side, given in (("training", train), ("synthetic", synthetic)):
            if not given[root].height:
                raise InputError(f"table {root!r}: there are no {side} rows to judge")
    base, made = Base(real, layout), Base({n: synthetic[n] for n in graph.order}, layout)
    trained = World(base, {name: rows for name, (rows, _) in both.items()})
    held = World(base, {name: rows for name, (_, rows) in both.items()})
    coders = {}
    for name in graph.order:
        rows = trained.rows[name]
        split = name not in pools
        subjects = pl.Series(base.entity[name][rows]) if split else None
        plain = base.plain[name]
        coders[name] = Coder(
            plain[rows] if plain.width else plain,
            layout.schemas[name],
            min_subjects=min_subjects if split else 1,
            subjects=subjects,
        )
    base.encode(coders)
    made.encode(coders)
    ours = World(made, {name: np.arange(n) for name, n in made.rows.items()})
    return _samples(layout, coders, trained, held, ours, seed)


def entities(
    tables: Mapping[str, pl.DataFrame],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
    specs: Mapping[str, TableSpec],
) -> dict[str, pl.Series]:
    """Whose each row is: by table that an entity owns, the entity's number for every row."""
    kept = {name for name, spec in specs.items() if spec.keep}
    layout = Layout(graph, specs, schemas, kept)
    base = Base(tables, layout)
    owned = [name for name in layout.order if layout.owner_of(name) is not None]
    return {name: pl.Series(base.entity[name]) for name in owned}


def _samples(
    layout: Layout, coders: dict[str, Coder], train: World, held: World, ours: World, seed: int
) -> Worlds:
    roots = layout.roots
    everyone = (train, ours)
    train, ours = (
        world.thin({root: MAX_ENTITIES / max(world.count(root), 1) for root in roots}, seed)
        for world in everyone
    )
    split = [root for root in roots if held.count(root)]  # a small root may have none held out
    equal = {root: ours.count(root) for root in roots}
    if not split:
        return Worlds(
            layout, coders, everyone, train, None, ours, train, None, [ours], [], equal, seed
        )
    equal |= {root: min(held.count(root), ours.count(root), MAX_ENTITIES) for root in split}
    share = {root: equal[root] / ours.count(root) for root in roots}
    places = ours.order_of_entities(seed)
    parts = [
        ours.between(
            places,
            {root: i * share[root] if root in split else 0.0 for root in roots},
            {root: (i + 1) * share[root] if root in split else 1.0 for root in roots},
        )
        for i in range(min(PARTS, *(ours.count(root) // equal[root] for root in split)))
    ]
    held_equal, train_equal = (
        world.thin({root: equal[root] / max(world.count(root), 1) for root in roots}, seed)
        for world in (held, train)
    )
    fold = {r: np.floor(p * GROUPS) for r, p in held_equal.order_of_entities(seed + 1).items()}
    groups = [held_equal.take({r: f != group for r, f in fold.items()}) for group in range(GROUPS)]
    return Worlds(
        layout,
        coders,
        everyone,
        train,
        held,
        ours,
        train_equal,
        held_equal,
        parts,
        groups,
        equal,
        seed,
    )


def _real(
    train: Mapping[str, pl.DataFrame],
    holdout: Mapping[str, pl.DataFrame],
    graph: Graph,
    tables: Mapping[str, TableSpec],
) -> tuple[dict[str, pl.DataFrame], dict[str, tuple[np.ndarray, np.ndarray]], set[str]]:
    """The real tables, which of their rows are for training and held out, and which are pools.

    A row with a key is there once, though both sides have it.
    """
    real, both, pools = {}, {}, set()
    for name in graph.order:
        first, second, keys = train[name], holdout[name], list(tables[name].keys)
        again = np.zeros(first.height, dtype=bool)
        if tables[name].keep or (first.height and first.equals(second)):
            again[:], second = True, second.clear()
        elif keys:
            shared = first.with_row_index("(row)").join(second, on=keys, how="semi")["(row)"]
            again[shared.to_numpy()] = True
            second = second.join(first, on=keys, how="anti", maintain_order="left")
        if again.any():
            pools.add(name)
        real[name] = pl.concat([first, second.select(first.columns)])
        held = np.concatenate([np.flatnonzero(again), np.arange(first.height, real[name].height)])
        both[name] = (np.arange(first.height), held)
    return real, both, pools


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
