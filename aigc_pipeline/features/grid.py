"""The grid a column's numbers lie on: decimal places, step, and how round values tend to be.

A price has two decimals, a loan comes in steps of 25, and people report 60,000 more often than
60,013. Drawing on the same grid, with the same share of round values, is what keeps synthetic
numbers from betraying themselves by their digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_DECIMALS = 9


@dataclass(frozen=True)
class Grid:
    """Values are `unit * 10**-decimals` times an integer; `steps` are the levels of roundness.

    steps: each divides the next; a value's level is the largest step that divides it.
    """

    decimals: int
    steps: list[int]

    @classmethod
    def fit(cls, values: np.ndarray) -> Grid:
        """The coarsest decimal grid that holds 99.5 % of finite `values`, float64 [n]."""
        decimals = find_decimals(values)
        scaled = cls(decimals, [1]).to_units(values)
        on_grid = np.isclose(scaled, values * 10.0**decimals, rtol=0, atol=1e-4)
        nonzero = np.abs(scaled[on_grid & (scaled != 0)])
        unit = int(np.gcd.reduce(nonzero)) if len(nonzero) else 1
        top = int(nonzero.max()) if len(nonzero) else 1
        steps, power = [max(unit, 1)], 1
        while power <= top and len(steps) < 12:
            for step in (power, 5 * power):
                if step > steps[-1] and step % steps[-1] == 0 and step <= top:
                    steps.append(step)
            power *= 10
        return cls(decimals, steps)

    def to_units(self, values: np.ndarray) -> np.ndarray:
        """Values in units of the last decimal place, int64."""
        return np.rint(values * 10.0**self.decimals).astype(np.int64)

    def to_values(self, units: np.ndarray) -> np.ndarray:
        """Units as numbers, float64, rounded so that they print with `decimals` places."""
        return np.round(units / 10.0**self.decimals, self.decimals)

    def level(self, units: np.ndarray) -> np.ndarray:
        """Index of the largest step that divides each value, int8."""
        level = np.zeros(len(units), dtype=np.int8)
        for index, step in enumerate(self.steps[1:], start=1):
            level[units % step == 0] = index
        return level


def find_decimals(values: np.ndarray) -> int:
    """Fewest decimal places that write 99.5 % of the values exactly; 0 where there are none."""
    if not len(values):
        return 0
    for decimals in range(MAX_DECIMALS):
        scale = 10.0**decimals
        if np.abs(values).max(initial=0) * scale > 2**52:
            return max(decimals - 1, 0)
        if np.mean(np.isclose(np.rint(values * scale), values * scale, rtol=0, atol=1e-4)) >= 0.995:
            return decimals
    return MAX_DECIMALS
