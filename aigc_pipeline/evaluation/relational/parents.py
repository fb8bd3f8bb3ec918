"""Are parents with all they own told from real ones? A tree detector on their profiles.

A row by itself may look real while what hangs on it does not: too many children, all alike, in the
wrong order, or another parent's. Every row of a table that owns others is described by its own
columns and what its descendants amount to (`profiles`), and `detection` is run on these.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.detection import MIN_ROWS, detect
from aigc_pipeline.evaluation.relational.profiles import profile, profile_schema
from aigc_pipeline.evaluation.relational.result import ParentScore
from aigc_pipeline.evaluation.relational.samples import Worlds
from aigc_pipeline.evaluation.relational.worlds import World
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coder

MAX_ROWS = 5_000  # of each kind: profiles have many columns
MOST = 50  # values of a category that are told apart
TELLING = 8  # columns that are kept by name

DETECTION = "How well boosted trees tell parents with their children from real ones (AUC, worst)"
NO_PARENT = "no table that is made owns rows of another one"


def score(
    worlds: Worlds, *, min_subjects: int, seed: int
) -> tuple[dict[str, Score], list[ParentScore]]:
    """The score of the worst table, and every table that owns others."""
    layout = worlds.layout
    owners = [t for t in layout.order if t not in layout.pools and layout.owned_by(t)]
    parents = [_parent(table, worlds, min_subjects, seed) for table in owners]
    judged = [parent.auc for parent in parents if parent.auc.value is not None]
    if not judged:
        reason = next((p.auc.why_not for p in parents), None) or NO_PARENT
        return {"parent_detection_auc": not_evaluated("half", reason, DETECTION)}, parents
    worst = max(judged, key=lambda auc: auc.value or 0.0)  # below 0.5 lies nothing but chance
    return {"parent_detection_auc": worst}, parents


def _parent(table: str, worlds: Worlds, min_subjects: int, seed: int) -> ParentScore:
    rng = np.random.default_rng(seed)
    sides = [_profiles(world, table, rng) for world in (worlds.train, worlds.synthetic)]
    (train, entities), (ours, our_entities) = sides
    schema = profile_schema(table, worlds.layout)
    subjects = pl.Series(entities)
    coder = Coder(train, schema, min_subjects=min_subjects, subjects=subjects, most=MOST)
    known = coder.encode(train)
    coded = coder.encode(ours)
    both = (entities, our_entities)
    found = detect(known, coded, coder, seed=seed, explain=True, groups=both)
    if found is None:
        reason = (
            f"a detector needs at least {MIN_ROWS} training and {MIN_ROWS} synthetic rows of"
            f" {table!r}; there are {len(train)} and {len(ours)}"
        )
        return ParentScore(table=table, auc=not_evaluated("half", reason, DETECTION))
    fresh = None
    if worlds.holdout is not None:
        held, held_entities = _profiles(worlds.holdout, table, rng)
        both = (entities, held_entities)
        fresh = detect(known, coder.encode(held), coder, seed=seed, groups=both)
    auc = Score(
        value=found.auc,
        error=found.error,
        reference=fresh.auc if fresh else None,
        reference_error=fresh.error if fresh else None,
        better="half",
        description=DETECTION,
    )
    return ParentScore(table=table, auc=auc, telling=found.telling[:TELLING])


def _profiles(
    world: World, table: str, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray]:
    """Profiles of some rows of a table, and the entity of each."""
    rows = world.rows[table]
    rows = np.sort(rng.permutation(rows)[:MAX_ROWS])
    lines = profile(world.base, table, rows, world.base.protected)
    return lines, world.base.entity[table][rows]
