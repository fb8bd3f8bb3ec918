"""The keys of parents that are no owners: matched by what a row is made to share with them."""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.codec import Part
from aigc_pipeline.relations.graph import Relation
from aigc_pipeline.relations.links import gather
from aigc_pipeline.relations.matching import match
from aigc_pipeline.relations.plan import DEPTH, ORPHAN, PRESENT, ReferencePlan, count_name
from aigc_pipeline.relations.strays import fill_orphans, group_orphans


def refer(
    plan: ReferencePlan,
    relation: Relation,
    codec: TableCodec,
    children: pl.DataFrame,
    parents: pl.DataFrame,
    rng: np.random.Generator,
) -> list[pl.Series]:
    """The columns of a child table that hold the parent's key.

    children: rows with the wide columns of the reference. parents: rows with their keys and the
    hidden count of children.
    """
    state = np.full(len(children), PRESENT, dtype=object)
    if plan.states:
        state = children[plan.state].fill_null(PRESENT).to_numpy().astype(object)
    present = np.flatnonzero(state == PRESENT)
    wanted, offered = _features(plan, codec, children[present], parents)
    places = parents[count_name(relation)].fill_null(0).to_numpy()
    row = np.full(len(children), -1, dtype=np.int64)
    row[present] = match(wanted, offered, places, rng, firm=int(plan.depth))
    series = [
        gather(parents[key], row).alias(column)
        for column, key in zip(relation.columns, relation.key, strict=True)
    ]
    orphan = np.flatnonzero(state == ORPHAN)
    if not len(orphan):
        return series
    return [
        fill_orphans(each, orphan, group_orphans(len(orphan), plan.orphans, rng), parents[key])
        for each, key in zip(series, relation.key, strict=True)
    ]


def _features(
    plan: ReferencePlan, codec: TableCodec, children: pl.DataFrame, parents: pl.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of what both sides have, int64 [rows, features]; what is told in fewest first."""
    by_name = {c.columns[0]: c for c in codec.codecs if not isinstance(c, Part)}
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    if plan.depth:
        depth = children[DEPTH].fill_null(0).to_numpy() - 1
        pairs.append((depth, parents[DEPTH].fill_null(0).to_numpy()))
    for names in (plan.usual, plan.features):
        found = [(plan.wide(name), name) for name in names if plan.wide(name) in by_name]
        found.sort(key=lambda pair: by_name[pair[0]].size)
        for wide, name in found:
            each = by_name[wide]
            theirs = parents.select(pl.col(name).alias(wide))
            token = each.index if isinstance(each, CategoryCodec) else each.encode
            pairs.append((token(children.select(wide)), token(theirs)))
    if not pairs:
        return np.zeros((len(children), 1), dtype=int), np.zeros((len(parents), 1), dtype=int)
    wanted, offered = ([p[side] for p in pairs] for side in (0, 1))
    return np.stack(wanted, 1).astype(np.int64), np.stack(offered, 1).astype(np.int64)
