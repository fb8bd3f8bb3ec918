"""Rows whose parent is not there: without a reference, or orphans; as often as in the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from aigc_pipeline.features.generated import GeneratedColumn
from aigc_pipeline.relations.graph import Relation
from aigc_pipeline.relations.links import Link
from aigc_pipeline.relations.matching import scale_places
from aigc_pipeline.relations.plan import NONE, ORPHAN, PRESENT

MANY = 20  # sizes of groups of orphans that are told apart


def states_of(link: Link) -> pl.Series:
    """Whether each row has a parent, refers to none, or to one that is not there."""
    absent = np.where(link.missing, NONE, ORPHAN)
    return pl.Series(np.where(link.row >= 0, PRESENT, absent), dtype=pl.String)


def group_sizes(groups: np.ndarray, link: Link, owners: int) -> dict[str, dict[int, float]]:
    """By state, sizes of groups without an owner that is there, and how many of each an owner.

    groups: the owner's number of each row, int64 [rows]; owners: rows of the owner's table.
    """
    found = {}
    for state, mask in ((NONE, link.missing), (ORPHAN, link.orphan)):
        if mask.any():
            sizes = np.unique(groups[mask], return_counts=True)[1]
            size, count = np.unique(sizes, return_counts=True)
            shares = zip(size, count / max(owners, 1), strict=True)
            found[state] = {int(s): float(c) for s, c in shares}
    return found


def draw_sizes(sizes: Mapping[int, float], owners: int, rng: np.random.Generator) -> np.ndarray:
    """Sizes of the groups of rows without an owner, int64 [groups]."""
    drawn = []
    for size, rate in sizes.items():
        expected = rate * owners
        count = int(expected) + int(rng.random() < expected % 1)
        drawn.append(np.full(count, int(size)))
    return np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)


def orphan_sizes(
    child: pl.DataFrame, relation: Relation, link: Link, min_subjects: int
) -> dict[int, float]:
    """How many rows share a parent that is not there, and the share of such parents.

    Sizes are means of a few groups, so that none shows that of one.
    """
    if not link.orphan.any():
        return {}
    groups = child.filter(pl.Series(link.orphan)).group_by(list(relation.columns)).len()
    sizes = np.sort(groups["len"].to_numpy())
    found: dict[int, float] = {}
    for part in np.array_split(sizes, max(min(len(sizes) // max(min_subjects, 1), MANY), 1)):
        size = max(round(float(part.mean())), 1)
        found[size] = found.get(size, 0.0) + len(part) / len(sizes)
    return found


def group_orphans(rows: int, sizes: dict[int, float], rng: np.random.Generator) -> np.ndarray:
    """Which missing parent each orphan has, int64 [rows]; sizes: of their groups, with shares."""
    if not sizes:
        return np.arange(rows)
    size = np.array(list(sizes))
    share = np.array(list(sizes.values()))
    count = max(round(rows / float((size * share).sum() / share.sum())), 1)
    drawn = rng.choice(size, count, p=share / share.sum())
    return rng.permutation(np.repeat(np.arange(count), scale_places(drawn, rows, rng)))


def fill_orphans(
    values: pl.Series, at: np.ndarray, group: np.ndarray, keys: pl.Series
) -> pl.Series:
    """References to parents that are not there: keys like the others, which none of them has."""
    column = GeneratedColumn(values.name, str(values.dtype), None, 0.0, _above(keys))
    fresh = column.make(len(keys), int(group.max()) + 1, np.random.default_rng(0))
    return values.scatter(at, fresh[group])


def _above(keys: pl.Series) -> int:
    """Where numbers start that are beyond all keys; 0 for text."""
    return 10 ** len(str(int(keys.max() or 0))) if keys.dtype.is_integer() else 0  # type: ignore[arg-type]


def known_orphans(
    child: pl.DataFrame, owner: Relation, link: Link, min_subjects: int
) -> list[list[str | None]]:
    """Of an owner that is kept, the keys that rows refer to and that are not there, as text.

    They cannot be made up as keys of other tables are: what they say (an hour, a place) is read.
    Each is shared by `min_subjects` rows.
    """
    columns = pl.col(list(owner.columns))
    values = child.filter(pl.Series(link.orphan)).select(columns)
    common = values.group_by(owner.columns).len().filter(pl.col("len") >= min_subjects)
    return [list(row) for row in common.sort(owner.columns).select(columns.cast(pl.String)).rows()]


def from_text(values: pl.Series, dtype: pl.DataType) -> pl.Expr:
    """Text as Polars casts it to, back in its dtype."""
    expr = pl.lit(values)
    if isinstance(dtype, pl.Datetime):
        return expr.str.to_datetime(time_unit="us").cast(dtype)
    return expr.str.to_date() if dtype == pl.Date else expr.cast(dtype)
