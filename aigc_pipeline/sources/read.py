"""A source, whatever its kind, as a clean table; and a hash of what is in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources.clean import MIN_ROWS, clean
from aigc_pipeline.sources.download import public_url
from aigc_pipeline.sources.files import hash_files, is_url, read_files
from aigc_pipeline.sources.samples import hash_sample, read_sample
from aigc_pipeline.sources.sql import locate_database, read_sql
from aigc_pipeline.spec import Source


def read_table(
    source: Source, base_dir: Path, *, name: str = "table", min_rows: int = MIN_ROWS
) -> pl.DataFrame:
    """The source's rows with plain Polars dtypes (see `clean`), its column names untouched.

    base_dir: where relative paths start. name: the table's, for errors. min_rows: fewer are
    refused; 1 will do for a table that is kept as it is. Raises InputError for anything that is
    wrong with the source or with the table in it.
    """
    if source.sample is not None:
        df = read_sample(source.sample, name)
    elif source.sql is not None:
        df = read_sql(source, base_dir, name)
    else:
        df = read_files(source, base_dir, name)
    return clean(df, f"{name} ({describe(source, base_dir)})", min_rows=min_rows)


def read_table_and_hash(
    source: Source, base_dir: Path, *, name: str = "table", min_rows: int = MIN_ROWS
) -> tuple[pl.DataFrame, str]:
    """`read_table` and the `content_hash` of the very rows that were read.

    Raises InputError also for files that changed while they were read: their rows may be torn.
    """
    if source.sql is not None:
        df = read_table(source, base_dir, name=name, min_rows=min_rows)
        return df, _hash_frame(df)
    before = content_hash(source, base_dir)
    df = read_table(source, base_dir, name=name, min_rows=min_rows)
    if content_hash(source, base_dir) != before:
        raise InputError(
            f"{name} ({describe(source, base_dir)}): changed while it was read;"
            " run again once it is written to its end"
        )
    return df, before


def content_hash(source: Source, base_dir: Path) -> str:
    """Hex sha256 of what a source holds now, to tell whether it changed.

    Of files, their bytes (a URL: the checksum it must have, without a download); of a query, its
    result, whatever the order of its rows; of a sample, the package's version.
    """
    if source.sample is not None:
        return hash_sample(source.sample, "source")
    if source.sql is not None:
        df = read_sql(source, base_dir, "source")
        return _hash_frame(clean(df, describe(source, base_dir), min_rows=0))
    return hash_files(source, base_dir, "source")


def describe(source: Source, base_dir: Path) -> str:
    """A source as errors and metadata may show it: no user, password or query string."""
    if source.sample is not None:
        return f"sample {source.sample}"
    if source.sql is not None:
        shown = locate_database(source.sql, base_dir, "source").shown
        return f"{shown}, table {source.table}" if source.table else f"{shown}, query"
    file = source.file or ""
    return public_url(file) if is_url(file) else file


def _hash_frame(df: pl.DataFrame) -> str:
    digest = hashlib.sha256(repr(list(df.schema.items())).encode())
    for part in df.sort(df.columns, nulls_last=True).iter_slices(100_000):
        # Text in quotes and nulls bare, so that a missing value and an empty text differ.
        text = part.write_csv(include_header=False, quote_style="non_numeric")
        digest.update(text.encode())
    return digest.hexdigest()
