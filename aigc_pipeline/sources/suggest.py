"""A first dataset file for tables, written from what is in them: the text behind `aigc init`."""

from __future__ import annotations

import csv
import hashlib
import re
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources.clean import MIN_ROWS
from aigc_pipeline.sources.delimited import parse_columns, scan
from aigc_pipeline.sources.download import download, public_url
from aigc_pipeline.sources.files import file_format, is_url, located_files
from aigc_pipeline.sources.read import read_table
from aigc_pipeline.sources.sql import list_tables, locate_database
from aigc_pipeline.sources.suggest_text import TableDraft, render
from aigc_pipeline.spec import Source, check_name, check_table_name

URL_VARIABLE = "AIGC_SOURCE_URL"
# Texts that stand for a missing value in many files.
_MISSING = ["NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "?", "."]


@dataclass(frozen=True)
class _Found:
    """What is to be written about the source: its fields, and remarks on them."""

    source: Source
    fields: dict[str, str | list[str]]
    remarks: list[str]


def suggest_dataset(
    sources: str | Sequence[str], *, name: str | None = None, tables: Sequence[str] = ()
) -> str:
    """Commented YAML for one table or several, ready to be saved in `datasets/` and edited.

    sources: files of any format that sources read, http(s) URLs, or database URLs. name: the
    dataset's; by default made from the table's, of several tables from the folder's or the
    database's. tables: which ones of a database (all by default); for files, what to call each
    one's table.

    Every column gets its inferred type and why; several tables get the keys and parents that their
    names and values suggest. No value of the data is written, and neither is a database URL's user
    or password: that URL is then read from an environment variable. Raises InputError when a
    source cannot be read.
    """
    if name is not None:
        try:
            check_name(name)
        except ValueError as error:
            raise InputError(f"name: {error}") from None
    sources = [sources] if isinstance(sources, str) else list(sources)
    found = _find(sources, list(tables))
    alone = len(found) == 1
    least = MIN_ROWS if alone else 1  # of several, one may be kept as it is
    drafts = {
        table: TableDraft(
            read_table(place.source, Path.cwd(), name=table, min_rows=least),
            place.fields,
            place.remarks,
        )
        for table, place in found.items()
    }
    title = next(iter(drafts)) if alone else _common_name(sources[0])
    return render(name or dataset_name(title), title, drafts)


def _find(sources: list[str], tables: list[str]) -> dict[str, _Found]:
    """What is to be written of every table's source."""
    found: dict[str, _Found] = {}
    databases = [s for s in sources if _is_database(s)]
    names = iter(tables)
    if databases and len(sources) > 1 and tables:
        raise InputError("table: which source it is for cannot be told; give one source")
    for source in sources:
        if _is_database(source):
            places = _of_database(source, tables)
        else:
            table = _table_name(next(names, None) or _stem(source))
            if is_url(source):
                places = {table: _of_url(source)}
            else:
                with located_files(Source(file=source), Path.cwd(), "source") as files:
                    places = {table: _of_file(*files[0], source)}
        for table, place in places.items():
            if table.lower() in (known.lower() for known in found):
                raise InputError(f"two tables would be called {table!r}; name each with `table`")
            found[table] = place
    if not databases and (left := list(names)):
        raise InputError(f"table: {len(left)} more than there are files; name each once")
    return found


def _is_database(source: str) -> bool:
    return bool(re.match(r"(sqlite|postgres(ql)?)://", source)) or "${" in source


def _common_name(source: str) -> str:
    """What several tables are called together: their folder, or their database."""
    if _is_database(source) or is_url(source):
        return _stem(source.partition("?")[0])
    return Path(source).resolve().parent.name or "dataset"


def dataset_name(text: str) -> str:
    """A valid dataset name made from any text."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "dataset"
    name = (words if words[0].isalpha() else f"data_{words}")[:42].rstrip("_")
    try:
        return check_name(name)
    except ValueError:
        return check_name(f"{name.removesuffix('_marts')}_data")


def _of_url(url: str) -> _Found:
    """A file on the network, with its checksum as it is now."""
    at = f"source ({public_url(url)})"
    with tempfile.TemporaryDirectory(prefix="aigc-") as folder:
        path = download(url, Path(folder), sha256=None, at=at)
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        found = _of_file(path, at, url)
    return _Found(
        found.source.model_copy(update={"sha256": digest}),
        {"file": url, "sha256": digest, **found.fields},
        [*found.remarks, "sha256: of the file as it is now, so that a change is noticed"],
    )


def _of_file(path: Path, at: str, shown: str) -> _Found:
    """The file's source; for CSV with delimiter, encoding and texts for missing as they look."""
    fields: dict[str, str | list[str]] = {"file": shown}
    remarks: list[str] = []
    source = Source.model_construct(file=shown)  # a URL's checksum comes later
    if file_format(path, at) != "csv":
        return _Found(source, fields, remarks)
    with path.open("rb") as handle:
        head = handle.read(2**16)
    encoding = "utf-8"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            encoding = "cp1252"
            remarks.append("encoding: the file is not UTF-8; check that accents come out right")
    line = head.decode(encoding, errors="ignore").splitlines()[:1]
    counts = {mark: "".join(line).count(mark) for mark in (",", ";", "\t", "|")}
    delimiter = max(counts, key=lambda mark: counts[mark])
    source = source.model_copy(update={"encoding": encoding, "delimiter": delimiter})
    missing = _missing_texts(path, at, source)
    if encoding != "utf-8":
        fields["encoding"] = encoding
    if delimiter != ",":
        fields["delimiter"] = delimiter
    if missing:
        fields["null_values"] = ["", *missing]
        remarks.append("null_values: texts that stand for a missing value in columns of numbers")
    return _Found(source.model_copy(update={"null_values": ["", *missing]}), fields, remarks)


def _missing_texts(path: Path, at: str, source: Source) -> list[str]:
    """Those usual texts for missing that alone keep a column from being numbers."""
    layout = scan(path, at, source)
    samples: list[list[str]] = [[] for _ in layout.header]
    with path.open(encoding=source.encoding, newline="") as handle:
        for number, record in enumerate(csv.reader(handle, delimiter=source.delimiter)):
            if 0 < number <= 10_000 and len(record) == len(samples):
                for values, value in zip(samples, record, strict=True):
                    values.append(value)
    found: set[str] = set()
    for values in samples:
        kept = [v for v in values if v not in _MISSING]
        parsed = parse_columns(pl.DataFrame({"x": pl.Series(kept, dtype=pl.String)}))["x"]
        if parsed.dtype.is_numeric():
            found |= set(values) & set(_MISSING)
    return sorted(found)


def _of_database(url: str, wanted: list[str]) -> dict[str, _Found]:
    database = locate_database(url, Path.cwd(), "source")
    tables = wanted or list_tables(database, database.shown)
    if not tables:
        raise InputError(f"{database.shown}: there is no table in it")
    userinfo = url.partition("://")[2].rpartition("@")[0]
    secret = userinfo or any(
        key in ("password", "user", "sslpassword", "passfile")
        for key, _ in urllib.parse.parse_qsl(url.partition("?")[2])
    )
    remarks = []
    written = url
    if secret and "${" not in url:
        written = f"${{{URL_VARIABLE}}}"
        remarks.append(
            f"sql: user and password stay out of this file: export {URL_VARIABLE}='postgresql://…'"
        )
    return {
        _table_name(table): _Found(
            Source(sql=url, table=table), {"sql": written, "table": table}, remarks
        )
        for table in tables
    }


def _stem(path_or_url: str) -> str:
    text = urllib.parse.urlsplit(path_or_url).path if is_url(path_or_url) else path_or_url
    return Path(urllib.parse.unquote(text)).stem


def _table_name(text: str) -> str:
    """Any text as a table's name: what no file name may hold is left out."""
    return check_table_name(re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "_", text).strip(" ._") or "table")
