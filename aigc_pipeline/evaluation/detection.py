"""Detection: can a model tell synthetic rows from real ones, and what gives them away?

Gradient-boosted trees (scikit-learn's HistGradientBoosting) learn to tell training rows from as
many synthetic ones; 3-fold cross-validation, one AUC over all rows held out. 0.5 means they cannot
be told apart, 1 that each one can. A classifier two-sample test: Lopez-Paz & Oquab (2017),
"Revisiting classifier two-sample tests". The number of trees is fixed: stopping early on a small
validation part ends such a detector before it has found anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from aigc_pipeline.evaluation.result import Score, Telling, not_evaluated
from aigc_pipeline.evaluation.tables import Coded, Coder
from aigc_pipeline.evaluation.trees import SETTINGS, features, fit, single_thread

MAX_ROWS = 20_000  # of each kind
MIN_ROWS = 50  # of each kind; fewer say nothing
FOLDS = 3
TREES = 300
SHUFFLED_ROWS = 2_000  # held-out rows behind `telling`

DESCRIPTION = "How well boosted trees tell synthetic rows from training rows (AUC)"


@dataclass(frozen=True)
class Detection:
    """A detector's outcome. auc, error: area under the ROC curve and its standard error."""

    auc: float
    error: float
    rows: int  # of each kind
    telling: list[Telling] = field(default_factory=list)


def detect(
    real: Coded,
    other: Coded,
    coder: Coder,
    *,
    seed: int,
    explain: bool = False,
    groups: tuple[np.ndarray, ...] | None = None,
) -> Detection | None:
    """Train and test detectors of `other` among equally many `real` rows; None for too few rows.

    explain: also find the columns whose shuffling costs the detector most.
    groups: of the real and the other rows, whose each one is. Rows of one subject are not
        independent: they are in one fold, and the standard error counts subjects.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows = min(len(real), len(other), MAX_ROWS)
    if rows < MIN_ROWS or not coder.names:
        return None
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(len(table))[:rows] for table in (real, other)]
    parts = [table.take(some) for table, some in zip((real, other), chosen, strict=True)]
    values, is_category = features(parts, coder)
    labels = np.repeat([0, 1], rows)
    found = np.zeros(2 * rows)
    telling: list[Telling] = []
    if groups is None:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(values, labels)
        independent = (rows, rows)
    else:
        whose = [g[some] for g, some in zip(groups, chosen, strict=True)]
        who = np.concatenate([2 * whose[0], 2 * whose[1] + 1])  # a number means two subjects
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(
            values, labels, who
        )
        independent = (len(np.unique(who[:rows])), len(np.unique(who[rows:])))
    with single_thread():
        for fold, (fitted, tested) in enumerate(folds):
            model = HistGradientBoostingClassifier(
                max_iter=TREES, categorical_features=is_category, random_state=seed, **SETTINGS
            )
            fit(model, values[fitted], labels[fitted])
            found[tested] = model.predict_proba(values[tested])[:, 1]
            if explain and fold == 0:
                some = rng.permutation(tested)[:SHUFFLED_ROWS]
                telling = _telling(
                    model.decision_function,
                    values[some],
                    labels[some],
                    coder.numeric + coder.categories,
                    rng,
                )
    auc = float(roc_auc_score(labels, found))
    return Detection(auc, auc_error(auc, *independent), rows, telling)


def score(
    train: Coded,
    holdout: Coded,
    synthetic: Coded,
    coder: Coder,
    *,
    seed: int,
    groups: tuple[np.ndarray, ...] | None = None,
) -> tuple[Score, list[Telling], dict[str, float]]:
    """The detection score beside that of holdout rows, the telling columns, and row counts.

    groups: of the three tables, whose each row is (see `detect`).
    """
    pairs = (None, None) if groups is None else ((groups[0], groups[2]), groups[:2])
    ours = detect(train, synthetic, coder, seed=seed, explain=True, groups=pairs[0])
    if ours is None:
        reason = (
            f"a detector needs at least {MIN_ROWS} training and {MIN_ROWS} synthetic rows, and a"
            f" column to judge; there are {len(train)} and {len(synthetic)} rows"
        )
        return not_evaluated("half", reason, DESCRIPTION), [], {}
    fresh = detect(train, holdout, coder, seed=seed, groups=pairs[1])
    result = Score(
        value=ours.auc,
        error=ours.error,
        reference=fresh.auc if fresh else None,
        reference_error=fresh.error if fresh else None,
        better="half",
        description=DESCRIPTION,
    )
    facts: dict[str, float] = {"detection_rows": ours.rows}
    if fresh:
        facts["detection_reference_rows"] = fresh.rows
    return result, ours.telling, facts


def _telling(
    decide: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    rng: np.random.Generator,
) -> list[Telling]:
    """What the detector loses on held-out rows when one column is shuffled, largest loss first.

    The margin (its log-odds for the right answer) still tells columns apart where so many of them
    give a row away that the AUC survives the loss of any one.
    """
    from sklearn.metrics import roc_auc_score

    sign = 2 * labels - 1

    def judge() -> tuple[float, float]:
        odds = decide(values)
        return float(roc_auc_score(labels, odds)), float((sign * odds).mean())

    auc, margin = judge()
    losses = []
    for index, name in enumerate(names):
        kept = values[:, index].copy()
        values[:, index] = kept[rng.permutation(len(kept))]
        shuffled = judge()
        losses.append((name, auc - shuffled[0], max(margin - shuffled[1], 0.0)))
        values[:, index] = kept
    total = sum(loss for _, _, loss in losses) or 1.0
    found = [Telling(column=n, auc_loss=a, weight=loss / total) for n, a, loss in losses]
    return sorted(found, key=lambda telling: -telling.weight)


def auc_error(auc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUC. Hanley & McNeil (1982)."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    ) / (positives * negatives)
    return float(np.sqrt(max(variance, 0.0)))
