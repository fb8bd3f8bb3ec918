"""Reading tables from databases: a SQLite file and a real PostgreSQL server, read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from postgres_kit import PASSWORD, postgres_server

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import content_hash, read_table, suggest_dataset
from aigc_pipeline.sources.sql import locate_database, quote_table
from aigc_pipeline.spec import Source

HOSTILE = 'x"; DROP TABLE people; --'


def refusal(read_it: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        read_it()
    assert caught.value.__cause__ is None  # a driver's own error may hold the password
    return str(caught.value)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A folder with shop.db: `people`, a view, and a table of hostile name and columns."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, score, note TEXT, late REAL)")
        people = [
            (i, i if i < 1500 else i + 0.5, None, None if i < 1500 else 1.5) for i in range(2000)
        ]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", people)
        connection.execute("UPDATE people SET note = 'x' WHERE id = 1900")
        connection.execute("CREATE VIEW grown AS SELECT * FROM people WHERE id >= 18")
        quoted = HOSTILE.replace('"', '""')
        connection.execute(f'CREATE TABLE "{quoted}" ("a""b" INTEGER, "größe" TEXT)')
        connection.executemany(
            f'INSERT INTO "{quoted}" VALUES (?, ?)', [(i, "x") for i in range(25)]
        )
        connection.commit()
    return tmp_path


def sqlite_source(**fields: Any) -> Source:
    return Source(sql="sqlite:///shop.db", **fields)


def test_sqlite_table_view_and_query(database: Path) -> None:
    df = read_table(sqlite_source(table="people"), database)
    # Types come from all rows: a fraction first seen in row 1,500, a text in row 1,900.
    assert dict(zip(df.columns, map(str, df.dtypes), strict=True)) == {
        "id": "Int64", "score": "Float64", "note": "String", "late": "Float64",
    }  # fmt: skip
    assert len(read_table(sqlite_source(table="grown"), database)) == 1982
    query = "WITH w AS (SELECT id, note FROM people) SELECT * FROM w WHERE id < 30;"
    assert read_table(sqlite_source(query=query), database).shape == (30, 2)
    absolute = Source(sql=f"sqlite:///{database / 'shop.db'}", table="people")
    assert len(read_table(absolute, Path("/"))) == 2000


def test_hostile_names_stay_names(database: Path) -> None:
    df = read_table(sqlite_source(table=HOSTILE), database)
    assert df.columns == ['a"b', "größe"] and len(df) == 25
    assert len(read_table(sqlite_source(table="people"), database)) == 2000  # nothing was dropped
    assert quote_table('a"b.c', "sqlite") == '"a""b.c"'
    assert quote_table("sales.orders", "postgres") == '"sales"."orders"'


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("DELETE FROM people", "write a single SELECT"),
        ("SELECT 1, 2; DROP TABLE people", "write a single SELECT"),
        ("SELECT 1, 2; SELECT 3, 4", "write a single SELECT"),
        ("", "write a single SELECT"),
        ("WITH d AS (DELETE FROM people RETURNING *) SELECT * FROM d", "DELETE is not allowed"),
        ("PRAGMA journal_mode = delete", "write a single SELECT"),
        ("SELECT FROM WHERE", "no valid sqlite SQL"),
        ("SELECT 'open", "no valid sqlite SQL"),
        (
            "SELECT agee, id FROM people",
            "the query failed: Failed to prepare query: no such column: agee",
        ),
        ("SELECT id, id FROM people", "more than one column is named 'id'"),
        ("SELECT id, note FROM people WHERE id < 0", "the table has no rows"),
        ("SELECT id, x'00' AS raw FROM people", "'raw' (Binary)"),
    ],
)
def test_queries_that_are_refused(database: Path, query: str, message: str) -> None:
    before = (database / "shop.db").read_bytes()
    source = Source.model_construct(sql="sqlite:///shop.db", query=query)
    assert message in refusal(lambda: read_table(source, database, name="people"))
    assert (database / "shop.db").read_bytes() == before


def test_databases_that_are_not_there(database: Path) -> None:
    missing = Source(sql="sqlite:///shopp.db", table="people")
    message = refusal(lambda: read_table(missing, database, name="people"))
    assert "people (sqlite:///shopp.db): there is no such database file" in message
    assert not (database / "shopp.db").exists()  # SQLite itself would make one
    message = refusal(lambda: read_table(sqlite_source(table="poeple"), database))
    assert "there is no table 'poeple'; did you mean 'people'?" in message
    (database / "text.db").write_text("not a database " * 100)
    message = refusal(lambda: read_table(Source(sql="sqlite:///text.db", table="t"), database))
    assert "file is not a database" in message
    other = Source(sql="mysql://u:hush@h/d", table="t")
    message = refusal(lambda: read_table(other, database))
    assert "sqlite:///path" in message and "hush" not in message


def test_a_missing_variable_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(sql="sqlite:///${SHOP_FOLDER}/shop.db", table="people")
    monkeypatch.delenv("SHOP_FOLDER", raising=False)
    message = refusal(lambda: read_table(source, database, name="people"))
    assert "people: sql needs the environment variable SHOP_FOLDER" in message
    monkeypatch.setenv("SHOP_FOLDER", str(database))
    assert len(read_table(source, Path("/"))) == 2000


def test_a_content_hash_follows_the_rows_and_not_their_order(database: Path) -> None:
    def hashed(query: str) -> str:
        return content_hash(sqlite_source(query=query), database)

    up = hashed("SELECT id, note FROM people ORDER BY id")
    assert up == hashed("SELECT id, note FROM people ORDER BY id DESC")
    assert up != hashed("SELECT id, coalesce(note, '') AS note FROM people")
    assert up != hashed("SELECT id, note FROM people WHERE id > 0")


# PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as place:
        yield place


@pytest.fixture(scope="module")
def postgres(server: str) -> str:
    """URL of a database with `people` in it, one column of each type that matters."""
    from adbc_driver_postgresql import dbapi

    url = f"postgresql://bob:{quote(PASSWORD, safe='')}@{server}/postgres"
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in (
            "CREATE TYPE mood AS ENUM ('sad', 'ok')",
            "CREATE TABLE people AS SELECT g AS id, (g * 1.25)::numeric(10, 2) AS amount,"
            " ('6ec57f84-c680-d3a3-778b-' || lpad(g::text, 12, '0'))::uuid AS code,"
            " 'ok'::mood AS mood, timestamptz '2024-05-01 12:30+02' AS at,"
            " date '2024-05-01' AS day,"
            " CASE g WHEN 3 THEN NULL ELSE g % 2 = 0 END AS even, 'Ann Smith' AS name"
            " FROM generate_series(1, 30) g",
            "CREATE SCHEMA sales",
            "CREATE TABLE sales.orders AS SELECT * FROM people",
        ):
            cursor.execute(statement)
    return url


def test_postgres_types(postgres: str) -> None:
    df = read_table(Source(sql=postgres, table="people"), Path("."))
    assert [str(t).split("(")[0] for t in df.dtypes] == [
        "Int32", "Float64", "String", "String", "Datetime", "Date", "Boolean", "String",
    ]  # fmt: skip
    assert df["amount"][1] == 2.5 and df["code"][0] == "6ec57f84-c680-d3a3-778b-000000000001"
    assert str(df["at"][0]) == "2024-05-01 10:30:00"  # UTC
    assert len(read_table(Source(sql=postgres, table="sales.orders"), Path("."))) == 30
    message = refusal(lambda: read_table(Source(sql=postgres, table="orders"), Path(".")))
    assert "did you mean 'sales.orders'?" in message


def test_postgres_reads_only(postgres: str) -> None:
    def run(query: str) -> str:
        return refusal(lambda: read_table(Source(sql=postgres, query=query), Path("."), name="p"))

    assert "SQLSTATE 25006" in run("SELECT id, lo_create(0) AS made FROM people")  # read-only
    assert "INTO is not allowed" in run("SELECT id, mood INTO copy FROM people")
    assert "LOCK is not allowed" in run("SELECT id, mood FROM people FOR UPDATE")
    message = run("SELECT id, name::int AS n FROM people")
    assert "SQLSTATE 22P02" in message and "Smith" not in message
    assert 'column "agee" does not exist' in run("SELECT agee, id FROM people")
    for type_name, value in (("money", "12.5"), ("interval", "1 day"), ("inet", "10.0.0.1")):
        message = run(f"SELECT id, '{value}'::{type_name} AS odd FROM people")
        assert f"column 'odd' is of type {type_name}; cast it" in message


def test_a_password_never_shows(
    postgres: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    given = Source(sql=f"postgresql://bob:${{SHOP_PASSWORD}}@{server}/postgres", table="people")
    assert len(read_table(given, Path("."))) == 30
    database = locate_database(given.sql or "", Path("."), "people")
    assert repr(database) == f"Database('postgresql://{server}/postgres')"
    secret = "hush9876"
    for url in (
        f"postgresql://bob:{secret}@{server}/postgres",
        f"postgresql://bob:{secret}@{server}/nowhere",
        f"postgresql://bob:{secret}@127.0.0.1:1/postgres",
        f"postgresql://bob:%zz{secret}@{server}/postgres",
        f"postgresql://bob:{secret}@[::1/postgres",
        f"postgresql://bob:{secret}",
        f"postgresql://{server}/postgres?user=bob&password={secret}",
        f"postgresql://{server}/postgres?sslmode={secret}",
        f"postgresql://{server}/postgres?{secret}",
    ):
        source = Source(sql=url, table="people")
        assert secret not in repr(source)
        message = refusal(lambda s=source: read_table(s, Path("."), name="people"))
        assert "people" in message and secret not in message
    wrong = Source(sql=f"postgresql://bob:{secret}@{server}/postgres", table="people")
    message = refusal(lambda: read_table(wrong, Path("."), name="people"))
    assert f"people (postgresql://{server}/postgres): cannot be read" in message
    assert 'authentication failed for user "bob"' in message


def test_init_leaves_the_password_out(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigc_pipeline.dataset_file import load_dataset

    text = suggest_dataset([postgres], name="people", tables=["people"])
    assert PASSWORD not in text and quote(PASSWORD, safe="") not in text and "bob" not in text
    assert "export AIGC_SOURCE_URL=" in text and "Smith" not in text
    path = tmp_path / "people.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("AIGC_SOURCE_URL", postgres)
    table = load_dataset(path).tables["people"]
    assert isinstance(read_table(table.source, tmp_path), pl.DataFrame) and table.key == "id"
    message = refusal(lambda: suggest_dataset([postgres], tables=["persons"]))
    assert "people" in message
