"""References: do they hit a parent, are keys fresh, and do parents have children as real ones do?

Cardinality is the number of children of a parent, parents without any included. Its error is the
Kolmogorov-Smirnov statistic, which is 1 less SDMetrics' CardinalityShapeSimilarity; where no parent
has more than ten, the total variation distance, which is stricter. A lookup table of few rows with
thousands of children each has no distribution of numbers to speak of: there it is the total
variation distance of the parts that fall to each parent (by their size, unless it is kept).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.fidelity import ks_distance, number
from aigc_pipeline.evaluation.relational.compared import Trial, compare
from aigc_pipeline.evaluation.relational.layout import NULL, ORPHAN, Layout
from aigc_pipeline.evaluation.relational.result import CountMeasure, RelationScore
from aigc_pipeline.evaluation.relational.samples import Worlds
from aigc_pipeline.evaluation.relational.worlds import Base, World
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.relations import Relation

FEW = 10  # children at most, for their numbers to be compared one by one
FEW_PARENTS = 50  # at most, for the parts that fall to each to be compared instead

INTEGRITY = "Share of references that hit a parent's key, where no orphans are declared (worst)"
UNIQUE = "Share of rows whose key is present and no other row's (worst table)"
REAL_KEYS = "Share of rows whose key is a real row's (worst table)"
CARDINALITY = "Difference between the distributions of the number of children (worst relation)"
ORPHANS = "Difference between the shares of references that hit no parent (worst relation)"
NULLS = "Difference between the shares of rows without a parent (worst relation)"
NO_RELATION = "no row refers to another one"


def score(worlds: Worlds) -> tuple[dict[str, Score], list[RelationScore]]:
    """The scores on keys and references, and each relation by itself."""
    judges = [RelationJudge(relation, worlds) for relation in worlds.layout.graph.relations]
    trials = [compare(judge, worlds) for judge in judges]
    relations = [_relation(j, t, worlds) for j, t in zip(judges, trials, strict=True)]
    together = Trial.join(trials)
    numbers = np.arange(3 * len(trials)).reshape(-1, 3).T.tolist()
    scores = {"integrity": _integrity(relations, worlds)} | _keys(worlds)
    for name, indices, text in zip(
        ("cardinality_error", "orphan_rate_error", "null_reference_error"),
        numbers,
        (CARDINALITY, ORPHANS, NULLS),
        strict=True,
    ):
        scores[name] = together.score(indices, "worst", text, NO_RELATION)
    return scores, relations


@dataclass(frozen=True)
class Counts:
    """A relation in one world. children: int64 [parents], the number each one has."""

    children: np.ndarray
    orphans: float
    nulls: float

    @classmethod
    def of(cls, world: World, relation: Relation) -> Counts:
        """Count the world's children of its own parents, or of all where these are not its own."""
        linked = world.base.links[relation][world.rows[relation.child]]
        hit = linked[linked >= 0]
        children = np.bincount(hit, minlength=world.base.rows[relation.parent])
        if is_owner(relation, world.base.layout):
            children = children[world.rows[relation.parent]]
        null = int((linked == NULL).sum())
        given = len(linked) - null
        orphans = float((linked == ORPHAN).sum() / given) if given else np.nan
        return cls(children, orphans, null / len(linked) if len(linked) else np.nan)

    @property
    def mean(self) -> float:
        """Children of a parent; NaN without parents."""
        return float(self.children.mean()) if len(self.children) else np.nan


class RelationJudge:
    """Cardinality, orphan rate and null rate of a relation against the training rows: float64 [3].

    A parent that is no part of the entity (a product, a calendar day) has the more children the
    more entities there are. There, as many training entities are compared, or, where a synthetic
    pool is larger or smaller than the real one, as many for each of its rows.
    """

    def __init__(self, relation: Relation, worlds: Worlds) -> None:
        self.relation, self.seed = relation, worlds.seed
        self.owner = is_owner(relation, worlds.layout)
        self.all_train = Counts.of(worlds.train, relation)
        train = worlds.train_equal
        ours, real = worlds.synthetic.base, train.base
        pools = [base.rows[relation.parent] for base in (ours, real)]
        ratio = pools[0] / pools[1] if min(pools) and not self.owner else 1.0
        self.thinned = {id(ours): min(ratio, 1.0), id(real): min(1 / ratio, 1.0)}
        known = self.all_train if self.owner else Counts.of(self._thin(train), relation)
        self.known = known.children
        self.named = worlds.layout.tables[relation.parent].keep
        self.measure: CountMeasure = "Kolmogorov-Smirnov"
        if not self.owner and max(pools) <= FEW_PARENTS:
            self.measure = "total variation of parts"
        elif self.known.max(initial=0) <= FEW:
            self.measure = "total variation"

    def _thin(self, world: World) -> World:
        share = self.thinned[id(world.base)]
        return world.thin(dict.fromkeys(world.base.layout.roots, share), self.seed)

    def __call__(self, world: World) -> np.ndarray:
        counts = Counts.of(self._thin(world), self.relation)
        return np.array(
            [
                self.shape(counts.children),
                _apart(counts.orphans, self.all_train.orphans),
                _apart(counts.nulls, self.all_train.nulls),
            ]
        )

    def shape(self, children: np.ndarray) -> float:
        """Distance between the parents' numbers of children; NaN without parents or children."""
        both = [self.known, children]
        if not all(map(len, both)):
            return np.nan
        if self.measure == "Kolmogorov-Smirnov":
            return ks_distance(np.sort(self.known), np.sort(children))
        if self.measure == "total variation of parts":
            if not self.named:
                both = [-np.sort(-counts) for counts in both]
            size = max(map(len, both))
            both = [np.append(counts, np.zeros(size - len(counts))) for counts in both]
        else:
            size = int(max(counts.max() for counts in both)) + 1
            both = [np.bincount(counts, minlength=size) for counts in both]
        if not all(counts.sum() for counts in both):
            return np.nan
        parts = [counts / counts.sum() for counts in both]
        return float(np.abs(parts[0] - parts[1]).sum() / 2)


def is_owner(relation: Relation, layout: Layout) -> bool:
    """Whether the child's rows are part of the parent's entity."""
    return layout.owner_of(relation.child) == relation


def _apart(ours: float, real: float) -> float:
    """Difference of two rates. NaN where neither is known; one alone has nothing to match it: 1."""
    if np.isnan(ours) or np.isnan(real):
        return np.nan if np.isnan(ours) and np.isnan(real) else 1.0
    return abs(ours - real)


def _relation(judge: RelationJudge, trial: Trial, worlds: Worlds) -> RelationScore:
    relation = judge.relation
    ours, real = Counts.of(worlds.synthetic, relation), judge.all_train
    linked = worlds.synthetic.base.links[relation]
    given = (linked != NULL).sum()
    cardinality = trial.compared(0)
    declared = relation.orphans == "reproduce"
    return RelationScore(
        relation=relation.name,
        child=relation.child,
        parent=relation.parent,
        role="owner" if judge.owner else "reference",
        integrity=None if declared or not given else float((linked >= 0).sum() / given),
        measure=judge.measure,
        # More entities give a product more buyers: all of them against fewer says nothing.
        cardinality=cardinality if judge.owner else cardinality.model_copy(update={"full": None}),
        children=(number(real.mean), number(ours.mean)),
        orphan_rates=(number(real.orphans), number(ours.orphans)),
        null_rates=(number(real.nulls), number(ours.nulls)),
    )


def _integrity(relations: list[RelationScore], worlds: Worlds) -> Score:
    found = [r.integrity for r in relations if r.integrity is not None]
    if not found:
        reason = "no row refers to a parent, or all relations declare orphans"
        return not_evaluated("high", reason, INTEGRITY)
    return _share("high", min(found), 1.0 if worlds.holdout else None, INTEGRITY)


def _keys(worlds: Worlds) -> dict[str, Score]:
    """Are keys unique, and are they new? The worst table that is made."""
    real, made = worlds.train.base, worlds.synthetic.base
    unique, known = [], []
    for name, spec in worlds.layout.tables.items():
        keys = list(spec.keys)
        if not keys or spec.keep or not made.rows[name]:
            continue
        unique.append(unique_keys(made.tables[name], keys))
        if not _given_by_pools(name, worlds.layout):
            known.append(known_keys(made, real, name, keys))
    nothing = "no table that is made has a key of its own"
    fresh = 0.0 if worlds.holdout else None
    return {
        "key_uniqueness": _share("high", min(unique), 1.0 if worlds.holdout else None, UNIQUE)
        if unique
        else not_evaluated("high", nothing, UNIQUE),
        "real_keys": _share("low", max(known), fresh, REAL_KEYS)
        if known
        else not_evaluated("low", nothing, REAL_KEYS),
    }


def _share(
    better: Literal["low", "high"], value: float, reference: float | None, description: str
) -> Score:
    """A share that has to be exactly the reference: neither is a sample."""
    error = None if reference is None else 0.0
    return Score(
        value=value,
        error=0.0,
        reference=reference,
        reference_error=error,
        better=better,
        description=description,
    )


def _given_by_pools(table: str, layout: Layout) -> bool:
    """Whether the key is made of kept tables' keys only, so that it has to be a real one."""
    kept = {
        column
        for relation in layout.graph.parents_of(table)
        if layout.tables[relation.parent].keep
        for column in relation.columns
    }
    return set(layout.tables[table].keys) <= kept


def unique_keys(df: pl.DataFrame, keys: list[str]) -> float:
    """Share of rows whose key has no null and is no other row's."""
    present = df.select(keys).drop_nulls()
    return float((~present.is_duplicated()).sum() / df.height)


def known_keys(made: Base, real: Base, table: str, keys: list[str]) -> float:
    """Share of made rows whose key is one of the real table's; compared as text."""
    ours, theirs = (b.tables[table].select(pl.col(keys).cast(pl.String)) for b in (made, real))
    return ours.join(theirs.unique(), on=keys, how="semi").height / ours.height
