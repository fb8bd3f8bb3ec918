"""Evaluation across tables: other real entities pass it, and what is broken is caught."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from relational_kit import Related, Tables, chain, hospital, shop

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation import RelationalEvaluation, evaluate_relations
from aigc_pipeline.relations import Graph
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


def test_relations_of_every_kind() -> None:
    data, other = chain(), chain(seed=1)
    train, holdout = data.split(0.8, 0.2)
    made = other.fresh(other.tables)
    found = judge(data, train, holdout, made)
    roles = {r.relation: r.role for r in found.relations}
    assert roles == {
        "customers.region -> regions": "reference",
        "customers.brought_by -> customers": "reference",
        "orders.customer -> customers": "owner",
        "items.order -> orders": "owner",
        "items.product -> products": "reference",
    }
    by_name = {r.relation: r for r in found.relations}
    brought = by_name["customers.brought_by -> customers"]
    assert brought.integrity is None  # orphans are declared
    assert brought.null_rates[0] == train["customers"]["brought_by"].null_count() / 320
    assert 0.2 < brought.orphan_rates[0] < 0.5
    assert found.settings.synthetic_entities == {"customers": 400}
    # One table up and two, but for what leads to a table without columns of its own.
    assert [j.path for j in found.joins] == [
        ["customers", "regions"],
        ["customers", "customers"],
        ["orders", "customers"],
        ["items", "orders"],
        ["items", "products"],
        ["orders", "customers", "regions"],
        ["items", "orders", "customers"],
    ]
    assert {p.table for p in found.parents} == {"customers", "orders"}
    assert found.scores["real_keys"].value == 0 and found.scores["integrity"].value == 1
    for name in ("cardinality_error", "join_trend_error"):
        score = found.scores[name]
        assert score.value < score.reference + 3 * score.reference_error + 3 * score.error, name
    # Items given to any order: nothing of the region is in their price any more.
    items = made["items"].with_columns(pl.col("order").shuffle(seed=3))
    worse = judge(data, train, holdout, made | {"items": items})
    assert worse.scores["join_trend_error"].value > found.scores["join_trend_error"].value
    assert worse.scores["parent_detection_auc"].value > 0.65
    telling = [t.column for p in worse.parents if p.table == "customers" for t in p.telling]
    assert any(column.startswith("items.price") for column in telling[:3])
    # Other products are bought.
    flipped = made["items"].with_columns((29 - pl.col("product")).alias("product"))
    other = judge(data, train, holdout, made | {"items": flipped})
    cardinality = [r.cardinality.value for r in other.relations if r.parent == "products"]
    assert by_name["items.product -> products"].measure == "total variation of parts"
    assert cardinality[0] > 3 * by_name["items.product -> products"].cardinality.value
    trend = {tuple(j.path): j.trend for j in other.joins}["items", "products"]
    assert trend.value > 3 * trend.reference


def test_a_split_table_is_told_from_a_whole_one() -> None:
    data = chain()
    whole, rest = data.split(0.8, 0.2)
    found = judge(data, whole, rest, data.fresh(whole))
    # Products are the same on both sides though not declared as kept: they are no entities.
    specs = {n: s.model_copy(update={"keep": n == "regions"}) for n, s in data.specs.items()}
    again = evaluate_relations(whole, rest, data.fresh(whole), data.schemas, Graph(specs), specs)
    assert again.settings.train_entities == found.settings.train_entities
    assert again.scores["real_keys"].value == 1.0  # but now their keys should have been new


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_sdmetrics_says_the_same(hospitals) -> None:
    """Cardinality and trends over one join, on whole tables, with nothing protected."""
    from sdmetrics.reports.multi_table import QualityReport

    data, train, holdout, made = hospitals
    columns = {
        name: {
            c.name: {
                "sdtype": "id"
                if c.name == "id"
                else "categorical"
                if not c.is_numeric
                else "numerical"
            }
            for c in schema.columns
        }
        for name, schema in data.schemas.items()
    }
    metadata = {
        "tables": {
            "patients": {"columns": columns["patients"], "primary_key": "id"},
            "visits": {"columns": columns["visits"]},
        },
        "relationships": [
            {
                "parent_table_name": "patients",
                "child_table_name": "visits",
                "parent_primary_key": "id",
                "child_foreign_key": "id",
            }
        ],
    }
    report = QualityReport()
    report.num_rows_subsample = None
    report.real_correlation_threshold = report.real_association_threshold = 0
    filled = pl.col(pl.String).fill_null("missing")
    frames = [
        {n: df.with_columns(filled).to_pandas() for n, df in side.items()} for side in (train, made)
    ]
    report.generate(*frames, metadata, verbose=False)
    found = judge(data, train, holdout, made, min_subjects=1)
    cardinality = report.get_details("Cardinality")["Score"].item()
    assert found.relations[0].cardinality.full == pytest.approx(1 - cardinality, abs=1e-9)
    trends = report.get_details("Intertable Trends").dropna(subset="Score")
    assert found.joins[0].pairs == len(trends)
    assert found.joins[0].trend.full == pytest.approx(1 - trends["Score"].mean(), abs=1e-3)
