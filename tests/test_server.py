"""`aigc serve`: answers as JSON and Arrow, limits that hold, and a door that stays shut."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from queries_kit import ANSWERED, REFUSED
from server_kit import published, serving
from typer.testing import CliRunner
from warehouse_kit import release, rows_of, shop, state

from aigc_pipeline.cli import app
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.server import Limits, ServerSettings
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


def ask(url: str, sql: str, **more: Any) -> requests.Response:
    return requests.post(f"{url}/query", json={"sql": sql, **more}, timeout=60)


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


def test_rows_beyond_the_limit_are_left_out_and_told(url: str) -> None:
    answer = ask(url, "FROM shop.orders").json()
    assert len(answer["rows"]) == 100 and answer["truncated"] is True
    answer = ask(url, "FROM shop.orders", rows=7)
    assert len(answer.json()["rows"]) == 7 and answer.headers["x-truncated"] == "true"
    more = ask(url, "FROM shop.orders", rows=10**6).json()
    assert len(more["rows"]) == 100


SLOW = "SELECT count(*) FROM range(1000000000000) r WHERE r.range % 7 = 8"


@pytest.mark.parametrize(
    ("sql", "status", "word"),
    [
        (SLOW, 408, "stopped"),
        ("SELECT length(repeat('x', 2000000000))", 413, "memory"),
        ("SELECT len(list_sort(range(300000000)))", 413, "memory"),
        ("SELECT count(DISTINCT a.range) FROM range(100000000) a", 413, "memory"),
        ("SELECT repeat('x', 9000000) FROM range(50)", 413, "answer is longer|memory"),
        (f"SELECT {'(' * 20_000}1{')' * 20_000}", 413, "nested|memory"),
        (f"SELECT '{'x' * 60_000}'", 413, "longer than 50000"),
    ],
)
def test_a_query_past_its_limit_is_stopped(url: str, sql: str, status: int, word: str) -> None:
    answer = ask(url, sql)
    assert answer.status_code == status, answer.text
    assert any(part in answer.json()["error"] for part in word.split("|"))
    assert ask(url, "SELECT 1").json()["rows"] == [[1]]


@pytest.mark.parametrize("sql", [sql for asked in REFUSED.values() for sql in asked])
def test_all_but_reading_the_tables_is_refused(url: str, lake: Lake, sql: str) -> None:
    folder = lake.home.parent
    (folder / "secret.csv").write_text("a\n1\n")
    before = state(folder)
    answer = ask(url, sql.format(folder=folder) if "{folder}" in sql else sql)
    assert answer.status_code == 400
    told = answer.json()["error"]
    given = sql.format(folder=folder) if "{folder}" in sql else ""
    assert str(lake.home) not in told or str(lake.home) in given
    assert not any(word in told for word in ("Traceback", "canary", "/root", "site-packages"))
    assert state(folder) == before


@pytest.mark.parametrize("sql", ANSWERED)
def test_what_bi_tools_ask_is_answered(url: str, sql: str) -> None:
    answer = ask(url, sql)
    assert answer.status_code == 200 and answer.json()["rows"], answer.text


def test_what_a_refused_query_tried_to_leave_is_not_there(url: str) -> None:
    for _ in range(4):  # whichever worker answers
        found = ask(url, "SELECT count(*) FROM duckdb_tables() WHERE database_name <> 'warehouse'")
        assert found.json()["rows"] == [[0]]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"sql": 1}', "application/json", 400),
        (b'{"sql": "SELECT 1", "path": "/"}', "application/json", 400),
        (b'{"sql": "SELECT 1", "rows": 0}', "application/json", 400),
        (b'{"sql": "SELECT 1", "rows": true}', "application/json", 400),
        (b'{"sql": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "text/plain", 400),
        (b"sql=SELECT+1", "application/x-www-form-urlencoded", 415),
        (b"x" * 500_000, "text/plain", 413),
    ],
)
def test_bad_bodies(url: str, body: bytes, kind: str, status: int) -> None:
    answer = requests.post(f"{url}/query", data=body, headers={"content-type": kind}, timeout=60)
    assert answer.status_code == status and answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "evil.example"}, 421),
        ("GET", {"host": "127.0.0.1.evil.example"}, 421),
        ("GET", {"host": "localhost:1"}, 200),
        ("GET", {"origin": "https://evil.example"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"accept": "text/csv"}, 406),
        ("PUT", {}, 405),
        ("OPTIONS", {}, 405),
    ],
)
def test_who_may_ask(url: str, method: str, headers: dict[str, str], status: int) -> None:
    where = f"{url}/query?sql=SELECT+1"
    answer = requests.request(method, where, headers=headers, timeout=60)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in answer.headers


def test_static_files_stay_in_their_folder(url: str) -> None:
    assert requests.get(f"{url}/static/page.css", timeout=60).status_code == 200
    for path in ("/static/../settings.py", "/static/..%2fsettings.py", "/static/%2e%2e/app.py"):
        request = requests.Request("GET", url).prepare()
        request.url = url + path
        with requests.Session() as session:
            assert session.send(request, timeout=60).status_code == 404


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


def test_a_token_is_asked_for(lake: Lake) -> None:
    token = "0123456789abcdef"
    with serving(lake, "--workers", "1", AIGC_TOKEN=token) as url:
        where = f"{url}/query?sql=SELECT+1"

        def status(value: str | None) -> int:
            headers = {} if value is None else {"authorization": value.encode()}
            return requests.get(where, headers=headers, timeout=60).status_code

        assert status(f"Bearer {token}") == 200
        basic = base64.b64encode(f"me:{token}".encode()).decode()
        assert status(f"Basic {basic}") == 200
        for wrong in (
            None,
            "",
            token,
            "Bearer",
            "Bearer 0",
            f"Digest {token}",
            "Basic !",
            "Basic 8A==",
        ):
            assert status(wrong) == 401
        assert requests.get(f"{url}/", timeout=60).status_code == 401


def test_it_does_not_start_open_to_others(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_HOME", str(lake.home))
    monkeypatch.delenv("AIGC_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        done = CliRunner().invoke(app, ["serve", "--host", host, "--port", "0"])
        assert isinstance(done.exception, InputError) and "takes a token" in str(done.exception)
    with pytest.raises(InputError, match="at least 16"):
        ServerSettings(token="short")
    with pytest.raises(InputError, match="ASCII"):
        ServerSettings(token="ü" * 20)
    with pytest.raises(InputError, match="memory"):
        Limits(memory=1)
    assert "secret" not in repr(ServerSettings(token="secret" * 4))


def test_many_readers_at_once(url: str) -> None:
    """Twenty at a time, each sees its own answer."""

    def read(number: int) -> bool:
        sql = f"SELECT {number}, count(*) FROM shop.orders WHERE order_id < {number % 100}"
        return ask(url, sql).json()["rows"] == [[number, number % 100]]

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(read, range(200)))


def test_a_worker_that_dies_is_replaced(lake: Lake) -> None:
    with serving(lake, "--workers", "1") as url:
        assert ask(url, "SELECT 1").status_code == 200
        for worker in _workers(url):
            os.kill(worker, 9)
        until = time.monotonic() + 30
        while ask(url, "SELECT 1").status_code != 200:
            assert time.monotonic() < until
        assert len(_workers(url)) == 1


def _workers(url: str) -> list[int]:
    """Processes that wait for queries, of any server on this port's parent."""
    port = int(url.rsplit(":", 1)[1])
    [parent] = [int(p) for p in _pids() if _listens(p, port)]
    return [int(p) for p in _pids() if _parent(p) == parent]


def _pids() -> list[str]:
    return [entry for entry in os.listdir("/proc") if entry.isdigit()]


def _parent(pid: str) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def _listens(pid: str, port: int) -> bool:
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {
        line.split()[9]
        for line in table
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(link == f"socket:[{inode}]" for link in links for inode in inodes)
