"""Evaluation across tables: keys, references, joins, order, whole entities.

What single rows cannot show: whether every reference hits, whether parents have as many children as
real ones and the right ones, whether things happen in a plausible order, and whether a person with
all their rows can be recognised. As with single tables, each score stands beside the one that the
holdout, other real entities, gets in the synthetic rows' place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from aigc_pipeline.evaluation.relational.result import (
    JoinScore,
    OrderScore,
    ParentScore,
    RelationalEvaluation,
    RelationalSettings,
    RelationScore,
)
from aigc_pipeline.evaluation.relational.samples import entities as entities_of
from aigc_pipeline.relations import Graph
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import MIN_SUBJECTS, TableSpec

__all__ = [
    "JoinScore",
    "OrderScore",
    "ParentScore",
    "RelationScore",
    "RelationalEvaluation",
    "entities_of",
    "evaluate_relations",
]


def evaluate_relations(
    train: Mapping[str, pl.DataFrame],
    holdout: Mapping[str, pl.DataFrame],
    synthetic: Mapping[str, pl.DataFrame],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
    tables: Mapping[str, TableSpec],
    *,
    min_subjects: int = MIN_SUBJECTS,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> RelationalEvaluation:
    """Judge how the synthetic tables of a dataset hang together.

    Errors (`cardinality_error`, `orphan_rate_error`, `null_reference_error`, `join_trend_error`,
    `gap_error`, `span_error`, `autocorrelation_error`) depend on sample size; their value is the
    mean over parts of the synthetic tables with as many root entities as the holdout has, whose own
    error is the reference. Shares and AUCs are of all rows.

    Args:
        train: real tables that the models were trained on, by name.
        holdout: the rows of other root entities, with all they own. Kept tables are whole on both
            sides. Without root rows here, there is no reference.
        synthetic: the tables to judge; kept ones are those of `train`, whether given or not.
        schemas: of every table.
        graph: how they refer to each other.
        tables: from the dataset file: keys, order, what is kept.
        min_subjects: as in `evaluate`, counted in root entities.
        seed: of samples and judging models. The same seed gives the same evaluation.
        progress: is told what is being done, in a few words.

    Raises:
        InputError: a table, a key column or a root's rows are missing, or values have another type.
    """
    from aigc_pipeline.evaluation.relational import (
        entities,
        parents,
        references,
        sequences,
        trends,
    )
    from aigc_pipeline.evaluation.relational.samples import make_worlds

    tell = progress or (lambda message: None)
    tell("linking rows to their parents")
    worlds = make_worlds(
        train, holdout, synthetic, schemas, graph, tables, min_subjects=min_subjects, seed=seed
    )
    tell("counting children and references")
    scores, relations = references.score(worlds)
    tell("comparing columns across joins")
    more, joins, pairs = trends.score(worlds)
    scores |= more
    tell("comparing the order of rows")
    more, orders = sequences.score(worlds)
    scores |= more
    tell("training detectors of parents")
    more, owners = parents.score(worlds, min_subjects=min_subjects, seed=seed)
    scores |= more
    tell("looking for copied and recognisable entities")
    more, facts = entities.score(worlds, seed=seed)
    scores |= more
    roots = worlds.layout.roots
    held = worlds.holdout
    return RelationalEvaluation(
        scores=scores,
        relations=relations,
        joins=joins,
        pairs=pairs,
        orders=orders,
        parents=owners,
        facts=facts,
        settings=RelationalSettings(
            train_entities={r: train[r].height for r in roots},
            holdout_entities={r: held.count(r) if held else 0 for r in roots},
            synthetic_entities={r: synthetic[r].height for r in roots},
            equal_entities=worlds.equal,
            parts=len(worlds.parts),
            min_subjects=min_subjects,
            seed=seed,
        ),
    )
