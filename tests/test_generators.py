"""The generator on real tables: it learns, repeats itself, obeys conditions, and loads again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.generators.autoregressive import plan_effort
from aigc_pipeline.generators.training import Compute, make_fabric
from aigc_pipeline.spec import (
    MIN_SUBJECTS,
    Between,
    Constraint,
    GeneratorSpec,
    PrivacySpec,
    TableSpec,
)
from aigc_pipeline.tabular import TableModel, fit_table

DRAFT = GeneratorSpec(quality="draft")


@pytest.fixture(scope="module")
def telco() -> pl.DataFrame:
    """The churn sample: 7,043 customers, 20 columns."""
    from aigc_pipeline.sources import read_table
    from aigc_pipeline.spec import Source

    return read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")


@pytest.fixture(scope="module")
def model(telco: pl.DataFrame) -> TableModel:
    table = TableSpec(
        source={"sample": "modeldata/wa_churn"},
        constraints=[Constraint(less_equal=("monthly_charges", "total_charges"))],
    )
    return fit_table(telco, table, name="churn", generator=DRAFT, seed=3)


def test_training_lowers_the_held_out_loss(model: TableModel) -> None:
    history = model.card["history"]
    assert history["best_loss"] < history["first_loss"] - 0.3
    assert history["stopped_by"] in ("schedule", "held-out loss")
    assert model.card["rows"] == 7043 and model.card["min_subjects"] == MIN_SUBJECTS


def test_rows_come_in_the_sources_schema(model: TableModel, telco: pl.DataFrame) -> None:
    rows = model.sample(1000, seed=1)
    assert rows.schema == telco.schema
    assert len(rows) == 1000
    assert rows["contract"].is_in(telco["contract"].unique().to_list()).all()


def test_a_few_rows_have_the_shares_of_many(model: TableModel) -> None:
    many = model.sample(50_000, seed=1)["partner"].value_counts(normalize=True).sort("partner")
    # Independent draws deviate by ten rows each.
    for seed in range(8):
        few = model.sample(400, seed=seed)["partner"].value_counts().sort("partner")
        assert (few["count"] - 400 * many["proportion"]).abs().max() <= 10


def test_dependences_are_learned(model: TableModel) -> None:
    rows = model.sample(3000, seed=1)
    # No internet service means no online security, in the data without exception.
    none = rows.filter(pl.col("internet_service") == "No")
    assert (none["online_security"] == "No internet service").mean() > 0.98
    assert rows.select(pl.corr("tenure", "total_charges")).item() > 0.7


def test_the_same_seed_gives_the_same_rows(model: TableModel) -> None:
    first, again, other = (model.sample(500, seed=s) for s in (7, 7, 8))
    assert first.equals(again, null_equal=True)
    assert not first.equals(other, null_equal=True)
    # Batches do not depend on how many rows are asked for in all.
    assert model.sample(100, seed=7).equals(first[:100], null_equal=True)


def test_training_repeats_itself(telco: pl.DataFrame) -> None:
    small, table = telco[:800], TableSpec(source={"file": "x"})
    rows = [
        fit_table(small, table, generator=DRAFT, seed=seed).sample(200, seed=1)
        for seed in (0, 0, 1)
    ]
    assert rows[0].equals(rows[1], null_equal=True)
    assert not rows[0].equals(rows[2], null_equal=True)


def test_save_and_load_give_the_same_rows(model: TableModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "card.json", "codecs.json", "model.json", "weights.safetensors",
    ]  # fmt: skip
    loaded = TableModel.load(tmp_path / "m")
    assert loaded.sample(300, seed=2).equals(model.sample(300, seed=2), null_equal=True)
    assert loaded.card == json.loads(json.dumps(model.card))


def test_saving_never_replaces_anything_but_a_model(model: TableModel, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="there are files here that are no model"):
        model.save(tmp_path / "notes")
    model.save(tmp_path / "m")
    model.save(tmp_path / "m")  # a model may be replaced
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "notes"]
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.json", lambda d: {**d, "format": 99}, "format 99.*fit it again"),
        ("codecs.json", lambda d: {**d, "format": 99}, "format 99"),
        ("card.json", lambda d: {**d, "family": "oracle"}, "unknown model family 'oracle'"),
        ("codecs.json", lambda d: {**d, "codecs": d["codecs"][1:]}, "does not belong"),
        ("weights.safetensors", None, "cannot be read"),
    ],
)
def test_a_folder_of_another_version_is_refused(
    model: TableModel, tmp_path: Path, file: str, change, message: str
) -> None:
    model.save(tmp_path / "m")
    path = tmp_path / "m" / file
    if change is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtefactError, match=message):
        TableModel.load(tmp_path / "m")
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(ArtefactError, match="no model can be read here"):
        TableModel.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"contract": "Two year"}, pl.col("contract") == "Two year"),
        ({"contract": ["One year", "Two year"], "senior_citizen": 1},
         pl.col("contract").is_in(["One year", "Two year"]) & (pl.col("senior_citizen") == 1)),
        ({"tenure": Between(min=10, max=20)}, pl.col("tenure").is_between(10, 20)),
        ({"monthly_charges": Between(max=33.33)}, pl.col("monthly_charges") <= 33.33),
        ({"total_charges": None}, pl.col("total_charges").is_null()),
    ],
)  # fmt: skip
def test_every_row_meets_its_condition(model: TableModel, where, meets: pl.Expr) -> None:
    rows = model.sample(400, seed=5, where=where)
    assert len(rows) == 400 and rows.select(meets.all()).item()


def test_the_other_columns_follow_the_real_conditional(model: TableModel, telco) -> None:
    where = {"contract": "Month-to-month", "internet_service": "DSL"}
    rows = model.sample(4000, seed=5, where=where)
    real = telco.filter(pl.col("contract") == "Month-to-month", pl.col("internet_service") == "DSL")
    for column in ("churn", "payment_method", "tech_support", "paperless_billing"):
        shares = real[column].value_counts(normalize=True).join(
            rows[column].value_counts(normalize=True), on=column, how="full", coalesce=True
        ).fill_null(0)  # fmt: skip
        distance = (shares["proportion"] - shares["proportion_right"]).abs().sum() / 2
        assert distance < 0.06, column
    assert abs(rows["tenure"].mean() - real["tenure"].mean()) < 0.12 * telco["tenure"].std()


def test_constraints_hold_in_every_row(model: TableModel) -> None:
    rows = model.sample(4000, seed=9).drop_nulls("total_charges")
    assert (rows["monthly_charges"] <= rows["total_charges"]).all()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"contrct": "x"}, "no column 'contrct'.*did you mean 'contract'"),
        ({"contract": "Weekly"}, "no value that was learned meets the condition"),
        ({"tenure": "long"}, "'long' does not fit a integer column; write a number"),
        ({"contract": Between(min=1)}, "a range needs a number or date column"),
        ({"tenure": Between(min=9, max=3)}, "min 9 is above max 3"),
        ({"tenure": []}, "an empty list is met by no row"),
        ({"multiple_lines": "No phone service", "phone_service": 1, "internet_service": "No"},
         "too small to sample from"),
    ],
)  # fmt: skip
def test_an_impossible_condition_is_an_error_with_the_reason(model, where, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.sample(100, where=where)


def test_log_prob_ranks_shuffled_rows_below_real_ones(model: TableModel, telco) -> None:
    real = telco[:500]
    torn = real.with_columns(pl.col("contract", "internet_service", "tenure").shuffle(seed=1))
    assert model.log_prob(real).mean() > model.log_prob(torn).mean() + 1


def test_a_shorter_time_limit_shrinks_the_budget() -> None:
    full = plan_effort(5e6, 30_000, "standard")
    short = plan_effort(5e6, 30_000, "standard", time_limit=30.0)
    assert short.steps < full.steps and short.time_limit == 30.0
    assert plan_effort(5e6, 30_000, "draft").steps < full.steps
    twice = plan_effort(5e4, 30_000, "standard", passes=2.0)
    assert twice.steps == pytest.approx(2 * plan_effort(5e4, 30_000, "standard").steps, abs=1)


def test_hitting_the_time_limit_is_noted(telco: pl.DataFrame) -> None:
    generator = GeneratorSpec(quality="draft", time_limit=0.01)
    model = fit_table(telco[:500], TableSpec(source={"file": "x"}), generator=generator)
    assert model.card["history"]["stopped_by"] == "time limit"
    assert len(model.sample(50)) == 50


def test_rare_values_never_appear(telco: pl.DataFrame) -> None:
    planted = telco[:1000].with_columns(
        pl.when(pl.int_range(pl.len()) < 3)
        .then(pl.lit("canary@example.com"))
        .otherwise("payment_method")
        .alias("payment_method"),
        pl.when(pl.int_range(pl.len()) == 7)
        .then(pl.lit(9_999_999.25))
        .otherwise("total_charges")
        .alias("total_charges"),
    )
    model = fit_table(planted, TableSpec(source={"file": "x"}), generator=DRAFT)
    rows = model.sample(3000)
    assert "canary@example.com" not in rows["payment_method"]
    assert rows["total_charges"].max() < 9_000
    assert "canary" not in json.dumps(model.codec.to_json())
    open_model = fit_table(
        planted, TableSpec(source={"file": "x"}), generator=DRAFT,
        privacy=PrivacySpec(min_subjects=1),
    )  # fmt: skip
    assert "canary@example.com" in json.dumps(open_model.codec.to_json())


def test_an_unknown_accelerator_is_an_error() -> None:
    with pytest.raises(InputError, match="accelerator 'tpu': choose auto, cpu or cuda"):
        make_fabric(Compute(accelerator="tpu"))


def test_tiny_and_odd_tables_train_too() -> None:
    rng = np.random.default_rng(0)
    df = pl.DataFrame(
        {
            "constant": ["x"] * 60,
            "nothing": pl.Series([None] * 60, dtype=pl.String),
            "unique": rng.normal(size=60),
            'a "quoted", name; DROP TABLE x': rng.integers(0, 3, 60),
            "列": rng.choice(["甲", "乙"], 60),
        }
    )
    rows = fit_table(df, TableSpec(source={"file": "x"}), generator=DRAFT).sample(100)
    assert rows.schema == df.schema
    assert rows["constant"].unique().to_list() == ["x"] and rows["nothing"].is_null().all()
