"""What an evaluation across tables is, as data. Like `Evaluation` it holds no real value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aigc_pipeline.evaluation.result import Model, PairScore, Score, Telling

CountMeasure = Literal["Kolmogorov-Smirnov", "total variation", "total variation of parts"]


class Compared(Model):
    """One error at equal size, beside what fresh real entities get; `full` is that of all rows.

    Differences between samples are larger the smaller these are. So `value` is the mean over parts
    of the synthetic rows with as many root entities as the holdout, whose error is `reference`.
    """

    value: float | None
    reference: float | None = None
    full: float | None = None


class RelationScore(Model):
    """How one relation compares. Rates are shares of the child's rows, orphans of the non-null."""

    relation: str
    child: str
    parent: str
    role: Literal["owner", "reference"]
    integrity: float | None  # None where orphans are declared, or no row refers to anything
    measure: CountMeasure
    cardinality: Compared
    children: tuple[float | None, float | None]  # a parent's mean number, real and synthetic
    orphan_rates: tuple[float | None, float | None]
    null_rates: tuple[float | None, float | None]


class JoinScore(Model):
    """How columns of a table go together with those of a parent, over one join or two."""

    path: list[str]  # tables from the child up
    relations: list[str]
    pairs: int
    trend: Compared


class OrderScore(Model):
    """How the order of rows under one owner compares, for one table with an order."""

    table: str
    order_by: str
    gap: Compared
    span: Compared
    autocorrelation: Compared
    columns: dict[str, Compared]  # by column: a number's lag-1 correlation, a category's repeats


class ParentScore(Model):
    """How well parents with what hangs on them are told from real ones."""

    table: str
    auc: Score
    telling: list[Telling] = Field([])


class RelationalSettings(Model):
    """What it was computed from. Entities are rows of the tables at the top of their owners."""

    train_entities: dict[str, int]
    holdout_entities: dict[str, int]
    synthetic_entities: dict[str, int]
    equal_entities: dict[str, int]  # of each part that is compared at equal size
    parts: int
    min_subjects: int
    seed: int


class RelationalEvaluation(Model):
    """All scores of a dataset's relations; the details behind them, table by table."""

    scores: dict[str, Score]
    relations: list[RelationScore]
    joins: list[JoinScore] = Field([])
    pairs: list[PairScore] = Field([], description="Furthest beyond fresh real rows")
    orders: list[OrderScore] = Field([])
    parents: list[ParentScore] = Field([])
    facts: dict[str, float] = Field({}, description="Numbers of entities behind scores")
    settings: RelationalSettings
