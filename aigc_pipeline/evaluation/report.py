"""The evaluation report: one HTML file that needs no network and holds no real row.

Everything shown comes from `Evaluation` objects, which keep no rare value and no extreme. All text
is escaped by the template, and the page's own policy forbids scripts and any request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aigc_pipeline.drift import TableDrift
from aigc_pipeline.evaluation import charts
from aigc_pipeline.evaluation.cards import gate_row, in_groups, make_card, telling_rows
from aigc_pipeline.evaluation.drift_page import moved_since
from aigc_pipeline.evaluation.query_page import asked
from aigc_pipeline.evaluation.relational.page import across
from aigc_pipeline.evaluation.relational.result import RelationalEvaluation
from aigc_pipeline.evaluation.result import (
    QUERIES,
    RELATIONS,
    ColumnScore,
    Evaluation,
    GateResult,
    PairScore,
    QueryFidelity,
)
from aigc_pipeline.evaluation.wording import DASH
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.pages import Messages, percent, render
from aigc_pipeline.spec import DatasetSpec, Kind

OPEN_COLUMNS = 12  # column cards that are not folded away
WORST_PAIRS = 10
INFLUENCES = 10  # that are not folded away


def render_report(
    spec: DatasetSpec,
    evaluations: Mapping[str, Evaluation],
    gates: Sequence[GateResult],
    facts: Mapping[str, Any],
    relations: RelationalEvaluation | None = None,
    queries: QueryFidelity | None = None,
    drift: Mapping[str, TableDrift] | None = None,
) -> str:
    """The report as one self-contained HTML page, in the dataset file's language.

    Args:
        spec: the dataset file; its title, owners, gates and `locale` count.
        evaluations: by table name.
        gates: the verdicts; without any, the page says that nothing was judged.
        facts: where the rows come from, shown as they are.
        relations: how the tables hang together, where they refer to each other.
        queries: how BI's queries are answered.
        drift: by table, how far the source moved since the run before.
    """
    text = Messages(spec.locale)
    scores = {name: e.scores for name, e in evaluations.items()}
    if relations is not None:
        scores[RELATIONS] = relations.scores
    if queries is not None:
        scores[QUERIES] = queries.scores
    rows = [gate_row(spec, scores, gate, text) for gate in gates]
    return render(
        Path(__file__).parent / "templates" / "report.html.j2",
        text,
        spec=spec,
        title=spec.title or spec.name,
        tables=[_table(name, e, gates, text) for name, e in evaluations.items()],
        across=None if relations is None else across(relations, gates, text),
        queries=None if queries is None else asked(spec, queries, gates, text),
        drift=moved_since(drift or {}, text),
        several=len(evaluations) > 1 or relations is not None or queries is not None,
        gates=rows,
        missed=[row for row in rows if not row.gate.passed],
        facts=facts,
        heat_labels=charts.heat_labels(text),
        chart_size=(charts.WIDTH, charts.HEIGHT),
    )


def _table(
    name: str, evaluation: Evaluation, gates: Sequence[GateResult], text: Messages
) -> dict[str, Any]:
    """What the template needs of one table."""
    judged = {gate.score: gate for gate in gates if gate.table == name}
    cards = [
        make_card(s, score, judged.get(s), text, evaluation)
        for s, score in evaluation.scores.items()
    ]
    columns = sorted(evaluation.columns, key=_column_order)
    shown = [(_column(column), charts.histogram(column), _bars(column)) for column in columns]
    dots, scale = charts.dots(evaluation)
    pairs = [p for p in evaluation.pairs if p.trend_error is not None]
    return {
        "name": name,
        "groups": in_groups(cards),
        "cards": {card.name: card for card in cards},
        "settings": evaluation.settings,
        "counts": {k: f"{v:,.0f}" for k, v in evaluation.facts.items()},
        "open_columns": shown[:OPEN_COLUMNS],
        "other_columns": shown[OPEN_COLUMNS:],
        "heatmap": charts.heatmap(evaluation, text),
        "dots": dots,
        "dots_scale": scale,
        "pairs": [_pair(p) for p in sorted(pairs, key=_beyond_fresh, reverse=True)[:WORST_PAIRS]],
        "pairs_left_out": len(evaluation.pairs) - len(pairs),
        "telling": telling_rows(evaluation.telling),
        "learned": evaluation.learned,
        "influences": _influences(evaluation),
        "together": all(t.auc_loss < 0.01 for t in evaluation.telling[:3]),
    }


def _column_order(column: ColumnScore) -> float:
    """Largest error first; what could not be judged before all."""
    return -2.0 if column.shape_error is None else -column.shape_error


def _beyond_fresh(pair: PairScore) -> float:
    """By how much a pair's error exceeds that of fresh real rows."""
    return (pair.trend_error or 0.0) - (pair.reference or 0.0)


def _column(column: ColumnScore) -> dict[str, Any]:
    """A column's figures, its means as people read them."""
    shown = column.distribution
    means = shown.means if shown is not None else None
    return {
        **dict(column),
        "folded": shown.folded if shown is not None else 0,
        "means": None if means is None else [_mean(value, column.kind) for value in means],
    }


def _mean(value: float, kind: Kind | None) -> str:
    if kind == Kind.DATETIME:
        return charts.tick(value, kind)
    return f"{float(f'{value:.4g}'):,.10g}".replace("-", "\N{MINUS SIGN}")


def _pair(pair: PairScore) -> dict[str, Any]:
    """A pair's figures; its strengths are correlations or Cramér's V."""
    strengths = [
        DASH if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
        for value in (pair.real, pair.synthetic)
    ]
    return {**dict(pair), "strengths": strengths}


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
