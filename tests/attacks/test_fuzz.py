"""Fuzzing: parsers refuse or read whatever they get, codecs bring back whatever they took.

CI gives each target some seconds; AIGC_STRESS=1 gives it twenty minutes (AIGC_FUZZ_SECONDS).
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fuzz_kit import ANY, AWKWARD, SCALAR, TEXT, changed, examples, fuzz, places, shipped
from hypothesis import example, given
from hypothesis import strategies as st

from aigc_pipeline.commands.conditions import parse_balance, parse_where
from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.conditions import check_where, condition_expr
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.sources.clean import clean
from aigc_pipeline.spec import DatasetSpec, Kind, Source, TableSpec

SECRET = "canary-4f1c"  # a password; no error may show it
SHIPPED = shipped()
PLACES = [(data, at) for data in SHIPPED for at in places(data)]
FRAGMENTS = [
    "name: x", "tables:", "  t:", "    source: {file: a.csv}", "    key: id", "a: &a [1]",
    "b: *a", "<<: *a", "!!python/object:os.system x", "? [x]", "- 1", "columns: {x: {type: id}}",
    "{", "}", "[", "]", "'", '"', "\t", "%YAML 1.1", "---", "...", "!!binary aGk=",
]  # fmt: skip


def load(path: Path, text: bytes) -> DatasetSpec | None:
    """What a dataset file of this text gives; None where it was refused as it should be."""
    path.write_bytes(text)
    try:
        return load_dataset(path)
    except InputError as error:
        assert SECRET not in str(error), "an error shows a password"
        return None


def test_fuzz_the_dataset_file_parser(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "a dataset file fuzzed: bytes, YAML fragments, shipped files changed")
    path = tmp_path / "x.yaml"

    def outcome(text: bytes) -> None:
        read = load(path, text)
        line.happened("read" if read is not None else "refused with file and line")

    @examples(60)
    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8")))
    def bytes_of_any_kind(data: bytes) -> None:
        outcome(data)

    @examples(80)
    @given(st.lists(st.sampled_from(FRAGMENTS) | TEXT, max_size=12))
    def lines_of_yaml(lines: list[str]) -> None:
        outcome("\n".join(lines).encode("utf-8", "surrogatepass"))

    @examples(120)
    @given(
        st.sampled_from(PLACES),
        st.sampled_from(["replace", "remove", "add"]),
        ANY,
        TEXT,
        st.booleans(),
    )
    def shipped_files_changed(
        place: tuple[Any, Any], how: str, value: Any, key: str, secret: bool
    ) -> None:
        data, at = place
        data = changed(data, at, how, value, key)
        if secret and isinstance(data, dict) and isinstance(data.get("tables"), dict):
            url = f"postgresql://u:{SECRET}@127.0.0.1/db"
            data["tables"] = {**data["tables"], "s": {"source": {"sql": url, "tabel": "t"}}}
        outcome(json.dumps(data, default=str).encode("utf-8", "surrogatepass"))

    fuzz(bytes_of_any_kind, lines_of_yaml, shipped_files_changed)


SCHEMA = TableSchema(
    name="t",
    columns=[
        ColumnSchema(name="n", kind=Kind.NUMBER, dtype="Float64", nullable=True),
        ColumnSchema(name="i", kind=Kind.INTEGER, dtype="Int64", nullable=True),
        ColumnSchema(name="c", kind=Kind.CATEGORY, dtype="String", nullable=True),
        ColumnSchema(name="f", kind=Kind.CATEGORY, dtype="Float64", nullable=True),
        ColumnSchema(name="b", kind=Kind.BOOLEAN, dtype="Boolean", nullable=True),
        ColumnSchema(name="d", kind=Kind.DATETIME, dtype="Date", nullable=True),
        ColumnSchema(
            name="s", kind=Kind.DATETIME, dtype="String", nullable=True, format="%d.%m.%Y"
        ),
        ColumnSchema(name="k", kind=Kind.ID, dtype="Int64", nullable=False),
    ],
    key=["k"],
)
ROWS = pl.DataFrame(
    {
        "n": [1.5, None],
        "i": [3, None],
        "c": ["x", None],
        "f": [2.0, None],
        "b": [True, None],
        "d": [datetime(2023, 1, 1), None],
        "s": ["31.12.2022", None],
        "k": [1, 2],
    }
).with_columns(pl.col("d").cast(pl.Date))
CONDITION = st.builds(
    lambda column, operator, value: f"{column}{operator}{value}",
    st.sampled_from([*SCHEMA.names, "x", ""]) | TEXT,
    st.sampled_from(["=", ">=", "<=", " = ", ">", "", ":"]),
    TEXT | SCALAR.map(str) | st.dates().map(str),
)


def meets(where: Any) -> None:
    """Check conditions as a run does, and hold two rows to them."""
    scenario = {"where": where}
    spec = DatasetSpec.model_validate(
        {
            "name": "x",
            "tables": {"t": {"source": {"file": "a.csv"}}},
            "synthesis": {"scenarios": {"s": scenario}},
        }
    )
    asked = spec.synthesis.scenarios["s"].where
    check_where(asked, SCHEMA)
    for name, condition in asked.items():
        met = ROWS.select(condition_expr(SCHEMA[name], condition)).to_series()
        assert met.dtype == pl.Boolean and met.null_count() == 0


def test_fuzz_the_condition_parser(tried: Any) -> None:
    line = tried("Attacks", "conditions fuzzed, on the command line and in dataset files")

    @examples(300)
    @given(st.lists(CONDITION | TEXT, min_size=1, max_size=4))
    @example(["f=" + "1" * 400])  # beyond any float
    def on_the_command_line(texts: list[str]) -> None:
        try:
            parse_balance(texts)
        except InputError:
            pass
        try:
            where = parse_where(texts)
            check_where(where, SCHEMA)
            for name, condition in where.items():
                met = ROWS.select(condition_expr(SCHEMA[name], condition)).to_series()
                assert met.dtype == pl.Boolean and met.null_count() == 0
        except InputError:
            line.happened("refused")
            return
        line.happened("read")

    @examples(300)
    @given(
        st.dictionaries(
            st.sampled_from(SCHEMA.names) | TEXT,
            SCALAR
            | st.lists(SCALAR, max_size=3)
            | st.fixed_dictionaries({}, optional={"min": SCALAR, "max": SCALAR}),
            min_size=1,
            max_size=3,
        )
    )
    def in_a_dataset_file(where: Any) -> None:
        try:
            meets(where)
        except (InputError, ValueError) as error:  # pydantic's are ValueErrors, told by line
            assert isinstance(error, InputError) or type(error).__name__ == "ValidationError"
            line.happened("refused")
            return
        line.happened("read")

    fuzz(on_the_command_line, in_a_dataset_file)


WORD = st.sampled_from(["a", "b", "B", "é", "", " ", "(other)", "null", *AWKWARD]) | st.text(
    max_size=3
)
MOMENT = st.integers(-(10**9), 4 * 10**9).map(lambda s: datetime(1970, 1, 1) + timedelta(seconds=s))
COLUMN = st.sampled_from(
    [
        (pl.Float64, st.floats(allow_nan=True, allow_infinity=False)),
        (pl.Float64, st.floats(-1e3, 1e3).map(lambda v: round(v, 2))),
        (pl.Float32, st.floats(width=32, allow_nan=False, allow_infinity=False)),
        (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
        (pl.Int8, st.integers(-128, 127)),
        (pl.UInt64, st.integers(0, 2**64 - 1)),
        (pl.Int64, st.sampled_from([0, 1, 5])),
        (pl.String, WORD),
        (pl.Boolean, st.booleans()),
        (pl.Datetime("us"), MOMENT),
        (pl.Date, st.dates()),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """A table of 20 to 60 rows and 2 to 4 columns of any plain type, some values often."""
    rows = draw(st.integers(20, 60))
    made = []
    for name in ["x", "y", "z", "w"][: draw(st.integers(2, 4))]:
        dtype, values = draw(COLUMN)
        some = draw(st.lists(values | st.none(), min_size=1, max_size=12))
        seed = draw(st.integers(0, 2**32))
        chosen = np.random.default_rng(seed).integers(len(some), size=rows)
        made.append(pl.Series(name, [some[i] for i in chosen], dtype=dtype))
    return pl.DataFrame(made)


def test_fuzz_the_codecs(tried: Any) -> None:
    line = tried("Attacks", "codecs fuzzed: fit, encode, to JSON and back, decode")
    spec = TableSpec(source=Source(file="a.csv"))

    @examples(60)
    @given(tables(), st.sampled_from([1, 2, 5]), st.integers(0, 2**32))
    def round_trip(table: pl.DataFrame, min_subjects: int, seed: int) -> None:
        try:
            df = clean(table, "t")
            schema = infer_schema(df, "t", spec)
        except InputError:
            line.happened("refused before anything was learned")
            return
        codec = TableCodec.fit(df, schema, spec, min_subjects=min_subjects)
        again = TableCodec.from_json(json.loads(json.dumps(codec.to_json())))
        tokens = codec.encode(df)
        assert (tokens >= 0).all() and (tokens < np.array(codec.sizes)).all()
        assert np.array_equal(tokens, again.encode(df))
        decoded = codec.decode(tokens, np.random.default_rng(seed))
        assert decoded.equals(again.decode(tokens, np.random.default_rng(seed)), null_equal=True)
        whole = codec.complete(decoded, 0, np.random.default_rng(seed))
        assert whole.schema == df.schema
        copied = {
            number.column.name
            for number in codec.codecs
            if isinstance(number, NumberCodec) and number.relation and number.relation.copies
        }
        for column in schema.columns:
            told = df[column.name], whole[column.name]
            hold(*told, column, min_subjects, copied=column.name in copied)
        line.happened("came back in type and range, nothing rare in it")

    fuzz(round_trip)


def hold(
    real: pl.Series, made: pl.Series, column: ColumnSchema, min_subjects: int, *, copied: bool
) -> None:
    """What must hold of a decoded column: nulls where they were, nothing rare, nothing beyond.

    copied: some of its values are other columns', or their sums, and lie where those lie.
    """
    if column.is_generated:
        return
    enough = min(real.null_count(), len(real) - real.null_count()) >= min_subjects
    if enough and column.is_numeric:
        assert (real.is_null() == made.is_null()).all()
    counts = {value: count for value, count in real.value_counts().iter_rows()}
    if not column.is_numeric:
        for value in made.drop_nulls().unique():
            assert counts.get(value, 0) >= min_subjects or value == "(other)" or min_subjects == 1
    elif made.null_count() < len(made) and real.dtype != pl.String and not copied:
        grid = 0.0  # numbers lie on one of nine decimal places, or fifteen digits
        if real.dtype.is_float():
            grid = 1e-9 + 1e-13 * float(real.abs().max())  # type: ignore[arg-type]
            real, made = real.cast(pl.Float64), made.cast(pl.Float64)
        if real.dtype.is_temporal():
            real, made = real.to_physical(), made.to_physical()
        assert made.min() >= real.min() - grid  # type: ignore[operator]
        assert made.max() <= real.max() + grid  # type: ignore[operator]
