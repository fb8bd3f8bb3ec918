"""Tables in databases: SQLite and PostgreSQL through ADBC, read-only, secrets out of sight."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.sources.clean import check_names
from aigc_pipeline.spec import Source

if TYPE_CHECKING:
    import pyarrow as pa

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*){1,2}")
_TABLES = {
    "sqlite": "select name from sqlite_master where type in ('table', 'view') order by 1",
    "postgres": "select case table_schema when 'public' then table_name"
    " else table_schema || '.' || table_name end from information_schema.tables"
    " where table_schema not in ('pg_catalog', 'information_schema') order by 1",
}
_OPEN_OPTIONS = {"mode", "host", "port", "dbname", "connect_timeout"}
_ALL_ROWS = str(2**30)  # the driver takes no more
# PostgreSQL types whose Arrow form would change the values' meaning (money comes in cents).
_REFUSED_TYPES = {b"money", b"inet", b"cidr", b"interval"}


@dataclass(frozen=True)
class Database:
    """Where a database is. Its repr, and every error raised here, show no user and no password."""

    dialect: str  # sqlglot's name: sqlite or postgres
    shown: str
    _url: str

    def __repr__(self) -> str:
        return f"Database({self.shown!r})"


def read_sql(source: Source, base_dir: Path, name: str) -> pl.DataFrame:
    """The result of a `sql` source's query, or its whole table.

    A plain `schema.table` names a table within a schema; any other text is one name, whatever is
    in it. A query must be a single SELECT and runs read-only. PostgreSQL's numeric becomes
    Float64, uuid, json and enums become String. Raises InputError naming the database, never its
    user or password, and no value.
    """
    database = locate_database(source.sql or "", base_dir, name)
    at = f"{name} ({database.shown})"
    if source.table is not None:
        tables = list_tables(database, at)
        shown_name = source.table.removeprefix("public.")
        if shown_name not in tables:
            raise InputError(
                f"{at}: there is no table {source.table!r}; {did_you_mean(source.table, tables)}"
            )
        query = f"SELECT * FROM {quote_table(source.table, database.dialect)}"
    else:
        query = check_select(source.query or "", database.dialect, at)
    return _to_polars(_run(database, query, at), at)


def locate_database(url: str, base_dir: Path, name: str) -> Database:
    """A database URL with its ${VARIABLES} filled in from the environment.

    A variable within the user name or password is taken as it is and encoded here; any other
    becomes part of the URL's text.
    """
    full = _fill_in(url, name)
    if full.startswith("sqlite:///"):
        path = base_dir / Path(full.removeprefix("sqlite:///")).expanduser()
        shown = f"sqlite:///{full.removeprefix('sqlite:///')}"
        if not path.is_file():
            raise InputError(
                f"{name} ({shown}): there is no such database file; relative paths start at the"
                " project's root, absolute ones take a fourth slash"
            )
        return Database("sqlite", shown, f"file:{urllib.parse.quote(str(path))}?mode=ro")
    if re.match(r"postgres(ql)?://", full):
        return Database("postgres", *_split_postgres(full, name))
    raise InputError(
        f"{name}: sql is no URL of a database that can be read; write sqlite:///path or"
        " postgresql://user:${PASSWORD}@host/database"
    )


def list_tables(database: Database, at: str) -> list[str]:
    """Names of a database's tables and views; those outside `public` with their schema."""
    found = _run(database, _TABLES[database.dialect], at)
    return [str(value) for value in found.column(0).to_pylist()]


def quote_table(table: str, dialect: str) -> str:
    """A table's name as SQL, quoted so that nothing in it is read as anything but a name."""
    from sqlglot import exp

    parts = table.split(".") if _PLAIN_PATH.fullmatch(table) else [table]
    return ".".join(exp.to_identifier(part, quoted=True).sql(dialect=dialect) for part in parts)


def check_select(query: str, dialect: str, at: str) -> str:
    """The query itself. Raises InputError unless it is a single SELECT that changes nothing."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = [s for s in sqlglot.parse(query, dialect=dialect) if s is not None]
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" near line {first.get('line')}, column {first.get('col')}" if first else ""
        raise InputError(f"{at}: query: this is no valid {dialect} SQL{where}") from None
    except sqlglot.errors.SqlglotError:
        raise InputError(f"{at}: query: this is no valid {dialect} SQL") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise InputError(f"{at}: query: write a single SELECT statement and nothing else")
    changing = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Drop, exp.Alter)
    for node in statements[0].walk():
        if isinstance(node, changing) and not isinstance(node, exp.Query):
            raise InputError(
                f"{at}: query: a source is only read; {node.key.upper()} is not allowed"
            )
    return query.strip().rstrip(";")


def _fill_in(url: str, name: str) -> str:
    missing = [v for v in _VARIABLE.findall(url) if v not in os.environ]
    if missing:
        raise InputError(
            f"{name}: sql needs the environment variable {missing[0]}, which is not set;"
            f" export {missing[0]}=… first"
        )
    userinfo, at_sign, place = url.rpartition("@")

    def raw(match: re.Match[str]) -> str:
        return os.environ[match[1]]

    def encoded(match: re.Match[str]) -> str:
        return urllib.parse.quote(os.environ[match[1]], safe="")

    return _VARIABLE.sub(encoded, userinfo) + at_sign + _VARIABLE.sub(raw, place)


def _split_postgres(url: str, name: str) -> tuple[str, str]:
    """What to show of a PostgreSQL URL, and the URL itself with every part encoded properly.

    Encoding it afresh keeps libpq from quoting a piece of the password in a complaint about it.
    """
    userinfo, at_sign, place = url.partition("://")[2].rpartition("@")
    place, _, query = place.partition("?")
    host = place.partition("/")[0]
    if not re.fullmatch(r"[^:\[\]]*|(\[[^\]]*\]|[^:\[\]]+)(:\d+)?(,[^,]+)*", host):
        raise InputError(
            f"{name}: the PostgreSQL URL has no valid host and port; percent-encode / @ and : in"
            " its user name and password"
        )
    user, colon, password = userinfo.partition(":")
    encoded = _encode(user) + (f":{_encode(password)}" if colon else "") + at_sign
    # libpq would wait for ever for a host that does not answer.
    parameters = {"connect_timeout": "30", **dict(urllib.parse.parse_qsl(query))}
    options = urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)
    return f"postgresql://{place}", f"postgresql://{encoded}{place}?{options}"


def _encode(text: str) -> str:
    return urllib.parse.quote(urllib.parse.unquote(text), safe="")


def _run(database: Database, query: str, at: str) -> pa.Table:
    """The rows of a query, in a transaction that cannot write."""
    with _readable_errors(database, at):
        if database.dialect == "sqlite":
            import adbc_driver_sqlite.dbapi as sqlite
            from adbc_driver_sqlite import StatementOptions

            with sqlite.connect(database._url) as connection, connection.cursor() as cursor:
                # The driver takes a column's type from its first batch: let that be all rows.
                cursor.adbc_statement.set_options(**{StatementOptions.BATCH_ROWS.value: _ALL_ROWS})
                cursor.execute(query)
                return cursor.fetch_arrow_table()
        import adbc_driver_postgresql.dbapi as postgres

        with postgres.connect(database._url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query)
            return cursor.fetch_arrow_table()


@contextmanager
def _readable_errors(database: Database, at: str) -> Iterator[None]:
    """Driver errors as InputError: what they say of names, never a value or a secret."""
    import adbc_driver_manager as adbc

    try:
        yield
    except (adbc.Error, OSError) as error:
        text = str(error)
        state = getattr(error, "sqlstate", None) or ""
        if state and not state.startswith("42"):  # data errors quote the data
            raise InputError(f"{at}: the query failed with SQLSTATE {state}") from None
        # Status words and prefixes of the driver say nothing to the user.
        first_line = text.strip().partition("\n")[0]
        detail = re.sub(r"^([A-Z_]+: )?(\[\w+\] )?(.*(ERROR|FATAL): +)?", "", first_line)
        for secret in _secrets(database):
            detail = detail.replace(secret, "***")
        what = "the query failed" if isinstance(error, adbc.ProgrammingError) else "cannot be read"
        raise InputError(f"{at}: {what}: {detail.strip()}") from None


def _secrets(database: Database) -> list[str]:
    """Everything in the URL that an error must not repeat, longest first."""
    userinfo = database._url.partition("://")[2].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    options = urllib.parse.parse_qsl(database._url.partition("?")[2])
    found = {database._url, userinfo, password, urllib.parse.unquote(password)}
    found |= {value for key, value in options if key not in _OPEN_OPTIONS}
    return sorted((s for s in found if s), key=len, reverse=True)


def _to_polars(table: pa.Table, at: str) -> pl.DataFrame:
    """Arrow as the drivers give it, with vendor types as plain ones."""
    import pyarrow as pa

    check_names(table.column_names, at)
    columns: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        vendor = (field.metadata or {}).get(b"POSTGRESQL:type", b"")
        if vendor in _REFUSED_TYPES or pa.types.is_interval(field.type):
            raise InputError(
                f"{at}: column {field.name!r} is of type {vendor.decode() or field.type}; cast it"
                " to text or a number in a `query`"
            )
        if isinstance(field.type, pa.UuidType):
            columns[field.name] = pl.Series(
                [v and str(v) for v in column.to_pylist()], dtype=pl.String
            )
        elif isinstance(field.type, pa.BaseExtensionType):
            series = pl.Series(column.cast(field.type.storage_type))
            columns[field.name] = series.cast(pl.Float64) if vendor == b"numeric" else series
        else:
            columns[field.name] = pl.Series(column)
    return pl.DataFrame(columns)
