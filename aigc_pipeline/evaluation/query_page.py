"""What the report says of BI's queries: a verdict, the furthest off, all of them with their SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aigc_pipeline.evaluation.cards import in_groups, make_card
from aigc_pipeline.evaluation.result import QUERIES, GateResult, QueryFidelity, QueryScore
from aigc_pipeline.evaluation.wording import DASH
from aigc_pipeline.pages import Messages, isolated, percent
from aigc_pipeline.spec import DatasetSpec

WORST = 6
BEST = 3


def asked(
    spec: DatasetSpec, fidelity: QueryFidelity, gates: Sequence[GateResult], text: Messages
) -> dict[str, Any]:
    """What the template needs of the queries."""
    judged = {gate.score: gate for gate in gates if gate.table == QUERIES}
    cards = [make_card(s, score, judged.get(s), text) for s, score in fidelity.scores.items()]
    ranked = sorted(fidelity.queries, key=lambda q: q.reference - q.error)
    many = len(ranked) > WORST + BEST
    entities = [
        text("queries.of", count=count, table=isolated(root))
        for root, count in fidelity.entities.items()
    ]
    return {
        "groups": in_groups(cards),
        "verdict": _verdict(fidelity, text),
        "entities": text("page.list").join(entities),
        "rounds": fidelity.rounds,
        "worst": [_row(spec, q) for q in ranked[: WORST if many else len(ranked)]],
        "best": [_row(spec, q) for q in ranked[-BEST:]] if many else [],
        "all": [_row(spec, q) for q in ranked],
        "marts": [_row(spec, q) for q in ranked if q.name is not None],
        "not_compared": fidelity.not_compared,
    }


def _verdict(fidelity: QueryFidelity, text: Messages) -> str:
    ratio, error = fidelity.scores["query_error_ratio"], fidelity.scores["query_error"]
    if error.value is None or error.reference is None:
        return text("cards.not_evaluated_because", reason=text.reason(error.why_not or DASH))
    figures = {
        "count": len(fidelity.queries),
        "error": percent(error.value),
        "reference": percent(error.reference),
    }
    if ratio.value is None:
        return text("queries.off", **figures)
    return text("queries.off_ratio", **figures, ratio=ratio.value)


def _row(spec: DatasetSpec, query: QueryScore) -> dict[str, str]:
    mart = spec.marts.get(query.name) if query.name is not None else None
    title = query.name if mart is None else mart.title or query.name
    return {
        "title": title or f"{query.kind}: {', '.join(query.tables)}",
        "about": (mart and mart.description) or "",
        "error": percent(query.error),
        "fresh": percent(query.reference),
        "sql": query.sql,
    }
