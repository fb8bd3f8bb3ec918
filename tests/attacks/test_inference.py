"""Inference from what is released: who was trained on, and what else is true of them.

The attacker holds real people's rows, and the synthetic ones. Half of these people were trained on,
half were not; whatever works as well on the latter is knowledge of the world and no leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest
from guarantees import STRESS
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.neighbors import NearestNeighbors

from aigc_pipeline.evaluation import Score
from aigc_pipeline.evaluation.membership import attack, attack_model, judge
from aigc_pipeline.evaluation.tables import Coder, plain_values
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

SPEC = TableSpec(source=Source(sample="openintro/loans_full_schema"))
COLUMNS = [
    "state", "annual_income", "debt_to_income", "total_credit_limit", "homeownership", "term",
    "loan_purpose", "loan_amount", "interest_rate", "earliest_credit_line",
]  # fmt: skip
SECRETS = ["annual_income", "debt_to_income", "homeownership", "loan_purpose", "interest_rate"]
PEOPLE = 3_500  # of either kind; the other 3,000 borrowers are the attacker's
QUALITY = "standard" if STRESS else "draft"
OUTLYING = 0.1  # of all people tried
CLOSE = 0.05  # of a number: a guess that near is right
TWO_SIDED = 1.96  # standard errors of a 95 % confidence interval
# Several secrets are tried: together they exceed this by chance once in a hundred (Bonferroni).
BY_CHANCE = NormalDist().inv_cdf(1 - 0.01 / len(SECRETS))


@dataclass(frozen=True)
class Case:
    """A table learned from half of some people, and an attacker's own model of other people."""

    members: pl.DataFrame
    others: pl.DataFrame
    synthetic: pl.DataFrame
    schema: TableSchema
    model: TableModel  # the one behind the synthetic rows
    own: TableModel  # learned from people who are neither

    @property
    def tried(self) -> pl.DataFrame:
        return pl.concat([self.members, self.others])

    @property
    def outlying(self) -> np.ndarray:
        """The people whom the attacker's own model finds least likely: who was trained on or not
        has no part in it."""
        likelihood = self.own.log_prob(self.tried).to_numpy()
        return likelihood <= np.quantile(likelihood, OUTLYING)


def fit(df: pl.DataFrame, seed: int = 0) -> TableModel:
    return fit_table(df, SPEC, name="loans", generator=GeneratorSpec(quality=QUALITY), seed=seed)


@pytest.fixture(scope="module")
def case() -> Case:
    df = read_table(SPEC.source, Path.cwd(), name="loans").select(COLUMNS)
    df = df.sample(fraction=1.0, shuffle=True, seed=0)
    members, others, strangers = df[:PEOPLE], df[PEOPLE : 2 * PEOPLE], df[2 * PEOPLE :]
    model = fit(members)
    made = model.sample(4_000, seed=0)
    return Case(members, others, made, infer_schema(df, "loans", SPEC), model, fit(strangers))


def told(score: Score) -> str:
    return f"AUC {score.value:.2f}, with 95 % confidence at most {score.upper:.2f}"


def lowest(score: Score) -> float:
    """The lower end of an AUC's 95 % confidence interval."""
    assert score.value is not None and score.error is not None
    return score.value - TWO_SIDED * score.error


@pytest.mark.parametrize("whom", ["random", "outlying"])
def test_who_was_trained_on_by_likelihood_ratio(case: Case, whom: str, tried: Any) -> None:
    """The density of synthetic rows around a row against that of other real people's."""
    line = tried("Privacy", f"membership of {whom} records by likelihood ratio, from released rows")
    plain = [plain_values(t, case.schema) for t in (case.members, case.others, case.synthetic)]
    coder = Coder(plain[0], case.schema, min_subjects=6)
    judged = case.outlying if whom == "outlying" else None
    score = attack(plain[0], plain[1], plain[2], coder, judged=judged)
    assert score.upper is not None
    if judged is None:
        assert score.upper <= 0.55
    else:  # 350 people of either kind: the bound of a coin would be 0.54
        assert lowest(score) <= 0.5 and score.upper <= 0.6
    line.happened(told(score))


def test_who_was_trained_on_by_a_model_of_the_released_rows(case: Case, tried: Any) -> None:
    """The strongest attacker tried: learns the synthetic rows as we learned the real ones, and
    compares a row's likelihood there with that among other people. Only dp bounds what it finds."""
    line = tried("Privacy", "membership by a model of the released rows, and one of other people")
    shadow = fit(case.synthetic, seed=5)
    ratio = shadow.log_prob(case.tried).to_numpy() - case.own.log_prob(case.tried).to_numpy()
    score = judge(ratio, np.arange(2 * PEOPLE) < PEOPLE, "")
    assert score.value is not None and score.value <= 0.65
    line.happened(f"better than chance without dp: {told(score)}")


@pytest.mark.parametrize("whom", ["random", "outlying"])
def test_who_was_trained_on_by_the_model_itself(case: Case, whom: str, tried: Any) -> None:
    """Why a model is not published: its likelihoods tell what its rows do not."""
    line = tried("Privacy", f"membership of {whom} records by whoever holds the model")
    plain = [plain_values(t, case.schema) for t in (case.members, case.others)]
    coder = Coder(plain[0], case.schema, min_subjects=6)
    coded = (coder.encode(plain[0]), coder.encode(plain[1]))
    judged = case.outlying if whom == "outlying" else None
    real = (case.members, case.others)
    score = attack_model(case.model, real, coded, coder, seed=0, judged=judged)
    assert score.value is not None and lowest(score) > 0.5  # else the docs warn for nothing
    line.happened(f"told: {told(score)}")


def known(df: pl.DataFrame, synthetic: pl.DataFrame, secret: str) -> np.ndarray:
    """All columns but the secret one: numbers as ranks among synthetic ones, values as 0 or 1/2."""
    parts = []
    for name in df.columns:
        if name == secret:
            continue
        if df[name].dtype == pl.String:
            for value in synthetic[name].drop_nulls().unique().sort():
                parts.append(0.5 * (df[name] == value).fill_null(False).to_numpy())
        else:
            numbers, ranked = df[name].to_numpy(), np.sort(synthetic[name].drop_nulls().to_numpy())
            ranks = np.searchsorted(ranked, numbers) / len(ranked)
            parts.append(np.where(df[name].is_null().to_numpy(), -0.5, ranks))
    return np.column_stack(parts)


def guess(attacker: str, df: pl.DataFrame, synthetic: pl.DataFrame, secret: str) -> np.ndarray:
    """What an attacker says of each person's secret, having the synthetic rows."""
    synthetic = synthetic.drop_nulls(secret)
    answers = synthetic[secret].to_numpy()
    learned, asked = known(synthetic, synthetic, secret), known(df, synthetic, secret)
    if attacker == "the nearest synthetic row":
        nearest = NearestNeighbors(n_neighbors=1, metric="manhattan", algorithm="brute")
        return answers[nearest.fit(learned).kneighbors(asked, return_distance=False)[:, 0]]
    of_numbers = synthetic[secret].dtype != pl.String
    trees = RandomForestRegressor if of_numbers else RandomForestClassifier
    forest = trees(50, min_samples_leaf=2, max_features=0.3, random_state=0)
    return forest.fit(learned, answers).predict(asked)


def success(attacker: str, df: pl.DataFrame, synthetic: pl.DataFrame, secret: str) -> np.ndarray:
    """Whose secret is guessed: the value, or a number within a twentieth of it."""
    df = df.drop_nulls(secret)
    guesses, truth = guess(attacker, df, synthetic, secret), df[secret].to_numpy()
    if df[secret].dtype == pl.String:
        return guesses == truth
    return np.abs(guesses - truth) <= CLOSE * np.abs(truth)


def gain(members: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """By how much more often members' secrets are guessed, and the standard error of that."""
    rates = [(rows.mean(), len(rows)) for rows in (members, others)]
    error = np.sqrt(sum(rate * (1 - rate) / rows for rate, rows in rates))
    return float(members.mean() - others.mean()), float(error)


@pytest.mark.parametrize("attacker", ["the nearest synthetic row", "trees on synthetic rows"])
def test_a_secret_is_guessed_no_better_of_those_trained_on(
    case: Case, attacker: str, tried: Any
) -> None:
    line = tried("Privacy", f"a secret column guessed from all others, by {attacker}")
    for secret in SECRETS:
        hits = [success(attacker, df, case.synthetic, secret) for df in (case.members, case.others)]
        more, error = gain(*hits)
        assert more <= BY_CHANCE * error, (secret, more, error)
        line.happened("of people trained on no more often than of people held out")


def test_secrets_of_copied_people_are_guessed(case: Case) -> None:
    """The positive control: the same attack on released rows that are the real ones, blurred."""
    rng = np.random.default_rng(0)
    blur = 1 + 0.01 * rng.standard_normal(PEOPLE)
    copies = case.members.with_columns(pl.col("annual_income", "interest_rate") * pl.Series(blur))
    for secret in ("annual_income", "loan_purpose"):
        nearest = "the nearest synthetic row"
        hits = [success(nearest, df, copies, secret) for df in (case.members, case.others)]
        more, error = gain(*hits)
        assert more > 0.3 and more > TWO_SIDED * error
