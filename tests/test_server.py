"""`aigc serve`: answers as JSON and Arrow, limits that hold, and a door that stays shut."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from queries_kit import ANSWERED
from server_kit import ask, published, serving, workers
from warehouse_kit import release, rows_of, shop

from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish

ARROW = "application/vnd.apache.arrow.stream"
GROUPS = "SELECT city, count(*) AS orders FROM shop.orders GROUP BY city ORDER BY city"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake that these tests share."""
    return published(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def url(lake: Lake) -> Iterator[str]:
    """A server with small limits."""
    limits = ("--timeout", "1.5", "--max-rows", "100", "--memory", "128")
    with serving(lake, *limits, AIGC_CANARY="canary-in-the-environment") as url:
        yield url


def test_json_by_post_and_get(url: str, lake: Lake) -> None:
    answer = ask(url, GROUPS)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json()["columns"] == [
        {"name": "city", "type": "VARCHAR"},
        {"name": "orders", "type": "BIGINT"},
    ]
    assert [tuple(row) for row in answer.json()["rows"]] == rows_of(lake, GROUPS)
    assert answer.json()["truncated"] is False
    got = requests.get(f"{url}/query", params={"sql": GROUPS}, timeout=60)
    text = requests.post(
        f"{url}/query", data=GROUPS, headers={"content-type": "text/plain"}, timeout=60
    )
    assert got.json() == text.json() == answer.json()


def test_arrow_has_the_types(url: str) -> None:
    sql = "SELECT order_id, city, amount, day FROM shop.orders ORDER BY order_id LIMIT 5"
    headers = {"accept": ARROW}
    answer = requests.post(f"{url}/query", json={"sql": sql}, headers=headers, timeout=60)
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    assert [str(kind) for kind in table.schema.types] == [
        "int64",
        "string",
        "double",
        "date32[day]",
    ]
    assert table.column("order_id").to_pylist() == [0, 1, 2, 3, 4]


def test_values_that_json_cannot_hold_come_as_text(url: str) -> None:
    sql = (
        "SELECT 'NaN'::DOUBLE, 'inf'::DOUBLE, 9007199254740993::BIGINT, 1.10::DECIMAL(5,2),"
        " DATE '2024-02-29', INTERVAL 1 DAY, [1, NULL], {'a': 'ü'}, 'x'::BLOB, true, NULL"
    )
    [row] = ask(url, sql).json()["rows"]
    assert row[:6] == ["nan", "inf", "9007199254740993", "1.10", "2024-02-29", "1 day"]
    assert row[6:] == [[1, None], {"a": "ü"}, "78", True, None]


def test_dates_beyond_the_calendar_are_refused_with_a_way_out(url: str) -> None:
    for value in ("'infinity'::TIMESTAMP", "[DATE '290000-01-01']"):
        answer = ask(url, f"SELECT {value}")
        assert answer.status_code == 400 and "CAST it to VARCHAR" in answer.json()["error"]
        assert ask(url, f"SELECT ({value})::VARCHAR").json()["rows"]
        arrow = {"json": {"sql": f"SELECT {value}"}, "headers": {"accept": ARROW}, "timeout": 60}
        assert requests.post(f"{url}/query", **arrow).status_code == 200


def test_rows_beyond_the_limit_are_left_out_and_told(url: str) -> None:
    answer = ask(url, "FROM shop.orders").json()
    assert len(answer["rows"]) == 100 and answer["truncated"] is True
    answer = ask(url, "FROM shop.orders", rows=7)
    assert len(answer.json()["rows"]) == 7 and answer.headers["x-truncated"] == "true"
    more = ask(url, "FROM shop.orders", rows=10**6).json()
    assert len(more["rows"]) == 100


@pytest.mark.parametrize("sql", ANSWERED)
def test_what_bi_tools_ask_is_answered(url: str, sql: str) -> None:
    answer = ask(url, sql)
    assert answer.status_code == 200 and answer.json()["rows"], answer.text


def test_a_release_is_served_from_the_next_query_on(tmp_path: Path) -> None:
    lake = published(tmp_path, rows=12)
    sql = "SELECT DISTINCT o.generation, i.generation FROM shop.orders o, shop__crisis.orders i"
    seen: list[list[list[int]]] = []
    with serving(lake, "--workers", "1") as url, ThreadPoolExecutor(2) as threads:

        def read() -> None:
            for _ in range(15):
                seen.append(ask(url, sql).json()["rows"])

        readers = [threads.submit(read) for _ in range(2)]
        for generation in range(2, 5):
            release(lake, shop(), generation, rows=12)
            publish(lake)
            assert ask(url, sql).json()["rows"] == [[generation, generation]]
        for reader in readers:
            reader.result()
    assert all(len(rows) == 1 and rows[0][0] == rows[0][1] for rows in seen)


def test_a_worker_that_dies_is_replaced(lake: Lake) -> None:
    with serving(lake, "--workers", "1") as url:
        assert ask(url, "SELECT 1").status_code == 200
        for worker in workers(url):
            os.kill(worker, 9)
        until = time.monotonic() + 30
        while ask(url, "SELECT 1").status_code != 200:
            assert time.monotonic() < until
        assert len(workers(url)) == 1
