"""A privacy budget: what may be spent, what has been spent, and how much noise that takes.

Every release is a Gaussian mechanism, of all rows or of a Poisson sample of them, so opacus' Rényi
accountant composes them all (Mironov 2017; Mironov, Talwar and Zhang 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.spec import DpSpec, GeneratorSpec, PrivacySpec

FOR_SETS = 0.1  # part of delta, for values that show up where noise alone would not show them
# Of epsilon, what the columns' histograms would cost alone. Epsilons do not add up: the network is
# trained with about a quarter more noise than if it had all of it.
FOR_COLUMNS = 0.6
MOST_NOISE = 1e5  # multiples of what one row can change
# Of the Rényi divergence. Fractions are slow to compute, and finer ones gain next to nothing.
ORDERS = [1 + x / 4 for x in range(1, 37)] + [*range(11, 64), *range(64, 1025, 32)]


@dataclass
class Budget:
    """A target (epsilon, delta) and the releases made so far.

    history: (noise multiplier, sampling rate, steps) of each, as opacus' accountants keep it. The
    noise multiplier is the noise's standard deviation over the most that one row can change.
    """

    epsilon: float
    delta: float
    history: list[tuple[float, float, int]] = field(default_factory=list)

    @classmethod
    def start(cls, spec: DpSpec, rows: int) -> Budget:
        """The budget a dataset file asks for; delta is 1 / rows^1.1 where it does not say."""
        delta = spec.delta if spec.delta is not None else max(rows, 2) ** -1.1
        if delta >= 1 / max(rows, 2):
            raise InputError(
                f"privacy.dp.delta is {delta:.3g}; with {rows} rows it must be below 1 / {rows},"
                " or it would allow to publish a row; leave it out"
            )
        return cls(spec.epsilon, delta)

    @property
    def spent(self) -> float:
        """Epsilon of everything in the history, at the budget's delta."""
        return self._epsilon(self.history)

    def spend(self, noise: float, *, rate: float = 1.0, steps: int = 1) -> None:
        """Note releases: of all rows, or of Poisson samples at a rate."""
        if self.history and self.history[-1][:2] == (noise, rate):
            steps += self.history.pop()[2]
        self.history.append((noise, rate, steps))

    def noise(self, *, rate: float = 1.0, steps: int, share: float = 1.0) -> float:
        """The least noise multiplier with which further releases stay within the budget.

        share: part of epsilon to stay within. Raises InputError where no noise would do.
        """
        low, high = 0.0, 1.0
        while self._epsilon([*self.history, (high, rate, steps)]) > share * self.epsilon:
            low, high = high, 2 * high
            if high > MOST_NOISE:
                raise InputError(
                    f"privacy.dp.epsilon is {self.epsilon:g}: too little for this table; raise it"
                )
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            if self._epsilon([*self.history, (middle, rate, steps)]) > share * self.epsilon:
                low = middle
            else:
                high = middle
        return high

    def threshold(self, noise: float, sets: int) -> float:
        """Noisy count from which on a value may be shown, one of `sets` such searches.

        A value that one row alone brings stays below it but with probability delta * FOR_SETS for
        all sets together (Korolova et al. 2009, with Gaussian noise).
        """
        from scipy.stats import norm

        return 1.0 + noise * float(norm.isf(FOR_SETS * self.delta / max(sets, 1)))

    def _epsilon(self, history: list[tuple[float, float, int]]) -> float:
        from opacus.accountants import RDPAccountant

        if not history:
            return 0.0
        if min(noise for noise, _, _ in history) <= 0:
            return math.inf
        accountant = RDPAccountant()
        accountant.history = history
        return float(accountant.get_epsilon((1 - FOR_SETS) * self.delta, alphas=ORDERS))

    def to_json(self) -> dict[str, Any]:
        """The accountant's state, and what it adds up to."""
        return {
            "mechanism": "rdp",
            "history": [list(release) for release in self.history],
            "epsilon": self.spent,
            "delta": self.delta,
            "epsilon_allowed": self.epsilon,
            "delta_for_sets": FOR_SETS * self.delta,
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Budget:
        """The budget `to_json` described. Raises ArtefactError where it does not add up."""
        history = [(float(n), float(q), int(t)) for n, q, t in state["history"]]
        budget = cls(float(state["epsilon_allowed"]), float(state["delta"]), history)
        if not math.isclose(budget.spent, state["epsilon"], rel_tol=1e-6):
            raise ArtefactError("the accountant's history does not give its epsilon; fit again")
        return budget


def check_dp(generator: GeneratorSpec, privacy: PrivacySpec) -> None:
    """Raise InputError where differential privacy is asked of a family that cannot give it."""
    if privacy.dp is not None and generator.family != "autoregressive":
        raise InputError(
            f"privacy.dp: a {generator.family} model cannot be trained with differential privacy;"
            " set generator.family to autoregressive, or leave out privacy.dp"
        )


def check_budget(budget: Budget | None, spec: DpSpec, rows: int) -> Budget:
    """The budget that codecs were fitted with, if it is the one that is asked for.

    Raises InputError where they were fitted without one, or with another.
    """
    wanted = Budget.start(spec, rows)
    if budget is None or (budget.epsilon, budget.delta) != (wanted.epsilon, wanted.delta):
        raise InputError(
            f"privacy.dp asks for epsilon {spec.epsilon:g}, but the codecs were fitted"
            f" {'with another budget' if budget else 'without differential privacy'};"
            " make the features anew"
        )
    return budget


def secret_rng() -> np.random.Generator:
    """Random numbers nobody can make again: noise that can be made again can be subtracted."""
    return np.random.default_rng()
