"""An endpoint to attack: what it is sent, and what must hold of every answer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from warehouse_kit import state

SECONDS = 1.5  # that a query may take
CANARY = "canary-in-the-environment"
# What an answer may be: 500 says that the server did not know what to do.
KNOWN = {200, 307, 400, 401, 403, 404, 405, 406, 408, 413, 415, 421, 503}


@dataclass(frozen=True)
class Endpoint:
    """A server on a lake in a folder of its own."""

    url: str
    folder: Path

    def ask(self, sql: str) -> requests.Response:
        """The answer to a query."""
        return self.send("POST", json={"sql": sql})

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of an answer."""
        return list(self.ask(sql).json()["rows"])

    def send(self, method: str, path: str = "/query", **more: Any) -> requests.Response:
        """An answer of a known status, in the form it says, with nothing of the machine in it."""
        answer = requests.request(
            method, self.url + path, timeout=60, allow_redirects=False, **more
        )
        assert answer.status_code in KNOWN, (answer.status_code, answer.text)
        self.check(answer.content, more)
        if "json" in answer.headers.get("content-type", "") and method != "HEAD":
            told = json.loads(answer.content)
            assert ("error" in told) == (answer.status_code != 200)
        return answer

    def send_raw(self, data: bytes) -> int:
        """The status of the answer to bytes that may be no request; 0 where it just hangs up."""
        port = int(self.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            got = b""
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65_536):
                    got += part
        self.check(got, data)
        status = int(got.split()[1]) if got.startswith(b"HTTP/") else 0
        assert status in KNOWN | {0, 431, 501, 505}, got
        return status

    def check(self, told: bytes, asked: object) -> None:
        """Nothing of the server's environment, folders or code is told, unless it was sent."""
        for word in (CANARY, "Traceback", "site-packages", str(self.folder), os.getcwd()):
            assert word not in str(asked) and word.encode() not in told, (asked, told[:2_000])

    def still_right(self) -> None:
        """The next queries are answered, by whichever worker."""
        for number in range(4):
            assert self.rows(f"SELECT {number}") == [[number]]

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Nothing is written while the block lasts, and the server answers after it."""
        before = state(self.folder)
        yield
        assert state(self.folder) == before
        self.still_right()
        for _ in range(4):
            where = "WHERE database_name <> 'warehouse'"
            assert self.rows(f"SELECT count(*) FROM duckdb_tables() {where}") == [[0]]
