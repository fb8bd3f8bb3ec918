"""Tables in files: CSV, Parquet, JSON lines and Excel; one file, a glob of several, or a URL."""

from __future__ import annotations

import glob
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.sources.clean import check_names
from aigc_pipeline.sources.delimited import read_csv_files
from aigc_pipeline.sources.download import download, public_url
from aigc_pipeline.sources.limits import check_cells, check_unpacked
from aigc_pipeline.sources.sheets import read_sheet
from aigc_pipeline.spec import Source

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".jsonl": "json lines", ".ndjson": "json lines",
    ".xlsx": "excel", ".xlsm": "excel", ".xlsb": "excel", ".xls": "excel", ".ods": "excel",
}  # fmt: skip


def read_files(source: Source, base_dir: Path, name: str) -> pl.DataFrame:
    """The table of a `file` source as its reader gives it, columns in the file's order.

    Several files of a glob are put one below the other in order of their names; they need the same
    columns with the same types. Raises InputError naming the file, and for text the line.
    """
    with located_files(source, base_dir, name) as files:
        kinds = {file_format(path, at) for path, at in files}
        if len(kinds) > 1:
            raise InputError(
                f"{name} ({source.file}): the files are of different formats"
                f" ({', '.join(sorted(kinds))}); let the pattern match one of them"
            )
        kind = kinds.pop()
        if kind == "csv":
            return read_csv_files(files, _with_default_tab(source, files[0][0]))
        parts = [_read_one(path, at, kind, source) for path, at in files]
        for (_, at), part in zip(files, parts, strict=True):
            if part.schema != parts[0].schema:
                raise InputError(
                    f"{at}: {_first_difference(part, parts[0])} unlike {files[0][1]}; all files of"
                    " one source need the same columns and types in the same order"
                )
        return pl.concat(parts)


def file_format(path: Path, at: str) -> str:
    """A file's format by its suffix."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{at}: files that end in {path.suffix!r} are not read; the format is told by the"
            f" ending, one of {' '.join(FORMATS)}"
        )
    return kind


def hash_files(source: Source, base_dir: Path, name: str) -> str:
    """Hex sha256 over the files' own; a URL's is the checksum that its content must have."""
    if is_url(source.file or "") and source.sha256:
        return source.sha256
    with located_files(source, base_dir, name) as files:
        digests = [_sha256(path) for path, _ in files]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def is_url(text: str) -> bool:
    """Whether a `file` is read over the network."""
    return re.match(r"https?://", text) is not None


@contextmanager
def located_files(source: Source, base_dir: Path, name: str) -> Iterator[list[tuple[Path, str]]]:
    """The source's local files, each with what to call it in errors; a download lives this long."""
    pattern = source.file or ""
    if is_url(pattern):
        with tempfile.TemporaryDirectory(prefix="aigc-") as folder:
            at = f"{name} ({public_url(pattern)})"
            yield [(download(pattern, Path(folder), sha256=source.sha256, at=at), at)]
        return
    files = [(path, f"{name} ({shown})") for path, shown in _local_files(pattern, base_dir, name)]
    if source.sha256 is not None:
        if len(files) > 1:
            raise InputError(f"{name} ({pattern}): sha256 goes with one file, not with a pattern")
        if _sha256(files[0][0]) != source.sha256:
            raise InputError(
                f"{files[0][1]}: the file's sha256 is not the one given; restore the file, or give"
                " the new sha256 if the change is meant"
            )
    yield files


def _local_files(pattern: str, base_dir: Path, name: str) -> list[tuple[Path, str]]:
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", pattern):
        raise InputError(
            f"{name}: {pattern.partition('://')[0]}:// is not read; give a local path, http:// or"
            " https://"
        )
    path = base_dir / Path(pattern).expanduser()
    if path.is_dir():
        raise InputError(
            f"{name} ({pattern}): a folder; name its files, e.g. {pattern.rstrip('/')}/*.csv"
        )
    if path.exists():
        return [(path, pattern)]
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if not Path(p).is_dir())
    if not found:
        if glob.has_magic(pattern):
            hint = "no file matches the pattern"
        else:
            folder = path.parent.iterdir() if path.parent.is_dir() else ()
            others = [p.name for p in folder if p.suffix.lower() in FORMATS]
            hint = "there is no such file"
            hint += f"; {did_you_mean(path.name, others)}" if others else ""
        raise InputError(f"{name} ({pattern}): {hint}; relative paths start at the project's root")
    return [(p, p.name) for p in found]


def _read_one(path: Path, at: str, kind: str, source: Source) -> pl.DataFrame:
    if kind == "parquet":
        return _read_parquet(path, at)
    if kind == "json lines":
        return _read_json_lines(path, at)
    return read_sheet(path, at, source.sheet)


def _read_parquet(path: Path, at: str) -> pl.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # its footer says how large it is
            told = file.metadata
            groups = [told.row_group(i) for i in range(told.num_row_groups)]
            check_cells(sum(group.num_rows for group in groups), told.num_columns, at)
            check_unpacked(sum(group.total_byte_size for group in groups), at)
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError):  # it may quote values
        raise InputError(f"{at}: this is no whole Parquet file; write it again") from None


def _read_json_lines(path: Path, at: str) -> pl.DataFrame:
    _check_json_lines(path, at, limit=1000)
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError):  # the message may quote values
        _check_json_lines(path, at)
        raise InputError(
            f"{at}: a field changes its type from line to line; give each field one type"
        ) from None


def _check_json_lines(path: Path, at: str, limit: int | None = None) -> None:
    """Raise InputError for the first line that is no JSON object or repeats a key."""
    number = 0
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if limit is not None and number > limit:
                return
            if not line.strip():
                continue
            try:
                pairs = json.loads(line, object_pairs_hook=list)
            except (ValueError, RecursionError):
                raise InputError(
                    f"{at}: line {number} is no JSON; write one object a line"
                ) from None
            if not line.lstrip().startswith(b"{"):
                raise InputError(f"{at}: line {number} is no JSON object; write one object a line")
            keys = [key for key, _ in pairs]
            if len(set(keys)) < len(keys):
                check_names(keys, f"{at}: line {number}")
    if number == 0:
        raise InputError(f"{at}: the file is empty; it needs one JSON object a line")


def _with_default_tab(source: Source, path: Path) -> Source:
    if path.suffix.lower() in (".tsv", ".tab") and "delimiter" not in source.model_fields_set:
        return source.model_copy(update={"delimiter": "\t"})
    return source


def _first_difference(part: pl.DataFrame, first: pl.DataFrame) -> str:
    for name in [*first.columns, *part.columns]:
        mine, other = part.schema.get(name), first.schema.get(name)
        if mine != other:
            if mine is None:
                return f"column {name!r} is missing"
            return (
                f"column {name!r} is {mine}" if other is not None else f"column {name!r} is there"
            )
    return "the order of columns is"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
