"""Queries on the warehouse: one SELECT, read-only, and errors that help."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from warehouse_kit import release, rows_of, shop, state

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish, query


@pytest.fixture
def published(lake: Lake) -> Lake:
    """A lake with one release of the shop in its warehouse."""
    release(lake, shop())
    publish(lake)
    return lake


def test_a_query_gives_polars_rows(published: Lake) -> None:
    result = query(published, "SELECT order_id FROM shop.orders ORDER BY order_id DESC", limit=3)
    assert result.frame["order_id"].to_list() == [9, 8, 7]
    assert result.truncated and result.note == "the first 3 rows; more exist"
    whole = query(published, "SELECT order_id FROM shop.orders", limit=10)
    assert whole.frame.height == 10 and not whole.truncated and whole.note is None
    odd = query(
        published, "SELECT 1 AS a, 2 AS a, INTERVAL 1 DAY AS b, [INTERVAL 1 DAY] AS b"
    ).frame
    assert odd.rows() == [(1, 2, "1 day", "[1 day]")]
    assert query(published, "DESCRIBE shop.orders").frame["column_name"][0] == "order_id"
    assert query(published, "EXPLAIN SELECT 1").frame.height == 1
    with pytest.raises(InputError, match="at least 1 row"):
        query(published, "SELECT 1", limit=0)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM orderz", "orderz does not exist! did you mean shop.orders or shop__cri"),
        ("SELECT * FROM catalog.score", "did you mean catalog.scores?"),
        ("SELECT * FROM warehouse.shop.x", "there are: .*shop.orders"),
        ("SELECT citty FROM shop.orders", 'column "citty" not found'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 'x'::INTEGER", "Could not convert string 'x'"),
        ("SELECT 1; SELECT 2", "exactly one query; found 2 statements"),
        ("", "exactly one query; found 0"),
        ("PIVOT shop.orders ON city", "name the values of a PIVOT"),
    ],
)
def test_a_wrong_query_is_explained(published: Lake, sql: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        query(published, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO shop.orders SELECT * FROM shop.orders",
        "DELETE FROM shop.orders",
        "DROP TABLE shop.orders",
        "CREATE TABLE shop.mine AS SELECT 1",
        "CREATE TEMP TABLE mine AS SELECT 1",
        "COPY shop.orders TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "EXPLAIN ANALYZE COPY shop.orders TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE CREATE TABLE memory.main.mine AS SELECT 1",
        "EXPLAIN (FORMAT json, ANALYZE) CREATE TEMP TABLE mine AS SELECT 1",
        "EXPLAIN EXPLAIN ANALYZE CREATE TEMP TABLE mine AS SELECT 1",
        "EXPLAIN",
        "ATTACH '{folder}/out.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "CHECKPOINT",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "FROM '{folder}/secret.csv'",
        "SELECT * FROM query('SELECT * FROM read_csv(''{folder}/secret.csv'')')",
        "SELECT * FROM released",
    ],
)
def test_a_query_does_nothing_but_read_the_warehouse(
    published: Lake, tmp_path: Path, sql: str
) -> None:
    released = pl.DataFrame({"a": [1]})  # a variable is not a table
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = state(tmp_path)
    with pytest.raises(InputError):
        query(published, sql.format(folder=tmp_path))
    assert state(tmp_path) == before and len(released) == 1


def test_a_file_that_is_no_warehouse(lake: Lake) -> None:
    lake.home.mkdir()
    lake.warehouse.write_bytes(b"not a database " * 1000)
    with pytest.raises(ArtefactError, match=r"cannot be opened .*not a valid DuckDB"):
        query(lake, "SELECT 1")


def test_an_open_notebook_neither_blocks_nor_ages_a_query(published: Lake) -> None:
    with duckdb.connect(str(published.warehouse), read_only=True) as notebook:
        release(published, shop(), 2)
        publish(published)
        sql = "SELECT DISTINCT generation FROM shop.orders"
        assert rows_of(published, sql) == [(2,)]
        assert notebook.execute(sql).fetchall() == [(1,)]  # keeps what it opened, whole
