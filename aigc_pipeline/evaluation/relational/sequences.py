"""Order under an owner: the time between rows, the time they span, and what follows what.

Gaps and spans are compared as distributions (Kolmogorov-Smirnov; the gaps are what SDMetrics'
InterRowMSAS compares by their means). What follows what: half the difference of a number's lag-1
correlation, and the difference of the shares of rows that repeat the category before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigc_pipeline.evaluation.fidelity import correlations, ks_distance, mean
from aigc_pipeline.evaluation.relational.compared import Trial, compare
from aigc_pipeline.evaluation.relational.result import Compared, OrderScore
from aigc_pipeline.evaluation.relational.samples import Worlds
from aigc_pipeline.evaluation.relational.worlds import World
from aigc_pipeline.evaluation.result import Score

GAP = "Difference between the distributions of the time between an owner's rows (worst table)"
SPAN = "Difference between the distributions of the time from first to last row (worst table)"
AUTOCORRELATION = "Average difference in how a value goes with the one before (worst table)"
NO_ORDER = "no table has `order_by` and an owner with two rows or more"

NAMES = {"gap_error": GAP, "span_error": SPAN, "autocorrelation_error": AUTOCORRELATION}


def score(worlds: Worlds) -> tuple[dict[str, Score], list[OrderScore]]:
    """The worst table's scores, and every ordered table's."""
    tables = [table for table in worlds.layout.order if worlds.layout.order_column(table)]
    judges = [SequenceJudge(table, worlds) for table in tables]
    trials = [compare(judge, worlds) for judge in judges]
    starts = np.cumsum([0, *(len(trial.full) for trial in trials)])[:-1]
    together = Trial.join(trials)
    scores = {
        name: together.score((starts + index).tolist(), "worst", text, NO_ORDER)
        for index, (name, text) in enumerate(NAMES.items())
    }
    return scores, [_order(j, t, worlds) for j, t in zip(judges, trials, strict=True)]


@dataclass(frozen=True)
class Steps:
    """Successive rows of a world's owners. gaps, spans: rising. follows: by judged column."""

    gaps: np.ndarray
    spans: np.ndarray
    follows: np.ndarray


class SequenceJudge:
    """Errors of one ordered table: gaps, spans, the columns' mean, then every column."""

    def __init__(self, table: str, worlds: Worlds) -> None:
        self.table = table
        coder = worlds.coders[table]
        column = worlds.layout.order_column(table)
        assert column is not None
        self.kept = [i for i, n in enumerate(coder.numeric) if n != column.name]
        self.names = [coder.numeric[i] for i in self.kept] + coder.categories
        self.known = self.steps(worlds.train)

    def __call__(self, world: World) -> np.ndarray:
        found = self.steps(world)
        apart = np.abs(self.known.follows - found.follows)
        apart[: len(self.kept)] /= 2
        shapes = [
            ks_distance(self.known.gaps, found.gaps),
            ks_distance(self.known.spans, found.spans),
        ]
        return np.concatenate([shapes, [mean(apart)], apart])

    def steps(self, world: World) -> Steps:
        """Go through every owner's rows in order; rows of equal time stay as they are."""
        earlier, later = successive(world, self.table)
        owner = world.base.layout.owner_of(self.table)
        assert owner is not None
        times = world.base.order[self.table]
        gaps = times[later] - times[earlier]
        known = ~np.isnan(gaps)
        owners, at = np.unique(world.base.links[owner][later][known], return_inverse=True)
        spans = np.bincount(at, weights=gaps[known], minlength=len(owners))
        table = world.base.coded[self.table]
        numbers = table.numbers[:, self.kept]
        follows = [_lag(numbers[earlier, i], numbers[later, i]) for i in range(len(self.kept))]
        same = table.codes[earlier] == table.codes[later]
        repeats = same.mean(0) if len(later) else np.full(same.shape[1], np.nan)
        return Steps(np.sort(gaps[known]), np.sort(spans), np.concatenate([follows, repeats]))


def successive(world: World, table: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows that follow each other under one owner, int64 [steps] each; rows without a time last."""
    owner = world.base.layout.owner_of(table)
    assert owner is not None
    rows = world.rows[table]
    linked = world.base.links[owner][rows]
    rows, linked = rows[linked >= 0], linked[linked >= 0]
    order = np.lexsort((world.base.order[table][rows], linked))
    rows, linked = rows[order], linked[order]
    follows = linked[1:] == linked[:-1]
    return rows[:-1][follows], rows[1:][follows]


def _lag(earlier: np.ndarray, later: np.ndarray) -> float:
    if not len(earlier):
        return np.nan
    return float(correlations(np.column_stack([earlier, later]))[0, 1])


def _order(judge: SequenceJudge, trial: Trial, worlds: Worlds) -> OrderScore:
    column = worlds.layout.order_column(judge.table)
    assert column is not None
    gap, span, autocorrelation, *columns = (trial.compared(i) for i in range(len(trial.full)))
    return OrderScore(
        table=judge.table,
        order_by=column.name,
        gap=gap,
        span=span,
        autocorrelation=autocorrelation,
        columns=dict[str, Compared](zip(judge.names, columns, strict=True)),
    )
