"""Fidelity: do single columns, and pairs of columns, have the real distribution?

Shape and trend follow SDMetrics 0.32 (`QualityReport` with both thresholds 0), vectorised: a number
is judged by KSComplement, a category by TVComplement, two numbers by CorrelationSimilarity
(Pearson), any other pair by ContingencySimilarity, where a number is cut into ten bins of equal
width over each table's own range. An error is 1 less that similarity, a share between 0 and 1. A
missing category is a value of its own; missing numbers are left out, and judged by the null rate.
What SDMetrics leaves out as not computable (a correlation with a constant) is left out here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aigc_pipeline.evaluation.result import ColumnScore, PairScore, Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coded, Coder
from aigc_pipeline.schema import TableSchema

BINS = 10
GROUPS = 5  # of the jackknife behind a reference's standard error

SHAPE = "Average difference between the distributions of single columns"
TREND = "Average difference between the dependences of pairs of columns"
NULLS = "Largest difference between the shares of missing values of a column"


@dataclass(frozen=True)
class Marks:
    """The errors of one table against the training rows; NaN where one could not be computed.

    shape, nulls: float64 [columns, numeric ones first]. trend, strength: float64 [columns,
    columns]; strength is the table's own (`Fidelity.strength` the training rows').
    """

    shape: np.ndarray
    nulls: np.ndarray
    trend: np.ndarray
    strength: np.ndarray

    def summary(self) -> np.ndarray:
        """Mean shape error, mean trend error, largest null rate difference: float64 [3]."""
        pairs = self.trend[np.triu_indices(len(self.trend), 1)]
        return np.array([mean(self.shape), mean(pairs), self.nulls.max()])


class Fidelity:
    """Compares tables with the training rows, whose own counts are taken once."""

    def __init__(self, train: Coded, coder: Coder) -> None:
        self.sizes = coder.sizes()
        self.numeric = len(coder.numeric)
        self.sorted = [sort(train.numbers[:, i]) for i in range(self.numeric)]
        self.shares = self._shares(train)
        self.nulls = null_rates(train)
        self.joint = self._joint(bins(train, self.sizes))
        self.correlation = correlations(train.numbers)
        self.strength = self._strength(self.joint, self.correlation)

    def compare(self, table: Coded) -> Marks:
        """The errors of a table of any number of rows, at least one."""
        shape = np.full(self.numeric + len(self.sizes), np.nan)
        for index in range(self.numeric):
            shape[index] = ks_distance(self.sorted[index], sort(table.numbers[:, index]))
        for index, (real, other) in enumerate(
            zip(self.shares, self._shares(table), strict=True), start=self.numeric
        ):
            shape[index] = np.abs(real - other).sum() / 2
        trend = np.full((len(shape), len(shape)), np.nan)
        ours = self._joint(bins(table, self.sizes))
        for pair, real in self.joint.items():
            trend[pair] = trend[pair[::-1]] = np.abs(real - ours[pair]).sum() / 2
        numbers, linear = slice(self.numeric), correlations(table.numbers)
        trend[numbers, numbers] = np.abs(self.correlation - linear) / 2
        nulls = np.abs(self.nulls - null_rates(table))
        return Marks(shape, nulls, trend, self._strength(ours, linear))

    def _strength(self, joint: dict[tuple[int, int], np.ndarray], linear: np.ndarray) -> np.ndarray:
        """How far two columns depend on each other: correlation, or Cramér's V."""
        columns = self.numeric + len(self.sizes)
        found = np.full((columns, columns), np.nan)
        found[: self.numeric, : self.numeric] = linear
        for pair, shares in joint.items():
            found[pair] = cramers_v(shares.reshape(-1, self.sizes[pair[1] - self.numeric]))
        return found

    def _shares(self, table: Coded) -> list[np.ndarray]:
        return [
            np.bincount(table.codes[:, i], minlength=size) / max(len(table), 1)
            for i, size in enumerate(self.sizes)
        ]

    def _joint(self, discrete: tuple[np.ndarray, np.ndarray]) -> dict[tuple[int, int], np.ndarray]:
        """Shares of the value pairs, flat, of all column pairs but those of two numbers."""
        binned, sizes = discrete
        shares = {}
        for second in range(self.numeric, binned.shape[1]):
            for first in range(second):
                cells = binned[:, first] * sizes[second] + binned[:, second]
                counts = np.bincount(cells, minlength=int(sizes[first] * sizes[second]))
                shares[first, second] = counts / max(len(binned), 1)
        return shares


def bins(table: Coded, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every column as small integers, int64 [rows, columns], and how many codes it has.

    sizes: how many the category columns have. A missing number falls in the last bin.
    """
    numeric = table.numbers.shape[1]
    binned = np.empty((len(table), numeric + len(sizes)), dtype=np.int64, order="F")
    for index in range(numeric):
        column = table.numbers[:, index]
        edges = np.histogram_bin_edges(column[~np.isnan(column)], bins=BINS)
        binned[:, index] = np.digitize(column, edges)
    binned[:, numeric:] = table.codes
    return binned, np.concatenate([np.full(numeric, BINS + 2), sizes])


def compare(
    train: Coded, holdout: Coded, synthetic: Coded, coder: Coder, schema: TableSchema
) -> tuple[dict[str, Score], list[ColumnScore], list[PairScore]]:
    """Shape, trend and null rate scores, by column and pair, with the holdout's as reference."""
    judge = Fidelity(train, coder)
    ours = judge.compare(synthetic)
    fresh = judge.compare(holdout) if len(holdout) else None
    errors = jackknife(
        lambda rows: judge.compare(holdout.take(rows)).summary(), len(holdout), GROUPS
    )
    names = coder.numeric + coder.categories
    order = [names.index(c.name) for c in schema.judged]
    nulls = [judge.nulls, null_rates(synthetic)]
    columns = [_column(schema, names[i], i, ours, fresh, nulls) for i in order]
    pairs = [
        _pair(names, min(i, j), max(i, j), ours, fresh, judge)
        for position, i in enumerate(order)
        for j in order[position + 1 :]
    ]
    references = fresh.summary() if fresh else np.full(3, np.nan)
    scores = {}
    for name, description, value, reference, error in zip(
        ("shape_error", "trend_error", "null_rate_error"),
        (SHAPE, TREND, NULLS),
        ours.summary(),
        references,
        errors,
        strict=True,
    ):
        if np.isnan(value):
            reason = (
                "no column has values" if name == "shape_error" else "no two columns to compare"
            )
            scores[name] = not_evaluated("low", reason, description)
            continue
        scores[name] = Score(
            value=value,
            reference=number(reference),
            reference_error=number(error),
            better="low",
            description=description,
        )
    return scores, columns, pairs


def _column(
    schema: TableSchema,
    name: str,
    index: int,
    ours: Marks,
    fresh: Marks | None,
    nulls: list[np.ndarray],
) -> ColumnScore:
    return ColumnScore(
        column=name,
        kind=schema[name].kind,
        shape_error=number(ours.shape[index]),
        reference=number(fresh.shape[index]) if fresh else None,
        why_not="neither table has a value in it" if np.isnan(ours.shape[index]) else None,
        real_null_rate=nulls[0][index],
        synthetic_null_rate=nulls[1][index],
    )


def _pair(
    names: list[str], first: int, second: int, ours: Marks, fresh: Marks | None, judge: Fidelity
) -> PairScore:
    return PairScore(
        columns=(names[first], names[second]),
        measure="correlation" if second < judge.numeric else "contingency",
        trend_error=number(ours.trend[first, second]),
        reference=number(fresh.trend[first, second]) if fresh else None,
        real=number(judge.strength[first, second]),
        synthetic=number(ours.strength[first, second]),
    )


def sort(column: np.ndarray) -> np.ndarray:
    """The values present, in rising order, rounded as SDMetrics does."""
    return np.sort(np.round(column[~np.isnan(column)], 14))


def ks_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference between the empirical CDFs of two sorted arrays.

    NaN when both are empty. One empty array has nothing in common with the other: 1.
    """
    if not len(first) or not len(second):
        return np.nan if len(first) == len(second) else 1.0
    values = np.concatenate([first, second])
    below_first = np.searchsorted(first, values, side="right") / len(first)
    below_second = np.searchsorted(second, values, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def null_rates(table: Coded) -> np.ndarray:
    """Share of missing values of each column, numeric ones first: float64 [columns]."""
    if not len(table):
        return np.zeros(table.numbers.shape[1] + table.codes.shape[1])
    return np.concatenate([np.isnan(table.numbers).mean(0), (table.codes == 0).mean(0)])


def correlations(numbers: np.ndarray) -> np.ndarray:
    """Pearson correlations over the rows where both columns are present.

    float64 [columns, columns]; NaN where a column is constant or fewer than two rows have both. All
    pairs at once: five matrix products of the standardised columns and their masks.
    """
    columns = numbers.shape[1]
    present = ~np.isnan(numbers)
    count = present.sum(0)
    filled = np.where(present, numbers, 0.0)
    centre = filled.sum(0) / np.maximum(count, 1)
    filled = np.where(present, numbers - centre, 0.0)
    spread = np.sqrt((filled**2).sum(0) / np.maximum(count, 1))
    filled /= np.where(spread > 0, spread, 1.0)
    mask = present.astype(float)
    both = mask.T @ mask
    total = filled.T @ mask  # [i, j]: sum of i where j is present too
    squares = (filled**2).T @ mask
    product = filled.T @ filled
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = squares - total**2 / both
        result = (product - total * total.T / both) / np.sqrt(variance * variance.T)
        # Rounding blurs a variance far below the column's own: these few pairs are done one by one.
        doubtful = (variance <= 1e-7 * np.maximum(squares, 1e-30)) | (both < 2)
    for i, j in zip(*np.nonzero(doubtful | doubtful.T), strict=True):
        if i <= j:
            result[i, j] = result[j, i] = _correlation(numbers[:, i], numbers[:, j])
    constant = np.array([len(np.unique(numbers[present[:, i], i])) < 2 for i in range(columns)])
    result[constant, :] = result[:, constant] = np.nan
    return np.clip(result, -1, 1)


def cramers_v(shares: np.ndarray) -> float:
    """Cramér's V of a cross table of shares: 0 without any dependence, 1 where one column decides
    the other; NaN where either has one value only. Cramér (1946), ch. 21.
    """
    rows, columns = shares.sum(1), shares.sum(0)
    shares = shares[rows > 0][:, columns > 0]
    if min(shares.shape) < 2:
        return np.nan
    expected = np.outer(rows[rows > 0], columns[columns > 0])
    excess = (shares**2 / expected).sum() - 1
    return float(np.sqrt(np.clip(excess / (min(shares.shape) - 1), 0, 1)))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    both = ~np.isnan(first) & ~np.isnan(second)
    first, second = first[both], second[both]
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def jackknife(statistic: Callable[[np.ndarray], Any], rows: int, groups: int) -> np.ndarray:
    """Delete-a-group jackknife standard errors of a statistic (an array) of rows in no order.

    `statistic` is called with a mask of the rows kept. NaN for fewer than two rows a group.
    Kott (2001), "The delete-a-group jackknife".
    """
    if rows < 2 * groups:
        return np.full(3, np.nan)
    member = np.arange(rows) % groups
    values = np.array([statistic(member != group) for group in range(groups)])
    return np.sqrt((groups - 1) / groups * ((values - values.mean(0)) ** 2).sum(0))


def mean(values: np.ndarray) -> float:
    """Mean of the values that could be computed; NaN when there are none."""
    computed = values[~np.isnan(values)]
    return float(computed.mean()) if len(computed) else np.nan


def number(value: float) -> float | None:
    """A float for a result: None for NaN."""
    return None if np.isnan(value) else float(value)
