"""How scores are told to people: titles, units, what they mean, and how they compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aigc_pipeline.evaluation.result import Score

Unit = Literal["share", "points", "auc", "quality", "count"]


@dataclass(frozen=True)
class Words:
    """A score as the report names it."""

    title: str
    unit: Unit
    group: Literal["Fidelity", "Utility", "Privacy"]
    meaning: str


WORDS: dict[str, Words] = {
    "shape_error": Words(
        "Single columns",
        "share",
        "Fidelity",
        "Average difference between the real and the synthetic distribution of a column;"
        " 0 % is identical.",
    ),
    "trend_error": Words(
        "Pairs of columns",
        "share",
        "Fidelity",
        "Average difference in how two columns go together; 0 % is identical.",
    ),
    "query_error": Words(
        "Queries",
        "share",
        "Fidelity",
        "How far half of all BI queries are off, at most: the median relative error of an answer.",
    ),
    "query_error_ratio": Words(
        "Queries beside fresh real rows",
        "quality",
        "Fidelity",
        "That error over the one that as many fresh real rows have; 1 is ideal.",
    ),
    "null_rate_error": Words(
        "Missing values",
        "points",
        "Fidelity",
        "Largest difference in a column's share of missing values.",
    ),
    "detection_auc": Words(
        "Told apart by a model",
        "auc",
        "Fidelity",
        "Boosted trees trained to tell synthetic rows from real ones (AUC): 0.5 is a coin toss, 1"
        " finds every one.",
    ),
    "utility_gap": Words(
        "Lost in prediction",
        "quality",
        "Utility",
        "What a model loses on real rows when it was trained on synthetic ones.",
    ),
    "utility_synthetic": Words(
        "Trained on synthetic", "quality", "Utility", "Prediction quality on real rows."
    ),
    "utility_real": Words("Trained on real", "quality", "Utility", "The same, for comparison."),
    "copied_rows": Words(
        "Copied rows",
        "share",
        "Privacy",
        "Synthetic rows equal to a training row in every column.",
    ),
    "replayed_rows": Words(
        "Nearly copied rows",
        "share",
        "Privacy",
        "Synthetic rows equal to one training row in at least nine of ten columns.",
    ),
    "dcr_share": Words(
        "Nearer to training rows",
        "share",
        "Privacy",
        "Synthetic rows that lie nearer to a training row than to any unseen real row; 50 % is"
        " ideal, clearly more means rows were memorised.",
    ),
    "membership_auc": Words(
        "Members told from the rows",
        "auc",
        "Privacy",
        "An attacker holds a real row, sees the synthetic ones, and asks whether it was trained on"
        " (AUC): 0.5 is a coin toss.",
    ),
    "membership_model_auc": Words(
        "Members told from the model",
        "auc",
        "Privacy",
        "The same for an attacker who has the model as well. A release holds rows only: this counts"
        " where the model itself is handed on.",
    ),
    "rare_values": Words(
        "Rare values shown",
        "count",
        "Privacy",
        "Categories that too few people share, and that appear all the same.",
    ),
    "extreme_values": Words(
        "Beyond the protected range",
        "share",
        "Privacy",
        "Rows with a number further out than the protected extremes.",
    ),
}

WORDS |= {
    "integrity": Words(
        "References that hit",
        "share",
        "Fidelity",
        "Rows that name a parent whose parent is there; below 100 % a join loses rows.",
    ),
    "key_uniqueness": Words(
        "Unique keys", "share", "Fidelity", "Rows whose key is there and no other row's."
    ),
    "cardinality_error": Words(
        "Children per parent",
        "share",
        "Fidelity",
        "Largest difference between the real and the synthetic distribution of how many rows belong"
        " to one parent.",
    ),
    "orphan_rate_error": Words(
        "Orphans",
        "points",
        "Fidelity",
        "Largest difference in the share of references whose parent is not there.",
    ),
    "null_reference_error": Words(
        "Without a parent",
        "points",
        "Fidelity",
        "Largest difference in the share of rows that name no parent.",
    ),
    "join_trend_error": Words(
        "Columns across joins",
        "share",
        "Fidelity",
        "Average difference in how a row's columns go with its parents' columns.",
    ),
    "parent_detection_auc": Words(
        "Parents told apart",
        "auc",
        "Fidelity",
        "Boosted trees that see a row and what all rows below it amount to tell synthetic ones from"
        " real ones (AUC): 0.5 is a coin toss.",
    ),
    "gap_error": Words(
        "Time between rows",
        "share",
        "Fidelity",
        "Largest difference between the distributions of the time from one row of an owner to the"
        " next.",
    ),
    "span_error": Words(
        "Time from first to last",
        "share",
        "Fidelity",
        "Largest difference between the distributions of the time an owner's rows span.",
    ),
    "autocorrelation_error": Words(
        "What follows what",
        "share",
        "Fidelity",
        "Average difference in how a value goes with the one before.",
    ),
    "real_keys": Words(
        "Real keys", "share", "Privacy", "Rows whose key is a real row's: none may be."
    ),
    "copied_entities": Words(
        "Copied entities",
        "share",
        "Privacy",
        "Synthetic people (or other entities) who equal a training one in all their rows.",
    ),
    "entity_membership_auc": Words(
        "Members told from all their rows",
        "auc",
        "Privacy",
        "An attacker holds all rows of a person, sees the synthetic ones, and asks whether they"
        " were trained on (AUC): 0.5 is a coin toss.",
    ),
}


def written(value: float | None, unit: Unit) -> str:
    """A figure with its unit: `1.2 %`, `0.647`, `3`; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if unit == "share":
        return percent(value)
    if unit == "points":
        return f"{100 * value:.2f} points"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """A share as a percentage of three significant digits at most; tiny ones keep two."""
    number = 100 * value
    if number == 0 or abs(number) >= 9.995:
        return f"{number:.0f} %" if number == 0 else f"{number:.1f} %"
    return f"{number:.2f} %" if abs(number) >= 0.01 else f"{number:.1g} %"


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
