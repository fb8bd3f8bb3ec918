"""SQL on the warehouse, read-only: what `aigc query` and a person in a notebook run."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from aigc_pipeline.errors import ArtefactError, InputError, did_you_mean
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse.duck import (
    connect,
    first_line,
    identifier,
    literal,
    lock_down,
    run,
)

SECONDS = 300.0
LIMITS = {"memory_limit": "4GB", "max_temp_directory_size": "20GB"}  # the latter on disk
# Types Polars cannot take over from Arrow; shown as DuckDB writes them.
_AS_TEXT = re.compile(r"\b(INTERVAL|UNION|BIT|VARIANT|TIME WITH TIME ZONE)\b")
_NO_TABLE = re.compile(r"Table with name (.+?) does not exist")
_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*(?:\n|$))*"
_EXPLAIN = re.compile(
    rf"{_GAP}EXPLAIN\b{_GAP}(?P<analyze>ANALYZE\b)?{_GAP}"
    r"(?P<options>\(\s*(?:(?:ANALYZE|FORMAT\s+\w+)\s*,?\s*)+\))?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query; `truncated` says that more exist than were asked for."""

    frame: pl.DataFrame
    truncated: bool

    @property
    def note(self) -> str | None:
        """A line to show below a truncated result."""
        return f"the first {self.frame.height} rows; more exist" if self.truncated else None


def query(
    lake: Lake, sql: str, *, limit: int | None = 1000, seconds: float = SECONDS
) -> QueryResult:
    """The first `limit` rows of one SELECT on the warehouse (all of them when `limit` is None).

    The connection reads the warehouse and nothing else: no other file, no network, no extension, no
    setting; it takes what `LIMITS` allow, and gives up after `seconds`. Intervals and other types
    Polars lacks come as text.

    Raises:
        InputError: no warehouse yet, anything but one query, or an SQL error (with DuckDB's message
            and the nearest table name).
        ArtefactError: the file cannot be opened, or was damaged where the query reads.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: ask for at least 1 row")
    with open_warehouse(lake) as connection:
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            relation = plan(connection, sql)
            rows = relation.limit(limit + 1).pl() if limit is not None else relation.pl()
        except duckdb.InterruptException:
            raise InputError(
                f"the query took longer than {seconds:g} seconds; ask for less, or allow more"
            ) from None
        except (duckdb.Error, pl.exceptions.PolarsError) as error:
            if "Corrupt database file" in str(error):
                raise _damaged(lake, error) from error
            raise InputError(explain(connection, error)) from error
        finally:
            timer.cancel()
    truncated = limit is not None and rows.height > limit
    return QueryResult(rows.head(limit) if limit is not None else rows, truncated)


def open_warehouse(
    lake: Lake, *, spills: bool = True, **settings: Any
) -> duckdb.DuckDBPyConnection:
    """A locked-down connection on the warehouse: it reads that file and can do nothing else.

    spills: whether what does not fit in memory goes to a temporary folder; else it is refused.
    settings: DuckDB's own, in place of the limits that hold otherwise.
    """
    if not lake.warehouse.is_file():
        raise InputError(
            f"{lake.warehouse}: there is no warehouse yet; run `aigc run DATASET` to publish one"
        )
    spill = Path(tempfile.gettempdir()) / f"aigc-query-{os.getpid()}" if spills else None
    try:
        connection = connect(spill, **{**LIMITS, **settings})
    except OSError as error:
        raise ArtefactError(f"the query has no place to work ({error}); free some space") from error
    try:
        run(connection, f"ATTACH {literal(str(lake.warehouse))} AS warehouse (READ_ONLY)")
        run(connection, "USE warehouse")
        lock_down(connection)
    except duckdb.Error as error:
        connection.close()
        raise ArtefactError(
            f"{lake.warehouse}: cannot be opened ({first_line(error)}); close what holds it open"
            " for writing, or run `aigc run DATASET` to publish it afresh"
        ) from error
    return connection


def check_warehouse(lake: Lake) -> int:
    """Read every stored value of the warehouse; returns the number of tables.

    DuckDB holds each block against its checksum as it is read. Raises ArtefactError where one
    differs, or the file cannot be opened; InputError where there is none.
    """
    with open_warehouse(lake) as connection:
        try:
            tables = run(
                connection,
                "SELECT schema_name, table_name FROM duckdb_tables()"
                " WHERE database_name = 'warehouse' ORDER BY ALL",
            )
            for place in tables:
                run(connection, f"SELECT bit_xor(hash(row)) FROM {identifier(*place)} AS row")
        except duckdb.Error as error:
            raise _damaged(lake, error) from error
    return len(tables)


def _damaged(lake: Lake, error: Exception) -> ArtefactError:
    return ArtefactError(
        f"{lake.warehouse}: damaged since it was published ({first_line(error)}); to publish it"
        " again: aigc rollback DATASET --to ID, the release in force"
    )


def plan(
    connection: duckdb.DuckDBPyConnection, sql: str, *, check: Callable[[str], None] | None = None
) -> duckdb.DuckDBPyRelation:
    """One query as a relation, not run yet; raises InputError for anything else.

    check: given the query, or what an EXPLAIN explains; raises InputError to refuse it.
    """
    query = sql
    if (kind := _kind(connection, sql)) == "EXPLAIN":
        sql, query = _explained(connection, sql)
    elif kind != "SELECT":
        hint = "; name the values of a PIVOT: PIVOT … ON column IN (…)" if kind == "MULTI" else ""
        raise InputError(
            "only queries run on the warehouse (SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, EXPLAIN),"
            f" not {kind}{hint}"
        )
    if check is not None:
        check(query)
    relation = connection.sql(sql)
    if not any(_AS_TEXT.search(str(kind)) for kind in relation.types):
        return relation
    # The wrapped query makes repeated column names distinct, so each can be named here.
    relation = relation.limit(2**62)
    shown = zip(relation.columns, relation.types, strict=True)
    return relation.project(
        ", ".join(
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            if _AS_TEXT.search(str(kind))
            else identifier(name)
            for name, kind in shown
        )
    )


def _kind(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """What the one statement of a text is; WITH, VALUES, DESCRIBE, SHOW count as SELECT."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise InputError(f"write exactly one query; found {len(statements)} statements")
    return statements[0].type.name


def _explained(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[str, str]:
    """An EXPLAIN, and the query that it explains. EXPLAIN ANALYZE runs whatever follows it.

    The EXPLAIN is written anew before a text that is a query by itself: so what was looked at is
    what DuckDB runs, wherever it sees a comment end.
    """
    head = _EXPLAIN.match(sql)
    if head is None:
        raise InputError("write EXPLAIN or EXPLAIN ANALYZE before one query, and nothing else")
    query = sql[head.end() :]
    if (kind := _kind(connection, query)) != "SELECT":
        raise InputError(f"only a query can be explained, not {kind}")
    words = filter(None, (head["analyze"], head["options"]))
    return " ".join(["EXPLAIN", *words, query]), query


def explain(connection: duckdb.DuckDBPyConnection, error: Exception) -> str:
    """DuckDB's message; for an unknown table with the nearest name."""
    message = str(error).strip()
    if missing := _NO_TABLE.search(message):
        tables = run(
            connection,
            "SELECT schema_name || '.' || table_name FROM duckdb_tables()"
            " WHERE database_name = 'warehouse' UNION ALL"
            " SELECT schema_name || '.' || view_name FROM duckdb_views()"
            " WHERE database_name = 'warehouse' AND NOT internal ORDER BY ALL",
        )
        return f"{first_line(error)} {_nearest(missing[1], [row[0] for row in tables])}"
    return message


def _nearest(name: str, tables: list[str]) -> str:
    """A hint by table name; DuckDB's own may name a system table, or leave out the schema."""
    bare: dict[str, list[str]] = {}
    for table in tables:
        bare.setdefault(table.split(".", 1)[1].lower(), []).append(table)
    if near := difflib.get_close_matches(name.lower(), bare, n=1, cutoff=0.6):
        return f"did you mean {' or '.join(bare[near[0]][:4])}?"
    return did_you_mean(name, [table for table in tables if not table.startswith("catalog.")])
