"""How every connection to DuckDB is opened, and how names and texts become SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

# No extension is fetched or loaded behind our back, and a Python variable is never read as a table.
SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
# The oldest format a 1.x BI driver reads; DuckDB's default cannot be opened by any older client.
STORAGE_VERSION = "v1.2.0"
# Types that DuckDB reads from Arrow but older clients cannot -> what is kept instead.
_KEPT_AS = {"TIME_NS": "TIME", '"NULL"': "VARCHAR"}


def connect(spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory connection; warehouse files are attached to it.

    `spill` is the folder that DuckDB makes when memory runs short, and removes on closing; without
    one it refuses to go on.

    Attaching, unlike connecting to the file, never hands back an instance this process still holds
    on a file that has been replaced since.
    """
    folder = str(spill) if spill is not None else ""
    return duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": folder})


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement to its end and return its rows."""
    return connection.execute(sql).fetchall()


def identifier(*parts: str) -> str:
    """A dotted name, each part quoted, so that any text is a name and nothing else."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


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


def first_line(error: Exception) -> str:
    """What an error of DuckDB, Arrow or the system says, less the lines that show a statement."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
