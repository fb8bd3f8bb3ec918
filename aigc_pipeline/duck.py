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


def connect(spill: Path | None = None, **settings: Any) -> duckdb.DuckDBPyConnection:
    """An in-memory connection; warehouse files are attached to it.

    `spill` is the folder that DuckDB makes when memory runs short, and removes on closing; without
    one it refuses to go on. `settings` are DuckDB's own, such as `threads`.

    Attaching, unlike connecting to the file, never hands back an instance this process still holds
    on a file that has been replaced since.
    """
    folder = str(spill) if spill is not None else ""
    return duckdb.connect(":memory:", config={**SETTINGS, **settings, "temp_directory": folder})


def lock_down(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on the connection reaches no file, no network, no extension and no setting."""
    run(connection, "SET enable_external_access = false")
    run(connection, "SET lock_configuration = true")


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement to its end and return its rows."""
    return connection.execute(sql).fetchall()


def identifier(*parts: str) -> str:
    """A dotted name, each part quoted, so that any text is a name and nothing else."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """What an error of DuckDB, Arrow or the system says, less the lines that show a statement."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
