"""Errors at equal size: how a figure of synthetic rows is set beside that of fresh real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aigc_pipeline.evaluation.fidelity import number
from aigc_pipeline.evaluation.relational.result import Compared
from aigc_pipeline.evaluation.relational.samples import GROUPS, Worlds
from aigc_pipeline.evaluation.relational.worlds import World
from aigc_pipeline.evaluation.result import Score, not_evaluated

Judge = Callable[[World], np.ndarray]


@dataclass(frozen=True)
class Trial:
    """Errors against the training rows, all float64; NaN where one could not be computed.

    parts: [parts, figures]. holdout, full: [figures]. groups: [groups, figures].
    """

    parts: np.ndarray
    holdout: np.ndarray
    groups: np.ndarray
    full: np.ndarray

    @classmethod
    def join(cls, trials: Sequence[Trial]) -> Trial:
        """The figures of several trials of the same worlds, one after another."""
        fields = ("parts", "holdout", "groups", "full")
        if not trials:
            return cls(np.zeros((1, 0)), np.zeros(0), np.zeros((0, 0)), np.zeros(0))
        return cls(*(np.concatenate([getattr(t, f) for t in trials], axis=-1) for f in fields))

    def compared(self, index: int) -> Compared:
        """One figure."""
        return Compared(
            value=number(self._mean(self.parts[:, index])),
            reference=number(self.holdout[index]),
            full=number(self.full[index]),
        )

    def score(
        self,
        indices: Sequence[int],
        summary: Literal["worst", "mean"],
        description: str,
        reason: str,
    ) -> Score:
        """The score over some figures; not evaluated, for `reason`, where there are none."""
        values = [_summary(part[list(indices)], summary) for part in self.parts]
        value = self._mean(np.array(values))
        if np.isnan(value):
            return not_evaluated("low", reason, description)
        fresh = np.array([_summary(group[list(indices)], summary) for group in self.groups])
        fresh_error = (
            np.sqrt((GROUPS - 1) / GROUPS * ((fresh - fresh.mean()) ** 2).sum())
            if len(fresh)
            else np.nan
        )
        error = fresh_error  # of a single part, which is as large as the holdout
        if len(values) > 1:
            error = np.std(values, ddof=1) / np.sqrt(len(values))
        return Score(
            value=value,
            error=number(error),
            reference=number(_summary(self.holdout[list(indices)], summary)),
            reference_error=number(fresh_error),
            better="low",
            description=description,
        )

    @staticmethod
    def _mean(values: np.ndarray) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else np.nan


def compare(judge: Judge, worlds: Worlds) -> Trial:
    """Run a judge, which knows the training rows, on every sample.

    The groups give the holdout figure's standard error: a delete-a-group jackknife over entities.
    Kott (2001), "The delete-a-group jackknife".
    """
    parts = np.array([judge(part) for part in worlds.parts])
    whole = len(worlds.parts) == 1 and worlds.parts[0] is worlds.synthetic
    full = parts[0] if whole else judge(worlds.synthetic)
    fresh = judge(worlds.holdout_equal) if worlds.holdout_equal else np.full(len(full), np.nan)
    groups = [judge(group) for group in worlds.groups]
    return Trial(parts, fresh, np.array(groups).reshape(-1, len(full)), full)


def _summary(values: np.ndarray, summary: str) -> float:
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan
    return float(known.max() if summary == "worst" else known.mean())
