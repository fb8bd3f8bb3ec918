"""Evaluation across tables: other real entities pass it, and what is broken is caught."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from relational_kit import Related, Tables, hospital, shop

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation import RelationalEvaluation, evaluate_relations
from aigc_pipeline.spec import RELATIONAL_SCORES


def judge(data: Related, train: Tables, holdout: Tables, made: Tables, **options: object):
    return evaluate_relations(train, holdout, made, data.schemas, data.graph, data.specs, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def hospitals() -> tuple[Related, Tables, Tables, Tables]:
    data = hospital()
    train, holdout, other = data.split(0.38, 0.17, 0.45)
    return data, train, holdout, data.fresh(other)


@pytest.fixture(scope="module")
def shops() -> tuple[Related, Tables, Tables, Tables]:
    data = shop()
    train, holdout, other = data.split(0.16, 0.08, 0.16, 0.6)[:3]
    return data, train, holdout, data.fresh(other)


@pytest.fixture(scope="module")
def fresh(hospitals) -> RelationalEvaluation:
    return judge(*hospitals)


def test_other_real_patients_pass(fresh: RelationalEvaluation) -> None:
    scores = fresh.scores
    assert tuple(scores) and set(scores) == set(RELATIONAL_SCORES)
    assert scores["integrity"].value == scores["key_uniqueness"].value == 1
    assert scores["real_keys"].value == scores["copied_entities"].value == 0
    assert scores["orphan_rate_error"].value == scores["null_reference_error"].value == 0
    found = scores["parent_detection_auc"]
    assert abs(found.value - 0.5) < 3 * found.error
    assert abs(found.reference - 0.5) < 3 * found.reference_error
    for name in ("join_trend_error", "gap_error", "autocorrelation_error"):
        error = np.hypot(scores[name].error, scores[name].reference_error)
        assert abs(scores[name].value - scores[name].reference) < 4 * error, name
    assert "needs 100" in scores["entity_membership_auc"].why_not
    [relation], [join], [order] = fresh.relations, fresh.joins, fresh.orders
    [parent] = fresh.parents
    assert relation.relation == "visits.id -> patients" and relation.role == "owner"
    assert relation.measure == "Kolmogorov-Smirnov" and relation.null_rates == (0.0, 0.0)
    assert join.path == ["visits", "patients"] and join.trend.full < join.trend.value
    assert order.order_by == "day" and "bili" in order.columns and "day" not in order.columns
    assert parent.table == "patients" and parent.auc == found


def test_it_is_the_same_again(hospitals, fresh: RelationalEvaluation) -> None:
    assert judge(*hospitals) == fresh
    again = RelationalEvaluation.model_validate_json(fresh.model_dump_json())
    assert again == fresh


def test_children_shuffled_among_parents_are_caught(hospitals, fresh) -> None:
    data, train, holdout, made = hospitals
    visits = made["visits"]
    other = visits.drop("id").sample(fraction=1, shuffle=True, seed=1)
    shuffled = made | {"visits": visits.select("id").hstack(other.get_columns())}
    found = judge(data, train, holdout, shuffled)
    assert found.scores["cardinality_error"] == fresh.scores["cardinality_error"]
    assert found.scores["parent_detection_auc"].value > 0.8
    assert found.scores["autocorrelation_error"].value > 0.15
    # Whose row it is tells little of its values here: survival and stage, trends of a few columns.
    worse = [
        found.joins[0].trend.full - fresh.joins[0].trend.full,
        found.scores["gap_error"].value - fresh.scores["gap_error"].value,
    ]
    assert worse[0] > 0.01 and worse[1] > 0.1


def test_times_shuffled_within_a_patient_are_caught(hospitals, fresh) -> None:
    data, train, holdout, made = hospitals
    visits = made["visits"].with_columns(pl.col("day").shuffle(seed=0).over("id"))
    found = judge(data, train, holdout, made | {"visits": visits})
    assert found.scores["gap_error"] == fresh.scores["gap_error"]
    assert found.scores["join_trend_error"].value == pytest.approx(
        fresh.scores["join_trend_error"].value, abs=0.01
    )
    worse = found.scores["autocorrelation_error"]
    assert worse.value > worse.reference + 2 * worse.reference_error
    assert worse.value > 1.5 * fresh.scores["autocorrelation_error"].value


def test_broken_keys_and_references_are_caught(hospitals) -> None:
    data, train, holdout, made = hospitals
    visits, patients = made["visits"], made["patients"]
    row = pl.int_range(pl.len())
    lost = pl.when(row % 10 == 0).then(-1).when(row % 10 == 1).then(None).otherwise(pl.col("id"))
    found = judge(data, train, holdout, made | {"visits": visits.with_columns(lost.alias("id"))})
    scores = found.scores
    assert scores["integrity"].value == pytest.approx(8 / 9, abs=0.002)
    assert scores["orphan_rate_error"].value == pytest.approx(1 / 9, abs=0.03)
    assert scores["null_reference_error"].value == pytest.approx(0.1, abs=0.03)
    twice = made | {"patients": pl.concat([patients, patients[:14]])}
    unique = judge(data, train, holdout, twice).scores["key_uniqueness"].value
    assert unique == pytest.approx(1 - 28 / (patients.height + 14))
    known = train["patients"]["id"][0]
    first = patients["id"][0]
    real = {n: df.with_columns(pl.col("id").replace(first, known)) for n, df in made.items()}
    assert judge(data, train, holdout, real).scores["real_keys"].value == 1 / patients.height


def test_a_patient_copied_with_all_visits_is_found(hospitals) -> None:
    data, train, holdout, made = hospitals
    copied = train["patients"]["id"][:30].to_list()
    keys = dict(zip(copied, range(90_000, 90_030), strict=True))
    mixed = {
        name: pl.concat(
            [
                made[name],
                df.filter(pl.col("id").is_in(copied))
                .with_columns(pl.col("id").replace(keys))
                .sample(fraction=1, shuffle=True, seed=0),  # rows in another order
            ]
        )
        for name, df in train.items()
    }
    enough = train["visits"].filter(pl.col("id").is_in(copied))["id"].value_counts()
    found = judge(data, train, holdout, mixed).scores["copied_entities"]
    of = mixed["visits"]["id"].value_counts().filter(pl.col("count") > 1).height
    assert found.value == enough.filter(pl.col("count") > 1).height / of
    assert found.reference == 0 and found.reference_rows > 30


def test_members_are_told_where_their_rows_are_replayed(shops) -> None:
    data, train, holdout, made = shops
    honest = judge(data, train, holdout, made).scores
    assert abs(honest["parent_detection_auc"].value - 0.5) < 0.03
    assert honest["entity_membership_auc"].value < 0.53
    rng = np.random.default_rng(0)
    orders = data.fresh(train)["orders"]
    noisy = orders.with_columns(pl.col("dollars") * pl.Series(rng.uniform(0.99, 1.01, len(orders))))
    replayed = judge(data, train, holdout, data.fresh(train) | {"orders": noisy}).scores
    assert replayed["copied_entities"].value < 0.01
    told = replayed["entity_membership_auc"]
    assert told.value > 0.6 and told.upper > told.value and told.reference == 0.5


def test_missing_tables_and_columns_are_named(hospitals) -> None:
    data, train, holdout, made = hospitals
    with pytest.raises(InputError, match="synthetic rows: table 'visits' is missing"):
        judge(data, train, holdout, {"patients": made["patients"]})
    with pytest.raises(InputError, match="table 'visits' lacks the key column 'id'"):
        judge(data, train, holdout, made | {"visits": made["visits"].drop("id")})
    with pytest.raises(InputError, match="table 'patients': there are no synthetic rows"):
        judge(data, train, holdout, made | {"patients": made["patients"].clear()})


def test_without_a_holdout_there_are_values_and_no_references(hospitals) -> None:
    data, train, holdout, made = hospitals
    nobody = {name: df.clear() for name, df in holdout.items()}
    found = judge(data, train, nobody, made)
    assert found.scores["cardinality_error"].value is not None
    assert all(s.reference is None for s in found.scores.values())
