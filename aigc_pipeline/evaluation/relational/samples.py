"""The samples that are compared: training, held out, synthetic, and parts of equal size.

Training and holdout rows are two samples of one base, the real tables, so that a reference is
looked up among all real parents. Differences between distributions are larger the smaller the
samples are: what is to stand beside the holdout's figure is therefore computed on parts of the
synthetic tables with as many entities as the holdout has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation.relational.layout import Layout, check_tables
from aigc_pipeline.evaluation.relational.worlds import Base, World
from aigc_pipeline.evaluation.tables import Coder
from aigc_pipeline.relations import Graph
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import TableSpec

PARTS = 4  # of the synthetic tables, at most
GROUPS = 5  # of the jackknife behind a reference's standard error
MAX_ENTITIES = 50_000  # of each root; more are sampled


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
    whole = {name: train[name] for name in graph.order if is_pool(name, graph) and name in train}
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


def is_pool(table: str, graph: Graph) -> bool:
    """Whether a table is kept as it is and owns nothing: all samples have all of it."""
    return graph.tables[table].keep and not graph.owned_by(table)


def entities(
    tables: Mapping[str, pl.DataFrame],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
    specs: Mapping[str, TableSpec],
) -> dict[str, pl.Series]:
    """Whose each row is: by table that an entity owns, the entity's number for every row."""
    layout = Layout(graph, specs, schemas, {name for name in specs if is_pool(name, graph)})
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
        if is_pool(name, graph) or (first.height and first.equals(second)):
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
