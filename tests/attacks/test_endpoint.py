"""Attacks on `aigc serve`: asked for what it must not give, and to take all there is."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from endpoint_kit import CANARY, SECONDS, Endpoint
from guarantees import times
from queries_kit import REFUSED
from server_kit import ask, published, serving, workers

from aigc_pipeline.lake import Lake
from aigc_pipeline.server.pool import GRACE

SLACK = 8.0  # seconds in which a busy machine does what takes none


@pytest.mark.parametrize("what", REFUSED)
def test_asked_for_more_than_the_tables(what: str, endpoint: Endpoint, tried: Any) -> None:
    line = tried("Attacks", f"the endpoint asked to {what}")
    (endpoint.folder / "secret.csv").write_text("a\n1\n")
    with endpoint.untouched():
        for query in REFUSED[what]:
            sql = query.format(folder=endpoint.folder) if "{folder}" in query else query
            answer = requests.post(f"{endpoint.url}/query", json={"sql": sql}, timeout=60)
            assert answer.status_code == 400, (sql, answer.text)
            told = answer.json()["error"]
            assert str(endpoint.folder) not in told or str(endpoint.folder) in sql
            assert CANARY not in told and "Traceback" not in told and "site-packages" not in told
            line.happened("refused, nothing written, nothing of the machine told")


LIMITS = [
    ("run for ever", "SELECT count(*) FROM range(1000000000000) r WHERE r.range % 7 = 8", 408),
    ("run for ever", "FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1", 408),
    ("run for ever", "WITH RECURSIVE r AS (SELECT 1 x UNION ALL FROM r) SELECT max(x) FROM r", 408),
    ("run for ever", "EXPLAIN ANALYZE FROM range(1000000000000) WHERE range % 7 = 8", 408),
    ("fill memory", "SELECT length(repeat('x', 2000000000))", 413),
    ("fill memory", "SELECT len(list_sort(range(300000000)))", 413),
    ("fill memory", "SELECT count(DISTINCT a.range) FROM range(100000000) a", 413),
    ("fill memory", "SELECT repeat('x', 9000000) FROM range(50)", 413),
    ("fill memory", f"SELECT {'(' * 20_000}1{')' * 20_000}", 400),
    ("fill memory", f"SELECT '{'x' * 60_000}'", 413),
    ("fill memory", f"SELECT {'(SELECT ' * 5_000}1{')' * 5_000}", 400),
]  # fmt: skip


@pytest.mark.parametrize(("what", "sql", "status"), LIMITS)
def test_asked_to_take_all_there_is(
    what: str, sql: str, status: int, endpoint: Endpoint, tried: Any
) -> None:
    line = tried("Attacks", f"the endpoint asked to {what}")
    begun = time.monotonic()
    answer = endpoint.ask(sql)
    assert answer.status_code in (status, 408, 413), answer.text[:500]
    assert time.monotonic() - begun < SECONDS + GRACE + SLACK
    words = ("stopped", "memory", "longer than", "expression depth")
    assert any(word in answer.json()["error"] for word in words), answer.text
    endpoint.still_right()
    line.happened("stopped at its limit, the next query answered")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return published(tmp_path_factory.mktemp("attacked"))


def test_a_query_that_never_gives_in(lake: Lake, tried: Any) -> None:
    """One call within which DuckDB looks at no interrupt, for minutes."""
    line = tried("Attacks", "the endpoint asked for what DuckDB itself cannot stop")
    never = "SELECT levenshtein(repeat('a', 400000), repeat('b', 400000))"
    with serving(lake, "--workers", "1", "--timeout", str(SECONDS)) as url:
        for _ in range(times(1, 5)):
            [busy] = workers(url)
            begun = time.monotonic()
            answer = ask(url, never)
            taken = time.monotonic() - begun
            assert answer.status_code == 408 and "stopped" in answer.json()["error"]
            assert SECONDS + GRACE <= taken < SECONDS + GRACE + SLACK
            Endpoint(url, lake.home).still_right()
            assert workers(url) != [busy] and not os.path.exists(f"/proc/{busy}")
            line.happened("its process ended, the next query answered")


def test_memory_that_one_query_took(lake: Lake, tried: Any) -> None:
    """What DuckDB keeps of it would be missing for whoever asks next."""
    line = tried("Attacks", "the endpoint asked to fill memory, and then for what needs some")
    fair = "SELECT count(DISTINCT range) FROM range(300000)"
    greedy = "SELECT count(DISTINCT range) FROM range(20000000)"
    with serving(lake, "--workers", "1", "--memory", "128", "--timeout", "60") as url:
        assert ask(url, fair).json()["rows"] == [[300_000]]
        for _ in range(times(1, 10)):
            [before] = workers(url)
            assert ask(url, greedy).status_code == 413
            assert ask(url, fair).json()["rows"] == [[300_000]]
            [after] = workers(url)
            assert after != before and not os.path.exists(f"/proc/{before}")
            line.happened("a new process answered, with all its memory")


def test_small_queries_keep_their_process(lake: Lake) -> None:
    with serving(lake, "--workers", "1", "--memory", "64") as url:
        before = workers(url)
        for sql in ("SUMMARIZE shop.orders", "FROM information_schema.columns", "SELECT 1") * 5:
            assert ask(url, sql).status_code == 200
        assert workers(url) == before


def test_many_at_once(endpoint: Endpoint, tried: Any) -> None:
    """Bad queries and good ones by turns, twenty at a time: each has its own answer."""
    line = tried("Attacks", "the endpoint asked by many at once, every fifth for what is refused")

    def read(number: int) -> bool:
        if number % 5 == 0:
            return endpoint.ask("FROM duckdb_settings()").status_code == 400
        sql = f"SELECT {number}, count(*) FROM shop.orders WHERE order_id < {number % 100}"
        return endpoint.rows(sql) == [[number, number % 100]]

    with ThreadPoolExecutor(20) as threads:
        done = list(threads.map(read, range(times(100, 2_000))))
    assert all(done)
    line.happened("each had its own answer", len(done))
