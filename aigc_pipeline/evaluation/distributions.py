"""What a chart may show of a column: shares in protected bins and of frequent categories.

Computed once with the scores, so that a report needs no real row. Nothing here rests on fewer than
five or `min_subjects` real subjects: histograms cover the central 98 % of the real values at most,
their edges are round numbers, a real bin of too few subjects counts as empty, and rare categories
are "(other)".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.result import Distribution
from aigc_pipeline.evaluation.tables import MISSING, Coder
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Kind

LEAST = 5  # subjects behind anything shown, even where nothing is protected from the model
CATEGORIES = 7  # shown by name; the rest are "(other)"
SINGLE_VALUES = 12  # a number of at most as many values is shown value by value
BINS = 28  # at most; fewer where a bin would hold fewer than six times the least subjects
CENTRAL = 0.01  # left out at either end

NO_SPREAD = 1e-290  # a width below it cannot be cut into bins: floats end there
DAY = 86_400.0


def distributions(
    train: pl.DataFrame, synthetic: pl.DataFrame, coder: Coder
) -> dict[str, Distribution]:
    """By judged column; a column with too few values to show any is left out.

    train, synthetic: `plain_values`. Not clamped: an end at which values pile up is no frequent
    value, but one subject's.
    """
    least = max(LEAST, coder.min_subjects)
    found: dict[str, Distribution | None] = {}
    for index, name in enumerate(coder.numeric):
        real, other = train[name].to_numpy(), synthetic[name].to_numpy()
        present = ~np.isnan(real)
        protected = (coder.low[index], coder.high[index])
        other = other[~np.isnan(other)]
        shown = _numbers(
            coder.schema[name], real[present], other, coder.who[present], protected, least
        )
        if shown is not None and len(other):
            means = [float(np.clip(part, *protected).mean()) for part in (real[present], other)]
            shown = shown.model_copy(update={"means": tuple(means)})
        found[name] = shown
    codes = [coder.encode(table).codes for table in (train, synthetic)]
    for index, name in enumerate(coder.categories):
        real, other = (table[:, index] for table in codes)
        present, size = real != MISSING, len(coder.values[name]) + 1
        found[name] = _shares(
            coder.values[name],
            np.bincount(real[present] - 1, minlength=size),
            np.bincount(other[other != MISSING] - 1, minlength=size),
            support(real[present] - 1, coder.who[present], size),
            least,
            folded=len(coder.rare[name]),
        )
    return {name: shown for name, shown in found.items() if shown is not None}


def support(places: np.ndarray, who: np.ndarray, size: int) -> np.ndarray:
    """How many different subjects are in each of `size` places, int64 [size]."""
    subjects = int(who.max(initial=0)) + 1
    return np.bincount(np.unique(places * subjects + who) // subjects, minlength=size)


def _shares(
    labels: list[str],
    real: np.ndarray,
    synthetic: np.ndarray,
    subjects: np.ndarray,
    least: int,
    *,
    folded: int,
    in_order: bool = False,
) -> Distribution | None:
    """The most frequent labels by name, everything else (the last count too) as "(other)"."""
    top = np.argsort(-real[:-1], kind="stable")[:CATEGORIES]
    top = top[subjects[top] >= least]
    if in_order:
        top = np.sort(top)
    if not len(top):
        return None
    rest = np.setdiff1d(np.arange(len(real)), top)
    counts = [np.append(c[top], c[rest].sum()) for c in (real, synthetic)]
    if subjects[rest].sum() < least:
        counts[0][-1] = 0
    names = [labels[i] for i in top] + [OTHER]
    if not counts[0][-1] and not counts[1][-1]:
        counts, names = [c[:-1] for c in counts], names[:-1]
    shares = [np.round(c / max(c.sum(), 1), 6).tolist() for c in counts]
    folded += len(labels) - len(top)
    return Distribution(labels=names, real=shares[0], synthetic=shares[1], folded=folded)


def _numbers(
    column: ColumnSchema,
    real: np.ndarray,
    synthetic: np.ndarray,
    who: np.ndarray,
    protected: tuple[float, float],
    least: int,
) -> Distribution | None:
    if len(np.unique(who)) < 2 * least:
        return None
    values, places = np.unique(real, return_inverse=True)
    enough = support(places, who, len(values)) >= least
    frequent = values[enough]
    if 0 < len(frequent) <= SINGLE_VALUES and enough[places].mean() >= 0.98:
        return _single_values(column, frequent, real, synthetic, who, least, len(values))
    edges = bin_edges(np.clip(real, *protected), least, whole=column.kind == Kind.INTEGER)
    if column.kind == Kind.DATETIME and np.ptp(edges) > BINS * DAY:
        edges = np.unique(np.round(edges / DAY)) * DAY
    inside = (real >= edges[0]) & (real <= edges[-1])
    bins = np.clip(np.searchsorted(edges, real[inside], side="right") - 1, 0, len(edges) - 2)
    held = [np.histogram(table, edges)[0] for table in (real, synthetic)]
    held[0][support(bins, who[inside], len(edges) - 1) < least] = 0
    shares = [
        np.round(counts / max(len(table), 1), 6).tolist()
        for counts, table in zip(held, (real, synthetic), strict=True)
    ]
    return Distribution(edges=edges.tolist(), real=shares[0], synthetic=shares[1])


def _single_values(
    column: ColumnSchema,
    frequent: np.ndarray,
    real: np.ndarray,
    synthetic: np.ndarray,
    who: np.ndarray,
    least: int,
    distinct: int,
) -> Distribution | None:
    size = len(frequent) + 1
    places = []
    for table in (real, synthetic):
        at = np.minimum(np.searchsorted(frequent, table), len(frequent) - 1)
        places.append(np.where(frequent[at] == table, at, len(frequent)))
    return _shares(
        [written(column, value) for value in frequent],
        np.bincount(places[0], minlength=size),
        np.bincount(places[1], minlength=size),
        support(places[0], who, size),
        least,
        folded=distinct - len(frequent),
        in_order=True,
    )


def bin_edges(values: np.ndarray, least: int, *, whole: bool) -> np.ndarray:
    """At most `BINS` bins (or so) of one round width over the protected centre of the values."""
    bins = min(BINS, max(6, len(values) // (6 * least)))
    ends = max(least, int(np.ceil(CENTRAL * len(values))))
    ordered = np.sort(values)
    low, high = ordered[ends - 1], ordered[-ends]
    if high - low < NO_SPREAD:  # nearly all values are one: show those around it that are not
        low, high = ordered[least - 1], ordered[-least]
    if high - low < NO_SPREAD:
        return np.array([low - 0.5, low + 0.5])
    width = round_width((high - low) / bins)
    if whole:
        width = max(np.ceil(width), 1.0)
    start = np.floor(low / width)
    # The last bin holds its upper edge, but an integer lies in the middle of its bin.
    stop = np.floor(high / width) + 1 if whole else max(np.ceil(high / width), start + 1)
    edges = np.arange(start, stop + 1) * width
    if whole:
        edges -= 0.5
    return np.round(edges, max(1, 2 - int(np.floor(np.log10(width)))))


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
