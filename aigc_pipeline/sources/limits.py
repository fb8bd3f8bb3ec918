"""How much a source may hold: told before it is read, so that a small file cannot fill memory."""

from __future__ import annotations

import os

from aigc_pipeline.errors import InputError

CELLS_VARIABLE = "AIGC_MAX_CELLS"
MAX_CELLS = 1_000_000_000  # rows times columns: about 8 GB of numbers
MAX_COLUMNS = 20_000
MAX_UNPACKED = 64 * 2**30  # bytes


def max_cells() -> int:
    """Rows times columns that a source may have: `$AIGC_MAX_CELLS`, or a thousand million."""
    given = os.environ.get(CELLS_VARIABLE, "")
    if given and not given.isdecimal():
        raise InputError(f"{CELLS_VARIABLE}: {given!r} is no whole number")
    return int(given) if given else MAX_CELLS


def check_cells(rows: int, columns: int, at: str) -> None:
    """Raise InputError for a table that is too large to read."""
    if columns > MAX_COLUMNS:
        raise InputError(f"{at}: {columns:,} columns, and at most {MAX_COLUMNS:,} are read")
    most = max_cells()
    if rows * columns > most:
        raise InputError(
            f"{at}: more than {most:,} cells ({columns:,} columns); bring fewer rows or columns, or"
            f" allow more with {CELLS_VARIABLE}"
        )


def check_unpacked(size: int, at: str) -> None:
    """Raise InputError for a file that unpacks to more than any table needs."""
    if size > MAX_UNPACKED:
        raise InputError(f"{at}: it unpacks to {size / 2**30:,.0f} GB; bring fewer rows or columns")
