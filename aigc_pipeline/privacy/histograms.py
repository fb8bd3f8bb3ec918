"""Noisy histograms of a column: the values many rows share, and where all the others lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigc_pipeline.privacy.budget import Budget
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Kind

LEAST, MOST = -32, 63  # powers of two told apart
ROUNDS = 2  # of splitting bins that hold much
FINEST = 96  # bins at most
SURE = 3.0  # standard deviations of noise that a count must exceed to be believed
NUMBER_RELEASES = 3 + ROUNDS  # of a number's column; a category's takes one
DAY = 86_400.0


@dataclass(frozen=True)
class Releases:
    """Histograms under one noise level, each paid for from a budget.

    noise: standard deviation of each count; threshold: of counts of values that only the data know.
    Any row is in one cell of a histogram, so it changes one count by one.
    """

    budget: Budget
    noise: float
    threshold: float
    rng: np.random.Generator

    def counts(self, cells: np.ndarray, size: int) -> np.ndarray:
        """Noisy counts of public cells, float64 [size]; cells: int [rows], below 0 for none."""
        self.budget.spend(self.noise)
        true = np.bincount(cells[cells >= 0], minlength=size)
        return true + self.rng.normal(0.0, self.noise, size)

    def frequent(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells that surely many rows are in, and their noisy counts, largest first.

        cells: int [rows]; every cell up to the last one has a row.
        """
        counts = self.counts(cells, int(cells.max(initial=-1)) + 1)
        kept = np.flatnonzero(counts >= self.threshold)
        kept = kept[np.argsort(-counts[kept], kind="stable")]
        return kept, counts[kept]

    def sure(self, counts: np.ndarray) -> np.ndarray:
        """Noisy counts without those that may be noise alone."""
        return np.where(counts > SURE * self.noise, counts, 0.0)


def stand_in(values: np.ndarray, column: ColumnSchema, releases: Releases) -> np.ndarray:
    """Values with a column's distribution as far as noisy histograms tell, float64; NaN is missing.

    values: float64 [rows], NaN where missing. Values that many rows share are told one by one. For
    the rest, bins start as powers of two, and those that hold much are split again and again; how
    round numbers are is told apart from where they lie.
    """
    distinct, cells = np.unique(values, return_inverse=True)
    kept, counts = releases.frequent(cells)
    made = [np.repeat(distinct[kept], np.rint(counts).astype(int))]
    rest = values[~np.isin(cells, kept) & np.isfinite(values)]
    steps = _steps(column)
    levels = _to_draw(releases.sure(releases.counts(_level(rest, steps), len(steps))), steps)
    bins = _powers_of_two()
    held = releases.sure(releases.counts(_find(rest, bins), len(bins)))
    for _ in range(ROUNDS):
        bins = _split(bins, held, steps[-1], releases.noise)
        held = releases.sure(releases.counts(_find(rest, bins), len(bins)))
    left = max(len(values) - counts.sum(), 0.0)
    if held.any() and levels.any():
        rows = np.rint(held * min(left / held.sum(), 1.5)).astype(int)
        level = releases.rng.choice(len(steps), rows.sum(), p=levels)
        made.append(_draw(np.repeat(bins, rows, axis=0), level, steps, releases.rng))
    return np.concatenate(made)


def _steps(column: ColumnSchema) -> np.ndarray:
    """Kinds of round number, coarse to fine; of a datetime in seconds."""
    if column.kind == Kind.DATETIME:
        return np.array([DAY, 3600.0, 60.0, 1.0, 1e-3, 1e-6])
    finest = 0 if column.kind == Kind.INTEGER else -9
    return 10.0 ** np.arange(4, finest - 1, -1)


def _level(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Index of the coarsest step that each value is a multiple of; the last one for none."""
    level = np.full(len(values), len(steps) - 1)
    for index in range(len(steps) - 2, -1, -1):
        ratio = values / steps[index]
        level[np.abs(ratio - np.rint(ratio)) < 1e-6] = index
    return level


def _to_draw(counts: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Shares of levels to draw multiples of, so that values end up on levels as `counts` say.

    One in ten multiples of 10 is a multiple of 100, and counted there.
    """
    finer = steps[None, :] / steps[:, None]  # of multiples of the second, those of the first too
    coarser = np.vstack([np.zeros(len(steps)), finer[:-1]])
    shares = np.clip(np.linalg.solve(np.triu(finer - coarser), counts), 0.0, None)
    return shares / max(shares.sum(), 1.0)


def _powers_of_two() -> np.ndarray:
    """Bins [low, high) over all numbers, float64 [bins, 2] in rising order."""
    above = 2.0 ** np.arange(LEAST, MOST + 1)
    edges = np.concatenate([-above[::-1], above])
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _find(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """The bin each value lies in, int64 [n]; -1 where there is none."""
    if not len(bins):
        return np.full(len(values), -1)
    at = np.searchsorted(bins[:, 0], values, side="right") - 1
    return np.where((at >= 0) & (values < bins[at, 1]), at, -1)


def _split(bins: np.ndarray, held: np.ndarray, finest: float, noise: float) -> np.ndarray:
    """Bins that hold something, in parts in proportion to how much, none below the finest step."""
    bins, held = bins[held > 0], held[held > 0]
    # A part that held less than the noise would be lost again.
    wanted = np.clip(held.sum() / (2 * SURE * noise), 8, FINEST)
    width = bins[:, 1] - bins[:, 0]
    most = np.maximum(np.ceil(width / finest - 1e-9), 1)
    parts = np.minimum(np.ceil(wanted * held / max(held.sum(), 1.0)), most).astype(int)
    place = np.concatenate([np.arange(n) for n in parts] or [np.zeros(0)])
    low, width, of = (np.repeat(x, parts) for x in (bins[:, 0], width, parts))
    return np.stack([low + width * place / of, low + width * (place + 1) / of], axis=1)


def _draw(
    bins: np.ndarray, level: np.ndarray, steps: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A multiple of each level's step in each bin [n, 2]; of the finest where there is none."""
    low, high = bins.T
    step = steps[level]
    without = np.ceil(low / step - 1e-9) > np.ceil(high / step - 1e-9) - 1
    step = np.where(without, steps[level.max(initial=0)], step)
    first, last = np.ceil(low / step - 1e-9), np.ceil(high / step - 1e-9) - 1
    return (first + np.floor(rng.random(len(low)) * np.maximum(last - first + 1, 1))) * step
