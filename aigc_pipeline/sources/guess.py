"""What a column most likely is, told from its values and its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from aigc_pipeline.sources.dates import guess_format
from aigc_pipeline.spec import Kind

# The last word of a name that says its values only tell rows apart.
_ID_WORDS = {
    "id", "ids", "key", "pk", "uuid", "guid", "oid", "no", "nr", "num", "number", "code", "index",
    "idx", "hash", "token", "serial", "rowid", "ref", "reference", "rownames",
}  # fmt: skip
_CODE_VALUE = r"^[^\s]{1,64}$"
_MANY_ROWS = 1000
_LONG_TEXT = 20  # characters on average
_EXACT = 2.0**53


@dataclass(frozen=True)
class Guess:
    """A column's likely kind, the format of a date kept as text, and why; no value of it."""

    kind: Kind
    format: str | None
    reason: str


def guess_kind(column: pl.Series) -> Guess:
    """Kind of a clean column (see `clean`), by its dtype, values and name."""
    given = column.drop_nulls()
    dtype = column.dtype
    if given.is_empty():
        return Guess(Kind.CATEGORY, None, "no value in any row")
    if dtype == pl.Boolean:
        return Guess(Kind.BOOLEAN, None, "true and false")
    if dtype.is_temporal():
        return Guess(Kind.DATETIME, None, "dates" if dtype == pl.Date else "dates and times")
    distinct = given.n_unique()
    if dtype.is_integer() or (dtype.is_float() and is_whole(given)):
        if distinct == len(column) and _counts_rows(given, column.name):
            return Guess(Kind.ID, None, "whole numbers, different in every row")
        return Guess(Kind.INTEGER, None, f"whole numbers, {_count(distinct)}")
    if dtype.is_float():
        return Guess(Kind.NUMBER, None, f"numbers, {_count(distinct)}")
    return _guess_text(column, given, distinct)


def is_whole(values: pl.Series) -> bool:
    """Whether all floats are whole numbers that a float holds exactly."""
    return bool(((values == values.round(0)) & (values.abs() <= _EXACT)).all())


def named_like_id(name: str) -> bool:
    """Whether a name such as customer_id, customerID, OrderNo or uuid says that it is an id."""
    words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]
    return bool(words) and (words[-1] in _ID_WORDS or words[0] in ("id", "uuid", "guid"))


def _counts_rows(values: pl.Series, name: str) -> bool:
    """Whether different whole numbers are ids: named so, or counting the rows one by one."""
    if named_like_id(name):
        return True
    low, high = int(values.min()), int(values.max())  # type: ignore[arg-type]
    return high - low == len(values) - 1 and (low in (0, 1) or len(values) >= _MANY_ROWS)


def _guess_text(column: pl.Series, given: pl.Series, distinct: int) -> Guess:
    format = guess_format(given)
    if format is not None:
        return Guess(Kind.DATETIME, format, "every value reads as a date")
    if distinct == len(column) and (named_like_id(column.name) or _look_like_codes(given)):
        return Guess(Kind.ID, None, "different in every row")
    if distinct > len(given) / 2 and distinct >= 50:
        words = given.str.count_matches(r"\s+").mean()
        length = given.str.len_chars().mean()
        if float(length or 0) >= _LONG_TEXT or float(words or 0) >= 2:  # type: ignore[arg-type]
            return Guess(Kind.TEXT, None, f"long text, {_count(distinct)}")
    return Guess(Kind.CATEGORY, None, _count(distinct))


def _look_like_codes(values: pl.Series) -> bool:
    """One word each, most with a digit, and not simply numbers with decimals."""
    one_word = values.str.contains(_CODE_VALUE).all()
    digits = values.str.contains("[0-9]").mean()
    decimal = values.str.contains(r"^-?[0-9]*[.,][0-9]+$").all()
    return one_word and not decimal and float(digits or 0) >= 0.9  # type: ignore[arg-type]


def _count(distinct: int) -> str:
    return "1 distinct value" if distinct == 1 else f"{distinct} distinct values"
