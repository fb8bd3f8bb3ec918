"""Canaries: values planted in real-looking tables, and a search for them in every byte.

Two tables that refer to each other: people, one row each, and their orders.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

PEOPLE = 400
SALARY = 87_654_321.25  # beyond all others
PAIRS = ("Zurich", "retired")  # each usual, together once


def canary(kind: str, number: int) -> str:
    """A text found nowhere else."""
    return f"cnry{kind}{number:03}qx"


def people() -> pl.DataFrame:
    """People with canaries: `rare1`, `rare5`, `rare20` are texts of 1, 5 and 20 people each."""
    rng = np.random.default_rng(0)
    n = np.arange(PEOPLE)
    city = rng.choice(["Basel", "Bern", "Geneva", "Zurich"], PEOPLE)
    status = np.where(
        city == "Zurich",
        rng.choice(["employed", "student"], PEOPLE),
        rng.choice(["employed", "student", "retired"], PEOPLE),
    )
    salary = np.round(rng.lognormal(10.5, 0.5, PEOPLE), 2)
    hobby = rng.choice(["chess", "climbing", "choir", "cooking"], PEOPLE).astype(object)
    at = rng.permutation(PEOPLE)
    for i in range(10):  # texts of one, of five and of twenty people
        hobby[at[i]] = canary("once", i)
    for i in range(6):
        hobby[at[20 + 5 * i : 25 + 5 * i]] = canary("five", i)
    hobby[at[60:80]] = canary("twenty", 0)
    city[at[90]], status[at[90]] = PAIRS
    salary[at[91]] = SALARY
    note = [f"called about order {i % 5}" for i in n]
    for i in range(10):  # identifiers inside free text
        note[at[100 + i]] = f"mail me at {canary('note', i)}@example.org or +41 79 555 {i:02} 17"
    return pl.DataFrame(
        {
            "person_id": 50_000 + n * 7,
            "mail": [f"{canary('mail', i)}@example.org" for i in n],
            "phone": [f"+41 79 {canary('tel', i)}" for i in n],
            "account": [canary("acct", i) for i in n],
            "city": city,
            "status": status,
            "hobby": pl.Series(hobby.tolist()),
            "salary": salary,
            "note": note,
        }
    )


def orders(of: pl.DataFrame) -> pl.DataFrame:
    """Their orders: most have a few, one has 500, and one has 50 of a product nobody else buys."""
    rng = np.random.default_rng(1)
    keys = of["person_id"].to_numpy()
    counts = rng.poisson(1.2, len(keys))
    counts[10], counts[11] = 500, 50
    person = np.repeat(keys, counts)
    product = rng.choice(["tea", "coffee", "cocoa"], len(person)).astype(object)
    product[person == keys[11]] = canary("product", 0)
    day = np.datetime64("2023-01-01") + rng.integers(0, 365, len(person))
    return pl.DataFrame(
        {
            "order_id": np.arange(len(person)) + 1,
            "person_id": person,
            "day": pl.Series(day).cast(pl.Date),
            "product": pl.Series(product.tolist()),
            "amount": np.round(rng.gamma(2.0, 20.0, len(person)), 2),
        }
    )


def bytes_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder: its bytes, and what is packed in Parquet, SQLite and zip files."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield str(path), data
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path, hive_partitioning=False)
            yield f"{path} (values)", frame.write_ndjson().encode()
        elif data.startswith(b"SQLite format 3"):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                yield f"{path} (dump)", "\n".join(database.iterdump()).encode()
        elif path.suffix == ".duckdb":
            yield f"{path} (values)", _duckdb(path)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for name in packed.namelist():
                    yield f"{path} ({name})", packed.read(name)


def _duckdb(path: Path) -> bytes:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as warehouse:
        tables = warehouse.sql(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
        ).fetchall()
        found: list[Any] = warehouse.sql("SELECT comment FROM duckdb_tables()").fetchall()
        found += warehouse.sql("SELECT comment FROM duckdb_columns()").fetchall()
        for schema, table in tables:
            found += warehouse.sql(f'SELECT * FROM "{schema}"."{table}"').fetchall()
    return json.dumps(found, default=str).encode()


def find(needles: dict[str, str], places: list[tuple[str, bytes]]) -> dict[str, list[str]]:
    """Where needles are: name -> places; those found nowhere are left out.

    Any case, UTF-8 and UTF-16. All needles are looked for in one pass.
    """
    names: dict[bytes, list[str]] = {}
    for name, needle in needles.items():
        names.setdefault(needle.lower().encode(), []).append(name)
    pattern = re.compile(b"|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    found: dict[str, list[str]] = {}
    for place, data in places:
        low = data.lower()
        for text in {*pattern.findall(low), *pattern.findall(low.replace(b"\0", b""))}:
            for name in names[text]:
                found.setdefault(name, []).append(place)
    return found
