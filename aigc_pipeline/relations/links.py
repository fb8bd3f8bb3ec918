"""Which row refers to which: parents' row numbers, groups of rows under one owner, entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.keys import is_null, parent_rows


@dataclass(frozen=True)
class Link:
    """Where a relation's references lead.

    row: int64 [child rows], the parent's row number, -1 where there is none. missing: bool
    [child rows], where the reference is null (any part of it); the other rows without a parent are
    orphans.
    """

    row: np.ndarray
    missing: np.ndarray

    @property
    def orphan(self) -> np.ndarray:
        """Where a reference is given, but to no row there is; bool [child rows]."""
        return (self.row < 0) & ~self.missing


def find_link(frames: Mapping[str, pl.DataFrame], relation: Relation) -> Link:
    """The parent's row of each child row; keys are unique."""
    row = parent_rows(frames, relation).cast(pl.Int64).fill_null(-1).to_numpy()
    return Link(row, is_null(frames, relation).to_numpy())


def gather(values: pl.Series, row: np.ndarray) -> pl.Series:
    """Values by row number; null where it is -1."""
    if not len(values):
        return pl.Series(values.name, [None] * len(row), dtype=values.dtype)
    taken = values[np.maximum(row, 0)]
    return pl.select(pl.when(pl.Series(row >= 0)).then(taken).alias(values.name)).to_series()


def find_groups(df: pl.DataFrame, relation: Relation, link: Link) -> np.ndarray:
    """Number of the owner each row is under, int64 [rows].

    An owner's row number; beyond these, one for each orphaned value, and one for each row without
    any owner.
    """
    start = int(link.row.max(initial=-1)) + 1
    groups = link.row.copy()
    orphan = np.flatnonzero(link.orphan)
    if len(orphan):
        values = df[orphan].select(pl.struct(list(relation.columns)).rank("dense")).to_series()
        groups[orphan] = start + values.to_numpy().astype(np.int64) - 1
        start = int(groups.max()) + 1
    missing = np.flatnonzero(link.missing)
    groups[missing] = start + np.arange(len(missing))
    return groups


def find_entities(frames: Mapping[str, pl.DataFrame], graph: Graph) -> dict[str, np.ndarray]:
    """By table, the root entity each row belongs to: int64 [rows], numbered through all tables.

    Rows without an owner that is there are entities of their own, or share the missing one's.
    """
    entities: dict[str, np.ndarray] = {}
    free = 0
    for name in graph.order:
        owner = graph.owner_of(name)
        if owner is None:
            entities[name] = free + np.arange(len(frames[name]))
        else:
            link = find_link(frames, owner)
            groups = find_groups(frames[name], owner, link)
            alone = free + groups
            known = np.maximum(link.row, 0)
            above = entities[owner.parent]
            above = above[known] if len(above) else np.zeros(len(known), dtype=np.int64)
            entities[name] = np.where(link.row >= 0, above, alone)
        free = max(free, int(entities[name].max(initial=-1)) + 1)
    return entities


def find_depths(link: Link) -> np.ndarray | None:
    """Rows above each row of a table that refers to itself, int64 [rows]; None for a circle."""
    depth = np.where(link.row < 0, 0, -1)
    for level in range(1, len(depth) + 1):
        here = (depth < 0) & (depth[np.maximum(link.row, 0)] == level - 1)
        if not here.any():
            break
        depth[here] = level
    return None if (depth < 0).any() else depth
