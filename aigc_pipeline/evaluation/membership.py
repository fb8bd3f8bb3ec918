"""Membership inference: can an attacker who holds a person's row tell that it was trained on?

Two attackers, neither of whom knows which rows were. One sees what is released, the synthetic rows:
a row that lies nearer to them than other real people's rows would explain was trained on (a ratio
of densities as in DOMIAS: van Breugel et al. 2023, "Membership inference attacks against synthetic
data through overfitting detection"; with nearest neighbours in place of its density estimate). The
other holds the model itself, and takes a row's likelihood less what rows like it get (difficulty
calibration: Watson et al. 2022, "On the importance of difficulty calibration in membership
inference attacks"). Both are tried on as many training rows as rows that were held out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation.detection import auc_error
from aigc_pipeline.evaluation.explain import FittedModel
from aigc_pipeline.evaluation.pairs import blocks, distances
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coded, Coder
from aigc_pipeline.evaluation.trees import SETTINGS, features, fit, single_thread

MAX_ROWS = 2_000  # of members, and of others
MIN_ROWS = 100  # of either; the confidence bound of fewer says nothing
MAX_SYNTHETIC = 10_000
BUDGET = 2_000_000_000  # values compared at most: some seconds
REAL, SYNTHETIC = 5, 3  # nearest neighbours whose distance stands for a density
ABSENT = -0.5  # where a missing number lies beside ranks from 0 to 1
CLOSE = 0.01  # of a usual distance: nearer than this tells nothing more
TREES = 100
FOLDS = 5
SIDED = 1.645  # standard errors of a one-sided 95 % bound

FROM_ROWS = "How well an attacker who sees the synthetic rows tells who was trained on (AUC)"
FROM_MODEL = "How well an attacker who also has the model tells who was trained on (AUC)"
NO_MODEL = "the model behind the synthetic rows was not given"


def score(
    real: tuple[pl.DataFrame, pl.DataFrame],
    plain: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
    coded: tuple[Coded, Coded, Coded],
    coder: Coder,
    *,
    subject: str | None = None,
    model: FittedModel | None = None,
    seed: int,
) -> tuple[dict[str, Score], dict[str, float]]:
    """Both attackers' scores with confidence bounds, and the number of rows behind them.

    real: training and holdout rows as they are. plain, coded: these and the synthetic rows, as
    `plain_values` and coded. With a subject, one row of each is tried: others are not independent.
    """
    rng = np.random.default_rng(seed)
    synthetic = rng.permutation(plain[2].height)[:MAX_SYNTHETIC]
    chosen = [_one_each(table, subject, rng) for table in real]
    rows = min(MAX_ROWS, *map(len, chosen), affordable(len(synthetic), len(coder.names)))
    if rows < MIN_ROWS or not coder.names:
        whose = "subjects" if subject else "rows"
        reason = f"it needs {MIN_ROWS} training and {MIN_ROWS} holdout {whose}, and a column"
        return {
            "membership_auc": not_evaluated("half", reason, FROM_ROWS),
            "membership_model_auc": not_evaluated("half", reason, FROM_MODEL),
        }, {}
    members, others = (each[:rows] for each in chosen)
    tables = (plain[0][members], plain[1][others], plain[2][synthetic])
    scores = {
        "membership_auc": attack(*tables, coder, FROM_ROWS),
        "membership_model_auc": not_evaluated("half", NO_MODEL, FROM_MODEL),
    }
    if model is not None:
        tried = (real[0][members], real[1][others])
        inputs = (coded[0].take(members), coded[1].take(others))
        try:
            scores["membership_model_auc"] = attack_model(model, tried, inputs, coder, seed=seed)
        except InputError as error:  # a family without a likelihood
            scores["membership_model_auc"] = not_evaluated("half", str(error), FROM_MODEL)
    return scores, {"membership_rows": rows, "membership_synthetic_rows": len(synthetic)}


def attack(
    members: pl.DataFrame,
    others: pl.DataFrame,
    synthetic: pl.DataFrame,
    coder: Coder,
    description: str = FROM_ROWS,
    *,
    judged: np.ndarray | None = None,
) -> Score:
    """The attacker who sees synthetic rows, tried on as many members as others (`plain_values`).

    judged: a mask over members, then others: of which rows the AUC is; of all by default. What it
    leaves out still stands for the other real people that a row is compared with.
    """
    suspicion = _nearness(*_points(members, others, synthetic, coder))
    return judge(suspicion, _firsts(members.height, others.height), description, judged)


def attack_model(
    model: FittedModel,
    real: tuple[pl.DataFrame, pl.DataFrame],
    coded: tuple[Coded, Coded],
    coder: Coder,
    *,
    seed: int,
    judged: np.ndarray | None = None,
) -> Score:
    """The attacker who holds the model, tried on members and others, as they are and coded.

    judged: as for `attack`. Raises InputError in a family without a likelihood.
    """
    tokens = np.concatenate([model.codec.encode(table) for table in real])
    with single_thread():
        likelihood = model.generator.log_prob(tokens)
    unusual = likelihood - _expected(*features(coded, coder), likelihood, seed)
    return judge(unusual, _firsts(*map(len, coded)), FROM_MODEL, judged)


def _one_each(table: pl.DataFrame, subject: str | None, rng: np.random.Generator) -> np.ndarray:
    """Positions of the rows in random order; with a subject, of one row each."""
    order = pl.DataFrame({"row": rng.permutation(table.height)})
    if subject is None:
        return order["row"].to_numpy()
    order = order.with_columns(table[subject].gather(order["row"]).alias("who"))
    return order.unique("who", keep="first", maintain_order=True)["row"].to_numpy()


def affordable(synthetic: int, columns: int) -> int:
    """How many rows n keep the comparisons, 2n rows with 2n + synthetic ones, in the budget."""
    half = synthetic / 4
    return int(np.sqrt(half**2 + BUDGET / (4 * max(columns, 1))) - half)


def _points(
    members: pl.DataFrame, others: pl.DataFrame, synthetic: pl.DataFrame, coder: Coder
) -> tuple[Coded, Coded]:
    """The tried rows, members first, and the synthetic ones: numbers as ranks among the former.

    The attacker's own coding, which rests on members and others alike: a coding fitted on the
    training rows would say something of them by itself.
    """
    tried = pl.concat([members, others])
    both = pl.concat([tried, synthetic])
    numbers = np.empty((both.height, len(coder.numeric)))
    for index, name in enumerate(coder.numeric):
        values, known = both[name].to_numpy(), np.sort(tried[name].drop_nulls().to_numpy())
        places = np.searchsorted(known, values) + np.searchsorted(known, values, side="right")
        numbers[:, index] = np.where(np.isnan(values), ABSENT, places / max(2 * len(known), 1))
    codes = [both[name].rank("dense").fill_null(0).to_numpy() for name in coder.categories]
    whole = Coded(numbers, np.array(codes, dtype=np.int32).reshape(-1, both.height).T)
    at = np.arange(both.height)
    return whole.take(at[: tried.height]), whole.take(at[tried.height :])


def _nearness(tried: Coded, synthetic: Coded) -> np.ndarray:
    """How much nearer each row lies to synthetic rows than to other real ones, float64 [rows].

    In logarithms, so it orders rows as the ratio of the densities there does.
    """
    near = _nearest(tried, tried, REAL + 1)[:, 1:]  # but for the row itself
    made = _nearest(tried, synthetic, SYNTHETIC)
    least = CLOSE * max(float(np.median(near)), 1e-9)
    return np.log(near + least).mean(1) - np.log(made + least).mean(1)


def _nearest(rows: Coded, others: Coded, count: int) -> np.ndarray:
    """Distances to the `count` nearest of the other rows, rising, float64 [rows, count]."""
    found = []
    for some in blocks(np.arange(len(rows)), len(others)):
        part = rows.take(some)
        far = distances(part.numbers, part.codes, others.numbers, others.codes, differs=1.0)
        found.append(np.sort(np.partition(far, min(count, len(others)) - 1)[:, :count]))
    return np.concatenate(found)


def _expected(
    inputs: np.ndarray, is_category: np.ndarray, likelihood: np.ndarray, seed: int
) -> np.ndarray:
    """The log-likelihood that other rows like each one get, by boosted trees, float64 [rows]."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold

    expected = np.empty(len(likelihood))
    settings: dict[str, Any] = {"max_iter": TREES, "random_state": seed, **SETTINGS}
    with single_thread():
        for fitted, asked in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
            model = HistGradientBoostingRegressor(categorical_features=is_category, **settings)
            expected[asked] = fit(model, inputs[fitted], likelihood[fitted]).predict(inputs[asked])
    return expected


def _firsts(members: int, others: int) -> np.ndarray:
    """The mask of members, who come first."""
    return np.arange(members + others) < members


def judge(
    suspicion: np.ndarray, members: np.ndarray, description: str, judged: np.ndarray | None = None
) -> Score:
    """The AUC of an attacker's suspicion of each row.

    members: a mask of the rows that were trained on. judged: one of the rows that count.
    """
    from sklearn.metrics import roc_auc_score

    if judged is not None:
        suspicion, members = suspicion[judged], members[judged]
    found = int(members.sum())
    auc = float(roc_auc_score(members, suspicion))
    error = auc_error(auc, found, len(members) - found)
    return Score(
        value=auc,
        error=error,
        upper=min(auc + SIDED * error, 1.0),
        reference=0.5,  # guessing, in as many rows
        reference_error=error,
        better="half",
        description=description,
    )
