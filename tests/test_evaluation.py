"""What the scores say of good, bad, copied and strange synthetic tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluation_kit import Parts, cellar_of, halves, independent, schema_of

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation import Evaluation, evaluate
from aigc_pipeline.evaluation.tables import Coder, plain_values
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import Kind, Source, TableSpec


@pytest.fixture(scope="module")
def loans() -> Parts:
    """3,000 of openintro's loans with all 55 columns, in two halves."""
    df = read_table(Source(sample="openintro/loans_full_schema"), Path.cwd(), name="loans")
    return halves(df.sample(3_000, seed=0))


@pytest.fixture(scope="module")
def judged(loans: Parts) -> Evaluation:
    """Loans whose columns are independent, judged by real ones."""
    train, holdout = loans
    schema = infer_schema(train, "loans", TableSpec(source=Source(file="loans.csv")))
    return evaluate(train, holdout, independent(train), schema, target="homeownership")


def test_independent_columns_look_right_and_are_seen_at_once(judged: Evaluation) -> None:
    scores = judged.scores
    assert scores["shape_error"].value < 1e-6
    assert scores["trend_error"].value > scores["trend_error"].reference
    assert scores["detection_auc"].value > 0.95
    assert scores["detection_auc"].reference == pytest.approx(0.5, abs=0.06)
    assert scores["utility_gap"].value > 0.2
    assert scores["utility_gap"].value == pytest.approx(
        scores["utility_real"].value - scores["utility_synthetic"].value
    )
    assert scores["dcr_share"].value == pytest.approx(0.5, abs=0.06)
    assert scores["copied_rows"].value == 0.0
    assert sum(t.weight for t in judged.telling) == pytest.approx(1)
    tied = {"open_credit_lines", "num_satisfactory_accounts", "interest_rate", "sub_grade"}
    assert tied & {t.column for t in judged.telling[:5]}
    assert len(judged.columns) == 55 and len(judged.pairs) == 55 * 54 / 2


def test_fresh_real_rows_are_as_good_as_real_ones(diabetes: pl.DataFrame) -> None:
    order = np.random.default_rng(0).permutation(diabetes.height)
    train, holdout, fresh = (diabetes[part] for part in np.array_split(order, 3))
    found = evaluate(train, holdout, fresh, schema_of(diabetes), target="target").scores
    for name in ("shape_error", "trend_error", "null_rate_error", "detection_auc", "dcr_share"):
        margin = 4 * (found[name].reference_error or 0.0)
        assert found[name].value == pytest.approx(found[name].reference, abs=margin), name
    assert found["copied_rows"].value == found["copied_rows"].reference == 0.0
    assert found["utility_real"].value > 0.2 and "R²" in found["utility_real"].description
    assert abs(found["utility_gap"].value) < 3 * found["utility_gap"].error


def test_copies_and_near_copies_are_counted(diabetes: pl.DataFrame) -> None:
    train, holdout = halves(diabetes)
    near = train[10:30].with_columns(pl.col("age") + 0.5)
    synthetic = pl.concat([train[:10], near, independent(holdout)[:70]])
    scores = evaluate(train, holdout, synthetic, schema_of(diabetes)).scores
    assert scores["copied_rows"].value == pytest.approx(0.1)
    assert scores["replayed_rows"].value == pytest.approx(0.3)
    assert scores["replayed_rows"].reference == 0.0
    assert scores["copied_rows"].reference_rows == holdout.height


def test_memorised_rows_lie_nearer_to_training_rows(diabetes: pl.DataFrame) -> None:
    train, holdout = halves(diabetes)
    noise = np.random.default_rng(0).normal(0, 1e-3, train.shape)
    noisy = pl.DataFrame(train.to_numpy() + noise, schema=train.columns, orient="row")
    scores = evaluate(train, holdout, noisy, schema_of(diabetes)).scores
    assert scores["copied_rows"].value == 0.0
    assert scores["dcr_share"].value > 0.9


def test_rare_values_and_extremes_that_appear_are_counted(diabetes: pl.DataFrame) -> None:
    plain = diabetes.with_columns(pl.lit("often").alias("word"))
    train, holdout = halves(plain)
    rare = pl.Series("word", ["once", "twice", "twice", *["often"] * (train.height - 3)])
    train = train.with_columns(rare)
    synthetic = holdout.with_columns(
        pl.Series("word", ["once", "never seen", OTHER, *["often"] * (holdout.height - 3)])
    )
    bmi = pl.when(pl.int_range(pl.len()) < 4).then(1e6).otherwise(25.0).alias("bmi")
    scores = evaluate(train, holdout, synthetic.with_columns(bmi), schema_of(plain)).scores
    assert scores["rare_values"].value == 1
    assert scores["rare_values"].reference == 0
    assert scores["extreme_values"].value >= 4 / holdout.height
    unprotected = evaluate(train, holdout, synthetic, schema_of(plain), min_subjects=1).scores
    assert unprotected["rare_values"].value is None
    assert "min_subjects is 1" in unprotected["extreme_values"].why_not


def test_rarity_counts_subjects_and_not_rows() -> None:
    df = pl.DataFrame(
        {
            "word": ["common"] * 40 + ["one man's"] * 10,
            "size": [float(i % 7) for i in range(40)] + [1_000.0] * 10,
            "who": [*range(40), *[99] * 10],
        }
    )
    schema = schema_of(df.select("word", "size"))
    plain = plain_values(df, schema)
    by_row = Coder(plain, schema, min_subjects=5)
    by_subject = Coder(plain, schema, min_subjects=5, subjects=df["who"])
    assert by_row.values["word"] == ["common", "one man's"] and by_row.high[0] == 1_000.0
    assert by_subject.values["word"] == ["common"] and by_subject.high[0] == 6.0
    found = evaluate(df, df, df, schema, subject="who").model_dump_json()
    assert "one man" not in found and "1000" not in found


def test_a_worse_target_costs_utility_and_missing_ones_are_left_out(wine: pl.DataFrame) -> None:
    grown = pl.concat([wine] * 2)
    train, holdout = halves(grown)
    wrong = train.with_columns(pl.col("cultivar").shuffle(seed=0))
    scores = evaluate(train, holdout, wrong, schema_of(wine), target="cultivar").scores
    assert scores["utility_real"].value > 0.97
    assert scores["utility_gap"].value > 0.2
    hole = pl.when(pl.int_range(pl.len()) < 20).then(None).otherwise(pl.col("cultivar"))
    some = [t.with_columns(hole.alias("cultivar")) for t in (train, holdout, train)]
    found = evaluate(*some, schema_of(wine), target="cultivar")
    assert found.facts["utility_tested_rows"] == holdout.height - 20
    assert found.facts["utility_rows"] == train.height - 20
    assert found.scores["utility_gap"].value == 0.0


def test_a_class_missing_from_the_synthetic_rows_counts_as_not_found(wine: pl.DataFrame) -> None:
    grown = pl.concat([wine] * 2)
    train, holdout = halves(grown)
    without = train.filter(pl.col("cultivar") != "barbera")
    scores = evaluate(train, holdout, without, schema_of(wine), target="cultivar").scores
    assert scores["utility_synthetic"].value < 0.9  # a third of it is the coin toss 0.5
    only = train.filter(pl.col("cultivar") == "barbera").sample(60, with_replacement=True, seed=0)
    scores = evaluate(train, holdout, only, schema_of(wine), target="cultivar").scores
    assert scores["utility_synthetic"].value == pytest.approx(0.5)


def test_a_number_of_two_values_is_a_class(diabetes: pl.DataFrame) -> None:
    train, holdout = halves(diabetes)
    found = evaluate(train, holdout, train, schema_of(diabetes), target="sex")
    assert "(AUC)" in found.scores["utility_real"].description


@pytest.mark.parametrize(
    ("target", "changed", "reason"),
    [
        (None, {}, "has no target; name one under `target`"),
        ("patient", {}, "'patient' is generated afresh"),
        ("word", {"word": pl.lit("same")}, "does not have two classes of at least 5 rows"),
        ("word", {"word": pl.lit(None, pl.String)}, "0 training rows have a value of 'word'"),
        ("age", {"age": pl.lit(40.0)}, "does not have two classes"),
    ],
)
def test_utility_says_why_it_was_not_evaluated(
    diabetes: pl.DataFrame, target: str | None, changed: dict[str, pl.Expr], reason: str
) -> None:
    df = diabetes.with_columns(
        pl.when(pl.col("bmi") > 26).then(pl.lit("high")).otherwise(pl.lit("low")).alias("word"),
        pl.int_range(pl.len()).alias("patient"),
    ).with_columns(**changed)
    train, holdout = halves(df)
    schema = schema_of(df, patient={"kind": Kind.ID})
    found = evaluate(train, holdout, train, schema, target=target)
    for name in ("utility_gap", "utility_real", "utility_synthetic"):
        assert found.scores[name].value is None and reason in found.scores[name].why_not
    assert found.settings.not_judged == ["patient"]


def test_too_few_rows_are_said_and_not_scored_as_nothing(diabetes: pl.DataFrame) -> None:
    found = evaluate(diabetes[:30], diabetes[30:40], diabetes[40:70], schema_of(diabetes))
    assert "at least 50 training" in found.scores["detection_auc"].why_not
    assert "50 training and holdout rows" in found.scores["dcr_share"].why_not
    empty = evaluate(diabetes[:200], diabetes[:0], diabetes[200:], schema_of(diabetes))
    assert empty.scores["shape_error"].value > 0
    assert all(
        score.reference is None for name, score in empty.scores.items() if "utility" not in name
    )
    one = evaluate(diabetes[:1], diabetes[1:2], diabetes[2:3], schema_of(diabetes))
    assert one.scores["shape_error"].value is not None


def test_empty_and_constant_columns_are_judged_by_what_they_have(diabetes: pl.DataFrame) -> None:
    nothing = pl.lit(None, pl.Float64)
    df = diabetes.with_columns(nothing.alias("empty"), pl.lit(3.0).alias("same"))
    train, holdout = halves(df)
    schema = schema_of(df)
    found = {c.column: c for c in evaluate(train, holdout, train, schema).columns}
    assert found["empty"].shape_error is None and "has a value" in found["empty"].why_not
    assert found["same"].shape_error == 0.0
    filled = train.with_columns(pl.lit(1.0).alias("empty"))
    other = evaluate(train, holdout, filled, schema)
    assert {c.column: c for c in other.columns}["empty"].shape_error == 1.0
    assert other.scores["null_rate_error"].value == 1.0
    assert other.scores["detection_auc"].value == 1.0


def test_a_table_of_one_column_or_none_to_judge(diabetes: pl.DataFrame) -> None:
    one = diabetes.select("age")
    found = evaluate(*halves(one), one, schema_of(one))
    assert found.scores["trend_error"].why_not == "no two columns to compare"
    assert found.pairs == []
    keys = evaluate(*halves(one), one, schema_of(one, age={"key": True}))
    assert all("generated afresh" in s.why_not for s in keys.scores.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda df: df[:0], "table 'table': there are no synthetic rows to judge"),
        (lambda df: df.drop("age"), "lack column 'age'"),
        (
            lambda df: df.with_columns(pl.lit("secret street").alias("age")),
            "column 'age' holds values that are no number",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(diabetes, change, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as refused:
        evaluate(*halves(diabetes), change(diabetes), schema_of(diabetes))
    assert "secret" not in str(refused.value)


def test_the_same_seed_gives_the_same_evaluation(wine: pl.DataFrame) -> None:
    cellar = cellar_of(wine)
    train, holdout = halves(pl.concat([cellar] * 2))
    told: list[str] = []
    runs = [
        evaluate(
            train, holdout, independent(train), schema_of(cellar), target="cultivar", seed=seed
        )
        for seed in (3, 3, 4)
    ]
    evaluate(train, holdout, train, schema_of(cellar), progress=told.append)
    assert runs[0] == runs[1]
    assert runs[0].scores["detection_auc"] != runs[2].scores["detection_auc"]
    assert runs[0] == Evaluation.model_validate_json(runs[0].model_dump_json())
    assert len(told) >= 4 and all(len(text) < 60 for text in told)


def test_nothing_rare_or_extreme_is_stored(diabetes: pl.DataFrame) -> None:
    number = pl.when(pl.int_range(pl.len()) == 17).then(987_654_321.0).otherwise(pl.col("bmi"))
    word = pl.when(pl.int_range(pl.len()) == 17).then(pl.lit("Quasimodo")).otherwise(pl.lit("Jo"))
    train = diabetes.with_columns(number.alias("bmi"), word.alias("word"))
    for rows, least in ((train, 5), (train, 1), (train[:30], 5), (train[:12], 5)):
        found = evaluate(rows, train[100:], rows, schema_of(train), min_subjects=least)
        stored = found.model_dump_json()
        assert "Quasimodo" not in stored and "987654321" not in stored and "98765" not in stored
        for column in found.columns:
            shown = column.distribution
            if shown is None or not shown.edges:
                continue
            ordered = np.sort(rows[column.column].to_numpy())
            width = shown.edges[1] - shown.edges[0]
            assert shown.edges[0] > ordered[4] - width and shown.edges[-1] < ordered[-5] + width


def test_distributions_are_shares_of_what_is_there(judged: Evaluation) -> None:
    shown = {c.column: c.distribution for c in judged.columns if c.distribution}
    assert shown["term"].labels == ["36", "60"]
    assert shown["homeownership"].labels == ["MORTGAGE", "RENT", "OWN"]
    assert shown["emp_title"].labels[-1] == OTHER and shown["emp_title"].folded > 500
    for name, distribution in shown.items():
        parts = distribution.labels or distribution.edges[1:]
        assert len(distribution.real) == len(distribution.synthetic) == len(parts), name
        assert 0.9 < sum(distribution.real) < 1 + 1e-4, name
