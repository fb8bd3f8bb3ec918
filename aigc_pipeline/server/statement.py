"""What the endpoint runs: one query that tells of the tables, and nothing of this machine."""

from __future__ import annotations

import re

import duckdb

from aigc_pipeline.errors import InputError
from aigc_pipeline.warehouse.query import plan

_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*(?:\n|$))*"
# DuckDB's own state: paths, settings, logs. A word is enough, wherever it stands.
_STATE = re.compile(
    r"duckdb_(?:settings|databases|secrets|secret_types|extensions|logs?|log_contexts"
    r"|temporary_files|external_file_cache|approx_database_count|connection_count|prepared_statements"
    r"|logs_parsed|memory|optimizers|dependencies|variables|which_secret|coordinate_systems)\b"
    r"|which_secret|pg_settings|current_setting|json_execute_serialized_sql|getenv"
    r"|pragma_(?:database_list|settings|platform|version|user_agent)"
    r"|parse_duckdb_log_message|write_log|enable_logging|enable_profiling|sql_auto_complete",
    re.IGNORECASE,
)
# Functions that run or read what their text says.
_BY_NAME = re.compile(
    rf"\b(query|query_table|glob|sniff_csv|(?:read|write|load)_\w+|parquet_\w+|\w+_scan)\b\"?{_GAP}\(",
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
        # EXPLAIN ANALYZE would run whatever follows it.
        plan(connection, _EXPLAIN.sub("", sql, count=1))
    return plan(connection, sql)
