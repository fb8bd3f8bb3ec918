"""Scores and verdicts as the report shows them: in words, with units, beside fresh real rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigc_pipeline.evaluation.gates import limit
from aigc_pipeline.evaluation.result import GateResult, Score, Telling
from aigc_pipeline.evaluation.wording import WORDS, Words, against_fresh, percent, written
from aigc_pipeline.spec import DatasetSpec

TELLING = 8


@dataclass(frozen=True)
class Card:
    """One score as the report shows it."""

    name: str
    words: Words
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
    title: str
    value: str
    limit: str
    reference: str


def make_card(name: str, score: Score, gate: GateResult | None) -> Card:
    """A score with its words and its verdict."""
    words = WORDS.get(name) or Words(name, "quality", "Fidelity", score.description)
    return Card(
        name=name,
        words=words,
        score=score,
        value=written(score.value, words.unit),
        reference=None if score.reference is None else written(score.reference, words.unit),
        upper=None if score.upper is None else written(score.upper, words.unit),
        as_fresh=against_fresh(name, score),
        gate=gate,
        meaning=f"{score.description}." if words.group == "Utility" else words.meaning,
    )


def gate_row(
    spec: DatasetSpec, scores: Mapping[str, Mapping[str, Score]], gate: GateResult
) -> GateRow:
    """A gate's verdict; `scores` are those of each table."""
    words = WORDS.get(gate.score) or Words(gate.score, "quality", "Fidelity", "")
    score = scores.get(gate.table, {}).get(gate.score)
    asked = spec.gates.get(gate.score)
    limits = []
    if asked is not None and score is not None and gate.value is not None:
        for word, end, side in (("at least", asked.min, -1), ("at most", asked.max, 1)):
            number = limit(score, end, side)
            if number is not None:
                note = ", from fresh real rows" if end == "holdout" else ""
                if not note and side > 0 and score.upper is not None:
                    note = " with 95 % confidence"
                limits.append(f"{word} {written(number, words.unit)}{note}")
    value = written(gate.value, words.unit)
    if not gate.passed and gate.value is not None and any(value in text for text in limits):
        value = f"{gate.value:.8g}"  # rounding would hide by how much it misses
    return GateRow(
        gate=gate,
        title=words.title,
        value=value,
        limit=" and ".join(limits) or gate.limit,
        reference=written(score.reference if score else None, words.unit),
    )


def in_groups(cards: Sequence[Card]) -> dict[str, list[Card]]:
    """Cards by what they are about; groups without any left out."""
    groups = {
        group: [card for card in cards if card.words.group == group]
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
