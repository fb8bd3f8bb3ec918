"""CSV files: checked line by line, read as text by Polars, then given types.

Types are decided here rather than by the reader, so that nothing is lost on the way: codes with
leading zeros or a plus sign stay text, and every value of a column counts, not the first hundred.
"""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources.clean import check_names
from aigc_pipeline.sources.limits import check_cells, max_cells
from aigc_pipeline.spec import Source

_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_CODE = r"^(\+|-?0)[0-9]+$"  # a number would lose its leading zeros or plus sign
_FLOAT = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_NOT_FINITE = r"(?i)^[-+]?(inf|infinity|nan)$"
_BOOLEAN = r"(?i)^(true|false)$"


@dataclass
class Layout:
    """What a first pass over a CSV file found."""

    header: list[str]
    rows: int = 0
    blank: list[int] = field(default_factory=list)  # positions of empty lines among the rows


def read_csv_files(files: list[tuple[Path, str]], source: Source) -> pl.DataFrame:
    """One or more CSV files with the same header as one table with types.

    files: (path, what to call it in errors). Raises InputError for ragged rows, a wrong encoding,
    broken quoting or differing headers, naming file and line but no value.
    """
    parts, first = [], None
    for path, at in files:
        layout = scan(path, at, source)
        first = first or layout
        if layout.header != first.header:
            raise InputError(
                f"{at}: its header differs from that of {files[0][1]}; all files of one source need"
                " the same columns in the same order"
            )
        parts.append(_read_text(path, at, source, layout))
    return parse_columns(pl.concat(parts))


def scan(path: Path, at: str, source: Source) -> Layout:
    """Check a file's encoding, quoting and row lengths; return its header and row count."""
    encoding = _python_encoding(source, at)
    if len(source.delimiter.encode()) != 1 or source.delimiter in '\r\n"':
        raise InputError(
            f"{at}: the delimiter {source.delimiter!r} cannot be used; it must be one plain"
            " character such as , ; | or a tab"
        )
    layout: Layout | None = None
    most = 0  # rows
    with path.open(encoding=encoding, newline="") as handle:
        reader = csv.reader(handle, delimiter=source.delimiter, strict=True)
        try:
            for record in reader:
                if layout is None:
                    if not record:
                        continue
                    layout = Layout(record)
                    check_cells(0, len(record), at)
                    _check_header(record, at)
                    most = max_cells() // len(record)
                    continue
                if not record:
                    layout.blank.append(layout.rows)
                elif len(record) != len(layout.header):
                    raise InputError(
                        f"{at}: line {reader.line_num} has {len(record)} fields where the header"
                        f" has {len(layout.header)}; mend the line, put quotes around a field that"
                        f" contains {source.delimiter!r}, or set `delimiter`"
                    )
                layout.rows += 1
                if layout.rows > most:
                    check_cells(layout.rows, len(layout.header), at)
        except UnicodeError:
            raise InputError(_encoding_message(path, at, source, encoding)) from None
        except csv.Error as error:
            raise InputError(
                f"{at}: line {reader.line_num}: broken quoting ({error}); is a quote left open, or"
                " not doubled inside a quoted field?"
            ) from None
    if layout is None:
        raise InputError(f"{at}: the file is empty; it needs a header line and rows")
    return layout


def parse_columns(df: pl.DataFrame) -> pl.DataFrame:
    """Text columns as Int64, Float64 or Boolean where every value of a column reads as one."""
    return df.with_columns(
        s for s in (_parse(df[name]) for name in df.columns) if s.dtype != pl.String
    )


def _parse(column: pl.Series) -> pl.Series:
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    given = text.drop_nulls()
    if given.is_empty():
        return column

    def all_match(pattern: str) -> bool:  # a look at the head spares most columns the whole pass
        return all(part.str.contains(pattern).all() for part in (given.head(100), given))

    if given.str.contains(_CODE).any() and all_match(f"{_INTEGER}|{_CODE}"):
        return column
    if all_match(_INTEGER):
        number = text.cast(pl.Int64, strict=False)
        # Whole numbers beyond 64 bits are codes: as floats they would lose digits.
        return number if number.null_count() == text.null_count() else column
    if all_match(f"{_FLOAT}|{_NOT_FINITE}") and given.str.contains(_FLOAT).any():
        return text.cast(pl.Float64)
    if all_match(_BOOLEAN):
        return text.str.to_lowercase() == "true"
    return column


def _read_text(path: Path, at: str, source: Source, layout: Layout) -> pl.DataFrame:
    if codecs.lookup(source.encoding).name == "utf-8":
        data: Path | io.BytesIO = path
    else:
        with path.open(encoding=source.encoding, newline="") as handle:
            data = io.BytesIO(handle.read().removeprefix("\ufeff").encode())
    mismatch = InputError(
        f"{at}: its quotes or line ends are unusual, so its rows cannot be told apart for certain;"
        " save it again as plain CSV with lines that end in LF or CRLF"
    )
    try:
        df = pl.read_csv(
            data,
            separator=source.delimiter,
            infer_schema=False,
            null_values=source.null_values,
            empty_string_is_null="" in source.null_values,
            glob=False,
        )
    except pl.exceptions.PolarsError:  # its message may quote values
        raise mismatch from None
    if df.shape != (layout.rows, len(layout.header)):
        raise mismatch
    df.columns = layout.header
    if layout.blank:
        kept = pl.int_range(df.height, eager=True).is_in(layout.blank).not_()
        df = df.filter(kept)
    return df


def _check_header(header: list[str], at: str) -> None:
    if header and all(_looks_numeric(name) for name in header):
        raise InputError(f"{at}: line 1 holds only numbers; the first line must name the columns")
    check_names(header, at)


def _looks_numeric(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _python_encoding(source: Source, at: str) -> str:
    try:
        name = codecs.lookup(source.encoding).name
    except LookupError:
        raise InputError(
            f"{at}: there is no encoding {source.encoding!r}; use e.g. utf-8, cp1252, latin-1 or"
            " utf-16"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


def _encoding_message(path: Path, at: str, source: Source, encoding: str) -> str:
    """Name the first line that does not decode; where lines cannot be told apart, only the file."""
    where = at
    with path.open("rb") as handle:
        start = handle.read(2)
        handle.seek(0)
        if not encoding.startswith(("utf-16", "utf-32")):
            for number, line in enumerate(handle, start=1):
                try:
                    line.decode(encoding)
                except UnicodeError:
                    where = f"{at}: line {number}"
                    break
    remedy = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "cp1252 or latin-1"
    return (
        f"{where}: the text is not {source.encoding}; set `encoding` to the file's own"
        f" (perhaps {remedy})"
    )
