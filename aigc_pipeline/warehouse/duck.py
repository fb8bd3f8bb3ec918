"""DuckDB as the warehouse uses it: its storage format, its tables and their comments."""

from __future__ import annotations

import duckdb

from aigc_pipeline.duck import connect, first_line, identifier, literal, lock_down, run

__all__ = [
    "STORAGE_VERSION",
    "comment_on",
    "connect",
    "create_table",
    "first_line",
    "identifier",
    "kept_type",
    "literal",
    "lock_down",
    "run",
]

# The oldest format a 1.x BI driver reads; DuckDB's default cannot be opened by any older client.
STORAGE_VERSION = "v1.2.0"
# Types that DuckDB reads from Arrow but older clients cannot -> what is kept instead.
_KEPT_AS = {"TIME_NS": "TIME", '"NULL"': "VARCHAR"}


def kept_type(duckdb_type: object) -> str:
    """The type a column gets in the warehouse, given the one DuckDB reads from its shard."""
    return _KEPT_AS.get(str(duckdb_type), str(duckdb_type))


def create_table(
    connection: duckdb.DuckDBPyConnection, name: tuple[str, ...], columns: list[tuple[str, str]]
) -> None:
    """Create an empty table of the given columns and types."""
    listed = ", ".join(f"{identifier(column)} {duckdb_type}" for column, duckdb_type in columns)
    run(connection, f"CREATE TABLE {identifier(*name)} ({listed})")


def comment_on(
    connection: duckdb.DuckDBPyConnection, what: str, name: tuple[str, ...], text: str
) -> None:
    """Set the comment of a TABLE, VIEW or COLUMN; white space is folded to one line."""
    run(connection, f"COMMENT ON {what} {identifier(*name)} IS {literal(' '.join(text.split()))}")
