"""A process that answers queries, one at a time, for the server that started it.

Asked and answered over its standard streams: a line of JSON in, a header and a body out. Whatever a
query does to this process, the server goes on: it has a ceiling on memory that the system holds,
an environment without secrets, and it is ended when it does not stop in time.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from aigc_pipeline.errors import AigcError, InputError
from aigc_pipeline.held import data_memory, held_memory
from aigc_pipeline.lake import Lake
from aigc_pipeline.server.answers import ARROW, JSON, as_arrow, as_json
from aigc_pipeline.server.settings import Limits
from aigc_pipeline.server.statement import plan_query
from aigc_pipeline.warehouse.duck import first_line
from aigc_pipeline.warehouse.query import explain, open_warehouse

HEADER = struct.Struct(">II")  # lengths of the JSON header and of the body, in bytes
TOO_MUCH = "the query needs more memory than it may have; ask for fewer rows or groups"
BEYOND = (
    "a date is infinite or beyond the years 1 to 9999, which JSON is not given here; CAST it to"
    " VARCHAR, or accept Arrow"
)
_ENGINE = (duckdb.InternalException, duckdb.FatalException, duckdb.IOException)


class Warehouse:
    """A connection on the file in force; once that is replaced, the next query opens the new."""

    def __init__(self, lake: Lake, limits: Limits) -> None:
        self.lake, self.limits = lake, limits
        self.connection: duckdb.DuckDBPyConnection | None = None
        self.stamp: tuple[int, int, int] | None = None

    def current(self) -> duckdb.DuckDBPyConnection:
        """The connection on the file in force."""
        stamp = self._stamp()
        if self.connection is None or stamp != self.stamp:
            self.close()
            self.connection = open_warehouse(
                self.lake, spills=False, threads=1, memory_limit=f"{self.limits.memory}B"
            )
            self.stamp = stamp
        return self.connection

    def close(self) -> None:
        """Let go of the file."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.lake.warehouse)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns


def answer(warehouse: Warehouse, sql: str, media: str, rows: int) -> tuple[dict[str, Any], bytes]:
    """Header and body for one query; the header's `status` is that of HTTP."""
    limits = warehouse.limits
    try:
        connection = warehouse.current()
    except InputError:
        return _refusal(503, "there is no warehouse yet"), b""
    except AigcError:
        return _refusal(503, "the warehouse cannot be opened"), b""
    try:
        with _stopped_after(connection, limits.seconds):
            relation = plan_query(connection, sql)
            types = [str(kind) for kind in relation.types]
            table = relation.limit(rows + 1).to_arrow_table()
    except InputError as error:
        return _refusal(400, str(error)), b""
    except duckdb.InterruptException:
        return _refusal(
            408, f"the query took longer than {limits.seconds:g} s and was stopped"
        ), b""
    except (duckdb.OutOfMemoryException, MemoryError):
        return _refusal(413, TOO_MUCH), b""
    except duckdb.PermissionException:
        return _refusal(400, "the endpoint reads the warehouse's tables alone"), b""
    except _ENGINE:
        # After these a connection may refuse everything.
        warehouse.close()
        return _refusal(400, "the query could not be run"), b""
    except duckdb.Error as error:
        return _refusal(400, _told(connection, error)), b""
    truncated = table.num_rows > rows
    table = table.slice(0, rows)
    if table.nbytes > limits.answer:
        return _refusal(413, _too_long(limits)), b""
    try:
        body = as_arrow(table, truncated) if media == ARROW else as_json(table, types, truncated)
    except OverflowError:
        return _refusal(400, BEYOND), b""
    if len(body) > limits.answer:
        return _refusal(413, _too_long(limits)), b""
    return {"status": 200, "truncated": truncated, "rows": table.num_rows}, body


def _told(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str:
    try:
        return explain(connection, error)[:2000]
    except duckdb.Error:
        return first_line(error)[:2000]


def _refusal(status: int, message: str) -> dict[str, Any]:
    return {"status": status, "error": message}


def _too_long(limits: Limits) -> str:
    return f"the answer is longer than {limits.answer // 2**20} MiB; ask for fewer rows or columns"


@contextmanager
def _stopped_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt what the connection does once the time is over, until it gives in."""
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            connection.interrupt()
            wait = 0.05

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def serve(warehouse: Warehouse, asked: BinaryIO, told: BinaryIO) -> None:
    """Answer until there is nothing more to read.

    DuckDB's allocator gives little back of what a large query took, and what it keeps no other part
    of the process can have. A header with `spent` says so: the server then starts a new process.
    """
    answer(warehouse, "SELECT 1", JSON, 1)  # what is loaded for the first query is not its own
    least = data_memory() or 0
    _send(told, {"status": 200}, b"")
    for line in asked:
        request = json.loads(line)
        try:
            header, body = answer(warehouse, request["sql"], request["media"], request["rows"])
        except MemoryError:
            header, body = _refusal(413, TOO_MUCH), b""
        except Exception as error:
            warehouse.close()
            print(f"aigc serve: {type(error).__name__} in a worker", file=sys.stderr)
            header, body = _refusal(500, "the query could not be run"), b""
        grown = (data_memory() or 0) - least
        _send(told, {**header, "spent": grown > warehouse.limits.memory // 2}, body)


def _send(told: BinaryIO, header: dict[str, Any], body: bytes) -> None:
    head = json.dumps(header).encode()
    told.write(HEADER.pack(len(head), len(body)) + head + body)
    told.flush()


def main() -> None:
    """The process: its one argument has the lake and the limits, as JSON."""
    import pyarrow  # noqa: F401  (loaded before memory is held)

    given = json.loads(sys.argv[1])
    limits = Limits(**given["limits"])
    # DuckDB takes expressions 1,000 deep, and each is some levels of its tree.
    sys.setrecursionlimit(10_000)
    warehouse = Warehouse(Lake(Path(given["lake"])), limits)
    # Twice the query's own: its rows are held once by DuckDB and once more as they are encoded.
    with held_memory(2 * limits.memory + 2 * limits.answer):
        serve(warehouse, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
