"""Dates and times kept as text: which strptime format they are written in."""

from __future__ import annotations

import polars as pl

_DAYS = [
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%-d.%-m.%Y",
    "%d/%m/%Y", "%m/%d/%Y", "%-d/%-m/%Y", "%-m/%-d/%Y", "%d/%m/%y", "%m/%d/%y", "%-d/%-m/%y",
    "%-m/%-d/%y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%-d %b %Y", "%d-%b-%Y", "%-d-%b-%Y",
    "%d-%b-%y", "%-d-%b-%y", "%b %d, %Y", "%b %-d, %Y", "%d %B %Y", "%-d %B %Y", "%B %d, %Y",
    "%B %-d, %Y",
]  # fmt: skip
_MONTHS = ["%Y-%m", "%Y/%m", "%m/%Y", "%b-%Y", "%b %Y", "%B %Y", "%Y-%b", "%b-%y"]
_TIMES = [
    "%H:%M:%S", "%H:%M", "%H:%M:%S%.3f", "%H:%M:%S%.6f", "%H:%M:%SZ", "%H:%M:%S%.3fZ",
    "%H:%M:%S%.6fZ", "%I:%M %p", "%I:%M:%S %p",
]  # fmt: skip
# Digits alone are numbers or codes, never taken for dates: those need a `format`.
_DATE_LIKE = r"^[0-9A-Za-z]+[-/. ].*[0-9]"
_PLAUSIBLE_YEARS = (1700, 2200)


def guess_format(values: pl.Series) -> str | None:
    """The one format that all texts are written in, else None.

    values: String without nulls. At least three must differ; writing the parsed dates in the
    format must give the texts back; and where day and month could be told either way, so that two
    formats fit and disagree, none is taken.
    """
    distinct = values.unique()
    if len(distinct) < 3 or not values.head(50).str.contains(_DATE_LIKE).all():
        return None
    sample = distinct.sort().gather_every(max(len(distinct) // 50, 1)).head(50)
    found: dict[str, pl.Series] = {}
    for format in _candidates(str(sample[0])):
        if _round_trip(sample, format) is not None:
            dates = _round_trip(distinct, format)
            if dates is not None:
                found[format] = dates
    if not found:
        return None
    (first, dates), *others = found.items()
    return first if all(other.equals(dates) for _, other in others) else None


def parse_dates(values: pl.Series, format: str) -> pl.Series:
    """Texts as Datetime in microseconds; null where one does not read in the format.

    Raises polars ComputeError for a format that strptime does not know.
    """
    return values.str.to_datetime(format, time_unit="us", strict=False)


def _candidates(text: str) -> list[str]:
    if ":" not in text:
        return _DAYS + _MONTHS
    separator = "T" if text[10:11] == "T" else " "
    return [f"{day}{separator}{time}" for day in _DAYS for time in _TIMES]


def _round_trip(texts: pl.Series, format: str) -> pl.Series | None:
    dates = parse_dates(texts, format)
    if dates.null_count() or not dates.dt.year().is_between(*_PLAUSIBLE_YEARS).all():
        return None
    return dates if dates.dt.to_string(format).equals(texts) else None
