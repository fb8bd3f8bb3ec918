"""Columns that look like direct identifiers: mail, phone, card and account numbers, names, ids.

Told from values (patterns, and check digits where there are any), and names from the column's. What
is found is suggested by `aigc init`, and a run learns none of it that the dataset file is silent
about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from aigc_pipeline.sources.guess import named_like_id
from aigc_pipeline.spec import Kind

LOOKED_AT = 5_000  # distinct values
MOST = 0.6  # of them must have the pattern
CHECKED = 0.9  # and of those with check digits; one number in ten passes Luhn by chance
NEARLY = 0.95  # of values are different where a column nearly tells rows apart
LEAST = 10  # distinct values, for a pattern to mean anything
LEAST_ROWS = 50  # for being nearly unique to mean anything

_EMAIL = r"^[^\s@<>,;]+@[^\s@<>,;]+\.[A-Za-z]{2,24}$"
_PHONE = r"^(\+|00|\(?0)[0-9() ./-]{6,20}[0-9]( ?(x|ext\.?) ?[0-9]+)?$"
_PHONE_US = r"^(1[-. ])?\(?[2-9][0-9]{2}\)?[-. ]{1,2}[0-9]{3}[-. ][0-9]{4}( ?(x|ext\.?) ?[0-9]+)?$"
_SSN = r"^[0-9]{3}-[0-9]{2}-[0-9]{4}$"
_IP = r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$"
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{10,30}")
_CARD = re.compile(r"[0-9]{13,19}")
_NAMES = re.compile(
    r"(full|first|last|given|family|middle|maiden|sur|customer|client|patient|person|employee"
    r"|contact|holder)[ _-]?names?|surname|forename|name"
)
_PHONE_NAMES = re.compile(r".*(phone|mobile|telefon|tel(_?no)?|fax|cell)")


@dataclass(frozen=True)
class Identifier:
    """What a column's values look like. pii: how to fake them; None where ids are to be made."""

    what: str
    pii: str | None
    share: float  # of the values that look so


def find_identifier(column: pl.Series) -> Identifier | None:
    """What direct identifier a clean column looks like by its values, if any.

    Looks at `LOOKED_AT` distinct values. Dates and measures are none, and neither is a column of
    few values, whatever they look like: these are shared.
    """
    given = column.drop_nulls()
    if not (given.dtype == pl.String or given.dtype.is_integer()):
        return None
    distinct = given.unique(maintain_order=True).head(LOOKED_AT)
    if len(distinct) < LEAST:
        return None
    texts = distinct.cast(pl.String).str.strip_chars()
    found = _card(texts)
    if found is None and given.dtype == pl.String:
        found = _by_pattern(texts, column.name) or _iban(texts)
    return found or _nearly_unique(column, given)


def named_like_person(column: pl.Series) -> bool:
    """Whether a text column's name says that it holds people's names, and most are different."""
    given = column.drop_nulls()
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower().strip()
    return (
        given.dtype == pl.String
        and _NAMES.fullmatch(name) is not None
        and given.n_unique() >= max(LEAST, len(given) / 2)
    )


def _by_pattern(texts: pl.Series, name: str) -> Identifier | None:
    patterns: list[tuple[str, str | None, str, float]] = [
        ("e-mail addresses", "email", _EMAIL, MOST),
        ("IP addresses", "ip", _IP, CHECKED),
        ("social security numbers", None, _SSN, CHECKED),
    ]
    named = _PHONE_NAMES.fullmatch(name.lower()) is not None
    for pattern in (_PHONE_US, _PHONE):
        patterns += [("phone numbers", "phone", pattern, 0.3 if named else MOST)]
    for what, pii, pattern, least in patterns:
        share = float(texts.str.contains(pattern).mean() or 0)  # type: ignore[arg-type]
        if share >= least:
            return Identifier(what, pii, share)
    return None


def _iban(texts: pl.Series) -> Identifier | None:
    share = sum(_is_iban(t) for t in texts) / len(texts)
    return Identifier("IBANs", "iban", share) if share >= CHECKED else None


def _is_iban(text: str) -> bool:
    """ISO 13616: letters as numbers, the first four characters last, 1 modulo 97."""
    plain = text.replace(" ", "").upper()
    if _IBAN.fullmatch(plain) is None:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _card(texts: pl.Series) -> Identifier | None:
    plain = texts.str.replace_all("[ -]", "")
    long = plain.filter(plain.str.contains(f"^{_CARD.pattern}$"))
    if len(long) < CHECKED * len(texts):
        return None
    share = sum(_luhn(t) for t in long) / len(texts)
    return Identifier("card numbers", None, share) if share >= CHECKED else None


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, the sum a multiple of ten."""
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(int(d) for d in digits[-1::-2]) + sum(doubled)) % 10 == 0


def _nearly_unique(column: pl.Series, given: pl.Series) -> Identifier | None:
    """Codes, or whole numbers named like ids, that nearly tell rows apart."""
    if len(given) < LEAST_ROWS or len(given) < len(column) / 2:
        return None
    share = given.n_unique() / len(given)
    if share < NEARLY:
        return None
    if given.dtype == pl.String:
        words = given.str.contains(r"^[^\s]{4,64}$") & given.str.contains("[0-9]")
        number = given.str.contains(r"^-?[0-9.,:]*$").all()  # times of day among them
        if (number and not named_like_id(column.name)) or float(words.mean() or 0) < CHECKED:  # type: ignore[arg-type]
            return None
    elif not named_like_id(column.name):
        return None
    return Identifier("ids that nearly tell rows apart", None, share)


def refusal(column: pl.Series, kind: Kind) -> str | None:
    """Why a column that nothing is said of is not learned, with the remedies; no value of it."""
    if kind in (Kind.ID, Kind.DATETIME):
        return None
    found = find_identifier(column)
    if found is None:
        return None
    fake = f"`pii: {found.pii}` to fake it" if found.pii else "`type: id` to make new ones"
    if found.pii and column.dtype != pl.String:
        fake = "`type: id` to make new ones"
    return (
        f"{column.name!r} looks like {found.what} ({found.share:.0%} of its values), and nothing is"
        f" said of it: declare {fake}, make it the table's `key`, leave it out at the source, or,"
        f" if it is none, declare `type: {kind}`"
    )
