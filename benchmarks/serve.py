"""`aigc serve` under load: readers that ask without a pause, each on a connection of its own.

`python -m benchmarks.serve` publishes a shop of random rows to a temporary lake, serves it on
loopback, and lets 100 readers ask five kinds of query for 60 s. It prints throughput, the median
and 95th percentile of the time to an answer, and how many answers were wrong. Readers and server
share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import numpy as np

ROOT = Path(__file__).parents[1]
QUERIES = (
    "SELECT count(*) FROM shop.orders",
    "SELECT city, count(*), sum(amount) FROM shop.orders GROUP BY city ORDER BY city",
    "SELECT month(day), avg(amount) FROM shop.orders GROUP BY ALL ORDER BY ALL",
    "SELECT c.tier, sum(o.amount) FROM shop.orders o JOIN shop.customers c USING (customer)"
    " GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM shop.orders ORDER BY amount DESC, id LIMIT 20",
)


@dataclass
class Measured:
    """Seconds of each answer, what each query was answered with, and errors by kind."""

    seconds: list[float] = field(default_factory=list)
    answers: dict[int, set[bytes]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def report(self, elapsed: float) -> dict[str, object]:
        """Figures over all answers; times in milliseconds."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return {
            "answers": len(self.seconds),
            "errors": sum(self.errors.values()),
            "errors by kind": self.errors,
            "wrong": sum(len(found) - 1 for found in self.answers.values()),
            "per second": round(len(self.seconds) / elapsed, 1),
            "p50 ms": round(1000 * cuts[49]),
            "p95 ms": round(1000 * cuts[94]),
        }


def make_warehouse(path: Path, rows: int) -> None:
    """A warehouse file with a table of orders and one of a tenth as many customers."""
    rng = np.random.default_rng(0)
    customers = max(1, rows // 10)
    columns = {
        "id": np.arange(rows),
        "customer": rng.integers(0, customers, rows),
        "city": rng.integers(0, 12, rows),
        "day": rng.integers(0, 365, rows),
        "amount": rng.integers(1, 4000, rows) / 4,
    }
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.2.0"}) as made:
        made.register("given", columns)
        made.execute("CREATE SCHEMA shop")
        made.execute(
            "CREATE TABLE shop.orders AS SELECT id, customer, 'city ' || city AS city,"
            " DATE '2025-01-01' + day::INTEGER AS day, amount FROM given"
        )
        made.execute(
            "CREATE TABLE shop.customers AS SELECT range AS customer,"
            f" ['gold', 'silver', 'none'][range % 3 + 1] AS tier FROM range({customers})"
        )


async def load(url: str, readers: int, seconds: float) -> Measured:
    """Let that many readers ask for that long."""
    measured, until = Measured(), time.monotonic() + seconds
    await asyncio.gather(*(_read(url, number, until, measured) for number in range(readers)))
    return measured


async def _read(url: str, number: int, until: float, measured: Measured) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        while time.monotonic() < until:
            number = (number + 1) % len(QUERIES)
            began = time.monotonic()
            try:
                status, body = await _ask(reader, writer, address.netloc, QUERIES[number])
            except (OSError, asyncio.IncompleteReadError) as error:
                kind = type(error).__name__
                measured.errors[kind] = measured.errors.get(kind, 0) + 1
                return
            if status == 200:
                measured.seconds.append(time.monotonic() - began)
                measured.answers.setdefault(number, set()).add(body)
            else:
                measured.errors[str(status)] = measured.errors.get(str(status), 0) + 1
    finally:
        writer.close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, sql: str
) -> tuple[int, bytes]:
    body = sql.encode()
    head = (
        f"POST /query HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?im)^content-length: (\d+)", answer)
    assert length is not None
    return int(answer.split()[1]), await reader.readexactly(int(length[1]))


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Measure, print and return the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aigc-bench-") as folder:
        make_warehouse(Path(folder) / "warehouse.duckdb", given.rows)
        command = [sys.executable, "-m", "aigc_pipeline.cli", "serve", "--port", "0"]
        server = subprocess.Popen(
            [*command, "--workers", str(given.workers)],
            env=os.environ | {"AIGC_HOME": folder},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            found = re.search(r"http://\S+", server.stderr.readline())
            assert found is not None, server.stderr.read()
            began = time.monotonic()
            measured = asyncio.run(load(found[0], given.readers, given.seconds))
            figures = measured.report(time.monotonic() - began)
        finally:
            server.terminate()
            server.wait(30)
    print(json.dumps(vars(given) | figures, indent=2))
    return figures


if __name__ == "__main__":
    main()
