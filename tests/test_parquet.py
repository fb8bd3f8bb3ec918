"""Parquet files: the same bytes for the same table, and no flipped bit goes unnoticed."""

from __future__ import annotations

import itertools
import random
import resource
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.parquet import (
    ROW_GROUP,
    ShardWriter,
    read_parquet,
    stream_parquet,
    write_parquet,
)

SIGNED, UNSIGNED = ["Int8", "Int16", "Int32", "Int64"], ["UInt8", "UInt16", "UInt32", "UInt64"]


def every_dtype() -> pl.DataFrame:
    """A table of each dtype that sources give, with nulls, NaN, extremes and hostile names."""
    ends = {n: (-(2 ** (8 << i)) // 2, 2 ** (8 << i) // 2 - 1) for i, n in enumerate(SIGNED)}
    ends |= {n: (0, 2 ** (8 << i) - 1) for i, n in enumerate(UNSIGNED)}
    columns = {n: pl.Series([*e, None], dtype=getattr(pl, n)) for n, e in ends.items()}
    columns |= {
        "float": pl.Series([0.1, float("nan"), None]),
        "float 32": pl.Series([0.1, float("-inf"), None], dtype=pl.Float32),
        "text": pl.Series(["", '贷款 "x"\'; drop table t; --\x00', None]),
        "boolean": pl.Series([True, False, None]),
        "day": pl.Series([date(1, 1, 1), date(9999, 12, 31), None]),
        "moment": pl.Series([datetime(1, 1, 1, microsecond=1), datetime(9999, 1, 1), None]),
        "all null": pl.Series([None, None, None], dtype=pl.String),
        "a": pl.Series([1, 2, 3]),
        "a.b": pl.Series([4, 5, 6]),
        '余额"; --': pl.Series([7, 8, 9]),
    }
    return pl.DataFrame(columns)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_every_dtype_survives(tmp_path: Path, rows: int) -> None:
    df = every_dtype()[:rows]
    path = write_parquet(df, tmp_path / "new" / "t.parquet")
    back = read_parquet(path)
    assert back.schema == df.schema
    assert_frame_equal(back, df)
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_types_are_those_every_reader_knows(tmp_path: Path) -> None:
    df = every_dtype().with_columns(pl.Series("group", ["x", "y", None], dtype=pl.Categorical))
    path = write_parquet(df, tmp_path / "t.parquet")
    schema = pq.read_schema(path)
    assert {schema.field(n).type for n in ("text", "group", "all null")} == {pa.string()}
    with duckdb.connect() as con:
        rows = con.from_parquet(str(path))
        found = dict(zip(rows.columns, map(str, rows.types), strict=True))
        assert rows.aggregate("count(*), max(day)").fetchall() == [(3, date(9999, 12, 31))]
    assert found["text"] == found["group"] == "VARCHAR"
    assert (found["moment"], found["UInt8"], found["float 32"]) == (
        "TIMESTAMP",
        "UTINYINT",
        "FLOAT",
    )


def test_bytes_do_not_depend_on_chunks_time_or_place(tmp_path: Path) -> None:
    df = pl.DataFrame({"n": range(300_000)}).with_columns(
        (pl.col("n") % 977).cast(pl.String).alias("text"), (pl.col("n") / 7).alias("x")
    )
    notes = {"metadata": {"b": "2", "a": "1"}, "descriptions": {"x": "a seventh"}}
    first = write_parquet(df, tmp_path / "one.parquet", **notes)
    pieces = pl.concat([df[i : i + 40_001] for i in range(0, len(df), 40_001)], rechunk=False)
    assert pieces.n_chunks() > 1
    notes["metadata"] = {"a": "1", "b": "2"}
    again = [
        write_parquet(pieces, tmp_path / "deep" / "two.parquet", **notes),
        write_parquet(pieces.to_arrow(), tmp_path / "three.parquet", **notes),
    ]
    assert {sha256_file(path) for path in again} == {sha256_file(first)}
    other = write_parquet(df.with_columns(x=pl.col("x") + 1), tmp_path / "o.parquet", **notes)
    assert sha256_file(other) != sha256_file(first)

    file = pq.ParquetFile(first)
    assert file.metadata.num_row_groups == -(-len(df) // ROW_GROUP)
    assert file.schema_arrow.metadata == {b"a": b"1", b"b": b"2"}
    assert file.schema_arrow.field("x").metadata[b"description"] == b"a seventh"


def test_columns_come_as_asked(tmp_path: Path) -> None:
    path = write_parquet(every_dtype(), tmp_path / "t.parquet")
    assert read_parquet(path, ["text", "a"]).columns == ["text", "a"]  # "a" is not "a.b"
    with pytest.raises(ArtefactError, match="no column 'boolaen': did you mean 'boolean'"):
        read_parquet(path, ["boolaen"])


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    df = pl.DataFrame({"n": range(500), "text": ["abc", "d", None, "贷款", ""] * 100}).with_columns(
        (pl.col("n") * 0.37).sin().alias("x")
    )
    path = write_parquet(df, tmp_path / "t.parquet")
    good = path.read_bytes()
    pages = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    refused = 0
    for bit in random.Random(0).sample(range(8 * 4, 8 * pages), 60):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            assert_frame_equal(read_parquet(path), df)
        except ArtefactError as error:
            assert "torn or was changed" in str(error) and "t.parquet" in str(error)
            refused += 1
    assert refused >= 50  # the rest hit a page header's fields that nobody reads


def test_torn_and_missing_files(tmp_path: Path) -> None:
    path = write_parquet(every_dtype(), tmp_path / "t.parquet")
    good = path.read_bytes()
    for size in (0, 1, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(ArtefactError, match="torn or was changed"):
            read_parquet(path)
    with pytest.raises(ArtefactError, match=r"none\.parquet: the file is missing"):
        read_parquet(tmp_path / "none.parquet")


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_parquet(every_dtype(), tmp_path / "t.parquet")
    before = sha256_file(path)
    rng = random.Random(0)
    big = pl.DataFrame({"x": [rng.random() for _ in range(20_000)]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ArtefactError, match=r"t\.parquet: cannot be written \(.*large"):
            write_parquet(big, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sha256_file(path) == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ArtefactError, match="cannot be written"):
        write_parquet(big, path / "below a file.parquet")


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(0, 70), size=st.integers(1, 30), cuts=st.lists(st.integers(0, 70)))
def test_shards_do_not_depend_on_batches(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, cuts: list[int]
) -> None:
    df = pl.DataFrame({"n": pl.Series(range(rows), dtype=pl.Int64)})
    hashes = []
    for bounds in ([0, rows], [0, *sorted(min(cut, rows) for cut in cuts), rows]):
        folder = tmp_path_factory.mktemp("shards")
        with ShardWriter(folder, size, metadata={"table": "t"}) as writer:
            for low, high in itertools.pairwise(bounds):
                writer.write(df[low:high])
        assert writer.paths == sorted(folder.iterdir())
        assert_frame_equal(pl.concat(map(read_parquet, writer.paths)), df)
        assert all(len(read_parquet(path)) == size for path in writer.paths[:-1])
        hashes.append([sha256_file(path) for path in writer.paths])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == max(1, -(-rows // size))
    assert writer.rows == rows


def test_shards_refuse_a_mixed_table(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="other columns or dtypes"),
        ShardWriter(tmp_path, 10) as writer,
    ):
        writer.write(pl.DataFrame({"n": [1]}))
        writer.write(pl.DataFrame({"n": ["1"]}))
    assert list(tmp_path.iterdir()) == []  # the last shard is not written after an error
    with pytest.raises(ValueError, match="rows_per_shard must be at least 1, not 0"):
        ShardWriter(tmp_path, 0)


@pytest.mark.parametrize("rows", [0, 5, ROW_GROUP, 2 * ROW_GROUP + 7])
def test_a_stream_gives_the_bytes_of_the_whole_table(tmp_path: Path, rows: int) -> None:
    df = pl.DataFrame({"n": pl.Series(range(rows), dtype=pl.Int64)}).with_columns(
        pl.format("row {}", pl.col("n") % 97).alias("text")
    )
    batches = (df[start : start + 8192] for start in range(0, max(rows, 1), 8192))
    assert stream_parquet(batches, tmp_path / "stream.parquet") == rows
    whole = write_parquet(df, tmp_path / "whole.parquet")
    assert sha256_file(tmp_path / "stream.parquet") == sha256_file(whole)


def test_a_stream_ends_with_its_source(tmp_path: Path) -> None:
    def torn():
        yield pl.DataFrame({"n": range(ROW_GROUP + 1)})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stream_parquet(torn(), tmp_path / "t.parquet")
