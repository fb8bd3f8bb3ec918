"""How the commands print: tables for people, JSON for programs, progress to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

# Beside a file or a pipe nothing cuts lines short: a table is as wide as it needs to be.
_WIDE = 240


def console(stream: TextIO | None = None) -> Console:
    """A Rich console on `stream`, by default stdout, that takes text as it is."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def say(*parts: object) -> None:
    """A line on stdout."""
    console().print(*parts, soft_wrap=True)


def note(*parts: object) -> None:
    """A line on stderr: what goes on, beside what was asked for."""
    console(sys.stderr).print(*parts, soft_wrap=True)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    write: Callable[[Any], str] | None = None,
) -> None:
    """A table on stdout. Numbers stand to the right; `write` turns a value into text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    grid = Table(box=box.SIMPLE_HEAD, title=Text(title, "bold") if title else None)
    grid.title_justify = "left"
    for index, name in enumerate(columns):
        numbers = any(_is_number(row[index]) for row in rows)
        grid.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text((write or plain)(value)) for value in row))
    out = console()
    with out.capture() as captured:
        out.print(grid)
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("\n".join(lines) + "\n")


def frame(df: pl.DataFrame) -> None:
    """A data frame as a table on stdout, its numbers as they are: a year is no thousand."""
    table(df.columns, df.rows(), write=exact)


def plain(value: Any) -> str:
    """A value as a person reads it: thousands apart, four significant digits, a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def exact(value: Any) -> str:
    """A value of a query's answer: whole numbers in full, floats to four decimals or digits."""
    if value is None:
        return "null"
    if isinstance(value, float) and math.isfinite(value):
        if value == 0 or 0.001 <= abs(value) < 1e15:
            return f"{value:.4f}".rstrip("0").rstrip(".")
        return f"{value:.4g}"
    return str(value)


def print_json(value: Any) -> None:
    """A value as JSON on stdout. NaN and infinities, which JSON lacks, become null."""
    sys.stdout.write(json.dumps(_jsonable(value), indent=2, ensure_ascii=False, default=str) + "\n")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _jsonable(value: Any) -> Any:
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return value
