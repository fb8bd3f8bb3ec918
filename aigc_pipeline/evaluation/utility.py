"""Utility: is a model trained on synthetic rows as good on real ones as a model trained on those?

Boosted trees are trained once on synthetic and once on as many training rows, and both predict the
target of the holdout: macro one-vs-rest AUC for classes, R² for numbers ("train on synthetic, test
on real": Esteban et al., 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigc_pipeline.evaluation.fidelity import jackknife, number
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import MISSING, Coded, Coder
from aigc_pipeline.evaluation.trees import SETTINGS, features, fit, single_thread

MAX_ROWS = 20_000
MIN_ROWS = 50  # to train on
MIN_TESTED = 5  # holdout rows of a class for it to be judged
TREES = 100
GROUPS = 10  # of the jackknife behind the gap's standard error

GAP = "What a prediction loses when its model is trained on synthetic instead of real rows"
REAL = "Prediction of the holdout's {} by a model of training rows ({})"
SYNTHETIC = "Prediction of the holdout's {} by a model of synthetic rows ({})"

NAMES = ("utility_gap", "utility_synthetic", "utility_real")


@dataclass(frozen=True)
class Task:
    """Targets and inputs of the three tables, rows without a target left out.

    targets: float64 of numbers, int64 codes of classes. is_class: which of the two.
    """

    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    is_category: np.ndarray
    is_class: bool


def score(
    train: Coded, holdout: Coded, synthetic: Coded, coder: Coder, *, target: str | None, seed: int
) -> tuple[dict[str, Score], dict[str, float]]:
    """The utility scores, and the numbers of rows behind them."""
    reason = _why_not(coder, target)
    if reason is None:
        assert target is not None
        task = _task([train, holdout, synthetic], coder, target)
        reason = _too_little(task, target)
    if reason is not None:
        descriptions = [GAP, *(text.format("target", "AUC or R²") for text in (SYNTHETIC, REAL))]
        betters = ("low", "high", "high")
        return {
            name: not_evaluated(better, reason, description)  # type: ignore[arg-type]
            for name, better, description in zip(NAMES, betters, descriptions, strict=True)
        }, {}
    rows = min(len(task.targets[0]), len(task.targets[2]), MAX_ROWS)
    predicted = [_predict(task, index, rows, seed) for index in (0, 2)]
    truth = task.targets[1]
    classes = judged_classes(truth)

    def both(rows: np.ndarray) -> np.ndarray:
        """Quality of the two predictions on some of the holdout's rows."""
        if task.is_class:
            return np.array([macro_auc(truth[rows], p[rows], classes) for p in predicted])
        return np.array([r_squared(truth[rows], p[rows]) for p in predicted])

    order = np.random.default_rng(seed).permutation(len(truth))
    real, ours = both(order).tolist()

    def figures(kept: np.ndarray) -> np.ndarray:
        real, ours = both(order[kept])
        return np.array([real - ours, ours, real])

    error, error_ours, error_real = map(number, jackknife(figures, len(truth), GROUPS))
    what = "AUC" if task.is_class else "R²"
    return {
        "utility_gap": Score(
            value=real - ours,
            error=error,
            reference=0.0,
            reference_error=error,
            better="low",
            description=GAP,
        ),
        "utility_synthetic": Score(
            value=ours,
            error=error_ours,
            reference=real,
            reference_error=error_real,
            better="high",
            description=SYNTHETIC.format(target, what),
        ),
        "utility_real": Score(
            value=real, error=error_real, better="high", description=REAL.format(target, what)
        ),
    }, {"utility_rows": rows, "utility_tested_rows": len(truth)}


def _why_not(coder: Coder, target: str | None) -> str | None:
    if target is None:
        return "the table has no target; name one under `target` in the dataset file"
    if target not in coder.names:
        return f"the target {target!r} is generated afresh, so nothing can be learned of it"
    if len(coder.names) < 2:
        return f"there is no other column to predict {target!r} from"
    return None


def _task(tables: list[Coded], coder: Coder, target: str) -> Task:
    """Inputs and targets. A number of two values is a class, any other number is a number."""
    values, is_category = features(tables, coder)
    ends = np.cumsum([len(t) for t in tables])[:-1]
    numeric = target in coder.numeric
    if numeric:
        column = coder.numeric.index(target)
        wanted = values[:, column]
        missing = np.isnan(wanted)
    else:
        column = len(coder.numeric) + coder.categories.index(target)
        wanted = np.concatenate([t.codes[:, column - len(coder.numeric)] for t in tables])
        missing = wanted == MISSING
    known = np.unique(wanted[: len(tables[0])][~missing[: len(tables[0])]])
    is_class = not numeric or len(known) <= 2
    if numeric and is_class and len(known):  # the nearer of the two values
        wanted = np.abs(wanted[:, None] - known).argmin(1)
    inputs, is_input = np.delete(values, column, axis=1), np.delete(is_category, column)
    keep = np.split(~missing, ends)
    return Task(
        [x[k] for x, k in zip(np.split(inputs, ends), keep, strict=True)],
        [y[k] for y, k in zip(np.split(wanted, ends), keep, strict=True)],
        is_input,
        is_class,
    )


def _too_little(task: Task, target: str) -> str | None:
    names = ("training", "holdout", "synthetic")
    for name, targets, least in zip(names, task.targets, (MIN_ROWS, 2, MIN_ROWS), strict=True):
        if len(targets) < least:
            return (
                f"{len(targets)} {name} rows have a value of {target!r};"
                f" at least {least} are needed"
            )
    truth = task.targets[1]
    if not task.is_class:
        return None if np.ptp(truth) > 0 else f"{target!r} has one value in all holdout rows"
    if not len(judged_classes(truth)):
        return (
            f"the holdout's {target!r} does not have two classes of at least {MIN_TESTED} rows;"
            " keep more rows from training (evaluation.holdout)"
        )
    return None


def _predict(task: Task, index: int, rows: int, seed: int) -> np.ndarray:
    """The holdout's prediction by a model of one table.

    float64 [holdout rows] for a number; [holdout rows, codes] probabilities of classes, 0 for a
    class the table does not have.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs, targets = task.inputs[index], task.targets[index]
    chosen = np.random.default_rng(seed).permutation(len(targets))[:rows]
    settings = {"max_iter": TREES, "random_state": seed, **SETTINGS}
    settings["categorical_features"] = task.is_category
    with single_thread():
        if not task.is_class:
            model = HistGradientBoostingRegressor(**settings)
            return fit(model, inputs[chosen], targets[chosen]).predict(task.inputs[1])
        classes = np.unique(targets[chosen])
        size = int(max(t.max() for t in task.targets)) + 1
        probabilities = np.zeros((len(task.inputs[1]), size))
        if len(classes) == 1:  # it has learned one thing only
            probabilities[:, classes[0]] = 1.0
            return probabilities
        model = HistGradientBoostingClassifier(**settings)
        fit(model, inputs[chosen], targets[chosen])
        probabilities[:, model.classes_] = model.predict_proba(task.inputs[1])
    return probabilities


def judged_classes(truth: np.ndarray) -> np.ndarray:
    """Classes that the rows can judge: enough rows are of it, and enough are not."""
    classes, counts = np.unique(truth, return_counts=True)
    enough = (counts >= MIN_TESTED) & (len(truth) - counts >= MIN_TESTED)
    return classes[enough]


def macro_auc(truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Mean one-vs-rest AUC over `classes`, of probabilities [rows, codes]."""
    from sklearn.metrics import roc_auc_score

    return float(np.mean([roc_auc_score(truth == c, probabilities[:, c]) for c in classes]))


def r_squared(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the target's variance that the prediction explains; negative when it misleads."""
    total = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((truth - predicted) ** 2).sum() / total) if total > 0 else 0.0
