"""Trends across tables: do a row's columns go with those of its parent, and its parent's parent?

The measures are those of `fidelity`: for two numbers half the difference of their correlations, for
any other pair the total variation distance of their cross tables, with numbers in ten bins. Over
one join this is SDMetrics' InterTableTrends. Categories beyond the 50 most frequent count as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigc_pipeline.evaluation.fidelity import bins, correlations, number
from aigc_pipeline.evaluation.relational.compared import Trial, compare
from aigc_pipeline.evaluation.relational.result import JoinScore
from aigc_pipeline.evaluation.relational.samples import Worlds
from aigc_pipeline.evaluation.relational.worlds import World
from aigc_pipeline.evaluation.result import PairScore, Score
from aigc_pipeline.evaluation.tables import Coded, Coder
from aigc_pipeline.relations import Graph, Relation

MOST = 50  # categories of a column that are told apart
WORST_PAIRS = 20  # that are kept by name
LEAST = 2  # joined rows

TREND = "Average difference between how a row's columns go with its parents' columns"
NO_PAIR = "no two related tables have columns to compare"

Path = tuple[Relation, ...]


def score(worlds: Worlds) -> tuple[dict[str, Score], list[JoinScore], list[PairScore]]:
    """The mean error over all pairs and joins, every join's, and the worst pairs."""
    judges = [j for path in paths(worlds.layout.graph) if (j := JoinJudge(path, worlds)).names]
    trials = [compare(judge, worlds) for judge in judges]
    joins, pairs = [], []
    for judge, trial in zip(judges, trials, strict=True):
        every = list(range(len(judge.names)))
        whole = trial.score(every, "mean", TREND, NO_PAIR)
        full = trial.full[~np.isnan(trial.full)]
        joins.append(
            JoinScore(
                path=[judge.path[0].child, *(r.parent for r in judge.path)],
                relations=[r.name for r in judge.path],
                pairs=int((~np.isnan(trial.parts)).any(0).sum()),
                trend=trial.compared(0).model_copy(
                    update={
                        "value": whole.value,
                        "reference": whole.reference,
                        "full": number(full.mean()) if len(full) else None,
                    }
                ),
            )
        )
        pairs += [_pair(judge, trial, index) for index in every]
    together = Trial.join(trials)
    total = together.score(range(len(together.full)), "mean", TREND, NO_PAIR)
    known = [pair for pair in pairs if pair.trend_error is not None]
    known.sort(key=lambda pair: (pair.reference or 0.0) - (pair.trend_error or 0.0))
    return {"join_trend_error": total}, joins, known[:WORST_PAIRS]


def paths(graph: Graph) -> list[Path]:
    """All ways up from a table over one relation or two."""
    single: list[Path] = [(r,) for r in graph.relations]
    double: list[Path] = [
        (first, second)
        for first in graph.relations
        for second in graph.parents_of(first.parent)
        if not first.is_self and not second.is_self
    ]
    return single + double


@dataclass(frozen=True)
class Joint:
    """What is compared of a join. correlation: [left, right numbers]; tables: the pairs' shares."""

    correlation: np.ndarray
    tables: list[np.ndarray]


class JoinJudge:
    """Trend errors of the pairs of columns over one path against the training rows.

    names: by figure, the columns as `table.column`, and whether both are numbers.
    """

    def __init__(self, path: Path, worlds: Worlds) -> None:
        self.path = path
        self.left, self.right = (
            worlds.coders[path[0].child],
            worlds.coders[path[-1].parent],
        )
        self.known = self.join(worlds.train)
        self.names: list[tuple[str, str, bool]] = []
        if self.known is None:
            return
        tables = (path[0].child, path[-1].parent)
        sides = [
            [f"{table}.{column}" for column in coder.numeric + coder.categories]
            for table, coder in zip(tables, (self.left, self.right), strict=True)
        ]
        count = (len(self.left.numeric), len(self.right.numeric))
        numeric = [(a, b, True) for a in sides[0][: count[0]] for b in sides[1][: count[1]]]
        others = [(sides[0][i], sides[1][j], False) for i, j in self._cells()]
        self.names = numeric + others

    def __call__(self, world: World) -> np.ndarray:
        found = self.join(world)
        if found is None or self.known is None:
            return np.full(len(self.names), np.nan)
        apart = np.abs(self.known.correlation - found.correlation) / 2
        cells = [
            np.abs(real - ours).sum() / 2
            for real, ours in zip(self.known.tables, found.tables, strict=True)
        ]
        return np.concatenate([apart.ravel(), cells])

    def _cells(self) -> list[tuple[int, int]]:
        """Pairs that are judged by a cross table: those with a category."""
        numbers = (len(self.left.numeric), len(self.right.numeric))
        sizes = (len(self.left.names), len(self.right.names))
        return [
            (i, j)
            for i in range(sizes[0])
            for j in range(sizes[1])
            if i >= numbers[0] or j >= numbers[1]
        ]

    def join(self, world: World) -> Joint | None:
        """What the world says of the pairs; None without joined rows or columns."""
        if not self.left.names or not self.right.names:
            return None
        rows = world.rows[self.path[0].child]
        at = rows
        for relation in self.path:
            at = world.base.links[relation][at]
            rows, at = rows[at >= 0], at[at >= 0]
        if len(rows) < LEAST:
            return None
        left = world.base.coded[self.path[0].child].take(rows)
        right = world.base.coded[self.path[-1].parent].take(at)
        numbers = left.numbers.shape[1]
        both = correlations(np.hstack([left.numbers, right.numbers]))[:numbers, numbers:]
        first, first_sizes = _discrete(left, self.left)
        second, second_sizes = _discrete(right, self.right)
        tables = [
            np.bincount(
                first[:, i] * second_sizes[j] + second[:, j],
                minlength=int(first_sizes[i] * second_sizes[j]),
            )
            / len(rows)
            for i, j in self._cells()
        ]
        return Joint(both, tables)


def _discrete(table: Coded, coder: Coder) -> tuple[np.ndarray, np.ndarray]:
    """Every column as small integers, column-major, and the number of codes of each."""
    capped = Coded(table.numbers, np.minimum(table.codes, MOST + 1))
    return bins(capped, np.minimum(coder.sizes(), MOST + 2))


def _pair(judge: JoinJudge, trial: Trial, index: int) -> PairScore:
    first, second, numeric = judge.names[index]
    found = trial.compared(index)
    return PairScore(
        columns=(first, second),
        measure="correlation" if numeric else "contingency",
        trend_error=found.value,
        reference=found.reference,
    )
