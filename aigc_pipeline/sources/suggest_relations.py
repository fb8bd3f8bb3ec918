"""Keys and parents of tables, told from the names and the values of their columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from aigc_pipeline.sources.guess import Guess, named_like_id
from aigc_pipeline.spec import Kind

COVERED = 0.8  # share of a column's values that must be found in the parent's key


@dataclass(frozen=True)
class SuggestedParent:
    """A column that seems to hold another table's key, and how many rows find no parent."""

    column: str
    table: str
    nulls: int
    orphans: int


def suggest_keys(
    frames: Mapping[str, pl.DataFrame], guesses: Mapping[str, Mapping[str, Guess]]
) -> dict[str, str]:
    """The likely key of every table that has one: a column of ids, by its name if there are more.

    A unique column of any name is one, too, where a column of another table has its name and its
    values.
    """
    keys: dict[str, str] = {}
    for table, df in frames.items():
        ids = [c for c in df.columns if guesses[table][c].kind == Kind.ID and _is_key(df[c])]
        own = [c for c in ids if _stem(c) in ("", _singular(table))]
        named = [c for c in ids if named_like_id(c)]
        referred = [
            c
            for c in df.columns
            if any(
                other != table and c in rows.columns and not _is_key(rows[c])
                and _share(rows[c], df[c]) >= COVERED
                for other, rows in frames.items()
            )
            and _is_key(df[c])
        ]  # fmt: skip
        candidates = own + referred + named + ids
        if candidates:
            keys[table] = candidates[0]
    return keys


def suggest_parents(
    frames: Mapping[str, pl.DataFrame], keys: Mapping[str, str]
) -> dict[str, list[SuggestedParent]]:
    """By table the parents its columns point to; the one with fewest rows each, the owner, first.

    A column points to a table when its name does, and when at least COVERED of its values are in
    that table's key. No parent is suggested that would close a circle.
    """
    found: dict[str, list[SuggestedParent]] = {table: [] for table in frames}
    for table, df in frames.items():
        pointing: dict[str, SuggestedParent] = {}
        for parent, key in keys.items():
            for column in df.columns:
                if parent == table or column in pointing or column == keys.get(table):
                    continue
                values = frames[parent][key]
                if not _points_to(column, parent, key) or _share(df[column], values) < COVERED:
                    continue
                if _reaches(found, parent, table):
                    continue
                given = df[column].drop_nulls()
                orphans = len(given) - int(given.is_in(values.implode()).sum())
                nulls = df[column].null_count()
                pointing[column] = SuggestedParent(column, parent, nulls, orphans)
        order = sorted(pointing, key=lambda column: -df[column].n_unique())
        found[table] = [pointing[column] for column in order]
    return found


def suggest_order(guesses: Mapping[str, Guess], parents: list[SuggestedParent]) -> str | None:
    """The first date that is no key of a parent: rows of an owner come in its order."""
    taken = {parent.column for parent in parents}
    dates = [c for c, guess in guesses.items() if guess.kind == Kind.DATETIME and c not in taken]
    return next(iter(dates), None)


def _is_key(column: pl.Series) -> bool:
    plain = column.dtype.is_integer() or column.dtype == pl.String
    return plain and not column.null_count() and column.n_unique() == len(column)


def _share(values: pl.Series, key: pl.Series) -> float:
    """Share of the given values that are in the key; 0 where they cannot be compared."""
    alike = values.dtype == key.dtype or (values.dtype.is_integer() and key.dtype.is_integer())
    given = values.drop_nulls()
    if not alike or given.is_empty():
        return 0.0
    return float(given.is_in(key.cast(given.dtype, strict=False).implode()).mean() or 0)  # type: ignore[arg-type]


def _points_to(column: str, parent: str, key: str) -> bool:
    """Whether a column is called like the parent's key, or like the parent itself."""
    one = _singular(parent)
    return _flat(column) in {_flat(key), one, one + _flat(key), one + "id"}


def _reaches(found: Mapping[str, list[SuggestedParent]], start: str, goal: str) -> bool:
    return start == goal or any(_reaches(found, p.table, goal) for p in found[start])


def _flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(column: str) -> str:
    """A key's name without the word that says it is one: customer_id -> customer."""
    return re.sub(r"(id|key|no|nr|number|code)$", "", _flat(column))


def _singular(table: str) -> str:
    flat = _flat(table)
    return re.sub(r"ies$", "y", flat) if flat.endswith("ies") else re.sub(r"s$", "", flat)
