"""The evaluation report: one HTML file that needs no network and holds no real row.

Everything shown comes from `Evaluation` objects, which keep no rare value and no extreme. All text
is escaped by the template, and the page's own policy forbids scripts and any request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_pipeline import __version__
from aigc_pipeline.evaluation import charts
from aigc_pipeline.evaluation.gates import limit
from aigc_pipeline.evaluation.result import ColumnScore, Evaluation, GateResult, PairScore, Score
from aigc_pipeline.evaluation.wording import WORDS, Words, against_fresh, percent, written
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.spec import DatasetSpec

OPEN_COLUMNS = 12  # column cards that are not folded away
WORST_PAIRS = 10
TELLING = 8
INFLUENCES = 10  # that are not folded away


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


def render_report(
    spec: DatasetSpec,
    evaluations: Mapping[str, Evaluation],
    gates: Sequence[GateResult],
    facts: Mapping[str, Any],
) -> str:
    """The report as one self-contained HTML page.

    Args:
        spec: the dataset file; its title, owners and gates are shown.
        evaluations: by table name.
        gates: the verdicts; without any, the page says that nothing was judged.
        facts: where the rows come from, shown as they are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    rows = [_gate_row(spec, evaluations, gate) for gate in gates]
    return environment.get_template("report.html.j2").render(
        spec=spec,
        title=spec.title or spec.name,
        tables=[_table(name, e, gates) for name, e in evaluations.items()],
        gates=rows,
        missed=[row for row in rows if not row.gate.passed],
        facts=facts,
        version=__version__,
        heat_labels=charts.HEAT_LABELS,
        chart_size=(charts.WIDTH, charts.HEIGHT),
    )


def _table(name: str, evaluation: Evaluation, gates: Sequence[GateResult]) -> dict[str, Any]:
    """What the template needs of one table."""
    judged = {gate.score: gate for gate in gates if gate.table == name}
    cards = [_card(s, score, judged.get(s)) for s, score in evaluation.scores.items()]
    groups = {
        group: [card for card in cards if card.words.group == group]
        for group in ("Fidelity", "Utility", "Privacy")
    }
    columns = sorted(evaluation.columns, key=_column_order)
    shown = [(column, charts.histogram(column), _bars(column)) for column in columns]
    dots, scale = charts.dots(evaluation)
    pairs = [p for p in evaluation.pairs if p.trend_error is not None]
    return {
        "name": name,
        "groups": {group: found for group, found in groups.items() if found},
        "cards": {card.name: card for card in cards},
        "settings": evaluation.settings,
        "counts": {k: f"{v:,.0f}" for k, v in evaluation.facts.items()},
        "open_columns": shown[:OPEN_COLUMNS],
        "other_columns": shown[OPEN_COLUMNS:],
        "heatmap": charts.heatmap(evaluation),
        "dots": dots,
        "dots_scale": scale,
        "pairs": sorted(pairs, key=_beyond_fresh, reverse=True)[:WORST_PAIRS],
        "pairs_left_out": len(evaluation.pairs) - len(pairs),
        "telling": _telling(evaluation),
        "learned": evaluation.learned,
        "influences": _influences(evaluation),
        "together": all(t.auc_loss < 0.01 for t in evaluation.telling[:3]),
    }


def _card(name: str, score: Score, gate: GateResult | None) -> Card:
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


def _gate_row(
    spec: DatasetSpec, evaluations: Mapping[str, Evaluation], gate: GateResult
) -> GateRow:
    words = WORDS.get(gate.score) or Words(gate.score, "quality", "Fidelity", "")
    score = evaluations[gate.table].scores.get(gate.score) if gate.table in evaluations else None
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


def _column_order(column: ColumnScore) -> float:
    """Largest error first; what could not be judged before all."""
    return -2.0 if column.shape_error is None else -column.shape_error


def _beyond_fresh(pair: PairScore) -> float:
    """By how much a pair's error exceeds that of fresh real rows."""
    return (pair.trend_error or 0.0) - (pair.reference or 0.0)


def _bars(column: ColumnScore) -> list[dict[str, Any]]:
    """Rows of a category column's chart: label, both shares, and bar lengths in percent."""
    shown = column.distribution
    if shown is None or not shown.labels:
        return []
    named = [i for i, label in enumerate(shown.labels) if label != OTHER]
    top = max((max(shown.real[i], shown.synthetic[i]) for i in named), default=1.0) or 1.0
    return [
        {
            "label": label,
            "real": percent(real),
            "synthetic": percent(synthetic),
            # "(other)" is no value, and often so large that it would dwarf all others.
            "widths": [f"{100 * share / top:.1f}" for share in (real, synthetic)]
            if label != OTHER
            else [],
        }
        for label, real, synthetic in zip(shown.labels, shown.real, shown.synthetic, strict=True)
    ]


def _telling(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The columns that give most away, with bar lengths in percent of the first."""
    found = [t for t in evaluation.telling[:TELLING] if t.weight > 0]
    return [
        {
            "column": t.column,
            "weight": percent(t.weight),
            "width": f"{100 * t.weight / found[0].weight:.1f}",
            "loss": f"{max(t.auc_loss, 0.0):.3f}",
        }
        for t in found
    ]


def _influences(evaluation: Evaluation) -> list[list[dict[str, str]]]:
    """Which columns inform which, with bar lengths in percent of the first: what is shown at once,
    and the rest."""
    found = evaluation.learned.influences if evaluation.learned else []
    rows = [
        {
            "column": influence.column,
            "informs": influence.informs,
            "nats": f"{influence.nats:.2f}",
            "width": f"{100 * influence.nats / found[0].nats:.1f}",
            "share": f"{100 * influence.share:.0f} %",
        }
        for influence in found
    ]
    return [part for part in (rows[:INFLUENCES], rows[INFLUENCES:]) if part]
