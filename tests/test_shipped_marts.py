"""The marts that come with the datasets: they run on the real tables, and their numbers add up."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.duck import connect, identifier, lock_down, run
from aigc_pipeline.marts import check_marts, create_mart, create_tables, marts_schema
from aigc_pipeline.sources import apply_derive, read_table

DATASETS = Path(__file__).parents[1] / "datasets"
SHIPPED = sorted(path.parent.name for path in DATASETS.glob("*/marts"))

Answers = dict[str, pl.DataFrame]


def answers(name: str) -> tuple[dict[str, pl.DataFrame], Answers]:
    """The real tables of a dataset, and what each of its marts says of them."""
    spec = load_dataset(DATASETS / f"{name}.yaml")
    tables = {
        table: apply_derive(read_table(each.source, DATASETS, name=table, min_rows=1), each)
        for table, each in spec.tables.items()
    }
    marts = check_marts(spec, tables)
    found = {}
    with connect() as connection:
        create_tables(connection, name, tables)
        lock_down(connection)
        run(connection, f"CREATE SCHEMA {identifier(marts_schema(name))}")
        for mart in marts:
            place = (marts_schema(name), mart.name)
            create_mart(connection, place, mart.kind, mart.statement)
            found[mart.name] = connection.sql(f"FROM {identifier(*place)}").pl()
            assert mart.title and mart.description, mart.name
    return tables, found


def check_answers(found: Answers) -> None:
    """What holds for every mart: rows, plain types, no empty column, shares that are shares."""
    for mart, df in found.items():
        assert df.height > 3, mart
        for column in df.iter_columns():
            at = f"{mart}.{column.name}"
            assert column.null_count() < df.height, at
            assert not isinstance(column.dtype, pl.Decimal | pl.Int128), at  # BI knows neither
            if column.name.startswith("share_"):
                assert column.min() >= 0 and column.max() <= 1 + 1e-9, at


def test_every_related_dataset_has_marts() -> None:
    assert {"flights", "shop", "trial"} <= set(SHIPPED)


def test_the_shop() -> None:
    tables, found = answers("shop")
    check_answers(found)
    customers, orders = len(tables["customers"]), len(tables["orders"])
    paid = tables["orders"]["dollar_value"].sum()
    months, cohorts = found["monthly_revenue"], found["cohort_retention"]
    assert months["orders"].sum() == cohorts["orders"].sum() == orders
    assert months["new_customers"].sum() == customers
    assert (months["new_customers"] + months["returning_customers"]).equals(months["customers"])
    assert months["revenue"].sum() == pytest.approx(paid)
    assert cohorts.filter(months_since=0)["share_buying"].to_list() == [1.0] * 3
    bands, weeks = found["customer_value_bands"], found["one_time_buyers"]
    assert bands["customers"].sum() == weeks["customers"].sum() == customers
    assert bands["share_of_revenue"].sum() == pytest.approx(1)
    assert found["customer_value"]["total_paid"].sum() == pytest.approx(paid)


def test_the_flights() -> None:
    tables, found = answers("flights")
    check_answers(found)
    flights = len(tables["flights"])
    for mart in ("delays_by_airline", "delays_by_hour", "cancellations_by_weather", "routes"):
        assert found[mart]["flights"].sum() == flights, mart
    weather = found["cancellations_by_weather"]
    assert weather["cancelled"].sum() == tables["flights"]["dep_delay"].null_count()
    assert found["fleet"]["planes"].sum() == len(tables["planes"])
    assert found["routes"]["flights"].is_sorted(descending=True)


def test_the_trial() -> None:
    tables, found = answers("trial")
    check_answers(found)
    patients, visits = len(tables["patients"]), len(tables["visits"])
    assert found["patients_by_arm"]["patients"].sum() == patients
    assert found["patients_by_arm"]["deaths"].sum() == 140
    assert found["yearly_labs"]["visits"].sum() == visits
    years = found["survival"]
    assert (
        years["deaths"].sum() == 140 and years["deaths"].sum() + years["leaving"].sum() == patients
    )
    assert years.filter(year=0)["followed"].sum() == patients
    for _, arm in years.group_by("arm"):
        assert arm.sort("year")["share_surviving"].is_sorted(descending=True)
    steps = found["stage_transitions"]
    assert steps["transitions"].sum() == visits - patients
    shares = steps.group_by("stage").agg(pl.sum("share_of_stage"))["share_of_stage"]
    assert shares.to_list() == pytest.approx([1.0] * 4)
