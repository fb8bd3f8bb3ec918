"""What the report says of all tables together: cards, and a table for each kind of detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aigc_pipeline.evaluation.cards import in_groups, make_card, telling_rows
from aigc_pipeline.evaluation.relational.result import Compared, RelationalEvaluation, RelationScore
from aigc_pipeline.evaluation.result import RELATIONS, GateResult
from aigc_pipeline.evaluation.wording import DASH, written
from aigc_pipeline.pages import Messages, isolated, percent

PAIRS = 8
COLUMNS = 5  # of an ordered table, those furthest beyond fresh real rows


def across(
    evaluation: RelationalEvaluation, gates: Sequence[GateResult], text: Messages
) -> dict[str, Any]:
    """What the template needs of the relations."""
    judged = {gate.score: gate for gate in gates if gate.table == RELATIONS}
    cards = [make_card(s, score, judged.get(s), text) for s, score in evaluation.scores.items()]
    settings = evaluation.settings
    entities = [
        text(
            "across.entity",
            table=isolated(root),
            synthetic=count,
            train=settings.train_entities[root],
            holdout=settings.holdout_entities[root],
        )
        for root, count in settings.synthetic_entities.items()
    ]
    return {
        "groups": in_groups(cards),
        "cards": {card.name: card for card in cards},
        "entities": text("page.stop").join(entities),
        "relations": [_relation(r, text) for r in evaluation.relations],
        "joins": [
            {"path": " \N{RIGHTWARDS ARROW} ".join(j.path), "pairs": j.pairs, **_beside(j.trend)}
            for j in evaluation.joins
        ],
        "pairs": evaluation.pairs[:PAIRS],
        "orders": [
            {
                "table": order.table,
                "order_by": order.order_by,
                "gap": _beside(order.gap),
                "span": _beside(order.span),
                "autocorrelation": _beside(order.autocorrelation),
                "columns": ", ".join(
                    f"{name} {_percent(error.value)}" for name, error in _worst(order.columns)
                ),
            }
            for order in evaluation.orders
        ],
        "parents": [
            {
                "table": parent.table,
                "auc": written(parent.auc.value, "auc", text),
                "fresh": written(parent.auc.reference, "auc", text),
                "why_not": parent.auc.why_not,
                "telling": telling_rows(parent.telling),
            }
            for parent in evaluation.parents
        ],
    }


def _relation(relation: RelationScore, text: Messages) -> dict[str, Any]:
    hit = relation.integrity
    broken = hit is not None and hit < 1
    shown = f"{100 * hit:.8g} %" if hit is not None and broken else _percent(hit)
    if hit is None and any(relation.orphan_rates):
        shown = text("across.declared")
    return {
        "name": relation.relation,
        "role": relation.role,
        "integrity": shown,
        "broken": broken,
        "measure": relation.measure,
        "children": [DASH if n is None else f"{n:,.2f}" for n in relation.children],
        "nulls": [_percent(rate) for rate in relation.null_rates],
        "orphans": [_percent(rate) for rate in relation.orphan_rates],
        **_beside(relation.cardinality),
    }


def _beside(compared: Compared) -> dict[str, str]:
    return {"value": _percent(compared.value), "fresh": _percent(compared.reference)}


def _worst(columns: dict[str, Compared]) -> list[tuple[str, Compared]]:
    """Columns whose error exceeds fresh real rows' most."""
    known = [(name, c) for name, c in columns.items() if c.value is not None]
    known.sort(key=lambda item: (item[1].reference or 0.0) - (item[1].value or 0.0))
    return known[:COLUMNS]


def _percent(share: float | None) -> str:
    return DASH if share is None else percent(share)
