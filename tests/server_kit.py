"""A running `aigc serve` for tests, as a process of its own on a loopback port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"AIGC_HOME": str(lake.home)} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield found[0]
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.stderr.close()
