"""What the report says of BI's queries: a verdict, the furthest off, all of them with their SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aigc_pipeline.evaluation.cards import in_groups, make_card
from aigc_pipeline.evaluation.result import QUERIES, GateResult, QueryFidelity, QueryScore
from aigc_pipeline.evaluation.wording import percent
from aigc_pipeline.spec import DatasetSpec

WORST = 6
BEST = 3


def asked(
    spec: DatasetSpec, fidelity: QueryFidelity, gates: Sequence[GateResult]
) -> dict[str, Any]:
    """What the template needs of the queries."""
    judged = {gate.score: gate for gate in gates if gate.table == QUERIES}
    cards = [make_card(s, score, judged.get(s)) for s, score in fidelity.scores.items()]
    ranked = sorted(fidelity.queries, key=lambda q: q.reference - q.error)
    many = len(ranked) > WORST + BEST
    entities = [f"{count:,} of {root}" for root, count in fidelity.entities.items()]
    return {
        "groups": in_groups(cards),
        "verdict": _verdict(fidelity),
        "entities": ", ".join(entities),
        "rounds": fidelity.rounds,
        "worst": [_row(spec, q) for q in ranked[: WORST if many else len(ranked)]],
        "best": [_row(spec, q) for q in ranked[-BEST:]] if many else [],
        "all": [_row(spec, q) for q in ranked],
        "marts": [_row(spec, q) for q in ranked if q.name is not None],
        "not_compared": fidelity.not_compared,
    }


def _verdict(fidelity: QueryFidelity) -> str:
    ratio, error = fidelity.scores["query_error_ratio"], fidelity.scores["query_error"]
    if error.value is None or error.reference is None:
        return f"Not evaluated: {error.why_not}."
    off = (
        f"Half of {len(fidelity.queries)} queries are off by {percent(error.value)} or less on"
        f" synthetic rows, and by {percent(error.reference)} or less on as many fresh real rows"
    )
    return f"{off}." if ratio.value is None else f"{off}: {ratio.value:.2f} times as much."


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
