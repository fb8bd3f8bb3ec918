"""Rows under conditions: every row has what was asked for, and the rest follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.spec import Between, Constraint, GeneratorSpec, Source, TableSpec
from aigc_pipeline.synthesis.balance import whole_counts
from aigc_pipeline.synthesis.completion import match
from aigc_pipeline.tabular import FAMILIES, TableModel, fit_table

DRAFT = GeneratorSpec(quality="draft")


@pytest.fixture(scope="module")
def telco() -> pl.DataFrame:
    """The churn sample: 7,043 customers."""
    from aigc_pipeline.sources import read_table

    return read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")


@pytest.fixture(scope="module")
def bills(telco: pl.DataFrame) -> pl.DataFrame:
    """The same customers with a payment that is often the whole bill, and a fee a little above it.

    Those with long contracts pay in full more often.
    """
    rng = np.random.default_rng(0)
    bill = (telco["monthly_charges"].to_numpy() * rng.uniform(0.9, 1.3, len(telco))).round(2)
    often = {"Month-to-month": 0.2, "One year": 0.5, "Two year": 0.8}
    full = rng.random(len(telco)) < telco["contract"].replace_strict(often).to_numpy()
    part = (bill * rng.uniform(0.05, 0.95, len(telco))).round(2)
    other = (telco["monthly_charges"].to_numpy() * rng.uniform(0.6, 1.5, len(telco))).round(2)
    near = (bill + 0.5 + rng.exponential(0.3, len(telco))).round(2)
    return telco.select("contract", "payment_method", "internet_service").with_columns(
        bill=pl.Series(bill),
        next_bill=pl.Series(np.where(rng.random(len(telco)) < 0.6, near, other)),
        payment=pl.Series(np.where(full, bill, part)),
    )


@pytest.fixture(scope="module")
def paying(bills: pl.DataFrame) -> TableModel:
    """A model of the bills, with a rule and a derived column."""
    table = TableSpec(
        source={"file": "bills.csv"},
        constraints=[Constraint(less_equal=("payment", "bill"))],
        derive={"settled": "CASE WHEN payment = bill THEN 'yes' ELSE 'no' END"},
    )
    return fit_table(bills, table, generator=DRAFT)


FEW = ("contract", "internet_service", "tenure", "payment_method", "churn", "total_charges")


FAMILY = [
    pytest.param(name, marks=[] if name == "autoregressive" else [pytest.mark.slow])
    for name in sorted(FAMILIES)
]


@pytest.fixture(scope="module", params=FAMILY)
def model(request: pytest.FixtureRequest, telco: pl.DataFrame) -> TableModel:
    """A model of some of the customers' columns, one of each family."""
    generator = GeneratorSpec(family=request.param, quality="draft")
    return fit_table(telco.select(FEW)[:3000], TableSpec(source={"file": "x"}), generator=generator)


def distance(first: pl.Series, second: pl.Series) -> float:
    """Total variation between two columns' shares."""
    shares = first.value_counts(normalize=True).join(
        second.value_counts(normalize=True), on=first.name, how="full", coalesce=True
    )
    shares = shares.fill_null(0)
    return float((shares["proportion"] - shares["proportion_right"]).abs().sum() / 2)


def test_every_row_has_its_own_values(model: TableModel, telco: pl.DataFrame) -> None:
    wanted = telco.sample(300, seed=1).select("churn", "contract")
    rows = model.sample(conditions=wanted, seed=4)
    assert rows.select("churn", "contract").equals(wanted)
    assert rows.schema == telco.select(FEW).schema
    assert rows.equals(model.sample(conditions=wanted, seed=4), null_equal=True)
    assert not rows.equals(model.sample(conditions=wanted, seed=5), null_equal=True)


def test_the_rest_follows_the_model_s_own_conditional(model: TableModel) -> None:
    """Rows under conditions are like those among unconditional rows that happen to meet them."""
    values = {"churn": "Yes", "internet_service": "DSL"}
    rows = model.sample(conditions=pl.DataFrame([values] * 1200), seed=2)
    free = model.sample(16_000, seed=1)
    met = free.filter(**values)
    apart = free.filter(pl.col("churn") == "No", pl.col("internet_service") != "DSL")
    for column in ("contract", "payment_method"):
        near, far = distance(met[column], rows[column]), distance(apart[column], rows[column])
        assert near < 0.12 and near < far, column
    assert abs(rows["tenure"].mean() - met["tenure"].mean()) < 0.2 * free["tenure"].std()


def test_balance_is_exact_in_every_family(model: TableModel) -> None:
    rows = model.sample(1001, seed=3, balance={"contract": {"Two year": 0.5, "One year": 0.1}})
    counts = dict(rows["contract"].value_counts().rows())
    assert counts == {"Two year": 501, "Month-to-month": 400, "One year": 100}
    met = model.sample(16_000, seed=1).filter(pl.col("contract") == "Two year")
    long = rows.filter(pl.col("contract") == "Two year")
    assert distance(met["payment_method"], long["payment_method"]) < 0.1


@pytest.mark.parametrize(("low", "high"), [(15, 25), (40, 60), (90, 110)])
def test_what_a_number_repeats_follows_from_it(paying, bills, low: float, high: float) -> None:
    real = bills.filter(pl.col("payment").is_between(low, high))
    wanted = real.sample(3000, seed=1, with_replacement=True).select("payment")
    rows = paying.sample(conditions=wanted, seed=3)
    assert rows["payment"].equals(wanted["payment"])
    full = [(frame["bill"] == frame["payment"]).mean() for frame in (real, rows)]
    assert abs(full[0] - full[1]) < 0.09
    assert distance(real["contract"], rows["contract"]) < 0.1
    assert abs(rows["bill"].mean() - real["bill"].mean()) < 0.2 * bills["bill"].std()
    # Whether it was paid in full tells the contract, as it does in the real rows.
    two_years = [
        frame.filter(pl.col("bill") == pl.col("payment"))["contract"].eq("Two year").mean()
        for frame in (real, rows)
    ]
    assert abs(two_years[0] - two_years[1]) < 0.12


def test_what_a_number_is_close_to_follows_from_it(paying, bills) -> None:
    # The very smallest and largest values are nobody's to be had.
    wanted = bills.filter(pl.col("next_bill").is_between(20, 120)).sample(600, seed=2)
    wanted = wanted.select("next_bill")
    rows = paying.sample(conditions=wanted, seed=3)
    close = [
        (frame["next_bill"] - frame["bill"]).is_between(0.5, 2).mean() for frame in (bills, rows)
    ]
    assert abs(close[0] - close[1]) < 0.09
    apart = [(frame["next_bill"] - frame["bill"]).abs() for frame in (bills, rows)]
    assert abs(apart[0].median() - apart[1].median()) < 0.5


def test_rules_and_derived_columns_hold_under_conditions(paying, bills) -> None:
    wanted = pl.DataFrame({"payment": [20.0, 50.0] * 60, "settled": ["yes", "no"] * 60})
    rows = paying.sample(conditions=wanted, seed=1)
    assert rows.select("payment", "settled").equals(wanted)
    assert (rows["payment"] <= rows["bill"]).all()
    assert ((rows["payment"] == rows["bill"]) == (rows["settled"] == "yes")).all()


def test_conditions_go_with_a_condition_on_all_rows(paying) -> None:
    wanted = pl.DataFrame({"contract": ["One year", "Two year"] * 50})
    rows = paying.sample(conditions=wanted, where={"bill": Between(max=40)}, seed=1)
    assert rows["contract"].equals(wanted["contract"]) and rows["bill"].max() <= 40
    with pytest.raises(FieldError, match=r"where\.contract: conditions name it too"):
        paying.sample(conditions=wanted, where={"contract": "One year"})


def test_a_part_of_a_fixed_combination_and_a_missing_value(telco: pl.DataFrame) -> None:
    together = Constraint(fixed_combination=["internet_service", "tech_support"])
    some = telco.select(*FEW, "tech_support")
    model = fit_table(
        some, TableSpec(source={"file": "x"}, constraints=[together]), generator=DRAFT
    )
    wanted = pl.DataFrame({"tech_support": ["Yes", "No"] * 300})
    rows = model.sample(conditions=wanted)
    seen = set(some.select("internet_service", "tech_support").iter_rows())
    assert set(rows.select("internet_service", "tech_support").iter_rows()) <= seen
    for value in ("Yes", "No"):
        real = telco.filter(pl.col("tech_support") == value)["internet_service"]
        made = rows.filter(pl.col("tech_support") == value)["internet_service"]
        assert distance(real, made) < 0.1
    missing = pl.DataFrame({"total_charges": pl.Series([None] * 40, dtype=pl.Float64)})
    rows = model.sample(conditions=missing)
    assert rows["total_charges"].is_null().all()
    assert rows["tenure"].median() < telco["tenure"].median() / 2  # it is missing for new ones


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"contrct": ["One year"]}, r"conditions\.contrct: there is no column.*'contract'"),
        ({"contract": ["One year", "Weekly"]}, r"conditions\.contract: row 2 has a value that was"),
        ({"bill": [50.0, 1e6]}, r"conditions\.bill: row 2 has a value that was not learned"),
        ({"bill": [None]}, r"conditions\.bill: its Null values do not fit|row 1 has a value"),
        ({"bill": ["much"]}, r"conditions\.bill: its String values do not fit the column"),
        ({"bill": [20.0], "payment": [90.0]}, "row 1: none of .* keeps every constraint"),
    ],
)
def test_an_impossible_condition_names_row_and_column(paying, conditions, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        paying.sample(conditions=pl.DataFrame(conditions))
    assert "Weekly" not in str(caught.value) and "much" not in str(caught.value)


def test_values_that_never_come_together_are_an_error(telco: pl.DataFrame) -> None:
    some = telco.select("phone_service", "multiple_lines", *FEW)
    model = fit_table(some, TableSpec(source={"file": "x"}), generator=DRAFT)
    wanted = pl.DataFrame({"multiple_lines": ["No", "No phone service"], "phone_service": [1, 1]})
    with pytest.raises(InputError, match=r"row 2: the model has .*never these values together"):
        model.sample(conditions=wanted)


def test_the_number_of_rows_must_agree(paying) -> None:
    wanted = pl.DataFrame({"contract": ["One year"] * 3})
    assert len(paying.sample(3, conditions=wanted)) == 3
    for options, message in (
        ({"rows": 5, "conditions": wanted}, "5 rows are asked for, but there are 3"),
        ({"conditions": wanted, "balance": {"contract": {"One year": 1}}}, "do not go together"),
        ({}, "the number of rows is missing"),
    ):
        with pytest.raises(InputError, match=message):
            paying.sample(**options)


def test_other_values_keep_their_proportions(paying, bills) -> None:
    balance = {"payment_method": {"Mailed check": 0.6}}
    rows = paying.sample(3000, seed=1, balance=balance)
    assert (rows["payment_method"] == "Mailed check").sum() == 1800
    others = [f.filter(pl.col("payment_method") != "Mailed check") for f in (bills, rows)]
    assert distance(others[0]["payment_method"], others[1]["payment_method"]) < 0.05
    first, last = rows[:1500], rows[1500:]  # mixed, not one kind after the other
    assert distance(first["payment_method"], last["payment_method"]) < 0.06
    assert rows.equals(paying.sample(3000, seed=1, balance=balance))
    assert not rows.equals(paying.sample(3000, seed=2, balance=balance))


def test_several_columns_are_balanced_at_once(paying, bills) -> None:
    balance = {"contract": {"Two year": 0.6}, "internet_service": {"No": 0.5, "DSL": 0.25}}
    rows = paying.sample(2000, seed=1, balance=balance, where={"bill": Between(max=100)})
    assert abs((rows["contract"] == "Two year").sum() - 1200) <= 2
    assert abs((rows["internet_service"] == "No").sum() - 1000) <= 2
    assert abs((rows["internet_service"] == "DSL").sum() - 500) <= 2
    assert rows["bill"].max() <= 100

    def odds(frame: pl.DataFrame) -> float:
        """How much oftener two years go with no internet: a rescaled table keeps this."""
        two, none = frame["contract"] == "Two year", frame["internet_service"] == "No"
        fiber = frame["internet_service"] == "Fiber optic"
        return ((two & none).sum() / (~two & none).sum()) / (
            (two & fiber).sum() / (~two & fiber).sum()
        )

    assert 0.6 < odds(rows) / odds(bills.filter(pl.col("bill") <= 100)) < 1.7


@pytest.mark.parametrize(
    ("balance", "message"),
    [
        ({"contract": {"One year": 0.7, "Two year": 0.7}}, "add up to 1 at most"),
        ({"contract": {"Weekly": 0.5}}, r"balance\.contract: .*no value that was learned"),
        ({"contrct": {"One year": 0.5}}, "did you mean 'contract'"),
        ({"contract": {"Month-to-month": 0.2, "One year": 0.2, "Two year": 0.2}},
         "the shares add up to 0.6, and no other value is left"),
        ({"settled": {"yes": 1.0}, "payment": {0.0: 1.0}}, "cannot have these shares at once"),
    ],
)  # fmt: skip
def test_shares_that_cannot_be_had_are_an_error(paying, balance, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paying.sample(100, balance=balance)


def test_counts_add_up_whatever_the_shares() -> None:
    assert whole_counts(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]
    assert whole_counts(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]


def test_rows_are_found_in_a_pool() -> None:
    pool = np.array([[0, 1], [0, 2], [1, 1], [1, 1]], dtype=np.int32)
    given = np.array([[0, -1], [1, 1], [-1, -1], [2, -1], [-1, 2]], dtype=np.int32)
    draw = match(pool, given, np.random.default_rng(0))
    assert np.exp(draw.log_weight).tolist() == [0.5, 0.5, 1.0, 0.0, 0.25]
    found = draw.tokens[[0, 1, 4]]
    assert found[0, 0] == 0 and found[1].tolist() == [1, 1] and found[2].tolist() == [0, 2]
