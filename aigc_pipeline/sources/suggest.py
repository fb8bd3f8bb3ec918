"""A first dataset file for a table, written from what is in it: the text behind `aigc init`."""

from __future__ import annotations

import csv
import hashlib
import re
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources.delimited import parse_columns, scan
from aigc_pipeline.sources.download import download, public_url
from aigc_pipeline.sources.files import file_format, is_url, located_files
from aigc_pipeline.sources.guess import Guess, guess_kind, named_like_id
from aigc_pipeline.sources.read import read_table
from aigc_pipeline.sources.sql import list_tables, locate_database
from aigc_pipeline.spec import Kind, Source, check_name, check_table_name
from aigc_pipeline.yaml_text import scalar

URL_VARIABLE = "AIGC_SOURCE_URL"
# Texts that stand for a missing value in many files.
_MISSING = ["NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "?", "."]
_TARGET_NAMES = ("target", "label", "class", "outcome", "churn", "default", "y", "response")


@dataclass(frozen=True)
class _Found:
    """What is to be written about the source: its fields, and remarks on them."""

    source: Source
    fields: dict[str, str | list[str]]
    remarks: list[str]


def suggest_dataset(path_or_url: str, *, name: str | None = None, table: str | None = None) -> str:
    """Commented YAML for one table, ready to be saved in `datasets/` and edited.

    path_or_url: a file of any format that sources read, an http(s) URL, or a database URL.
    name: the dataset's; by default made from the table's. table: which one of a database; for a
    file, what to call its table.

    Every column gets its inferred type and why. No value of the data is written, and neither is a
    database URL's user or password: that URL is then read from an environment variable. Raises
    InputError when the source cannot be read.
    """
    if name is not None:
        try:
            check_name(name)
        except ValueError as error:
            raise InputError(f"name: {error}") from None
    if re.match(r"(sqlite|postgres(ql)?)://", path_or_url) or "${" in path_or_url:
        found, table = _of_database(path_or_url, table)
    elif is_url(path_or_url):
        found = _of_url(path_or_url)
    else:
        with located_files(Source(file=path_or_url), Path.cwd(), "source") as files:
            found = _of_file(*files[0], path_or_url)
    table = _table_name(table or _stem(path_or_url))
    df = read_table(found.source, Path.cwd(), name=table)
    return _render(df, found, name or dataset_name(table), table)


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


def _of_database(url: str, table: str | None) -> tuple[_Found, str]:
    database = locate_database(url, Path.cwd(), "source")
    if table is None:
        tables = list_tables(database, database.shown)
        if len(tables) != 1:
            shown = ", ".join(tables) or "none"
            raise InputError(f"{database.shown}: say which table with `table`; there are: {shown}")
        table = tables[0]
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
    source = Source(sql=url, table=table)
    return _Found(source, {"sql": written, "table": table}, remarks), table


def _stem(path_or_url: str) -> str:
    text = urllib.parse.urlsplit(path_or_url).path if is_url(path_or_url) else path_or_url
    return Path(urllib.parse.unquote(text)).stem


def _table_name(text: str) -> str:
    """Any text as a table's name: what no file name may hold is left out."""
    return check_table_name(re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "_", text).strip(" ._") or "table")


def _render(df: pl.DataFrame, found: _Found, name: str, table: str) -> str:
    guesses = {column: guess_kind(df[column]) for column in df.columns}
    key = next((c for c in df.columns if guesses[c].kind == Kind.ID and named_like_id(c)), None)
    if key is None:
        key = next((c for c in df.columns if guesses[c].kind == Kind.ID), None)
    if key is not None and df[key].null_count():
        key = None
    lines = [
        "# yaml-language-server: $schema=../docs/dataset.schema.json",
        f"# A first version, made from {df.height} rows and {df.width} columns.",
        f"# Save it as datasets/{name}.yaml, look through it, then: aigc plan {name}",
        f"name: {name}",
        f"title: {scalar(table)}",
        "# description: what the table is about; BI users see it",
        "# domain: finance",
        "tables:",
        f"  {scalar(table)}:",
        "    source:",
        *(f"      {field}: {_value(value)}" for field, value in found.fields.items()),
        *(f"      # {remark}" for remark in found.remarks),
    ]
    if key is not None:
        lines.append(
            f"    key: {scalar(key)}  # different in every row; made afresh, never learned"
        )
    else:
        lines.append("    # key: the column that tells rows apart; made afresh, never learned")
    lines.append(
        f"    # target: {_target(df, guesses)}  # the column whose prediction tests utility"
    )
    lines.append("    columns:  # types as inferred; what you leave out is inferred at every run")
    lines += [f"      {scalar(c)}: {_entry(df[c], guess)}" for c, guess in guesses.items()]
    lines += [
        "    # derive: {total: 'price * quantity'}      # recomputed, so it holds in every row",
        "    # constraints: [{less_equal: [low, high]}]  # kept in every row",
        "    # expect:                                  # Great Expectations, by their own names",
        "    #   - {expect_column_values_to_not_be_null: {column: x}, severity: critical}",
        "generator: {family: autoregressive, quality: standard}",
        "privacy: {min_subjects: 5}  # values of fewer subjects are not learned",
        "synthesis:",
        f"  rows: {df.height}",
        "gates:  # what misses one is not released",
        "  shape_error: {max: 0.03}",
        "  detection_auc: {max: 0.65}",
        "  copied_rows: {max: holdout}",
        "  null_rate_error: {max: 0.02}",
        "  # utility_gap: {max: 0.05}  # needs a target",
        '# schedule: "0 3 * * *"  # every night at three',
    ]
    return "\n".join(lines) + "\n"


def _entry(column: pl.Series, guess: Guess) -> str:
    format = f", format: {scalar(guess.format)}" if guess.format is not None else ""
    nulls = column.null_count()
    missing = f", missing in {nulls} rows" if 0 < nulls < len(column) else ""
    return f"{{type: {guess.kind}{format}}}  # {guess.reason}{missing}"


def _target(df: pl.DataFrame, guesses: dict[str, Guess]) -> str:
    """A column that looks worth predicting: of few values, and named so if one is."""
    kinds = (Kind.CATEGORY, Kind.BOOLEAN, Kind.INTEGER)
    few = [
        c
        for c in df.columns
        if guesses[c].kind in kinds and 2 <= df[c].drop_nulls().n_unique() <= 20
    ]
    named = [c for c in few if c.lower().rpartition("_")[2] in _TARGET_NAMES]
    return scalar((named or few[-1:] or ["column"])[0])


def _value(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    return scalar(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
