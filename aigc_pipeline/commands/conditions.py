"""Conditions and shares as the command line has them."""

from __future__ import annotations

import csv
import re
from typing import Annotated, Any

import typer

from aigc_pipeline.errors import InputError

WHERE = (
    "Condition on a column: COLUMN=VALUE (again for another value), COLUMN=null, COLUMN>=VALUE,"
    " COLUMN<=VALUE, 'COLUMN in (VALUE, VALUE)'; repeatable."
)
Balance = Annotated[
    list[str] | None,
    typer.Option(
        help="Share of a value: COLUMN:VALUE=SHARE, e.g. churned:yes=0.5; other values keep"
        " their proportions; repeatable."
    ),
]


def parse_where(conditions: list[str]) -> dict[str, Any]:
    """`where` of the dataset file from the command line's texts.

    Raises InputError for a text that is no condition, or two that cannot go together.
    """
    from aigc_pipeline.spec import Between

    values: dict[str, list[Any]] = {}
    ranges: dict[str, dict[str, Any]] = {}
    for text in conditions:
        listed = re.fullmatch(r"([^=<>]+?)\s+in\s*\((.*)\)\s*", text, re.DOTALL)
        if listed is not None:
            [parts] = csv.reader([listed[2]], skipinitialspace=True)
            values.setdefault(listed[1].strip(), []).extend(_scalar(p.strip()) for p in parts)
            continue
        match = re.fullmatch(r"(.+?)\s*(>=|<=|=)\s*(.*)", text, re.DOTALL)
        if match is None:
            raise InputError(
                f"--where {text!r} is no condition;"
                " write COLUMN=VALUE, COLUMN>=VALUE, COLUMN<=VALUE or 'COLUMN in (VALUE, VALUE)'"
            )
        column, operator, value = match[1], match[2], _scalar(match[3].strip())
        if operator == "=":
            values.setdefault(column, []).append(value)
        else:
            ranges.setdefault(column, {})["min" if operator == ">=" else "max"] = value
    both = values.keys() & ranges.keys()
    if both:
        raise InputError(f"--where: {min(both)!r} has both a value and a range; keep one of them")
    where: dict[str, Any] = {c: v if len(v) > 1 else v[0] for c, v in values.items()}
    try:
        return where | {column: Between(**ends) for column, ends in ranges.items()}
    except ValueError:
        raise InputError("--where: the ends of a range are numbers or dates") from None


def parse_balance(shares: list[str]) -> dict[str, dict[Any, float]]:
    """`balance` of the dataset file from the command line's texts. Raises InputError."""
    balance: dict[str, dict[Any, float]] = {}
    for text in shares:
        match = re.fullmatch(r"([^:]+):(.*)=\s*([0-9.]+)\s*", text, re.DOTALL)
        try:
            column, value, share = match.groups() if match else ("", "", "")
            balance.setdefault(column.strip(), {})[_scalar(value.strip())] = float(share)
        except ValueError:
            raise InputError(
                f"--balance {text!r} is no share; write COLUMN:VALUE=SHARE, e.g. churned:yes=0.5"
            ) from None
    return balance


def _scalar(text: str) -> Any:
    """A number where it is written as one (036 is text), null as None, else the text."""
    if text == "null":
        return None
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text
