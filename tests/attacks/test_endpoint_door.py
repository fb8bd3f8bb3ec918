"""Attacks on `aigc serve` by whoever may not ask, and by requests that are none."""

from __future__ import annotations

import base64
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from endpoint_kit import Endpoint
from guarantees import times
from server_kit import published, serving
from typer.testing import CliRunner

from aigc_pipeline.cli import app
from aigc_pipeline.errors import InputError
from aigc_pipeline.server import Limits, ServerSettings
from aigc_pipeline.server.app import SLOW

SLACK = 8.0  # seconds in which a busy machine does what takes none
TOKEN = "0123456789abcdef"


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
def test_bad_bodies(endpoint: Endpoint, body: bytes, kind: str, status: int, tried: Any) -> None:
    line = tried("Attacks", "the endpoint sent a body that is no query")
    answer = requests.post(
        f"{endpoint.url}/query", data=body, headers={"content-type": kind}, timeout=60
    )
    assert answer.status_code == status and answer.json()["error"]
    line.happened("refused")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b""),
        (b"GET /query?sql=SELECT+1 HTTP/1.1\r\nhost: localhost\r\nx: ", b"x"),
        (b"POST /query HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
         b"content-length: 1000\r\n\r\nSELECT ", b"1"),
        (b"POST /query HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
         b"transfer-encoding: chunked\r\n\r\n", b"1\r\n1\r\n"),
    ],
    ids=["nothing", "headers", "body", "chunks"],
)  # fmt: skip
def test_what_never_ends(begin: bytes, more: bytes, endpoint: Endpoint, tried: Any) -> None:
    """A byte now and then holds a connection; it is let go of, and others are answered."""
    line = tried("Attacks", "the endpoint sent headers or a body that never end")
    port = int(endpoint.url.rsplit(":", 1)[1])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(times(20, 400))]
    try:
        begun = time.monotonic()
        for connection in held:
            connection.sendall(begin)
        assert endpoint.rows("SELECT 1") == [[1]]
        while held and time.monotonic() - begun < SLOW + SLACK:
            held = [connection for connection in held if not is_over(connection, more)]
            time.sleep(0.5)
        assert not held
        line.happened("let go of; others answered meanwhile")
    finally:
        for connection in held:
            connection.close()
    endpoint.still_right()


def is_over(connection: socket.socket, more: bytes) -> bool:
    """Whether a connection was answered or closed; else it is sent a little more."""
    connection.settimeout(0.01)
    try:
        connection.sendall(more)
        got = connection.recv(65_536)
    except TimeoutError:
        return False
    except OSError:
        got = b""
    assert b" 408 " in got.split(b"\r\n")[0] or not got, got
    connection.close()
    return True


def test_headers_too_long(endpoint: Endpoint, tried: Any) -> None:
    line = tried("Attacks", "the endpoint sent headers or a body that never end")
    for headers in ({"x": "x" * 200_000}, {f"x{i}": "x" * 100 for i in range(5_000)}):
        try:
            answer = requests.get(f"{endpoint.url}/query?sql=SELECT+1", headers=headers, timeout=60)
            assert answer.status_code in (400, 431)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            pass  # closed while they were still being sent
        endpoint.still_right()
        line.happened("let go of; others answered meanwhile")


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
def test_who_may_ask(
    endpoint: Endpoint, method: str, headers: dict[str, str], status: int, tried: Any
) -> None:
    line = tried("Attacks", "the endpoint asked under a wrong name, by another site, or to change")
    where = f"{endpoint.url}/query?sql=SELECT+1"
    answer = requests.request(method, where, headers=headers, timeout=60)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in answer.headers
    line.happened("turned away" if status != 200 else "its own name: answered")


def test_static_files_stay_in_their_folder(endpoint: Endpoint, tried: Any) -> None:
    line = tried("Attacks", "the endpoint asked for files beside those of its pages")
    assert requests.get(f"{endpoint.url}/static/page.css", timeout=60).status_code == 200
    for path in ("/static/../settings.py", "/static/..%2fsettings.py", "/static/%2e%2e/app.py"):
        request = requests.Request("GET", endpoint.url).prepare()
        request.url = endpoint.url + path
        with requests.Session() as session:
            assert session.send(request, timeout=60).status_code == 404
        line.happened("not found")


def test_a_token_is_asked_for(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "the endpoint asked without its token, or with a wrong one")
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    wrong = (None, "", TOKEN, "Bearer", "Bearer 0", f"Digest {TOKEN}", "Basic !", "Basic 8A==")
    with serving(published(tmp_path), "--workers", "1", AIGC_TOKEN=TOKEN) as url:
        where = f"{url}/query?sql=SELECT+1"

        def status(value: str | None) -> int:
            headers = {} if value is None else {"authorization": value.encode()}
            return requests.get(where, headers=headers, timeout=60).status_code

        assert status(f"Bearer {TOKEN}") == 200 == status(f"Basic {basic}")
        for value in wrong:
            assert status(value) == 401
            line.happened("turned away")
        assert requests.get(f"{url}/", timeout=60).status_code == 401


def test_it_does_not_start_open_to_others(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    line = tried("Attacks", "the endpoint bound to what others can reach, without a good token")
    monkeypatch.setenv("AIGC_HOME", str(endpoint.folder / "lake"))
    monkeypatch.delenv("AIGC_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        done = CliRunner().invoke(app, ["serve", "--host", host, "--port", "0"])
        assert isinstance(done.exception, InputError) and "takes a token" in str(done.exception)
        line.happened("does not start")
    for token, message in (("short", "at least 16"), ("ü" * 20, "ASCII")):
        with pytest.raises(InputError, match=message):
            ServerSettings(token=token)
        line.happened("does not start")
    with pytest.raises(InputError, match="memory"):
        Limits(memory=1)
    assert "secret" not in repr(ServerSettings(token="secret" * 4))
