"""What an evaluation is, as data: scores, columns, pairs, what the detector saw, gate verdicts.

All of it is stored in `scores.json` and copied into releases, so it holds nothing that a release
must not: no value of fewer than `min_subjects` subjects and no extreme.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aigc_pipeline.spec import MIN_SUBJECTS, Kind

QUERIES = "(queries)"  # in place of a table's name for what queries on all tables say
RELATIONS = "(relations)"  # in place of a table's name where all tables are judged together


class Model(BaseModel):
    """Strict base: results never change once computed, and NaN is no result."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Score(Model):
    """One figure of a table, beside the figure that fresh real rows get.

    Shares and errors are between 0 and 1, not percent. A score that could not be computed has no
    value, and `why_not` says why.
    """

    value: float | None
    reference: float | None = None  # the holdout, judged in place of the synthetic rows
    better: Literal["low", "high", "half"]
    why_not: str | None = None
    description: str = ""
    error: float | None = None  # standard error of the value from the rows it was computed on
    reference_error: float | None = None  # the same of the reference
    reference_rows: int | None = None  # rows behind a reference that is a share of rows
    upper: float | None = None  # one-sided 95 % confidence bound, where gates judge by it


class Distribution(Model):
    """A column's values as a chart shows them: protected bins or categories, and their shares.

    Numbers have one more edge than shares; categories one label a share. Shares are of the values
    present; a real bin of fewer than `min_subjects` subjects is counted as empty.
    """

    labels: list[str] = []
    edges: list[float] = []
    real: list[float]
    synthetic: list[float]
    folded: int = 0  # distinct values behind "(other)"
    means: tuple[float, float] | None = None  # of a number, within the protected range


class ColumnScore(Model):
    """How one column compares: its distribution's shape and its share of missing values."""

    column: str
    shape_error: float | None
    reference: float | None = None
    why_not: str | None = None
    kind: Kind | None = None
    real_null_rate: float | None = None
    synthetic_null_rate: float | None = None
    distribution: Distribution | None = None


class PairScore(Model):
    """How the dependence between two columns compares; `reference` is the holdout's error.

    real, synthetic: its strength, a Pearson correlation or Cramér's V of the cross table.
    """

    columns: tuple[str, str]
    measure: Literal["correlation", "contingency"]
    trend_error: float | None
    reference: float | None = None
    real: float | None = None
    synthetic: float | None = None


class Telling(Model):
    """How far a column gives synthetic rows away: what shuffling it costs the detector."""

    column: str
    auc_loss: float
    weight: float  # its part of what all columns' shufflings cost; the parts sum to 1


class Influence(Model):
    """What a column tells the model of a later one: log-likelihood lost where it is hidden."""

    column: str
    informs: str
    nats: float  # a row, on held-out rows
    share: float  # of what all earlier columns together tell of the later one


class Learned(Model):
    """What a model learned of its columns, strongest first; or why nothing can be said."""

    rows: int = 0  # held-out rows it was measured on
    influences: list[Influence] = []
    why_not: str | None = None


class Settings(Model):
    """What an evaluation was computed from."""

    train_rows: int
    holdout_rows: int
    synthetic_rows: int
    target: str | None = None
    min_subjects: int = MIN_SUBJECTS
    seed: int = 0
    not_judged: list[str] = []  # keys, ids and faked columns


class Evaluation(Model):
    """All scores of one synthetic table."""

    table: str
    scores: dict[str, Score]
    columns: list[ColumnScore]
    pairs: list[PairScore]
    telling: list[Telling] = []
    learned: Learned | None = None  # None where the model was not at hand
    facts: dict[str, float] = Field({}, description="Side figures that the report explains")
    settings: Settings | None = None


class QueryScore(Model):
    """One query: its error on synthetic rows, and that on as many real ones."""

    kind: str
    name: str | None = None  # of a mart
    tables: list[str]
    sql: str
    error: float
    reference: float


class QueryFidelity(Model):
    """All queries of a dataset, and the scores over them."""

    scores: dict[str, Score]
    queries: list[QueryScore]
    entities: dict[str, int]  # by root table: how many each database has of them
    rounds: int
    min_subjects: int
    seed: int
    not_compared: list[str] = []  # marts, and why


class GateResult(Model):
    """A gate's verdict on one table's score."""

    score: str
    table: str
    passed: bool
    value: float | None
    limit: str
    message: str


def scored(stored: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Table -> score -> Score as plain data, of a `scores.json`; across tables under RELATIONS
    and QUERIES."""
    parts = dict(sorted(stored["evaluations"].items()))
    if stored.get("relations") is not None:
        parts[RELATIONS] = stored["relations"]
    if stored.get("queries") is not None:
        parts[QUERIES] = stored["queries"]
    return {table: evaluation["scores"] for table, evaluation in parts.items()}


def not_evaluated(
    better: Literal["low", "high", "half"], reason: str, description: str = ""
) -> Score:
    """A score without a value, and the reason."""
    return Score(value=None, better=better, why_not=reason, description=description)
