"""What the endpoint runs: one query that tells of the tables, and nothing of this machine."""

from __future__ import annotations

import re

import duckdb

from aigc_pipeline.errors import InputError
from aigc_pipeline.warehouse.query import plan

_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*(?:\n|$))*"
# DuckDB's own state: paths, settings, logs. A word is enough, wherever it stands.
_STATE = re.compile(
    r"\bduckdb_(?!(?:columns|tables|views|schemas|constraints|indexes|functions|types|keywords)\b)\w+"
    r"|\bpragma_(?!table_info\b)\w+"
    r"|pg_settings|current_setting|which_secret|getenv|json_execute_serialized_sql"
    r"|parse_duckdb_log_message|write_log|(?:enable|disable)_(?:logging|profiling)|sql_auto_complete",
    re.IGNORECASE,
)
# Functions that run or read what their text says, or work on a file.
_BY_NAME = re.compile(
    r"\b(query|query_table|glob|sniff_csv|(?:force_)?checkpoint|sleep_ms|(?:read|write|load)_\w+"
    rf"|parquet_\w+|\w+_scan)\b\"?{_GAP}\(",
    re.IGNORECASE | re.DOTALL,
)
_EXPLAIN = re.compile(
    rf"^{_GAP}EXPLAIN\b{_GAP}(?:ANALYZE\b)?{_GAP}(?:\([^()]*\))?", re.IGNORECASE | re.DOTALL
)


def plan_query(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """One query as a relation, not run yet.

    Raises InputError for anything but one query of tables and values; duckdb.Error for wrong SQL.
    """
    if found := _STATE.search(sql):
        raise InputError(
            f"{found[0].lower()}: the endpoint tells of the tables, not of the machine it runs on"
        )
    if found := _BY_NAME.search(sql):
        raise InputError(f"{found[1].lower()}(): the endpoint reads the warehouse's tables alone")
    statements = connection.extract_statements(sql)
    if len(statements) == 1 and statements[0].type.name == "EXPLAIN":
        # EXPLAIN ANALYZE runs whatever follows it.
        explained = connection.extract_statements(_EXPLAIN.sub("", sql, count=1))
        kinds = [statement.type.name for statement in explained]
        if kinds != ["SELECT"]:
            raise InputError(f"only a query can be explained, not {', '.join(kinds) or 'nothing'}")
    return plan(connection, sql)
