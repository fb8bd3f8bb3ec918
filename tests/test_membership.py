"""Whether an attacker tells training rows from others: of fresh rows not, of overfitted models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from evaluation_kit import halves

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation import Evaluation, check_gates, evaluate
from aigc_pipeline.features import TableCodec
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import Gate, GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

SPEC = TableSpec(source=Source(file="loans.csv"))
COLUMNS = [
    "state", "annual_income", "debt_to_income", "total_credit_limit", "homeownership", "term",
    "loan_purpose", "loan_amount", "interest_rate", "earliest_credit_line",
]  # fmt: skip
BOTH = ("membership_auc", "membership_model_auc")
GATES = dict.fromkeys(BOTH, Gate(max=0.55))


@pytest.fixture(scope="module")
def loans() -> pl.DataFrame:
    """Ten columns of openintro's loans, in random order."""
    df = read_table(Source(sample="openintro/loans_full_schema"), Path.cwd(), name="loans")
    return df.select(COLUMNS).sample(fraction=1.0, shuffle=True, seed=0)


@pytest.fixture(scope="module")
def schema(loans: pl.DataFrame) -> TableSchema:
    return infer_schema(loans, "loans", SPEC)


def fit(df: pl.DataFrame) -> TableModel:
    return fit_table(df, SPEC, name="loans", generator=GeneratorSpec(quality="draft"))


def noisy(df: pl.DataFrame) -> pl.DataFrame:
    """The same people, each number a little off and one category in ten another's."""
    rng = np.random.default_rng(0)
    changed = {}
    for name in df.columns:
        if df[name].dtype == pl.String:
            other = df[name][rng.permutation(df.height)]
            changed[name] = other.zip_with(pl.Series(rng.random(df.height) < 0.1), df[name])
        else:
            changed[name] = df[name] * (1 + 1e-3 * rng.standard_normal(df.height))
    return pl.DataFrame(changed)


def passed(found: Evaluation) -> dict[str, bool]:
    return {g.score: g.passed for g in check_gates({"loans": found}, GATES)}


def test_rows_and_models_of_other_people_give_nobody_away(
    loans: pl.DataFrame, schema: TableSchema
) -> None:
    parts = [loans[start : start + 800] for start in (0, 800, 1_600)]
    found = evaluate(*parts, schema, model=fit(parts[2]))
    for name in BOTH:
        score = found.scores[name]
        assert score.value == pytest.approx(0.5, abs=3 * score.error), name
        assert score.upper == pytest.approx(score.value + 1.645 * score.error)
        assert score.reference == 0.5 and score.why_not is None
    assert found.facts["membership_rows"] == 800
    assert passed(found) == dict.fromkeys(BOTH, True)


def test_blurred_copies_are_caught(loans: pl.DataFrame, schema: TableSchema) -> None:
    train, holdout = loans[:1_000], loans[1_000:2_000]
    found = evaluate(train, holdout, noisy(train), schema)
    assert found.scores["copied_rows"].value == 0.0
    assert found.scores["membership_auc"].value > 0.9
    assert found.scores["membership_model_auc"].value is None
    assert "model behind the synthetic rows" in found.scores["membership_model_auc"].why_not
    assert passed(found) == dict.fromkeys(BOTH, False)


def test_an_overfitted_model_is_caught_by_its_rows_and_by_itself(
    loans: pl.DataFrame, schema: TableSchema
) -> None:
    """Each row stands 40 times, so what early stopping looks at was trained on as well."""
    train, holdout = loans[:300], loans[300:600]
    model = fit(pl.concat([train] * 40))
    found = evaluate(train, holdout, model.sample(1_000), schema, model=model)
    for name in BOTH:
        assert found.scores[name].value > 0.6, name
    verdicts = check_gates({"loans": found}, GATES)
    assert not any(v.passed for v in verdicts)
    assert all("its upper confidence bound" in v.message for v in verdicts)


def test_few_rows_say_nothing(loans: pl.DataFrame, schema: TableSchema) -> None:
    found = evaluate(loans[:500], loans[500:590], loans[600:800], schema)
    for name in BOTH:
        assert "100 training and 100 holdout rows" in found.scores[name].why_not
    assert passed(found) == dict.fromkeys(BOTH, False)


def test_one_row_of_each_subject_is_tried(loans: pl.DataFrame, schema: TableSchema) -> None:
    """A person's other rows are like the one tried, and would stand for more evidence."""
    people = loans[:600].with_columns(pl.int_range(pl.len()).cast(pl.String).alias("who"))
    train, holdout = halves(people)
    many = pl.concat([train] * 4)
    found = evaluate(many, holdout, loans[1_000:1_500], schema, subject="who")
    assert found.facts["membership_rows"] == 300
    score = found.scores["membership_auc"]
    assert score.value == pytest.approx(0.5, abs=3.5 * score.error)


def test_a_family_without_a_likelihood_is_judged_by_its_rows(
    loans: pl.DataFrame, schema: TableSchema
) -> None:
    def none(tokens: np.ndarray) -> np.ndarray:
        raise InputError("a gan model has no likelihood of a row")

    parts = [loans[start : start + 300] for start in (0, 300, 600)]
    model = SimpleNamespace(
        codec=TableCodec.fit(parts[0], schema, SPEC),
        generator=SimpleNamespace(log_prob=none, cell_log_prob=none),
    )
    found = evaluate(*parts, schema, model=model)
    assert found.scores["membership_auc"].value is not None
    assert found.scores["membership_model_auc"].why_not == "a gan model has no likelihood of a row"
    assert found.learned.why_not == "a gan model has no likelihood of a row"


def test_a_model_of_another_table_is_refused(loans: pl.DataFrame, schema: TableSchema) -> None:
    model = fit_table(
        loans[:300].rename({"term": "months"}), SPEC, generator=GeneratorSpec(quality="draft")
    )
    with pytest.raises(InputError, match="the model learned a column 'months' of type"):
        evaluate(loans[:300], loans[300:600], loans[600:900], schema, model=model)
