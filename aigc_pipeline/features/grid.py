"""The grid a column's numbers lie on: decimal places, significant digits, kinds of round number.

A price has two decimals, a loan comes in steps of 25, a mean of three is a multiple of a third, and
people report 60,000 more often than 60,013. Drawing on the same grid, with the same share of round
numbers, is what keeps synthetic numbers from betraying themselves by their digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MAX_DECIMALS = 9
MAX_DIGITS = 15
ON_GRID = 0.995  # share of values a grid must hold
LEAST_SHARE = 0.005  # of values, for a level of roundness to be told apart
OVER_CHANCE = 1.3  # times as many multiples of a step as its size explains
MAX_LEVELS = 14
# Means of a few whole numbers lie on these fractions.
DENOMINATORS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15)

Step = tuple[int, int]  # numerator and denominator


@dataclass(frozen=True)
class Grid:
    """Values are whole numbers of `10**-decimals`, rounded to `digits` significant digits.

    steps: levels of roundness from the finest, the grid itself, to the coarsest. A value's level is
    the coarsest step it is a multiple of.
    """

    decimals: int
    digits: int
    steps: list[Step]

    @classmethod
    def fit(cls, values: np.ndarray) -> Grid:
        """The coarsest decimal grid that holds 99.5 % of finite `values`, float64 [n]."""
        decimals = find_decimals(values)
        digits = _find_digits(values, decimals)
        scale = 10**decimals
        units = cls(decimals, digits, [(1, scale)]).to_units(values)
        on = _on_grid(values, scale)
        # Where the grid does not hold the values, those on it say nothing of a coarser one.
        nonzero = np.abs(units[on & (units != 0)]) if on.sum() >= ON_GRID * len(on) else units[:0]
        unit = int(np.gcd.reduce(nonzero)) if len(nonzero) else 1
        return cls(decimals, digits, [(max(unit, 1), scale)])

    @classmethod
    def checked(cls, decimals: int, digits: int, steps: list[Step]) -> Grid:
        """A grid as a file tells it. Raises ValueError for one that `fit` never makes."""
        small = 0 <= decimals <= MAX_DECIMALS and 0 < digits <= MAX_DIGITS
        if not small or not steps or any(n < 1 or d < 1 for n, d in steps):
            raise ValueError("no such grid")
        return cls(decimals, digits, steps)

    def with_levels(self, units: np.ndarray) -> Grid:
        """The same grid with the kinds of round number that `units` has more of than chance."""
        finest = self.steps[0]
        kept = [(finest, 1.0)]
        for step in _candidates(finest, self.decimals, int(np.abs(units).max(initial=0))):
            share = float(Grid(self.decimals, self.digits, [finest, step]).level(units).mean())
            chance = max(other * _size(s) / _size(step) for s, other in kept if _divides(s, step))
            if share >= OVER_CHANCE * chance and share - chance >= LEAST_SHARE:
                kept.append((step, share))
        # A finer level may hold next to nothing once the coarser ones have theirs.
        steps = [step for step, _ in kept]
        level = Grid(self.decimals, self.digits, steps).level(units)
        count = np.bincount(level, minlength=len(steps))
        best = sorted(range(1, len(steps)), key=lambda i: -count[i])[:MAX_LEVELS]
        best = [i for i in sorted(best) if count[i] >= LEAST_SHARE * len(units)]
        return Grid(self.decimals, self.digits, [finest, *(steps[i] for i in best)])

    @property
    def unit(self) -> int:
        """The finest step, in units of the last decimal place."""
        return self.steps[0][0]

    def to_units(self, values: np.ndarray) -> np.ndarray:
        """Values in units of the last decimal place, int64."""
        return np.rint(values * 10.0**self.decimals).astype(np.int64)

    def to_values(self, units: np.ndarray) -> np.ndarray:
        """Units as numbers, float64, rounded so that they print with `decimals` places."""
        return np.round(units / 10.0**self.decimals, self.decimals)

    def round(self, units: np.ndarray) -> np.ndarray:
        """Units rounded to the significant digits of the source, int64."""
        coarse = np.maximum(np.rint(_last_digit(units, self.digits)), 1.0).astype(np.int64)
        return np.where(coarse > 1, np.rint(units / coarse).astype(np.int64) * coarse, units)

    def level(self, units: np.ndarray) -> np.ndarray:
        """Index of the coarsest step that each value is a multiple of, int8."""
        level = np.zeros(len(units), dtype=np.int8)
        for index, (numerator, denominator) in enumerate(self.steps[1:], start=1):
            step = numerator * 10.0**self.decimals / denominator
            slack: float | np.ndarray = 1e-3
            if step % 1:  # a fraction is told by its rounded digits
                slack = np.maximum(_last_digit(units, self.digits), 1.0) * 0.5 + 1e-3
            level[np.abs(units - np.rint(units / step) * step) <= slack] = index
        return level

    def snap(self, units: np.ndarray, level: np.ndarray) -> np.ndarray:
        """The nearest multiple of each level's step, int64 [n]."""
        step = self._sizes()[level]
        return self.round(np.rint(np.rint(units / step) * step).astype(np.int64))

    def _sizes(self) -> np.ndarray:
        """Steps in units, float64 [levels]."""
        return np.array([n * 10.0**self.decimals / d for n, d in self.steps])

    def draw(
        self, low: np.ndarray, high: np.ndarray, level: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A multiple of each level's step in [low, high], in units, and whether there is one."""
        step = self._sizes()[level]
        first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
        count = np.maximum(last - first + 1, 0)
        units = np.rint((first + np.floor(rng.random(len(low)) * count)) * step).astype(np.int64)
        return self.round(units), count > 0


def find_decimals(values: np.ndarray) -> int:
    """Fewest decimal places that write 99.5 % of the values exactly; 0 where there are none."""
    if not len(values):
        return 0
    for decimals in range(MAX_DECIMALS):
        scale = 10.0**decimals
        if np.abs(values).max(initial=0) * scale > 2**52:
            return max(decimals - 1, 0)
        if np.mean(_on_grid(values, scale)) >= ON_GRID:
            return decimals
    return MAX_DECIMALS


def _on_grid(values: np.ndarray, scale: float) -> np.ndarray:
    """Whether values are multiples of 1 / scale, but for what float32 or a sum rounds; [n]."""
    scaled = values * scale
    rounding = np.maximum(np.minimum(1e-6 * np.abs(scaled), 1e-4), 1e-10 * scale)
    return np.abs(np.rint(scaled) - scaled) <= rounding


def _find_digits(values: np.ndarray, decimals: int) -> int:
    """Fewest significant digits that write 99.5 % of the values exactly."""
    present = values[values != 0]
    if decimals == 0 or not len(present):
        return MAX_DIGITS
    for digits in range(1, MAX_DIGITS):
        last = _last_digit(present * 10.0**decimals, digits) / 10.0**decimals
        off = np.abs(present - np.rint(present / last) * last)
        if np.mean(off <= 1e-4 * 10.0**-decimals + 1e-12 * np.abs(present)) >= ON_GRID:
            return digits
    return MAX_DIGITS


def _last_digit(units: np.ndarray, digits: int) -> np.ndarray:
    """Place value of the last significant digit of each number, float64."""
    size = np.floor(np.log10(np.maximum(np.abs(units), 1e-300).astype(float)) + 1e-12)
    return 10.0 ** np.clip(size + 1 - digits, -300, 300)


def _candidates(finest: Step, decimals: int, top: int) -> list[Step]:
    """Round steps coarser than the finest one, rising; top: the largest value in units."""
    scale = 10**decimals
    decimal = [(f * 10**power, scale) for power in range(18) for f in (1, 5, 25)]
    found = {_reduced(*step) for step in decimal if finest[0] < step[0] <= top}
    if decimals >= 5 and finest == (1, scale):  # else a third cannot be told from its neighbours
        found |= {(1, d) for d in DENOMINATORS}
    steps = [s for s in found if _size(s) > _size(finest) and _divides(finest, s)]
    return sorted(steps, key=_size)


def _reduced(numerator: int, denominator: int) -> Step:
    shared = math.gcd(numerator, denominator)
    return numerator // shared, denominator // shared


def _size(step: Step) -> float:
    return step[0] / step[1]


def _divides(finer: Step, step: Step) -> bool:
    """Whether every multiple of a step is one of the finer step too, rounding aside."""
    if finer[0] == 1 and finer[1] >= 10**5:
        return True
    return step[0] * finer[1] % (step[1] * finer[0]) == 0
