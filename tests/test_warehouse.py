"""The warehouse: tables under their own names, described, and open to older clients."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from warehouse_kit import (
    COLUMN,
    COMMENTS,
    SECRET,
    TABLE,
    every_type,
    odd_shop,
    release,
    rows_of,
    shop,
    shop_rows,
)

from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import create_release, publish, query, releases
from aigc_pipeline.warehouse.duck import identifier

CATALOG = {
    "overview",
    "datasets", "scenarios", "tables", "columns", "relations", "marts", "releases", "scores",
    "checks", "lineage",
}  # fmt: skip


@pytest.fixture
def published(lake: Lake) -> Lake:
    """A lake with one release of the shop in its warehouse."""
    release(lake, shop())
    publish(lake)
    return lake


def test_the_tables_are_there_under_their_own_names(published: Lake) -> None:
    for scenario, rows in (("shop", 10), ("shop__crisis", 3)):
        for name, frame in shop_rows(1, rows).items():
            found = query(published, f"FROM {identifier(scenario, name)}").frame
            assert_frame_equal(found, frame)
    # A query written for the real tables runs unchanged.
    [(total,)] = rows_of(
        published,
        f"SELECT sum(i.{identifier(COLUMN)}) FROM shop.orders o"
        f" JOIN shop.{identifier(TABLE)} i USING (order_id)",
    )
    assert total == sum(i / 4 for i in range(10))


def test_every_table_and_column_says_that_it_is_synthetic(published: Lake) -> None:
    found = rows_of(published, COMMENTS)
    assert all(text.startswith("Synthetic") for *_, text in found)
    texts = {tuple(name): text for *name, text in found}
    assert {table for schema, table, _ in texts if schema == "catalog"} == CATALOG
    assert sum(schema == "shop" for schema, *_ in texts) == 2 + 3 + 5  # tables and columns
    current = published.current("shop", "release").id
    assert texts["shop", "orders", ""] == (
        f"Synthetic. One order; its customer's own words. 10 rows; release {current}"
    )
    assert texts["shop__crisis", "orders", ""] == (
        "Synthetic. Scenario crisis: Small orders only. One order; its customer's own words."
        f" 3 rows; release {current}"
    )
    assert texts["shop", TABLE, ""] == f"Synthetic. A shop's orders. 10 rows; release {current}"
    assert texts["shop", "orders", "city"] == (
        f"Synthetic. Where it's sent; kind category; release {current}"
    )
    assert texts["shop", TABLE, COLUMN] == f"Synthetic. {COLUMN}; kind number; release {current}"


def test_the_catalogue_tells_what_is_there(published: Lake) -> None:
    version = published.current("shop", "release")
    made_at = datetime.fromisoformat(version.manifest["created_at"]).astimezone(UTC)
    at = made_at.replace(tzinfo=None)
    assert rows_of(published, "FROM catalog.datasets") == [
        (
            "shop", "A shop's orders", None, "e-commerce", "ann@example.com, bo@example.com",
            version.id, at, 2, 20,
        )
    ]  # fmt: skip
    assert rows_of(published, "FROM catalog.scenarios") == [
        (
            "shop", "crisis", "shop__crisis", "Small orders only.",
            '{"amount": {"max": 10}, "city": ["Bern", null]}', "{}", False, 6,
        )
    ]  # fmt: skip
    tables = query(published, "FROM catalog.tables").frame
    assert tables.select("schema_name", "table_name", "scenario", "rows", "columns").rows() == [
        ("shop", TABLE, "baseline", 10, 3),
        ("shop", "orders", "baseline", 10, 5),
        ("shop__crisis", TABLE, "crisis", 3, 3),
        ("shop__crisis", "orders", "crisis", 3, 5),
    ]
    assert tables.row(1, named=True)["primary_key"] == "order_id"
    assert tables.row(1, named=True)["target"] == "amount"

    columns = query(
        published,
        "FROM catalog.columns WHERE schema_name = 'shop' AND table_name = 'orders'",
    ).frame.drop("dataset", "schema_name", "table_name")
    assert columns.rows() == [
        (1, "order_id", "id", "BIGINT", False, 0.0, 10, None, "generated afresh", None, None),
        (2, "city", "category", "VARCHAR", True, 0.3, 2, "Where it's sent", "learned", 0.01, None),
        (3, "amount", "number", "DOUBLE", True, 0.3, 7, None, "learned", 0.01, None),
        (4, "day", "datetime", "DATE", True, 0.0, 10, None, "learned", 0.01, None),
        (5, "generation", "integer", "BIGINT", False, 0.0, 1, None, "learned", 0.01, None),
    ]
    [facts] = query(published, "FROM catalog.releases").frame.to_dicts()
    assert facts["release"] == version.id and facts["is_current"] is True
    assert facts["created_at"] == at and facts["seed"] == 7 and facts["rows"] == 20
    assert facts["model_family"] == "autoregressive" and facts["model_quality"] == "high"
    assert facts["trained_at"] is not None
    assert facts["privacy"] == '{"dp": null, "min_subjects": 6, "subject": null}'
    assert facts["spec_sha256"] == shop().sha256() and facts["problem"] is None
    assert rows_of(
        published,
        "SELECT score, value, reference, better, why_not, is_current FROM catalog.scores"
        " WHERE table_name = 'orders'",
    ) == [
        ("detection_auc", 0.55, 0.5, "half", None, True),
        ("utility_gap", None, None, "low", "no target", True),
    ]
    assert rows_of(
        published,
        "SELECT check_type, name, column_name, severity, passed, value, failed_rows, rows_seen"
        " FROM catalog.checks WHERE table_name = 'orders' ORDER BY 1",
    ) == [
        ("gate", "detection_auc", None, "critical", True, 0.55, None, None),
        (
            "validation", "expect_column_values_to_be_between", "amount", "warning", True,
            None, 2, 90,
        ),
    ]  # fmt: skip
    edges = rows_of(published, "SELECT from_stage, to_stage FROM catalog.lineage")
    assert edges[:2] == [("evaluation", "release"), ("synthetic", "release")]
    assert set(edges[2:]) == {
        ("model", "synthetic"), ("model", "evaluation"), ("synthetic", "evaluation"),
        ("validated", "evaluation"), ("validated", "model"),
    }  # fmt: skip
    assert SECRET.encode() not in published.warehouse.read_bytes()


def test_scores_of_every_release_kept_are_there(published: Lake) -> None:
    first = published.current("shop", "release")
    second = release(published, shop(), 2, auc=0.6)
    third = release(published, shop(), 3, auc=0.5)
    publish(published)
    history = (
        "SELECT release, value, is_current FROM catalog.scores"
        " WHERE table_name = 'orders' AND score = 'detection_auc' ORDER BY release"
    )
    expected = [(first.id, 0.55, False), (second.id, 0.6, False), (third.id, 0.5, True)]
    assert rows_of(published, history) == expected

    # An old release that was damaged takes its own facts along, not the warehouse.
    (second.path / "scores.json").write_text("{}")
    (first.path / "manifest.json").unlink()
    publish(published)
    assert rows_of(published, history) == expected[2:]
    problems = dict(rows_of(published, "SELECT release, problem FROM catalog.releases"))
    assert list(problems) == [first.id, second.id, third.id]
    assert "manifest cannot be read" in problems[first.id]
    assert "scores.json: its bytes changed" in problems[second.id]
    assert str(published.home) not in problems[second.id]
    assert problems[third.id] is None
    assert [bool(info.problem) for info in releases(published, "shop")] == [True, True, False]


def test_all_datasets_share_the_warehouse(published: Lake) -> None:
    release(published, shop("annex"), 4)
    (published.home / "Not a dataset").mkdir()
    (published.home / "logs").mkdir()
    publish(published)
    assert rows_of(
        published,
        "SELECT a.generation, b.generation FROM annex.orders a JOIN shop.orders b USING (order_id)"
        " GROUP BY ALL",
    ) == [(4, 1)]
    assert [row[0] for row in rows_of(published, "FROM catalog.datasets")] == ["annex", "shop"]
    # A dataset that left the lake leaves the warehouse.
    shutil.rmtree(published.home / "shop")
    publish(published)
    assert [row[0] for row in rows_of(published, "FROM catalog.datasets")] == ["annex"]


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=15, deadline=None)
@given(st.lists(names, min_size=1, max_size=4, unique_by=str.casefold))
def test_any_column_name_is_kept(
    tmp_path_factory: pytest.TempPathFactory, given: list[str]
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    frame = pl.DataFrame({name: [number] for number, name in enumerate(given)})
    create_release(lake, **odd_shop(lake, frame))
    publish(lake)
    assert_frame_equal(query(lake, "FROM odd.odd").frame, frame)


OLDER_CLIENT = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    ask = lambda sql: connection.execute(sql).fetchall()
    names = ask("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL")
    quoted = ['.'.join('"' + part.replace('"', '""') + '"' for part in name) for name in names]
    print(json.dumps({
        "version": duckdb.__version__,
        "comments": ask(sys.argv[2]),
        "counts": [[*name, *ask(f"SELECT count(*) FROM {q}")[0]] for name, q in zip(names, quoted)],
        "groups": ask("SELECT city, count(*), sum(amount) FROM shop.orders GROUP BY 1 ORDER BY 1"),
        "sizes": [len(ask(f"SELECT * FROM {q}")) for q in quoted],
    }))
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.4.4", "1.5.6"])
def test_older_clients_open_it(published: Lake, tmp_path: Path, version: str) -> None:
    # Python's older clients need one more package to show a time zone, so that type is left out.
    create_release(published, **odd_shop(published, every_type().drop("zoned")))
    publish(published)
    environment = tmp_path / "client"
    venv.create(environment, with_pip=True)
    client = environment / "bin" / "python"
    install = [client, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, f"duckdb=={version}"], check=True, timeout=300)
    answer = subprocess.run(
        [client, "-c", OLDER_CLIENT, published.warehouse, COMMENTS],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(answer.stdout)
    assert found["version"] == version
    assert [tuple(row) for row in found["comments"]] == rows_of(published, COMMENTS)
    counts = {(schema, table): rows for schema, table, rows in found["counts"]}
    assert {name: rows for name, rows in counts.items() if name[0] != "catalog"} == {
        ("odd", "odd"): 2,
        ("shop", TABLE): 10,
        ("shop", "orders"): 10,
        ("shop__crisis", TABLE): 3,
        ("shop__crisis", "orders"): 3,
        ("shop_marts", "scenario_comparison"): 35,
    }
    assert {table for schema, table in counts if schema == "catalog"} == CATALOG - {"overview"}
    assert found["sizes"] == list(counts.values())
    assert found["groups"] == [["Bern", 4, 5.25], ["São Paulo", 3, 3.0], [None, 3, 2.875]]
