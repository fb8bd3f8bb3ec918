"""Scores and verdicts as the report shows them: in words, with units, beside fresh real rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigc_pipeline.evaluation.gates import limit
from aigc_pipeline.evaluation.result import (
    QUERIES,
    RELATIONS,
    Evaluation,
    GateResult,
    Score,
    Telling,
)
from aigc_pipeline.evaluation.wording import WORDS, Words, against_fresh, written
from aigc_pipeline.pages import Messages, isolated, percent
from aigc_pipeline.spec import DatasetSpec

TELLING = 8
PLACES = {RELATIONS: "report.across", QUERIES: "report.queries"}
PLAIN = Words("quality", "Fidelity")  # of a score that has no words of its own


@dataclass(frozen=True)
class Card:
    """One score as the report shows it."""

    name: str
    title: str
    group: str
    score: Score
    value: str
    reference: str | None
    upper: str | None
    as_fresh: bool | None
    gate: GateResult | None
    meaning: str


@dataclass(frozen=True)
class GateRow:
    """One gate's verdict in the report's own units."""

    gate: GateResult
    place: str  # the table, or what stands for all of them
    title: str
    value: str
    limit: str
    reference: str
    why_not: str | None


def make_card(
    name: str,
    score: Score,
    gate: GateResult | None,
    text: Messages,
    evaluation: Evaluation | None = None,
) -> Card:
    """A score with its words and its verdict; `evaluation` is the table's, if it is of one."""
    words = WORDS.get(name, PLAIN)
    return Card(
        name=name,
        title=_title(name, text),
        group=words.group,
        score=score,
        value=written(score.value, words.unit, text),
        reference=None if score.reference is None else written(score.reference, words.unit, text),
        upper=None if score.upper is None else written(score.upper, words.unit, text),
        as_fresh=against_fresh(name, score),
        gate=gate,
        meaning=_meaning(name, score, text, evaluation),
    )


def _title(name: str, text: Messages) -> str:
    key = f"scores.{name}.title"
    return text(key) if key in text else name


def _meaning(name: str, score: Score, text: Messages, evaluation: Evaluation | None) -> str:
    key = f"scores.{name}.meaning"
    if key not in text:
        return text.reason(score.description)
    target = evaluation and evaluation.settings and evaluation.settings.target
    classes = "AUC" in score.description
    numbers = "R²" in score.description
    measure = " / ".join(["AUC"] * classes + ["R²"] * numbers)
    return text(key, target=isolated(target or "target"), measure=measure)


def gate_row(
    spec: DatasetSpec,
    scores: Mapping[str, Mapping[str, Score]],
    gate: GateResult,
    text: Messages,
) -> GateRow:
    """A gate's verdict; `scores` are those of each table."""
    words = WORDS.get(gate.score, PLAIN)
    score = scores.get(gate.table, {}).get(gate.score)
    limits = _limits(spec, gate, score, words, text)
    value = written(gate.value, words.unit, text)
    if not gate.passed and gate.value is not None and any(value in part for part in limits):
        value = f"{gate.value:.8g}"  # rounding would hide by how much it misses
    asked = limits[0] if len(limits) == 1 else gate.limit
    if len(limits) == 2:
        asked = text("gates.and", first=limits[0], second=limits[1])
    why_not = None
    if gate.value is None and not gate.passed:
        reason = (score and score.why_not) or "it is missing from the evaluation"
        why_not = text("gates.not_evaluated", reason=text.reason(reason))
    return GateRow(
        gate=gate,
        place=text(PLACES[gate.table]) if gate.table in PLACES else gate.table,
        title=_title(gate.score, text),
        value=value,
        limit=asked,
        reference=written(score.reference if score else None, words.unit, text),
        why_not=why_not,
    )


def _limits(
    spec: DatasetSpec, gate: GateResult, score: Score | None, words: Words, text: Messages
) -> list[str]:
    """What a gate asks for, an end each: a number with its unit, and where that is from."""
    asked = spec.gates.get(gate.score)
    if asked is None:
        return []
    if gate.value is None and gate.passed:
        return [text("gates.no_target")]
    found: list[str] = []
    for key, end, side in (("gates.at_least", asked.min, -1), ("gates.at_most", asked.max, 1)):
        if end is None:
            continue
        number = end if score is None or end != "holdout" else limit(score, end, side)
        if not isinstance(number, float):
            found.append(text(key, number=text("gates.fresh")))
            continue
        part = text(key, number=written(number, words.unit, text))
        if end == "holdout":
            part = text("gates.from_fresh", limit=part)
        elif side > 0 and score is not None and score.upper is not None:
            part = text("gates.confident", limit=part)
        found.append(part)
    return found


def in_groups(cards: Sequence[Card]) -> dict[str, list[Card]]:
    """Cards by what they are about; groups without any left out."""
    groups = {
        group: [card for card in cards if card.group == group]
        for group in ("Fidelity", "Utility", "Privacy")
    }
    return {group: found for group, found in groups.items() if found}


def telling_rows(telling: Sequence[Telling]) -> list[dict[str, Any]]:
    """The columns that give most away, with bar lengths in percent of the first."""
    found = [t for t in telling[:TELLING] if t.weight > 0]
    return [
        {
            "column": t.column,
            "weight": percent(t.weight),
            "width": f"{100 * t.weight / found[0].weight:.1f}",
            "loss": f"{max(t.auc_loss, 0.0):.3f}",
        }
        for t in found
    ]
