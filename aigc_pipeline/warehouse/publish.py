"""Building `warehouse.duckdb` beside the one in use, and swapping it in.

The file follows the process's umask (0644 as a rule): nothing in it is real. The lake's folder is
0700, so people who read the warehouse under another account need that folder opened, or a copy.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from aigc_pipeline.durable import fsync_path
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import catalog, marts, retention
from aigc_pipeline.warehouse.duck import (
    STORAGE_VERSION,
    comment_on,
    connect,
    create_table,
    first_line,
    identifier,
    literal,
    run,
)
from aigc_pipeline.warehouse.lock import TIMEOUT, exclusive
from aigc_pipeline.warehouse.record import BASELINE, Release, ReleasedTable, released_datasets

_BATCH = 65_536  # rows read from a shard at a time


def publish(lake: Lake, *, keep: Mapping[str, int] | None = None, timeout: float = TIMEOUT) -> Path:
    """Rebuild the warehouse from the release in force of every dataset; returns its path.

    keep: by dataset, how many runs' releases to keep; older ones are deleted once the new file is
    in place, and its catalogue does not list them (see `retention`). By default all stay.

    Readers never see a part: those who have the old file open keep it, whoever opens it next gets
    the new one. Built from the same releases, it answers every query the same.

    Raises:
        InputError: no dataset has a release.
        ArtefactError: a release was damaged, the disk refuses, or the lock was not free within
            `timeout` seconds. The old file is then byte for byte as it was.
    """
    with exclusive(lake, timeout):
        return rebuild(lake, keep=keep)


def rebuild(lake: Lake, *, keep: Mapping[str, int] | None = None) -> Path:
    """`publish` for who already holds the lock."""
    _sweep(lake)
    releases = [Release(lake.current(name, "release")) for name in released_datasets(lake)]
    if not releases:
        raise InputError(f"{lake.home}: no dataset has a release yet; run `aigc run DATASET` first")
    gone = {name: retention.superseded(lake, name, many) for name, many in (keep or {}).items()}
    following = lake.home / f"{lake.warehouse.name}.next-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        _build(lake, following, releases, {v.id for left in gone.values() for v in left})
        _check(following, releases)
        fsync_path(following)
        # Left by someone who wrote to the old file; it must not be replayed on the new one.
        _log_of(lake.warehouse).unlink(missing_ok=True)
        os.replace(following, lake.warehouse)
        fsync_path(lake.home)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise ArtefactError(
            f"{lake.warehouse}: could not be rebuilt ({first_line(error)});"
            " the old one is untouched; put that right, then publish again"
        ) from error
    finally:
        _sweep(lake)
    for name, versions in gone.items():
        retention.remove(lake, name, versions)
    return lake.warehouse


def _log_of(file: Path) -> Path:
    return file.with_name(file.name + ".wal")


def _sweep(lake: Lake) -> None:
    """Remove what killed publishers left; whoever holds the lock knows that none is alive."""
    for path in lake.home.glob(f"{lake.warehouse.name}.next-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _build(lake: Lake, file: Path, releases: list[Release], gone: Collection[str]) -> None:
    with connect(spill=file.with_name(f"{file.name}-spill")) as connection:
        attach = (
            f"ATTACH {literal(str(file))} AS warehouse (STORAGE_VERSION {literal(STORAGE_VERSION)})"
        )
        run(connection, attach)
        run(connection, "USE warehouse")
        run(connection, "BEGIN")
        for release in releases:
            for schema in dict.fromkeys(table.schema_name for table in release.notes.tables):
                run(connection, f"CREATE SCHEMA {identifier(schema)}")
            for table in release.notes.tables:
                _fill(connection, release, table)
                _describe(connection, release, table)
            marts.build(connection, release)
        catalog.build(connection, lake, releases, gone)
        run(connection, "COMMIT")
        run(connection, "CHECKPOINT warehouse")
        run(connection, "USE memory")
        run(connection, "DETACH warehouse")


def _fill(connection: duckdb.DuckDBPyConnection, release: Release, table: ReleasedTable) -> None:
    create_table(connection, table.name, table.columns)
    for name in table.shards:
        with pq.ParquetFile(release.version.file(name), page_checksum_verification=True) as shard:
            batches = shard.iter_batches(_BATCH)
            connection.register(
                "shard", pa.RecordBatchReader.from_batches(shard.schema_arrow, batches)
            )
            run(connection, f"INSERT INTO {identifier(*table.name)} SELECT * FROM shard")
            connection.unregister("shard")


def _describe(
    connection: duckdb.DuckDBPyConnection, release: Release, table: ReleasedTable
) -> None:
    notes, schema = release.notes, release.schemas[table.table]
    about = notes.about.get(table.table)
    text = (about and about.description) or notes.description or notes.title or table.table
    if table.scenario != BASELINE:
        scenario = notes.scenarios.get(table.scenario)
        told = (scenario and scenario.description) or "rows sampled under conditions"
        text = f"Scenario {table.scenario}: {_sentence(told)} {text}"
    text = f"Synthetic. {_sentence(text)} {table.rows} rows; release {release.id}"
    comment_on(connection, "TABLE", table.name, text)
    for column in schema.columns:
        about_it = f"{column.description or column.name}; kind {column.kind}"
        text = f"Synthetic. {about_it}; release {release.id}"
        comment_on(connection, "COLUMN", (*table.name, column.name), text)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "。")) else f"{text}."


def _check(file: Path, releases: list[Release]) -> None:
    """Open the new file as a reader would and hold it against the manifests."""
    expected = {table.name: table for release in releases for table in release.notes.tables}
    with connect() as connection:
        run(connection, f"ATTACH {literal(str(file))} AS warehouse (READ_ONLY)")
        run(connection, "USE warehouse")
        for problem in _problems(connection, expected, releases):
            raise ArtefactError(f"{file.name}: {problem}; nothing was published")


def _problems(
    connection: duckdb.DuckDBPyConnection,
    expected: dict[tuple[str, str], ReleasedTable],
    releases: list[Release],
) -> Iterator[str]:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    columns = run(
        connection,
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE database_name = 'warehouse' AND NOT internal ORDER BY table_oid, column_index",
    )
    for schema, name, column, kind in columns:
        found.setdefault((schema, name), []).append((column, kind))
    views = {place for release in releases for place in marts.places(release)}
    if set(found) != set(expected) | views | catalog.names():
        yield "it does not hold the tables of the releases"
    for place, table in expected.items():
        shown = ".".join(place)
        if found[place] != [(name, str(duckdb.sqltype(kind))) for name, kind in table.columns]:
            yield f"{shown} has other columns than its release"
        [(rows,)] = run(connection, f"SELECT count(*) FROM {identifier(*place)}")
        if rows != table.rows:
            yield f"{shown} has {rows} rows, its release {table.rows}"
    for release in releases:
        yield from marts.problems(connection, release, found)
    for listing in ("duckdb_tables()", "duckdb_columns()", "duckdb_views()"):
        [(bare,)] = run(
            connection,
            f"SELECT count(*) FROM {listing} WHERE database_name = 'warehouse' AND NOT internal"
            " AND NOT coalesce(starts_with(comment, 'Synthetic'), false)",
        )
        if bare:
            yield f"{bare} entries of {listing} have no comment"
