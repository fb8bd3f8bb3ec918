"""Spreadsheets, read in a process of their own that may not take more than its share of memory.

A file of some kilobytes can ask its reader for terabytes: by what it unpacks to, or by a single
cell in the last row and column. What is in it shows only on reading, so the reader is held.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources.clean import check_names
from aigc_pipeline.spreadsheet import REFUSED

MOST_BYTES = 8 * 2**30  # of memory, besides what the process starts with
MOST_SECONDS = 900


def read_sheet(path: Path, at: str, sheet: str | None) -> pl.DataFrame:
    """One sheet, by default the first. Its first row that is not empty names the columns.

    Raises InputError for what is no spreadsheet, for an unknown or empty sheet, and for one that
    takes more than `MOST_BYTES` or `MOST_SECONDS` to read.
    """
    command = [sys.executable, "-c", "from aigc_pipeline.spreadsheet import main; main()"]
    found = os.pathsep.join(part or os.getcwd() for part in sys.path)
    try:
        done = subprocess.run(
            [*command, str(path), at, str(MOST_BYTES), *([sheet] if sheet else [])],
            env={**os.environ, "PYTHONPATH": found, "POLARS_MAX_THREADS": "1"},
            capture_output=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{at}: reading it takes too long; save it as .csv or .parquet") from None
    if done.returncode == REFUSED:
        raise InputError(done.stderr.decode())
    if done.returncode:  # killed, or out of memory: what it said may quote values
        raise InputError(
            f"{at}: reading it takes more than {MOST_BYTES / 2**20:,.0f} MB of memory, or breaks"
            " the reader; look for cells far beyond the table, or save it as .csv or .parquet"
        )
    header, _, rows = done.stdout.partition(b"\n")
    names = json.loads(header)
    check_names(names, f"{at}, sheet {sheet!r}" if sheet else at)
    df = pl.read_ipc_stream(io.BytesIO(rows))
    df.columns = names
    return df
