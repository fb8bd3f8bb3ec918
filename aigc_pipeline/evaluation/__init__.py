"""Evaluation: scores for fidelity, utility and privacy, gates on them, and the report.

Every score stands beside the one that fresh real rows, the holdout, get in the synthetic rows'
place: no generator can be asked to do better than reality itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation.gates import check_gates
from aigc_pipeline.evaluation.queries import evaluate_queries
from aigc_pipeline.evaluation.relational import RelationalEvaluation, evaluate_relations
from aigc_pipeline.evaluation.report import render_report
from aigc_pipeline.evaluation.result import (
    QUERIES,
    RELATIONS,
    ColumnScore,
    Evaluation,
    GateResult,
    PairScore,
    QueryFidelity,
    Score,
    Settings,
    not_evaluated,
    scored,
)
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import GATED_SCORES, MIN_SUBJECTS

if TYPE_CHECKING:
    from aigc_pipeline.evaluation.explain import FittedModel

HALF = ("detection_auc", "dcr_share", "membership_auc", "membership_model_auc")  # best at 0.5

__all__ = [
    "QUERIES",
    "RELATIONS",
    "ColumnScore",
    "Evaluation",
    "GateResult",
    "PairScore",
    "QueryFidelity",
    "RelationalEvaluation",
    "Score",
    "check_gates",
    "evaluate",
    "evaluate_queries",
    "evaluate_relations",
    "render_report",
    "scored",
]


def evaluate(
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    synthetic: pl.DataFrame,
    schema: TableSchema,
    *,
    target: str | None = None,
    min_subjects: int = MIN_SUBJECTS,
    subject: str | None = None,
    model: FittedModel | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Judge a synthetic table by the rows its model learned from and by rows it never saw.

    Args:
        train: real rows that the model was trained on.
        holdout: real rows that it was not; without them there is nothing to compare a score with,
            and what needs them is not evaluated.
        synthetic: the rows to judge, with the columns and types of the real ones.
        schema: the columns; keys, ids and faked columns are not judged.
        target: column that the utility scores predict.
        min_subjects: values and extremes of fewer subjects are protected: left out of what is
            asked of the synthetic rows, and never shown.
        subject: column that names the subject; each row is its own by default. Where
            it is in all three tables beside the schema's columns, detectors keep rows of a subject
            together.
        model: what the synthetic rows were made with (a `TableModel`); without it, what it has
            learned and how far it gives its training rows away are not evaluated.
        seed: of the judging models and of samples. The same seed gives the same evaluation.
        progress: is told what is being done, in a few words.

    Raises:
        InputError: no training or synthetic rows, a table lacks a column or its type, or the model
            learned other columns.
    """
    from aigc_pipeline.evaluation import detection, explain, fidelity, membership, privacy, utility
    from aigc_pipeline.evaluation.distributions import distributions
    from aigc_pipeline.evaluation.tables import Coder, plain_values

    tell = progress or (lambda message: None)
    for name, table in (("training", train), ("synthetic", synthetic)):
        if not table.height:
            raise InputError(f"table {schema.name!r}: there are no {name} rows to judge")
    settings = Settings(
        train_rows=train.height,
        holdout_rows=holdout.height,
        synthetic_rows=synthetic.height,
        target=target,
        min_subjects=min_subjects,
        seed=seed,
        not_judged=[c.name for c in schema.columns if c.is_generated],
    )
    if model is not None:
        explain.check_model(model, schema)
    if not schema.judged:
        return _nothing_to_judge(schema, settings)
    tell("reading the rows")
    plain = (
        plain_values(train, schema),
        plain_values(holdout, schema),
        plain_values(synthetic, schema),
    )
    subjects = train[subject] if subject is not None else None
    coder = Coder(plain[0], schema, min_subjects=min_subjects, subjects=subjects)
    coded = (coder.encode(plain[0]), coder.encode(plain[1]), coder.encode(plain[2]))
    tell("comparing columns and pairs of columns")
    scores, columns, pairs = fidelity.compare(*coded, coder, schema)
    tell("training detectors")
    three = (train, holdout, synthetic)
    groups = None
    if subject not in (None, *schema.names) and all(subject in table.columns for table in three):
        groups = tuple(table[subject].rank("dense").to_numpy() for table in three)  # type: ignore
    scores["detection_auc"], telling, facts = detection.score(
        *coded, coder, seed=seed, groups=groups
    )
    tell("training on synthetic, testing on real")
    useful, more = utility.score(*coded, coder, target=target, seed=seed)
    scores |= useful
    facts |= more
    tell("looking for copies")
    private, more = privacy.score(plain, coded, coder, seed=seed)
    scores |= private
    facts |= more
    tell("trying to find members")
    private, more = membership.score(
        (train, holdout), plain, coded, coder, subject=subject, model=model, seed=seed
    )
    scores |= private
    facts |= more
    learned = None
    if model is not None:
        tell("asking what the model has learned")
        learned = explain.explain(model, holdout, seed=seed)
    shown = distributions(plain[0], plain[2], coder)
    return Evaluation(
        table=schema.name,
        scores=scores,
        columns=[c.model_copy(update={"distribution": shown.get(c.column)}) for c in columns],
        pairs=pairs,
        telling=telling,
        learned=learned,
        facts=facts,
        settings=settings,
    )


def _nothing_to_judge(schema: TableSchema, settings: Settings) -> Evaluation:
    """The evaluation of a table whose columns are all keys, ids or faked."""
    reason = "every column is generated afresh, so there is nothing to compare"
    scores = {
        name: not_evaluated("half" if name in HALF else "low", reason) for name in GATED_SCORES
    }
    return Evaluation(table=schema.name, scores=scores, columns=[], pairs=[], settings=settings)
