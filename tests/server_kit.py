"""A running `aigc serve` for tests, as a process of its own on a loopback port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import requests
from warehouse_kit import release, shop

from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish

ROOT = Path(__file__).parents[1]
# A mart over the shop's orders, one of them with a text that would be an element if it could.
MARTS = {
    "by_city": {
        "title": "Orders by city <script>alert(1)</script>",
        "description": "How many, {of what} `size`.",
        "sql": "SELECT city, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY city",
    },
    "by_day": {
        "title": "Orders by day",
        "sql": "SELECT day, count(*) AS orders FROM orders GROUP BY day ORDER BY day",
    },
}


def published(folder: Path, rows: int = 120) -> Lake:
    """A lake whose warehouse has a release of the shop, with a scenario and two marts."""
    lake = Lake(folder / "lake")
    release(lake, shop(marts=MARTS), rows=rows)
    publish(lake)
    return lake


@contextmanager
def serving(lake: Lake, *options: str, **environment: str) -> Iterator[str]:
    """The URL of a server on a lake; it is ended afterwards."""
    command = [sys.executable, "-m", "aigc_pipeline.cli", "serve", "--port", "0", *options]
    # To a file: a pipe that nobody reads fills up with warnings, and then the server waits.
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"AIGC_HOME": str(lake.home)} | environment,
            stderr=log,
        )
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()


def _address(process: subprocess.Popen[bytes], log: IO[str]) -> str:
    """Where a server that has just been started says that it is."""
    told = ""
    while "\n" not in told and process.poll() is None:
        time.sleep(0.02)
        told = os.pread(log.fileno(), 1 << 16, 0).decode()  # where the server writes stays its own
    found = re.search(r"http://\S+", told)
    assert found, told
    return found[0]


def ask(url: str, sql: str, **more: Any) -> requests.Response:
    return requests.post(f"{url}/query", json={"sql": sql, **more}, timeout=60)


def workers(url: str) -> list[int]:
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
