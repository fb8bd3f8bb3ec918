"""Gates: a score meets its threshold, or the table is refused and says why.

The limit `holdout` is what fresh real rows get, give or take two standard errors of that figure:
the reference plus 2 s.e. as a maximum, less 2 s.e. as a minimum. Where none of n fresh rows showed
a thing at all, the most its true share may be with 95 % confidence is 3 / n, and that is the limit
("rule of three"; Hanley & Lippman-Hand, 1983).

A membership score says how well an attacker does, and few rows show little of that. So a number as
its maximum is held against its upper confidence bound: the value plus 1.645 standard errors, which
the attacker's true AUC exceeds in 5 of 100 cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aigc_pipeline.evaluation.relational.result import RelationalEvaluation
from aigc_pipeline.evaluation.result import (
    QUERIES,
    RELATIONS,
    Evaluation,
    GateResult,
    QueryFidelity,
    Score,
)
from aigc_pipeline.spec import QUERY_SCORES, RELATIONAL_SCORES, Gate

ERRORS = 2.0  # standard errors that `holdout` allows


def check_gates(
    evaluations: Mapping[str, Evaluation],
    gates: Mapping[str, Gate],
    relations: RelationalEvaluation | None = None,
    queries: QueryFidelity | None = None,
) -> list[GateResult]:
    """The verdict of every gate on every table; of those across tables and of queries, one for all.

    A score that was not evaluated, or is no finite number, never passes. Only `utility_gap` is
    passed over for a table without a target, and only where another table has one.
    """
    with_target = [name for name, e in evaluations.items() if e.settings and e.settings.target]
    results = []
    for score, gate in gates.items():
        if score in RELATIONAL_SCORES:
            found = relations.scores.get(score) if relations is not None else None
            results.append(_check(score, RELATIONS, found, gate))
            continue
        if score in QUERY_SCORES:
            found = queries.scores.get(score) if queries is not None else None
            results.append(_check(score, QUERIES, found, gate))
            continue
        for table, evaluation in evaluations.items():
            no_target = evaluation.settings is not None and evaluation.settings.target is None
            if score == "utility_gap" and no_target and with_target:
                results.append(_passed_over(score, table, with_target))
            else:
                results.append(_check(score, table, evaluation.scores.get(score), gate))
    return results


def _passed_over(score: str, table: str, judged: list[str]) -> GateResult:
    message = f"{score} is judged on {', '.join(judged)}; this table has no target"
    return GateResult(
        score=score, table=table, passed=True, value=None, limit="no target", message=message
    )


def _check(score: str, table: str, found: Score | None, gate: Gate) -> GateResult:
    value = found.value if found is not None else None
    if found is None or value is None or not math.isfinite(value):
        reason = (found and found.why_not) or "it is missing from the evaluation"
        message = f"{score} was not evaluated, so its gate refuses: {reason}"
        return _result(score, table, False, None, _written(gate), message)
    low, high = limit(found, gate.min, -1), limit(found, gate.max, +1)
    for wanted, given in ((gate.min, low), (gate.max, high)):
        if wanted == "holdout" and given is None:
            message = (
                f"{score} is {_digits(value)}, but the holdout is too small to say what fresh real"
                " rows get; write a number as the limit or keep more rows (evaluation.holdout)"
            )
            return _result(score, table, False, value, _written(gate), message)
    # A limit of `holdout` allows for errors by itself.
    bound = found.upper if found.upper is not None and gate.max != "holdout" else None
    most = value if bound is None else bound
    passed = (low is None or value >= low) and (high is None or most <= high)
    words = _limits(gate, low, high)
    digits = _digits(most)
    if not passed and digits in words:  # rounding would hide by how much it misses
        digits = repr(most)
    if bound is not None:
        digits = f"{_digits(value)}, its upper confidence bound {digits}"
    message = f"{score} is {digits}, {'within' if passed else 'not'} {words}"
    if bound is not None:
        words += " (upper confidence bound)"
    if found.reference is not None:
        message += f" (fresh real rows get {_digits(found.reference)})"
    return _result(score, table, passed, most, words, message)


def limit(score: Score, end: float | str | None, side: int) -> float | None:
    """A gate's end as a number; `side` is +1 for a maximum and -1 for a minimum.

    None where the end is open, or where it is `holdout` and there is no such figure.
    """
    if end != "holdout":
        return None if end is None else float(end)
    if score.reference is None or score.reference_error is None:
        return None
    if score.reference_rows and score.reference == 0.0 and side > 0:
        return 3.0 / score.reference_rows
    return score.reference + side * ERRORS * score.reference_error


def _limits(gate: Gate, low: float | None, high: float | None) -> str:
    parts = []
    for word, wanted, given in (("at least", gate.min, low), ("at most", gate.max, high)):
        if given is not None:
            note = " (holdout)" if wanted == "holdout" else ""
            parts.append(f"{word} {_digits(given)}{note}")
    return " and ".join(parts)


def _written(gate: Gate) -> str:
    ends = (("at least", gate.min), ("at most", gate.max))
    return " and ".join(f"{word} {end}" for word, end in ends if end is not None)


def _digits(value: float) -> str:
    return f"{value:.4g}"


def _result(
    score: str, table: str, passed: bool, value: float | None, words: str, message: str
) -> GateResult:
    return GateResult(
        score=score, table=table, passed=passed, value=value, limit=words, message=message
    )
