"""Marts: queries of a dataset that BI starts from, checked before anything is learned.

A mart is one SELECT over the dataset's tables and other marts. Its tables are written out as
`"schema"."table"` without a catalogue, so that a view answers whatever name the file is opened
under. sqlglot reads it, says which names are unknown and in which line; what counts is whether
DuckDB takes it over empty tables of the dataset's own types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import duckdb

from aigc_pipeline.duck import connect, first_line, identifier, lock_down, run
from aigc_pipeline.errors import FieldError, InputError, did_you_mean
from aigc_pipeline.spec import DatasetSpec

if TYPE_CHECKING:
    import polars as pl
    from sqlglot import exp

# Functions in FROM that make rows from nothing but their arguments; all others read something.
_ROW_MAKERS = {"range", "generate_series", "generateseries", "unnest", "explode"}
# What reads files, the network, the system or the catalogue, wherever it stands.
_READERS = re.compile(
    r"(read|parquet|sniff|pragma|duckdb|iceberg|delta|sqlite|postgres|mysql|st_read|load|write"
    r"|query|getenv|which_secret|current_setting|copy|add_parquet_key|nextval|currval)(_.*|csv"
    r"|parquet|json|text|blob|table)?|.*_scan",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mart:
    """A checked mart.

    sql: as the user wrote it. statement: the same with every table's schema written out. needs:
    the tables and marts it reads.
    """

    name: str
    title: str | None
    description: str | None
    kind: str  # view or table
    sql: str
    statement: str
    needs: tuple[str, ...]


def marts_schema(dataset: str) -> str:
    """The warehouse schema of a dataset's marts."""
    return f"{dataset}_marts"


def read_marts(spec: DatasetSpec) -> list[Mart]:
    """A dataset's marts, each after those it reads.

    Raises InputError, with file and line, for anything but one SELECT over the dataset's tables and
    marts, for functions that read files, and for a circle.
    """
    marts = {name: _read(spec, name) for name in spec.marts}
    sorter = TopologicalSorter(
        {name: [need for need in mart.needs if need in marts] for name, mart in marts.items()}
    )
    try:
        return [marts[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = [str(name) for name in error.args[1]][::-1]
        text = f"marts read each other in a circle: {' -> '.join(circle)}; break it at one of them"
        raise _problem(spec, circle[0], 1, text) from None


def check_marts(spec: DatasetSpec, frames: Mapping[str, pl.DataFrame]) -> list[Mart]:
    """A dataset's marts, once every one of them works on tables of these columns and types.

    frames: by table, derived columns included; rows do not matter. Raises InputError with file and
    line, as `read_marts` does, and for unknown columns, functions and misfitting types.
    """
    marts = read_marts(spec)
    if not marts:
        return []
    columns = {name: df.columns for name, df in frames.items()}
    with connect() as connection:
        create_tables(connection, spec.name, {name: df.head(0) for name, df in frames.items()})
        lock_down(connection)
        run(connection, f"CREATE SCHEMA {identifier(marts_schema(spec.name))}")
        for mart in marts:
            try:
                place = (marts_schema(spec.name), mart.name)
                made = create_mart(connection, place, mart.kind, mart.statement)
                named = [c.lower() for c in connection.sql(mart.statement).columns]
            except duckdb.Error as error:
                line, text = _explain(mart, columns) or (1, first_line(error))
                raise _problem(spec, mart.name, line, text) from None
            if twice := sorted({name for name in named if named.count(name) > 1}):
                text = f"two columns are called {twice[0]!r}; name them apart with AS"
                raise _problem(spec, mart.name, 1, text)
            columns[mart.name] = [column for column, _ in made]
    return marts


def create_tables(
    connection: duckdb.DuckDBPyConnection, schema: str, frames: Mapping[str, pl.DataFrame]
) -> None:
    """Put frames as tables of a schema."""
    run(connection, f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
    for name, df in frames.items():
        connection.register("given", df.to_arrow())
        run(connection, f"CREATE TABLE {identifier(schema, name)} AS SELECT * FROM given")
        connection.unregister("given")


def create_mart(
    connection: duckdb.DuckDBPyConnection, place: tuple[str, str], kind: str, statement: str
) -> list[tuple[str, str]]:
    """Create a mart where its schema and all that it reads are; returns columns and types."""
    run(connection, f"CREATE {kind.upper()} {identifier(*place)} AS {statement}")
    described = run(connection, f"DESCRIBE SELECT * FROM {identifier(*place)}")
    return [(column, kind) for column, kind, *_ in described]


def _read(spec: DatasetSpec, name: str) -> Mart:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    mart = spec.marts[name]
    if mart.sql is None:
        text = f"{mart.file!r} was not read; load the dataset file with load_dataset"
        raise FieldError([(("marts", name, "file"), text)])
    try:
        found = [tree for tree in sqlglot.parse(mart.sql, read="duckdb") if tree is not None]
    except SqlglotError as error:
        told = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        near = told.get("highlight")
        text = f"not valid SQL: {told.get('description') or first_line(error)}"
        near = f" at {near!r}" if near else ""
        raise _problem(spec, name, told.get("line", 1), text + near) from None
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        what = f"{len(found)} statements" if len(found) != 1 else f"{found[0].key.upper()}"
        text = f"a mart is one SELECT (found {what}); write one query and nothing else"
        raise _problem(spec, name, 1, text)
    tree = found[0]
    _refuse_readers(spec, name, tree)
    needs = _place_tables(spec, name, tree)
    return Mart(
        name=name,
        title=mart.title,
        description=mart.description,
        kind=mart.materialize,
        sql=mart.sql,
        statement=tree.sql(dialect="duckdb", comments=False),
        needs=tuple(dict.fromkeys(needs)),
    )


def _refuse_readers(spec: DatasetSpec, name: str, tree: exp.Expr) -> None:
    from sqlglot import exp

    for function in tree.find_all(exp.Func):
        called = (
            function.name if isinstance(function, exp.Anonymous) else function.sql_name()
        ) or ""
        makes_rows = isinstance(function.parent, exp.Table | exp.Lateral)
        if _READERS.fullmatch(called) or (makes_rows and called.lower() not in _ROW_MAKERS):
            text = (
                f"{called.lower()}() reads outside the dataset; a mart reads the dataset's tables"
                " and marts alone, so bring the file in as a table of the dataset"
            )
            raise _problem(spec, name, _line(function), text)


def _place_tables(spec: DatasetSpec, name: str, tree: exp.Expr) -> list[str]:
    """Write out the schema of every table; returns the tables and marts, in their own spelling."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope, traverse_scope

    known = {known.lower(): (spec.name, known) for known in spec.tables}
    known |= {known.lower(): (marts_schema(spec.name), known) for known in spec.marts}
    inner = {  # references to a WITH's own queries
        id(table)
        for scope in traverse_scope(tree)
        for table in scope.tables
        if isinstance(scope.sources.get(table.alias_or_name), Scope) and not table.db
    }
    needs = []
    for table in list(tree.find_all(exp.Table)):
        if id(table) in inner or not isinstance(table.this, exp.Identifier):
            continue
        place = known.get(table.name.lower())
        if place is None or table.catalog or table.db.lower() not in ("", place[0].lower()):
            shown = ".".join(part.name for part in table.parts)
            names = [*spec.tables, *(other for other in spec.marts if other != name)]
            hint = did_you_mean(table.name, names)
            text = f"there is no table or mart {shown!r} in this dataset; {hint}"
            raise _problem(spec, name, _line(table), text)
        table.set("db", exp.to_identifier(place[0], quoted=True))
        table.set("this", exp.to_identifier(place[1], quoted=True))
        needs.append(place[1])
    return needs


def _explain(mart: Mart, columns: Mapping[str, list[str]]) -> tuple[int, str] | None:
    """Line and words for an unknown column, in the user's own text; None for anything else."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.schema import MappingSchema

    tree = sqlglot.parse_one(mart.sql, read="duckdb")
    given: dict[str, object] = {
        table.lower(): {column.lower(): "unknown" for column in names}
        for table, names in columns.items()
    }
    try:
        schema = MappingSchema(given, dialect="duckdb", normalize=False)
        qualify(tree.copy(), dialect="duckdb", schema=schema, quote_identifiers=False)
    except SqlglotError as error:
        match = re.match(r"Unknown column: (.+)|Column '(.+?)' could not be resolved", str(error))
        if match is None:
            return None
        wanted = (match[1] or match[2]).lower()
        at = next((c for c in tree.find_all(exp.Column) if c.name.lower() == wanted), None)
        known = dict.fromkeys(column for need in mart.needs for column in columns[need])
        shown = at.name if at is not None else wanted
        text = f"there is no column {shown!r}; {did_you_mean(shown, known)}"
        return (_line(at) if at is not None else 1), text
    return None


def _line(node: exp.Expr) -> int:
    """The line of the first thing written at or below a node, from 1."""
    lines = [found.meta["line"] for found in node.walk() if "line" in found.meta]
    return int(min(lines, default=1))


def _problem(spec: DatasetSpec, name: str, line: int, text: str) -> InputError:
    """An error in a mart's SQL: at its own file and line, or at its field of the dataset file."""
    file = spec.marts[name]._file
    if file is not None:
        return InputError(f"{file}:{line}: mart {name!r}: {text}")
    return FieldError([(("marts", name, "sql"), f"line {line} of its SQL: {text}")])
