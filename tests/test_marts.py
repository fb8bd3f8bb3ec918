"""Marts: checked before a run, built from manifests, open under any name, or refused by line."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest
from warehouse_kit import make, release, rows_of, shop, shop_rows, state

from aigc_pipeline.dataset_file import load_dataset, pointing_into
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.marts import check_marts, read_marts
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse import create_release, publish

PER_CITY = """-- title: Orders by city
-- description: How many orders go where,
--   and what they bring in.
SELECT city, count(*) AS orders_made, sum(amount) AS revenue
FROM orders
GROUP BY city
"""
DATASET = """
name: shop
tables:
  customers: {source: {file: c.csv}, key: customer_id}
  orders:
    source: {file: o.csv}
    parents: [{column: customer_id, table: customers}]
marts:
  best:
    title: The best city
    materialize: table
    sql: |
      SELECT city
      FROM per_city ORDER BY revenue DESC LIMIT 1
"""
FRAMES = {
    "customers": pl.DataFrame({"customer_id": [1], "city": ["Bern"]}),
    "orders": pl.DataFrame({"customer_id": [1], "amount": [1.5]}),
}
JOINED = PER_CITY.replace("FROM orders", "FROM orders JOIN shop.customers USING (customer_id)")


def project(folder: Path, per_city: str = JOINED) -> Path:
    """A dataset file with one mart of its own and one in a file."""
    (folder / "shop" / "marts").mkdir(parents=True, exist_ok=True)
    (folder / "shop" / "marts" / "per_city.sql").write_text(per_city, encoding="utf-8")
    (folder / "shop.yaml").write_text(DATASET, encoding="utf-8")
    return folder / "shop.yaml"


def check(path: Path) -> list[str]:
    """Names of the marts of a dataset file, in the order they are made."""
    spec = load_dataset(path)
    with pointing_into(spec):
        return [mart.name for mart in check_marts(spec, FRAMES)]


def test_marts_are_read_from_files_and_fields_and_put_in_order(tmp_path: Path) -> None:
    path = project(tmp_path)
    assert check(path) == ["per_city", "best"]
    first, second = read_marts(load_dataset(path))
    assert first.title == "Orders by city" and first.kind == "view"
    assert first.description == "How many orders go where, and what they bring in."
    assert first.needs == ("orders", "customers")
    assert '"shop"."orders" JOIN "shop"."customers"' in first.statement
    assert second.kind == "table" and '"shop_marts"."per_city"' in second.statement


def test_the_hash_of_a_dataset_file_covers_its_marts(tmp_path: Path) -> None:
    before = load_dataset(project(tmp_path)).sha256()
    assert load_dataset(project(tmp_path)).sha256() == before
    assert load_dataset(project(tmp_path, JOINED.replace("sum", "max"))).sha256() != before


def test_a_mart_may_name_its_file(tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "other.sql").write_text("SELECT count(*) AS n FROM customers")
    path.write_text(DATASET + "  other: {file: other.sql, title: Others}\n")
    assert {mart.name: mart.title for mart in read_marts(load_dataset(path))} == {
        "other": "Others",
        "per_city": "Orders by city",
        "best": "The best city",
    }
    path.write_text(DATASET + "  other: {file: gone.sql}\n")
    with pytest.raises(InputError, match=r"gone\.sql: the mart cannot be read"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("amount", "amuont", r"sql:4: .*there is no column 'amuont'; did you mean 'amount'\?"),
        ("FROM orders", "FROM oders", r"sql:5: .*no table or mart 'oders'.*mean 'orders'\?"),
        ("FROM orders", "FROM read_csv('/etc/passwd')", r"sql:5: .*read_csv\(\) reads outside"),
        ("FROM orders", "FROM '/etc/passwd'", r"sql:5: .*no table or mart '/etc/passwd'"),
        ("FROM orders", "FROM glob('*')", r"sql:5: .*glob\(\) reads outside"),
        ("FROM orders", "FROM orders, LATERAL glob('*')", r"sql:5: .*glob\(\) reads outside"),
        ("SELECT city", "SELECT getenv('HOME'), city", r"sql:\d: .*getenv\(\) reads outside"),
        ("FROM orders", "FROM best, orders", r"marts read each other in a circle: .* -> .* -> "),
        (
            "sum(amount)",
            "1 AS x, 2 AS X, sum(amount)",
            r"two columns are called 'x'; name them apart",
        ),
        ("sum(amount)", "summ(amount)", r"Scalar Function with name summ does not exist"),
        ("count(*)", "count(*", r"sql:4: .*not valid SQL: Expecting \)"),
        ("GROUP BY city", "GROUP BY city; DROP TABLE orders", r"one SELECT \(found 2 statements"),
        (JOINED, "COPY orders TO 'x.csv'", r"one SELECT \(found COPY"),
        (JOINED, "ATTACH 'x.db'", r"one SELECT \(found ATTACH"),
        ("-- title", "-- titel", r"sql:1: a mart has no field 'titel'; did you mean 'title'"),
        ("FROM orders", "FROM other.orders", r"no table or mart 'other\.orders'"),
    ],
)
def test_a_mart_that_cannot_work_is_refused_by_file_and_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in JOINED
    with pytest.raises(InputError, match=message) as told:
        check(project(tmp_path, JOINED.replace(old, new)))
    assert str(tmp_path) in str(told.value)


def test_a_field_of_the_dataset_file_is_told_by_its_line(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_text(DATASET.replace("SELECT city", "SELECT town"))
    with pytest.raises(InputError, match=r"shop\.yaml:12: marts\.best\.sql: line 1 .*'town'"):
        check(path)


def test_a_mart_needs_a_name_of_its_own(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_text(DATASET.replace("  best:", "  Orders:"))
    with pytest.raises(InputError, match=r"the mart 'Orders' and the table 'orders'"):
        load_dataset(path)


def mart_shop(**marts: str) -> DatasetSpec:
    """The release tests' shop with a view, and a table made from it."""
    texts = {"per_city": PER_CITY, "best": "SELECT max(revenue) AS most FROM per_city"} | marts
    kinds = {"best": "table"}
    fields = {
        name: {"sql": sql, "title": name.title(), "materialize": kinds.get(name, "view")}
        for name, sql in texts.items()
    }
    return shop(marts=fields)


def test_marts_are_published_and_answer_under_any_file_name(lake: Lake, tmp_path: Path) -> None:
    spec = mart_shop()
    release(lake, spec)
    publish(lake)
    orders = shop_rows(1, 10)["orders"]
    expected = orders.group_by("city").agg(pl.len(), pl.col("amount").sum()).sort("city")
    found = rows_of(lake, "FROM shop_marts.per_city ORDER BY city NULLS FIRST")
    assert found == expected.rows()
    most = max(row[2] for row in found)
    assert rows_of(lake, "FROM shop_marts.best") == [(most,)]
    comments = rows_of(
        lake,
        "SELECT comment FROM duckdb_views() WHERE schema_name = 'shop_marts' UNION ALL"
        " SELECT comment FROM duckdb_columns() WHERE schema_name = 'shop_marts'"
        " AND table_name <> 'scenario_comparison'",
    )
    assert len(comments) == 1 + 3 + 1
    assert all(text.startswith("Synthetic") for (text,) in comments)
    shown = (
        "SELECT schema_name, name, title, kind, columns, sql FROM catalog.marts"
        " WHERE name <> 'scenario_comparison' ORDER BY name"
    )
    assert rows_of(lake, shown) == [
        (
            "shop_marts",
            "best",
            "Best",
            "table",
            "most",
            "SELECT max(revenue) AS most FROM per_city",
        ),
        ("shop_marts", "per_city", "Per_City", "view", "city, orders_made, revenue", PER_CITY),
    ]
    copy = tmp_path / "elsewhere.db"
    shutil.copyfile(lake.warehouse, copy)
    with duckdb.connect(str(copy), read_only=True) as client:
        answer = client.execute("FROM shop_marts.per_city").fetchall()
        assert sorted(answer, key=str) == sorted(found, key=str)
    with duckdb.connect() as client:
        client.execute(f"ATTACH '{copy}' AS bi (READ_ONLY)")
        assert client.execute("FROM bi.shop_marts.best").fetchall() == [(most,)]
        assert len(client.execute("FROM bi.shop_marts.per_city").fetchall()) == 3


def test_the_warehouse_is_rebuilt_from_manifests_alone(lake: Lake) -> None:
    release(lake, mart_shop())
    before = publish(lake).read_bytes()
    lake.warehouse.unlink()
    publish(lake)
    assert len(before) == lake.warehouse.stat().st_size
    assert len(rows_of(lake, "FROM shop_marts.per_city")) == 3


def test_a_mart_that_fails_on_the_rows_leaves_what_is_published(lake: Lake) -> None:
    release(lake, mart_shop())
    publish(lake)
    before = state(lake.home)
    # Binds, and breaks on the first city that is no number.
    broken = mart_shop(per_city="SELECT city::INT AS city, 1 AS revenue FROM orders")
    with lake.keeping_current("shop", "release"), pytest.raises(ArtefactError) as told:
        release(lake, broken, 2)
        publish(lake)
    assert "the mart 'per_city' of shop fails on the rows" in str(told.value)
    assert "Bern" not in str(told.value)
    assert state(lake.home)[lake.warehouse.name] == before[lake.warehouse.name]


def test_a_mart_that_does_not_fit_the_release_writes_nothing(lake: Lake) -> None:
    spec = mart_shop(per_city="SELECT cty, 1 AS revenue FROM orders")
    made = make(lake, spec)
    before = state(lake.home)
    with pytest.raises(InputError, match=r"marts\.per_city: does not work on the synthetic tables"):
        create_release(lake, spec, **vars(made))
    assert state(lake.home) == before
