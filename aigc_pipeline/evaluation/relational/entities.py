"""Privacy of whole entities: a person with all their rows, found again or found to be a member.

A *copy* is an entity whose own columns and all rows below it equal a training entity's, in whatever
order, keys aside. Entities of fewer than two rows below them are left out: two people who bought
one thing each are alike by chance. The *membership* attack is that of `membership`, on profiles:
the attacker holds a person's whole history and asks whether the synthetic ones lie too near to it.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import polars.selectors as cs

from aigc_pipeline.evaluation import membership
from aigc_pipeline.evaluation.privacy import share_of
from aigc_pipeline.evaluation.relational.profiles import profile, profile_schema
from aigc_pipeline.evaluation.relational.samples import Worlds
from aigc_pipeline.evaluation.relational.worlds import Base, World
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coder

LEAST = 2  # rows below an entity for a copy to mean something

COPIED = "Share of entities equal to a training entity with all its rows (worst)"
MEMBERSHIP = "How well an attacker who holds an entity's rows tells if it was trained on (AUC)"


def score(worlds: Worlds, *, seed: int) -> tuple[dict[str, Score], dict[str, float]]:
    """Both scores, of the worst root table, and the numbers of entities behind them."""
    layout = worlds.layout
    roots = [root for root in layout.roots if layout.owned_by(root)]
    nothing = "no entity has rows below it"
    copied, facts = _copied(worlds, roots)
    found = {root: _membership(worlds, root, seed) for root in roots}
    attacked = [score for score, _ in found.values()]
    facts |= {f"membership entities of {root}": rows for root, (_, rows) in found.items() if rows}
    return {
        "copied_entities": _worst(copied) or not_evaluated("low", nothing, COPIED),
        "entity_membership_auc": _worst(attacked) or not_evaluated("half", nothing, MEMBERSHIP),
    }, facts


def _worst(scores: list[Score]) -> Score | None:
    """The highest one; one that was not evaluated only where there is no other."""
    return max(scores, key=lambda s: -1.0 if s.value is None else s.value, default=None)


def _copied(worlds: Worlds, roots: list[str]) -> tuple[list[Score], dict[str, float]]:
    train, synthetic = worlds.everyone
    real, made = Contents(train.base), Contents(synthetic.base)
    scores, facts = [], {}
    for root in roots:
        known = real.of(train, root)
        ours = np.isin(made.of(synthetic, root), known)
        fresh = np.isin(real.of(worlds.holdout, root), known) if worlds.holdout else ours[:0]
        facts[f"entities of {root} compared"] = float(len(ours))
        if not len(ours) or not len(known):
            reason = f"no {'synthetic' if len(known) else 'training'} row of {root!r} owns {LEAST}"
            scores.append(not_evaluated("low", reason, COPIED))
            continue
        scores.append(share_of(ours, fresh, COPIED))
    return scores, facts


class Contents:
    """What the entities of a base hold, as numbers that are equal where the contents are."""

    def __init__(self, base: Base) -> None:
        self.base = base

    def of(self, world: World, root: str) -> np.ndarray:
        """The contents of a world's entities with enough rows below them: uint64 [entities]."""
        contents, below = self._table(root)
        rows = world.rows[root]
        return contents[rows][below[rows] >= LEAST]

    def _table(self, table: str) -> tuple[np.ndarray, np.ndarray]:
        """The contents of each row of a table with all below it, and how many rows that are."""
        base = self.base
        rows = base.rows[table]
        below = np.zeros(rows, dtype=np.int64)
        parts = [pl.Series("own", self._own(table))]
        for child in base.layout.owned_by(table):
            contents, more = self._table(child)
            owner = base.layout.owner_of(child)
            assert owner is not None
            at = base.links[owner]
            there = at >= 0
            total = np.zeros(rows, dtype=np.uint64)  # a sum that wraps around: of a multiset
            np.add.at(total, at[there], contents[there])
            parts.append(pl.Series(child, total))
            below += np.bincount(at[there], 1 + more[there], minlength=rows).astype(np.int64)
        return pl.DataFrame(parts).hash_rows(seed=1).to_numpy(), below

    def _own(self, table: str) -> np.ndarray:
        """The row's own values."""
        base = self.base
        frame = base.plain[table].with_columns(cs.float().round(9))
        if not frame.width:
            return np.zeros(base.rows[table], dtype=np.uint64)
        return frame.hash_rows(seed=2).to_numpy()


def _membership(worlds: Worlds, root: str, seed: int) -> tuple[Score, float]:
    """The attack on one root's entities, and how many of either kind were tried."""
    rng = np.random.default_rng(seed)
    schema = profile_schema(root, worlds.layout)
    train, holdout, ours = worlds.train, worlds.holdout, worlds.synthetic
    held = holdout.rows[root] if holdout else np.zeros(0, dtype=np.int64)
    chosen = [rng.permutation(rows) for rows in (train.rows[root], held)]
    synthetic = rng.permutation(ours.rows[root])[: membership.MAX_SYNTHETIC]
    rows = min(
        membership.MAX_ROWS,
        *map(len, chosen),
        membership.affordable(len(synthetic), len(schema.columns)),
    )
    if rows < membership.MIN_ROWS:
        reason = (
            f"it needs {membership.MIN_ROWS} training and as many holdout rows of {root!r};"
            f" there are {len(chosen[0])} and {len(chosen[1])}"
        )
        return not_evaluated("half", reason, MEMBERSHIP), 0.0
    lines = [profile(train.base, root, some[:rows], train.base.plain) for some in chosen]
    lines.append(profile(ours.base, root, synthetic, ours.base.plain))
    coder = Coder(lines[0], schema, min_subjects=1)
    return membership.attack(lines[0], lines[1], lines[2], coder, MEMBERSHIP), float(rows)
