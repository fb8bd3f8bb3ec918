"""Training and holdout of related tables: whole entities go to one side or the other."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.keys import is_null, parent_rows, references
from aigc_pipeline.spec import DatasetSpec

Frames = dict[str, pl.DataFrame]


def split_tables(
    frames: Mapping[str, pl.DataFrame], graph: Graph, spec: DatasetSpec
) -> tuple[Frames, Frames]:
    """Training and holdout rows of every table, seeded by `spec.synthesis.seed`.

    The rows of a table without an owner are drawn at random, `spec.evaluation.holdout` of them for
    the holdout; all other rows follow their owner. Rows without an owner in such a table are drawn
    too: those that name the same missing owner together, those that name none one by one.

    A table that is kept is whole on both sides, unless it owns rows: then its rows are entities,
    and drawn like others. Only owners are followed: a reference to another parent, or to a row of
    the same table, may point to the other side, and is left as it is.

    Raises InputError where a table would have no rows on one side.
    """
    held: dict[str, np.ndarray] = {}
    for name in graph.order:
        rng = np.random.default_rng([spec.synthesis.seed, zlib.crc32(name.encode())])
        owner = graph.owner_of(name)
        if owner is None:
            held[name] = draw_rows(len(frames[name]), spec.evaluation.holdout, rng)
        else:
            held[name] = _follow(frames, owner, held[owner.parent], spec.evaluation.holdout, rng)
    train: Frames = {}
    holdout: Frames = {}
    for name, df in frames.items():
        if graph.tables[name].keep and not graph.owned_by(name):
            train[name] = holdout[name] = df
            continue
        mask = pl.Series(held[name])
        if mask.all() or not mask.any():
            top = graph.root_of(name)
            raise InputError(
                f"{name}: {len(df)} rows under {len(frames[top])} of {top!r} are too few to hold"
                " some back for judging; bring more rows or raise evaluation.holdout"
            )
        train[name], holdout[name] = df.filter(~mask), df.filter(mask)
    return train, holdout


def draw_rows(rows: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """A mask (rows,) with that share of True, at random places."""
    held = np.zeros(rows, dtype=bool)
    held[rng.permutation(rows)[: round(rows * share)]] = True
    return held


def _follow(
    frames: Mapping[str, pl.DataFrame],
    owner: Relation,
    held: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The side of every row of a child: its owner's; by lot where it has none."""
    rows = parent_rows(frames, owner)
    sides = held[rows.fill_null(0).to_numpy()]
    nulls = is_null(frames, owner).to_numpy()
    orphans = rows.is_null().to_numpy() & ~nulls
    if orphans.any():
        named = references(frames, owner).filter(pl.Series(orphans))
        groups = named.select(pl.struct(pl.all()).rank("dense").cast(pl.Int64) - 1).to_series()
        drawn = rng.random(groups.n_unique()) < share
        sides[orphans] = drawn[groups.to_numpy()]
    sides[nulls] = rng.random(int(nulls.sum())) < share
    return sides
