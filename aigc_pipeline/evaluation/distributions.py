"""What a chart may show of a column: shares in protected bins and of frequent categories.

Computed once with the scores, so that a report needs no real row. Nothing here rests on fewer than
`min_subjects` real rows: histograms cover the central 98 % of the real values at most, their edges
are round numbers, real bins of too few rows count as empty, and rare categories are "(other)".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from aigc_pipeline.evaluation.result import Distribution
from aigc_pipeline.evaluation.tables import MISSING, Coded, Coder
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Kind

CATEGORIES = 9  # shown by name; the rest are "(other)"
SINGLE_VALUES = 12  # a number of at most as many values is shown value by value
BINS = 28
CENTRAL = 0.01  # left out at either end

DAY = 86_400.0


def distributions(
    train: Coded, synthetic: Coded, coder: Coder, *, min_rows: int
) -> dict[str, Distribution]:
    """By judged column; a column without a value in the training rows is left out."""
    found: dict[str, Distribution | None] = {}
    for index, name in enumerate(coder.numeric):
        found[name] = _numbers(
            coder.schema[name], train.numbers[:, index], synthetic.numbers[:, index], min_rows
        )
    for index, name in enumerate(coder.categories):
        labels = coder.values[name]
        found[name] = _shares(
            labels,
            *(_counts(t.codes[:, index], len(labels)) for t in (train, synthetic)),
            folded=len(coder.rare[name]),
            min_rows=min_rows,
        )
    return {name: shown for name, shown in found.items() if shown is not None}


def _counts(codes: np.ndarray, values: int) -> np.ndarray:
    """Rows of each value, "(other)" last, missing left out."""
    return np.bincount(codes[codes != MISSING], minlength=values + 2)[1:]


def _shares(
    labels: list[str],
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    folded: int,
    min_rows: int,
    in_order: bool = False,
) -> Distribution | None:
    """The most frequent labels by name, everything else (the last count too) as "(other)"."""
    if not real.sum():
        return None
    top = np.argsort(-real[:-1], kind="stable")[:CATEGORIES]
    if in_order:
        top = np.sort(top)
    counts = [np.append(c[top], c.sum() - c[top].sum()) for c in (real, synthetic)]
    names = [labels[i] for i in top] + [OTHER]
    folded += len(labels) - len(top)
    if counts[0][-1] < min_rows:
        counts[0][-1] = 0
    if not counts[0][-1] and not counts[1][-1]:
        counts, names = [c[:-1] for c in counts], names[:-1]
    shares = [np.round(c / max(c.sum(), 1), 6).tolist() for c in counts]
    return Distribution(labels=names, real=shares[0], synthetic=shares[1], folded=folded)


def _numbers(
    column: ColumnSchema, real: np.ndarray, synthetic: np.ndarray, min_rows: int
) -> Distribution | None:
    real, synthetic = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    if len(real) < max(2 * min_rows, 1):
        return None
    values, counts = np.unique(real, return_counts=True)
    frequent = values[counts >= min_rows]
    if 0 < len(frequent) <= SINGLE_VALUES and counts[counts < min_rows].sum() <= 0.02 * len(real):
        return _single_values(column, frequent, real, synthetic, len(values), min_rows)
    edges = bin_edges(real, min_rows, whole=column.kind == Kind.INTEGER)
    if column.kind == Kind.DATETIME:
        edges = edges / DAY
        edges = np.unique(np.round(edges)) * DAY if np.ptp(edges) > BINS else edges * DAY
    shares = []
    for table, least in ((real, min_rows), (synthetic, 0)):
        held = np.histogram(table, edges)[0]
        held[held < least] = 0
        shares.append(np.round(held / max(len(table), 1), 6).tolist())
    return Distribution(edges=[float(e) for e in edges], real=shares[0], synthetic=shares[1])


def _single_values(
    column: ColumnSchema,
    frequent: np.ndarray,
    real: np.ndarray,
    synthetic: np.ndarray,
    distinct: int,
    min_rows: int,
) -> Distribution | None:
    counts = []
    for table in (real, synthetic):
        at = np.minimum(np.searchsorted(frequent, table), len(frequent) - 1)
        place = np.where(frequent[at] == table, at, len(frequent))
        counts.append(np.bincount(place, minlength=len(frequent) + 1))
    labels = [written(column, value) for value in frequent]
    rest = distinct - len(frequent)
    return _shares(labels, *counts, folded=rest, min_rows=min_rows, in_order=True)


def bin_edges(values: np.ndarray, min_rows: int, *, whole: bool) -> np.ndarray:
    """About `BINS` bins of one round width over the protected centre of the values."""
    ends = max(min_rows, int(np.ceil(CENTRAL * len(values))))
    ordered = np.sort(values)
    low, high = ordered[ends - 1], ordered[-ends]
    if low == high:  # nearly all values are one: show those around it that are not
        low, high = ordered[min_rows - 1], ordered[-min_rows]
    if low == high:
        return np.array([low - 0.5, low + 0.5])
    width = round_width((high - low) / BINS)
    if whole:
        width = max(np.ceil(width), 1.0)
    start = np.floor(low / width)
    stop = np.floor(high / width) + 1
    edges = np.arange(start, stop + 1) * width
    if whole:  # an integer lies in the middle of its bin
        edges -= 0.5
    return np.round(edges, 10)


def round_width(width: float) -> float:
    """The next larger 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9)))


def written(column: ColumnSchema, value: float) -> str:
    """A number as a person reads it; a moment in its source's format, or as an ISO date."""
    if column.kind == Kind.DATETIME:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(value))
        if column.format is not None:
            return moment.strftime(column.format)
        midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
        return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M")
    return f"{value:,.10g}" if abs(value) >= 10_000 else f"{value:.10g}"
