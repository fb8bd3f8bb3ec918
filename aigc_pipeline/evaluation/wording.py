"""How scores are told to people: units, groups, figures, and how they compare.

Titles and meanings are in the catalogues of `aigc_pipeline.pages`, under `scores`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aigc_pipeline.evaluation.result import Score
from aigc_pipeline.pages import Messages, percent

Unit = Literal["share", "points", "auc", "quality", "count"]
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Words:
    """What a score is measured in, and what it is about."""

    unit: Unit
    group: Literal["Fidelity", "Utility", "Privacy"]


WORDS: dict[str, Words] = {
    "shape_error": Words("share", "Fidelity"),
    "trend_error": Words("share", "Fidelity"),
    "query_error": Words("share", "Fidelity"),
    "query_error_ratio": Words("quality", "Fidelity"),
    "null_rate_error": Words("points", "Fidelity"),
    "detection_auc": Words("auc", "Fidelity"),
    "utility_gap": Words("quality", "Utility"),
    "utility_synthetic": Words("quality", "Utility"),
    "utility_real": Words("quality", "Utility"),
    "copied_rows": Words("share", "Privacy"),
    "replayed_rows": Words("share", "Privacy"),
    "dcr_share": Words("share", "Privacy"),
    "membership_auc": Words("auc", "Privacy"),
    "membership_model_auc": Words("auc", "Privacy"),
    "rare_values": Words("count", "Privacy"),
    "extreme_values": Words("share", "Privacy"),
    "integrity": Words("share", "Fidelity"),
    "key_uniqueness": Words("share", "Fidelity"),
    "cardinality_error": Words("share", "Fidelity"),
    "orphan_rate_error": Words("points", "Fidelity"),
    "null_reference_error": Words("points", "Fidelity"),
    "join_trend_error": Words("share", "Fidelity"),
    "parent_detection_auc": Words("auc", "Fidelity"),
    "gap_error": Words("share", "Fidelity"),
    "span_error": Words("share", "Fidelity"),
    "autocorrelation_error": Words("share", "Fidelity"),
    "real_keys": Words("share", "Privacy"),
    "copied_entities": Words("share", "Privacy"),
    "entity_membership_auc": Words("auc", "Privacy"),
}


def written(value: float | None, unit: Unit, text: Messages) -> str:
    """A figure with its unit: `1.2 %`, `0.647`, `3`; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    if unit == "share":
        return percent(value)
    if unit == "points":
        return text("cards.points", number=f"{100 * value:.2f}")
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def against_fresh(name: str, score: Score) -> bool | None:
    """Whether a score is as good as fresh real rows', within two standard errors of the difference.

    None where there is no value or no reference.
    """
    if score.value is None or score.reference is None:
        return None
    if name == "rare_values":
        return score.value == 0
    fresh_error = 0.0 if score.upper is not None else score.reference_error or 0.0  # a guess: 0.5
    margin = 2 * math.hypot(score.error or 0.0, fresh_error)
    if score.reference_rows and score.reference == 0:
        margin = max(margin, 3 / score.reference_rows)
    if score.better == "high":
        return score.value >= score.reference - margin
    if name in ("detection_auc", "parent_detection_auc"):
        return abs(score.value - 0.5) <= abs(score.reference - 0.5) + margin
    return score.value <= score.reference + margin
