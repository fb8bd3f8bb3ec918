"""Parquet files that notice a flipped bit and come out byte for byte the same.

Every table of the pipeline is written and read here: zstd, a checksum on every page, plain Arrow
types that DuckDB and older clients read, and nothing in the file that depends on when, where or in
how many pieces it was written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from aigc_pipeline.errors import ArtefactError, did_you_mean

# DuckDB's own row group size: it reads one row group a thread.
ROW_GROUP = 122_880


def write_parquet(
    data: pl.DataFrame | pa.Table,
    path: Path | str,
    *,
    metadata: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> Path:
    """Write a table as one checksummed Parquet file; the same table always gives the same bytes.

    The bytes depend on the values, names and dtypes (and the pyarrow release), not on how the table
    is chunked. Categorical columns are written as plain text. The file appears under its name only
    once it is complete; missing folders are made.

    Args:
        data: the table, of any number of rows.
        path: where the file goes; an existing one is replaced.
        metadata: notes on the table, kept in the footer (DuckDB: `parquet_kv_metadata`).
        descriptions: notes on columns by name, kept with the Arrow schema.

    Returns:
        The path.

    Raises:
        ArtefactError: the disk refuses the file.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    schema = _plain_schema(data, metadata or {}, descriptions or {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(data, schema, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def read_parquet(path: Path | str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, or some of its columns in the order named, checking every page read.

    A page whose checksum differs is refused. The format has no checksum over the footer; for that
    the lake's manifest has the sha256 of the whole file.

    Raises:
        ArtefactError: the file is missing, torn, changed or lacks a column.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            for name in columns or ():
                if name not in names:
                    raise ArtefactError(
                        f"{path}: there is no column {name!r}: {did_you_mean(name, names)}"
                    )
            table = file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise ArtefactError(f"{path}: the file is missing; run the stage that writes it") from None
    except (OSError, MemoryError, UnicodeDecodeError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{path}: the file is torn or was changed, its content cannot be trusted ({reason})"
        ) from error
    # Asked for "a", pyarrow brings "a.b" too, and it keeps the file's order. The notes stay behind:
    # they are not the table's, and Polars panics on one that a flipped bit made invalid UTF-8.
    kept = table.column_names if columns is None else list(columns)
    frame = pl.from_arrow(pa.Table.from_arrays([table[name] for name in kept], names=kept))
    assert isinstance(frame, pl.DataFrame)
    return frame


def stream_parquet(batches: Iterable[pl.DataFrame], path: Path | str) -> int:
    """Write batches of one schema into one file as they come, and return how many rows it has.

    The bytes are those that `write_parquet` gives all rows together. Holds three row groups of rows
    at most: one is written while the next is made. The file grows under its name, so name one that
    nobody reads yet. Raises OSError when the disk refuses.
    """
    rows = 0
    # The pool ends first: it finishes a group before the file is closed.
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        writer, pending = None, None
        for group in _row_groups(batches):
            if writer is None:
                schema = _plain_schema(group, {}, {})
                writer = stack.enter_context(_open_writer(schema, Path(path)))
            if pending is not None:
                pending.result()
            pending = pool.submit(_write_group, writer, schema, group)
            rows += len(group)
        if pending is not None:
            pending.result()
    return rows


class ShardWriter:
    """A table that arrives in batches, written as part-00000.parquet, part-00001.parquet, …

    Holds one shard's rows in memory at most, besides the batch at hand. Every shard but the last
    has `rows_per_shard` rows, so the files do not depend on the sizes of the batches. Use it in a
    `with` block: the last shard is written on leaving it, and not after an error.

    Args:
        folder: where the parts go.
        rows_per_shard: rows of every shard but the last.
        metadata: as in `write_parquet`, the same in every part.
        descriptions: as in `write_parquet`.
    """

    def __init__(
        self,
        folder: Path | str,
        rows_per_shard: int = 1_000_000,
        metadata: Mapping[str, str] | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        if rows_per_shard < 1:
            raise ValueError(f"rows_per_shard must be at least 1, not {rows_per_shard}")
        self.folder = Path(folder)
        self.rows_per_shard = rows_per_shard
        self.metadata = metadata
        self.descriptions = descriptions
        self.paths: list[Path] = []
        self.rows = 0
        self._pending: list[pl.DataFrame] = []
        self._waiting = 0

    def write(self, df: pl.DataFrame) -> None:
        """Add rows; all batches have the same columns and dtypes."""
        if self._pending and df.schema != self._pending[0].schema:
            raise ValueError(f"a batch of other columns or dtypes: {df.schema}")
        self._pending.append(df)
        self._waiting += len(df)
        self.rows += len(df)
        while self._waiting >= self.rows_per_shard:
            table = pl.concat(self._pending)
            self._write_part(table[: self.rows_per_shard])
            self._pending = [table[self.rows_per_shard :]]
            self._waiting -= self.rows_per_shard

    def close(self) -> list[Path]:
        """Write what is left and return all parts; a table of no rows still gets one part."""
        if self._pending and (self._waiting or not self.paths):
            self._write_part(pl.concat(self._pending))
        self._pending, self._waiting = [], 0
        return self.paths

    def _write_part(self, table: pl.DataFrame) -> None:
        path = self.folder / f"part-{len(self.paths):05d}.parquet"
        write_parquet(table, path, metadata=self.metadata, descriptions=self.descriptions)
        self.paths.append(path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()


def _write(data: pl.DataFrame | pa.Table, schema: pa.Schema, path: Path) -> None:
    with _open_writer(schema, path) as writer:
        for start in range(0, max(len(data), 1), ROW_GROUP):
            _write_group(writer, schema, data.slice(start, ROW_GROUP))


def _open_writer(schema: pa.Schema, path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def _write_group(
    writer: pq.ParquetWriter, schema: pa.Schema, group: pl.DataFrame | pa.Table
) -> None:
    # One contiguous piece a row group: page boundaries would follow the chunks.
    piece = _to_arrow(group).cast(schema).combine_chunks()
    writer.write_table(piece, row_group_size=ROW_GROUP)


def _row_groups(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in frames of one row group each; one empty frame where all are empty."""
    waiting: list[pl.DataFrame] = []
    count = made = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        while count >= ROW_GROUP:
            table = pl.concat(waiting)
            yield table[:ROW_GROUP]
            waiting, count, made = [table[ROW_GROUP:]], count - ROW_GROUP, made + 1
    if count or (waiting and not made):
        yield pl.concat(waiting)


def _to_arrow(data: pl.DataFrame | pa.Table) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    return data.to_arrow(compat_level=pl.CompatLevel.oldest())


def _plain_schema(
    data: pl.DataFrame | pa.Table, metadata: Mapping[str, str], descriptions: Mapping[str, str]
) -> pa.Schema:
    """The table's schema in types every reader knows, with our notes and nobody else's."""
    fields = []
    for field in _to_arrow(data[:0]).schema:
        note = {"description": descriptions[field.name]} if field.name in descriptions else None
        fields.append(pa.field(field.name, _plain_type(field.type), metadata=note))
    return pa.schema(fields, metadata=dict(sorted(metadata.items())) or None)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind
