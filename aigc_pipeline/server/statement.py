"""What the endpoint runs: one query that tells of the tables, and nothing of this machine.

DuckDB parses the query, and its tree is what is looked at: no comment, quote or letter hides a
function there, and a text that only spells one is a text. The connection is locked down besides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from aigc_pipeline.errors import InputError
from aigc_pipeline.warehouse.query import plan

# Functions in FROM: they make rows of their arguments, or tell of tables, types and functions.
ROW_SOURCES = frozenset(
    "duckdb_columns duckdb_constraints duckdb_dependencies duckdb_functions duckdb_indexes"
    " duckdb_keywords duckdb_schemas duckdb_sequences duckdb_tables duckdb_types duckdb_views"
    " generate_series icu_calendar_names json_each json_tree pg_timezone_names pragma_collations"
    " pragma_show pragma_table_info pragma_version range repeat repeat_row test_all_types"
    " unnest".split()
)
# Functions elsewhere: what reads settings or the environment, runs a text, waits, writes a log, or
# takes bytes for a state of DuckDB's own.
FORBIDDEN = frozenset(
    "combine current_setting finalize getenv json_execute_serialized_sql json_serialize_plan"
    " parse_duckdb_log_message pg_sleep query query_table sleep_ms sql_auto_complete"
    " to_aggregate_state variant_bytes_to_variant which_secret write_log".split()
)
_FORBIDDEN_PREFIXES = ("__internal_", "load_", "read_", "write_")
# Views of DuckDB's own that show paths, settings or other people's queries. All that begin like its
# functions count as one of these, unless the function may be asked.
HIDDEN_VIEWS = frozenset(["pg_settings", "pg_prepared_statements"])
_OWN_PREFIXES = ("duckdb_", "pragma_")
# SHOW of anything else, such as DuckDB's variables, is no question about the tables.
_SHOWN = frozenset(["__show_tables_expanded", "databases", "schemas", "tables"])
_QUERIES = frozenset(["SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"])
_SOURCES = frozenset(
    "BASE_TABLE EMPTY EXPRESSION_LIST JOIN PIVOT SHOW_REF SUBQUERY TABLE_FUNCTION".split()
)
_TREE = "SELECT system.main.json_serialize_sql(?::VARCHAR, skip_null := true, skip_empty := true)"


def plan_query(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """One query as a relation, not run yet.

    Raises InputError for anything but one query of tables and values; duckdb.Error for wrong SQL.
    """
    return plan(connection, sql, check=lambda query: check_query(connection, query))


def check_query(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise InputError unless all that a query calls and reads is open to whoever asks."""
    try:
        [(text,)] = connection.execute(_TREE, [query]).fetchall()
        tree = json.loads(text)
    except RecursionError:
        raise InputError("the query is nested too deeply; write it in steps, by WITH") from None
    if tree["error"] or len(tree["statements"]) != 1:
        raise InputError("the endpoint cannot look into this kind of query, so it does not run it")
    for node in _nodes(tree["statements"]):
        _check_node(node)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a tree; recursion would end where a long sum does not."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _check_node(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        if (name := _called(node["function"])) not in ROW_SOURCES:
            raise InputError(f"{name}() in FROM: the endpoint reads the warehouse's tables alone")
    elif kind == "BASE_TABLE":
        _check_table(node["qualified_name"]["path"])
    elif kind == "SHOW_REF":
        if node["show_type"] == "SHOW_SPECIAL" and _shown(node) not in _SHOWN:
            raise InputError(f"SHOW {_shown(node)}: the endpoint tells of the tables alone")
        _check_table(node.get("qualified_name", {}).get("path", []))
    elif "function_name" in node:
        name = _called(node)
        if name in FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES):
            raise InputError(f"{name}(): the endpoint tells of the tables, not of the machine")
    elif isinstance(kind, str) and "class" not in node:
        # What writes is a query to DuckDB where it stands in a WITH.
        written = kind.endswith("_NODE") and kind not in _QUERIES
        if written or ("sample" in node and kind not in _QUERIES | _SOURCES):
            what = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise InputError(f"{what}: the endpoint runs nothing but queries")


def _called(function: dict[str, Any]) -> str:
    """A function's name, by which DuckDB finds it whatever its capitals and schema."""
    return str(function["qualified_name"]["path"][-1]).lower()


def _shown(node: dict[str, Any]) -> str:
    return str(node.get("table_name", "")).strip('"').lower()


def _check_table(path: list[str]) -> None:
    name = path[-1].lower() if path else ""
    hidden = name.startswith(_OWN_PREFIXES) and name not in ROW_SOURCES
    if hidden or name in HIDDEN_VIEWS:
        raise InputError(f"{name}: the endpoint tells of the tables, not of the machine")
    # Nothing published is found without its schema, so this would be a file's name.
    if len(path) == 1 and any(mark in name for mark in "./\\:*"):
        raise InputError(
            f"{name[:200]!r}: the endpoint reads no files; name a table as schema.table"
        )
