"""What a validation report tells, and what it never tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from validation_kit import (
    BETWEEN,
    HOSTILE,
    check,
    expectation,
    fate,
    people,
)

from aigc_pipeline.errors import InputError
from aigc_pipeline.validation import ValidationReport


def test_no_value_of_the_table_is_told() -> None:
    values = ["expect_column_values_to_be_in_set", "expect_column_distinct_values_to_be_in_set",
              "expect_column_most_common_value_to_be_in_set"]  # fmt: skip
    report = check(
        people().with_columns(score=pl.lit(73313.25)),
        *(expectation(rule, column="name", value_set=["nobody"]) for rule in values),
        expectation("expect_column_values_to_match_regex", column="name", regex="^z"),
        expectation("expect_column_values_to_be_dateutil_parseable", column="name"),
        expectation("expect_column_pair_values_to_be_equal", column_A="name", column_B="month"),
        expectation("expect_column_max_to_be_between", column="score", max_value=1),
        expectation("expect_column_sum_to_be_between", column="score", max_value=1),
        expectation("expect_column_stdev_to_be_between", column="name", max_value=1),
        expectation("expect_compound_columns_to_be_unique", column_list=["score", "member"]),
    )
    assert len(report.failed()) == 10
    with pytest.raises(InputError) as raised:
        report.raise_for_critical()
    for text in (report.model_dump_json(), json.dumps(report.summary()), str(raised.value)):
        for value in ("Canary", "73313", "Jan-2018", str(40 * 73313.25)):
            assert value not in text


def test_hostile_column_names_are_just_names() -> None:
    df = pl.DataFrame({name: [float(i), *range(19), None] for i, name in enumerate(HOSTILE)})
    rules = []
    for name in HOSTILE:
        rules += [
            expectation(BETWEEN, column=name, max_value=17),
            expectation("expect_column_values_to_match_regex", column=name, regex="^1"),
            expectation("expect_column_max_to_be_between", column=name, max_value=18),
            expectation("expect_column_pair_values_to_be_equal", column_A=name, column_B="a"),
            expectation("expect_multicolumn_values_to_be_equal", column_list=[name, "a"]),
            expectation("expect_column_to_exist", column=name),
        ]
    report = check(df, *rules)
    assert [r for r in report.results if r.origin == "schema" and not r.success] == []
    given = report.results[-len(rules) :]
    assert [r.message for r in given if r.message and "evaluate" in r.message] == []
    for name, result in zip(HOSTILE, given[::6], strict=True):
        assert (result.column, result.failed_rows) == (name, 1)


def test_rules_on_types_and_columns_look_at_no_row() -> None:
    report = check(
        people(),
        expectation("expect_column_values_to_be_of_type", column="age", type_="int16"),
        expectation("expect_column_type_to_be", column="name", type_="Int64"),
        expectation("expect_table_columns_to_match_set", column_set=["person"], exact_match=False),
        expectation("expect_table_row_count_to_be_between", min_value=40),
    )
    of_type, wrong, columns, count = report.results[-4:]
    assert of_type.success and columns.success and count.success
    assert [r.rows_seen for r in (of_type, wrong, columns, count)] == [0, 0, 0, 40]
    assert (wrong.success, wrong.message) == (False, "its pandas type is string")


def test_whole_numbers_beyond_float_are_compared_exactly() -> None:
    big = 2**60
    df = pl.DataFrame(
        {"n": [big, big + 1, None, -3] * 5, "u": pl.Series([2**61 + 1] * 20, dtype=pl.UInt64)}
    )
    assert (
        fate(df, "expect_column_values_to_be_in_set", column="n", value_set=[big]).failed_rows == 10
    )
    assert fate(df, BETWEEN, column="u", min_value=0).success


def test_the_report_goes_through_json() -> None:
    report = check(people(), expectation(BETWEEN, "warning", column="age", min_value=30))
    assert ValidationReport.model_validate_json(report.model_dump_json()) == report
    assert report.summary()[-1] == {
        "rule": BETWEEN, "column": "age", "severity": "warning", "success": False,
        "failed_rows": 10, "rows_seen": 40, "message": None,
    }  # fmt: skip
    assert len(report.summary()) == len(report.results)


_SCRIPT = """
import socket, sys, warnings
import aigc_pipeline.validation
assert not {"great_expectations", "pandas"} & sys.modules.keys(), "heavy imports at the top"

def refuse(*args, **kwargs):
    raise AssertionError("Great Expectations opened a connection")

socket.socket.connect = socket.getaddrinfo = refuse
warnings.simplefilter("default")
import polars as pl
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Expectation
rule = "expect_column_values_to_be_between"
rules = [Expectation(**{rule: a}) for a in (
    {"column": "n", "min_value": 3, "row_condition": 'col("n") > 1'},
    {"column": "s", "min_value": 3},
)]
df = pl.DataFrame({"n": [1, 2, 3], "s": ["a", "b", "c"]})
report = aigc_pipeline.validation.validate(df, TableSchema(name="t", columns=[]), rules, table="t")
assert [r.failed_rows for r in report.results[-2:]] == [1, None]
"""


def test_nothing_is_printed_sent_or_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GX_", "XDG_", "COV"))}
    env |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(Path(__file__).parents[1])}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.rglob("*")) == []
