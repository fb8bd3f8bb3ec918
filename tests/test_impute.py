"""Sparse and noisy tables: missing cells filled from a model, implausible rows found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import (
    Constraint,
    DatasetSpec,
    DpSpec,
    GeneratorSpec,
    PrivacySpec,
    Source,
    TableSpec,
)
from aigc_pipeline.tabular import TableModel, fit_table

DRAFT = GeneratorSpec(quality="draft")
TABLE = TableSpec(
    source={"file": "customers.csv"},
    key="customer",
    derive={"per_month": "total_charges / tenure"},
    constraints=[Constraint(less_equal=("monthly_charges", "total_charges"))],
)


@pytest.fixture(scope="module")
def customers() -> pl.DataFrame:
    """The churn sample without its few new customers, with a key and a derived column."""
    from aigc_pipeline.sources import read_table

    telco = read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")
    telco = telco.drop_nulls().with_row_index("customer", offset=1)
    return telco.with_columns(
        pl.col("customer").cast(pl.Int64),
        per_month=pl.col("total_charges") / pl.col("tenure"),
    )


@pytest.fixture(scope="module")
def model(customers: pl.DataFrame) -> TableModel:
    return fit_table(customers[:3000], TABLE, generator=DRAFT, seed=1)


@pytest.fixture(scope="module")
def sparse(customers: pl.DataFrame) -> pl.DataFrame:
    """Rows that the model has not seen, with a fifth of their cells missing."""
    rng = np.random.default_rng(3)
    rows = customers[5000:6200]
    holes = {
        name: pl.when(pl.Series(rng.random(len(rows)) > 0.2)).then(name).alias(name)
        for name in rows.columns
    }
    return rows.with_columns(holes.values())


@pytest.fixture(scope="module")
def filled(model: TableModel, sparse: pl.DataFrame) -> pl.DataFrame:
    return model.impute(sparse, seed=5)


def test_missing_cells_are_filled_and_the_others_left_alone(filled, sparse) -> None:
    assert filled.columns == sparse.columns and filled.schema == sparse.schema
    for name in filled.columns:
        known = sparse[name].is_not_null()
        assert filled[name].filter(known).equals(sparse[name].filter(known)), name
        if name not in ("customer", "per_month"):
            assert filled[name].null_count() == 0, name
    assert filled["customer"].equals(sparse["customer"])


def test_derived_cells_are_computed_and_rules_kept(filled, sparse) -> None:
    made = filled.filter(sparse["per_month"].is_null())
    expected = made["total_charges"] / made["tenure"]
    assert np.allclose(made["per_month"].to_numpy(), expected.to_numpy(), equal_nan=True)
    assert (filled["monthly_charges"] <= filled["total_charges"]).mean() > 0.99


def test_the_same_seed_fills_the_same_values(model, sparse, filled) -> None:
    some = sparse[:200]
    assert model.impute(some, seed=5).equals(model.impute(some, seed=5))
    assert not model.impute(some, seed=5).equals(model.impute(some, seed=6))


def test_it_beats_draws_from_the_marginals(filled, sparse, customers) -> None:
    truth, rng = customers[5000:6200], np.random.default_rng(0)
    gains = []
    for name in ("contract", "internet_service", "online_security", "payment_method", "churn"):
        hole = sparse[name].is_null()
        right = (filled[name] == truth[name]).filter(hole).mean()
        shares = customers[name].value_counts(normalize=True)["proportion"].to_numpy()
        assert right > (shares**2).sum() + 0.03, name  # what independent draws get right
        gains.append(right - (shares**2).sum())
    assert np.mean(gains) > 0.2
    for name in ("tenure", "monthly_charges", "total_charges"):
        hole = sparse[name].is_null().to_numpy()
        real = truth[name].to_numpy()[hole].astype(float)
        off = np.abs(filled[name].to_numpy()[hole] - real)
        drawn = rng.choice(customers[name].to_numpy(), len(real))
        assert np.median(off) < 0.4 * np.median(np.abs(drawn - real)), name


def test_filled_values_are_spread_like_the_missing_ones(filled, sparse, customers) -> None:
    """A draw keeps the variety of a column, which a mean or a most frequent value would not."""
    truth = customers[5000:6200]
    hole = sparse["contract"].is_null()
    for value in truth["contract"].unique():
        shares = [(f["contract"].filter(hole) == value).mean() for f in (truth, filled)]
        assert abs(shares[0] - shares[1]) < 0.09
    hole = sparse["monthly_charges"].is_null()
    deviation = [f["monthly_charges"].filter(hole).std() for f in (truth, filled)]
    assert 0.8 < deviation[1] / deviation[0] < 1.2


def test_only_the_columns_asked_for_are_filled(model, sparse) -> None:
    some = sparse[:300]
    filled = model.impute(some, columns=["contract"])
    assert filled["contract"].null_count() == 0
    assert filled.drop("contract", "per_month").equals(some.drop("contract", "per_month"))
    with pytest.raises(InputError, match=r"contrct: there is no such column; did you mean"):
        model.impute(some, columns=["contrct"])
    with pytest.raises(InputError, match="customer: it was not learned"):
        model.impute(some, columns=["customer"])
    with pytest.raises(InputError, match="tenure: the table has no such column"):
        model.impute(some.drop("tenure"))


def test_informative_missing_cells_may_stay(customers) -> None:
    """Missing is a state that a model learns; to fill it, values alone are drawn."""
    rng = np.random.default_rng(0)
    gone = pl.Series(rng.random(3000) < 0.4) & (customers["contract"][:3000] == "Two year")
    some = customers[:3000].select("contract", "tenure", "payment_method")
    some = some.with_columns(pl.when(~gone).then("payment_method").alias("payment_method"))
    model = fit_table(some, TableSpec(source={"file": "x"}), generator=DRAFT)
    made = model.sample(2000)
    assert made.filter(pl.col("contract") != "Two year")["payment_method"].null_count() < 40
    filled = model.impute(some)
    assert filled["payment_method"].null_count() == 0


@pytest.fixture(scope="module")
def noisy(customers: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """2,000 rows, of which 2 % are torn: half of their cells belong to other rows."""
    rng = np.random.default_rng(7)
    rows = customers[:2000].drop("customer", "per_month")
    torn = rng.choice(2000, 40, replace=False)
    mixed = rows
    for name in rng.permutation(rows.columns)[: rows.width // 2]:
        values = rows[str(name)].scatter(np.sort(torn), rows[str(name)][rng.permutation(torn)])
        mixed = mixed.with_columns(values)
    return mixed, torn


@pytest.fixture(scope="module")
def plain(noisy) -> TableModel:
    return fit_table(noisy[0], TableSpec(source={"file": "x"}), generator=DRAFT)


def test_torn_rows_are_among_the_least_plausible(noisy, plain) -> None:
    rows, torn = noisy
    found = plain.find_outliers(rows, 100)
    assert found.columns == ["row", "log_prob", "columns"] and found["log_prob"].is_sorted()
    assert np.isin(torn + 1, found["row"].to_numpy()).mean() > 0.7
    lowest = plain.log_prob(rows).arg_sort()[:100]
    assert np.isin(torn, lowest.to_numpy()).mean() > 0.7
    assert set(found["columns"][0].split(", ")) <= set(rows.columns)


def test_a_number_out_of_all_range_is_found_and_named(model, customers) -> None:
    wrong = customers[:400].with_columns(
        pl.when(pl.int_range(pl.len()) == 123).then(7200).otherwise("tenure").alias("tenure")
    )
    found = model.find_outliers(wrong, 3)
    assert found["row"][0] == 124 and found["columns"][0].startswith("tenure")


def test_implausible_rows_are_left_out_of_training(noisy, plain) -> None:
    rows, torn = noisy
    model = fit_table(
        rows, TableSpec(source={"file": "x"}),
        generator=GeneratorSpec(quality="draft", outliers=0.05),
    )  # fmt: skip
    assert model.card["outliers"] == 100 and model.card["rows"] == 1900
    assert plain.card["outliers"] == 0
    # What was torn has become less plausible than to a model that learned from it.
    kept = np.setdiff1d(np.arange(2000), torn)
    behind = [m.log_prob(rows[kept]).mean() - m.log_prob(rows[torn]).mean() for m in (plain, model)]
    assert behind[1] > behind[0]


def test_privacy_needs_every_row(noisy) -> None:
    generator = GeneratorSpec(quality="draft", outliers=0.01)
    with pytest.raises(InputError, match=r"generator\.outliers does not go with privacy.dp"):
        fit_table(
            noisy[0], TableSpec(source={"file": "x"}), generator=generator,
            privacy=PrivacySpec(dp=DpSpec(epsilon=3)),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"privacy\.dp does not go with generator.outliers"):
        DatasetSpec(
            name="x", tables={"t": TableSpec(source={"file": "x"})},
            generator=generator, privacy={"dp": {"epsilon": 3}},
        )  # fmt: skip
