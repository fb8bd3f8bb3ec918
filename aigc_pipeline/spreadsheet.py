"""What reads a spreadsheet in a process of its own (`sources.sheets`); it imports little.

Run with a file, what to call it in errors, the bytes it may take, and perhaps a sheet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.held import held_memory

REFUSED = 2  # exit code that comes with a message


def main() -> None:
    """Write the sheet to stdout: its columns' names as a line of JSON, then an Arrow stream."""
    path, at, most = sys.argv[1:4]
    sheet = sys.argv[4] if len(sys.argv) > 4 else None
    try:
        with held_memory(int(most)):
            header, df = _read(Path(path), at, sheet)
    except InputError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    df.write_ipc_stream(sys.stdout.buffer)


def _read(path: Path, at: str, sheet: str | None) -> tuple[list[str], pl.DataFrame]:
    """The columns' names as the sheet has them, and its rows."""
    import fastexcel

    try:
        book = fastexcel.read_excel(path)
        names = book.sheet_names
        sheet = sheet or names[0]
        if sheet not in names:
            raise InputError(f"{at}: there is no sheet {sheet!r}; {did_you_mean(sheet, names)}")
        top = book.load_sheet(sheet, header_row=None, n_rows=1, dtypes="string").to_polars()
        if top.is_empty():
            raise InputError(f"{at}: the sheet {sheet!r} is empty; it needs a header and rows")
        df = pl.read_excel(
            path,
            sheet_name=sheet,
            infer_schema_length=None,
            drop_empty_cols=False,
            raise_if_empty=False,
        )
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, IndexError):
        raise InputError(f"{at}: this is no whole spreadsheet; save it again as .xlsx") from None
    # The reader renames repeated and empty headers, so names are taken from the sheet itself.
    header = [str(value or "") for value in top.row(0)]
    header += [""] * (df.width - len(header))
    named = [i for i in range(df.width) if header[i].strip() or df[:, i].count()]
    header = [header[i] for i in named]
    return header, df[:, named]
