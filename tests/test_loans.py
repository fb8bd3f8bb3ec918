"""The shipped dataset at its default settings: what a release of `loans` must be like."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter

from aigc_pipeline.lake import Lake
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.stages.made import read_rows
from aigc_pipeline.tabular import TableModel

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def few_queries() -> None:
    """All queries are asked: whether this dataset is released hangs on them, too."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict]:
    """`aigc run loans` in a lake of its own, and what it printed as JSON."""
    home = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, ROOT)
        patch.setenv("AIGC_HOME", str(home))
        done = aigc("run", "loans", "--json")
    assert done.code == 0, done.err
    return Lake(home), done.json


@pytest.fixture(scope="module")
def tables(run: tuple[Lake, dict]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Real and synthetic rows."""
    lake, _ = run
    validated = lake.current("loans", "validated")
    parts = [read_parquet(validated.file(f"loans/{side}.parquet")) for side in ("train", "holdout")]
    return pl.concat(parts), read_rows(lake.current("loans", "synthetic"), "baseline", "loans")


@pytest.fixture(scope="module")
def many(run: tuple[Lake, dict]) -> pl.DataFrame:
    """Enough of the model's rows: chance moves a rate among 1,300 of them by a point."""
    model = TableModel.load(run[0].current("loans", "model").path / "loans")
    return model.sample(60_000, seed=0)


def test_scores_are_close_to_those_of_fresh_rows(run: tuple[Lake, dict]) -> None:
    scores = {s["score"]: s for s in run[1]["scores"]}
    assert scores["detection_auc"]["value"] <= 0.65
    assert scores["shape_error"]["value"] <= 0.015
    assert scores["utility_gap"]["value"] <= 0.03
    assert scores["copied_rows"]["value"] <= scores["copied_rows"]["fresh_real_rows"]
    assert scores["rare_values"]["value"] == 0


def test_null_rates_are_kept(tables: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    real, made = tables
    for column in real.columns:
        assert abs(real[column].is_null().mean() - made[column].is_null().mean()) <= 0.015, column


@pytest.mark.parametrize(
    ("column", "by"),
    [
        ("annual_income_joint", "application_type"),
        ("debt_to_income", "application_type"),
        ("months_since_90d_late", "num_historical_failed_to_pay"),
        ("months_since_last_delinq", "delinq_2y"),
    ],
)
def test_nulls_depend_on_other_columns_as_they_did(tables, many, column: str, by: str) -> None:
    rates = [
        df.group_by(by).agg(pl.col(column).is_null().mean().alias("rate"), pl.len())
        for df in (tables[0], many)
    ]
    both = rates[0].filter(pl.col("len") >= 1000).join(rates[1], on=by)
    assert len(both) >= 2 and both["rate"].n_unique() > 1
    assert (both["rate"] - both["rate_right"]).abs().max() <= 0.015


def test_the_declared_rules_hold_exactly(tables: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    _, made = tables
    assert (made["grade"] == made["sub_grade"].str.slice(0, 1)).all()
    assert (made["paid_principal"] <= made["loan_amount"]).all()
    parts = made["paid_principal"] + made["paid_interest"] + made["paid_late_fees"]
    assert (made["paid_total"] - parts).abs().max() < 1e-6


def test_the_scenario_is_in_the_warehouse(run: tuple[Lake, dict]) -> None:
    from aigc_pipeline.warehouse import query

    grades = query(run[0], "SELECT DISTINCT grade FROM loans__recession.loans ORDER BY 1").frame
    assert grades.to_series().to_list() == ["D", "E", "F"]
    assert query(run[0], "SELECT count(*) FROM loans.loans").frame.item() == 10_000
