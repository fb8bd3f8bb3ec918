"""Validation: the real Great Expectations on small tables, through `validate` alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import Expectation, Severity, Source, TableSpec
from aigc_pipeline.validation import RuleResult, ValidationReport, runner, validate

CANARY = "Anna Canary-Müller"
BETWEEN = "expect_column_values_to_be_between"
HOSTILE = ["a b", 'q"uote', '"quoted"', "it's", "余额", "x'; drop table t; --", "back`tick", "[br]",
           "a.b", "a", "new\nline", "$PARAMETER", "%s {0}", "Été"]  # fmt: skip


def expectation(rule: str, severity: str = "critical", /, **arguments: Any) -> Expectation:
    return Expectation.model_validate({rule: arguments, "severity": severity})


def people() -> pl.DataFrame:
    """40 rows of every storage type, some missing; month is a date kept as text."""
    rows = 40
    return pl.DataFrame(
        {
            "person": pl.Series(range(1, rows + 1)),
            "name": [f"{CANARY} {i}" for i in range(rows)],
            "age": pl.Series([*range(20, 58), None, None], dtype=pl.Int16),
            "score": [0.25, 0.5, None, 4.0] * 10,
            "member": [True, False, None, True] * 10,
            "month": ["Jan-2018", "Feb-2018", "Mar-2018", None] * 10,
            "born": [date(1990, 1, 1), date(1500, 6, 1), None, date(2001, 2, 3)] * 10,
            "seen": [datetime(2024, 5, 6, 7, 8, 9)] * rows,
            "zip": pl.Series([1234, 56789, 12, None] * 10, dtype=pl.Int32),
        }
    )


def schema_of(df: pl.DataFrame, **table: Any) -> TableSchema:
    return infer_schema(df, "people", TableSpec(source=Source(file="people.csv"), **table))


def check(df: pl.DataFrame, *expectations: Expectation, **table: Any) -> ValidationReport:
    return validate(df, schema_of(df, **table), list(expectations), table="people")


def fate(df: pl.DataFrame, rule: str, **arguments: Any) -> RuleResult:
    """The result of a single rule of the dataset file; of the schema it has the text dates only."""
    dates = [c for c in schema_of(df).columns if c.format is not None]
    schema = TableSchema(name="people", columns=dates)
    return validate(df, schema, [expectation(rule, **arguments)], table="people").results[-1]


def test_a_good_table_holds_all_that_its_schema_says() -> None:
    df = people()
    report = check(df, expectation(BETWEEN, column="age", min_value=0, max_value=99), key="person")
    assert report.failed() == []
    report.raise_for_critical()
    assert (report.table, report.rows) == ("people", 40)
    assert report.results[0].rule == "expect_table_columns_to_match_ordered_list"
    rules = [(r.rule, r.column, r.rows_seen) for r in report.results if r.origin == "schema"]
    assert ("expect_column_values_to_be_unique", "person", 40) in rules
    assert ("expect_column_values_to_not_be_null", "seen", 40) in rules
    assert {c for rule, c, _ in rules if rule == "expect_column_type_to_be"} == set(df.columns)
    parsed = next(r for r in report.results if r.column == "month" and r.message)
    assert (parsed.rows_seen, parsed.failed_rows) == (30, 0)
    assert parsed.message == "once parsed with '%b-%Y'"
    last = report.results[-1]
    assert (last.origin, last.rows_seen, last.failed_rows) == ("dataset file", 40, 0)


def test_a_changed_source_is_noticed() -> None:
    schema = schema_of(people(), key="person")
    changed = (
        people()
        .with_columns(
            pl.col("age").cast(pl.String),
            pl.col("person").clip(upper_bound=38),
            pl.when(pl.col("age") > 22).then("seen").alias("seen"),
            month=pl.Series(["Jan-2018", "2018-02"] * 20),
        )
        .drop("zip")
        .with_columns(bank=1)
    )
    report = validate(changed, schema, [], table="people")
    found = {(r.rule, r.column): (r.failed_rows, r.message) for r in report.failed("critical")}
    assert found == {
        ("expect_table_columns_to_match_ordered_list", None): (
            None, "missing: 'zip'; unexpected: 'bank'",
        ),
        ("expect_column_type_to_be", "age"): (
            None, "the schema says Int16, the table has String",
        ),
        ("expect_column_values_to_be_unique", "person"): (3, None),
        ("expect_column_values_to_not_be_null", "seen"): (5, None),
        ("expect_column_values_to_not_be_null", "month"): (20, "once parsed with '%b-%Y'"),
    }  # fmt: skip
    shuffled = validate(people().select(sorted(schema.names)), schema, [], table="people")
    assert [r.message for r in shuffled.failed()] == ["the columns come in another order"]


@pytest.mark.parametrize(
    "dtype",
    [pl.Int8, pl.Int64, pl.UInt64, pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Date,
     pl.Datetime("us")],
)  # fmt: skip
def test_no_type_passes_for_another(dtype: Any) -> None:
    schema = schema_of(people())
    other = pl.DataFrame({name: pl.Series([None] * 3, dtype=dtype) for name in schema.names})
    report = validate(other, schema, [], table="people")
    types = {r.column: r.success for r in report.results if r.rule == "expect_column_type_to_be"}
    assert types == {c.name: c.dtype == str(other.schema[c.name]) for c in schema.columns}


def test_an_id_that_repeats_is_a_warning() -> None:
    df = people().with_columns(customer=pl.Series([f"c{i // 2}" for i in range(40)]))
    report = check(df, columns={"customer": {"type": "id"}})
    (repeated,) = report.failed()
    assert (repeated.column, repeated.failed_rows) == ("customer", 40)
    assert repeated.severity == Severity.WARNING
    report.raise_for_critical()


def test_critical_failures_stop_the_run_and_warnings_are_told() -> None:
    df = people()
    report = check(
        df,
        expectation(BETWEEN, column="age", min_value=30),
        expectation("expect_column_mean_to_be_between", column="score", max_value=0.1),
        expectation(BETWEEN, "warning", column="score", max_value=1),
    )
    assert [(r.failed_rows, r.rows_seen) for r in report.failed("critical")] == [
        (10, 40),
        (None, 40),
    ]
    assert [(r.failed_rows, r.rows_seen) for r in report.failed("warning")] == [(10, 40)]
    with pytest.raises(InputError) as raised:
        report.raise_for_critical()
    assert str(raised.value).splitlines() == [
        "table 'people' breaks 2 critical rules:",
        f"  {BETWEEN} on 'age': 10 of 40 rows fail [dataset file]",
        "  expect_column_mean_to_be_between on 'score': does not hold for the table as a whole"
        " [dataset file]",
        "and, as warnings:",
        f"  {BETWEEN} on 'score': 10 of 40 rows fail",
        "mend the source, or change tables.people: `columns` overrides a type, `mostly` in a rule"
        " lets a share of the rows fail, and `severity: warning` only reports",
    ]
    assert raised.value.exit_code == 2
    check(df, expectation(BETWEEN, "warning", column="age", min_value=30)).raise_for_critical()


def test_mostly_is_a_share_of_the_rows_that_have_a_value() -> None:
    # 28 of the 38 known ages are 30 and more.
    assert fate(people(), BETWEEN, column="age", min_value=30, mostly=28 / 38).success
    assert not fate(people(), BETWEEN, column="age", min_value=30, mostly=28.1 / 38).success
    missing = fate(people(), "expect_column_values_to_not_be_null", column="score", mostly=0.75)
    assert (missing.success, missing.failed_rows) == (True, 10)


@pytest.mark.parametrize(
    ("rule", "arguments", "failed"),
    [
        ("expect_column_values_to_be_in_set", {"column": "member", "value_set": [True]}, 10),
        ("expect_column_values_to_be_in_set", {"column": "age", "value_set": [20, 21]}, 36),
        ("expect_column_values_to_be_in_set", {"column": "month", "value_set": ["Jan-2018"]}, 20),
        ("expect_column_values_to_match_regex", {"column": "zip", "regex": r"^\d{5}$"}, 20),
        ("expect_column_value_lengths_to_equal", {"column": "zip", "value": 4}, 20),
        (BETWEEN, {"column": "born", "min_value": date(1900, 1, 1)}, 10),
        (BETWEEN, {"column": "seen", "max_value": "2024-05-06"}, 40),
        (BETWEEN, {"column": "seen", "max_value": "2024-05-06T09:08:09+02:00"}, 0),
        (BETWEEN, {"column": "month", "min_value": date(2018, 2, 1)}, 10),
        (BETWEEN, {"column": "age", "min_value": 58, "row_condition": 'col("zip") == 12'}, 9),
        ("expect_column_pair_values_to_be_equal", {"column_A": "age", "column_B": "zip"}, 39),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "month", "column_B": "born", "ignore_row_if": "either_value_is_missing"},
            0,
        ),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["age", "zip"], "sum_total": 32}, 39),
        ("expect_compound_columns_to_be_unique", {"column_list": ["score", "member"]}, 30),
        ("expect_column_values_to_be_unique", {"column": "score"}, 30),
    ],
)
def test_counts_are_exact(
    monkeypatch: pytest.MonkeyPatch, rule: str, arguments: dict[str, Any], failed: int
) -> None:
    whole = fate(people(), rule, **arguments)
    assert whole.message is None
    assert (whole.failed_rows, whole.success) == (failed, failed == 0)
    assert whole.rows_seen == (10 if "row_condition" in arguments else 40)
    monkeypatch.setattr(runner, "CELLS", 22)  # two to four pieces
    assert fate(people(), rule, **arguments) == whole


@settings(max_examples=5, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=30),
    mostly=st.floats(0, 1),
    cells=st.integers(1, 40),
)
def test_pieces_add_up_to_the_whole(values: list[int | None], mostly: float, cells: int) -> None:
    df = pl.DataFrame({"n": pl.Series(values, dtype=pl.Int32), "row": range(len(values))})
    rules = [
        expectation(BETWEEN, column="n", min_value=0, mostly=mostly),
        expectation("expect_column_values_to_be_null", column="n", mostly=mostly),
        expectation("expect_column_pair_values_to_be_equal", column_A="n", column_B="row"),
        expectation("expect_column_values_to_be_unique", column="n"),
        expectation("expect_column_max_to_be_between", column="n", max_value=3),
    ]
    schema = TableSchema(name="t", columns=[])
    found = {}
    for limit in (10**6, cells):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "CELLS", limit)
            found[limit] = validate(df, schema, rules, table="t").results[1:]
    assert found[cells] == found[10**6]
    known = [v for v in values if v is not None]
    negative = sum(v < 0 for v in known)
    between = found[cells][0]
    assert (between.failed_rows, between.rows_seen) == (negative, len(values))
    assert between.success == (not known or (len(known) - negative) / len(known) >= mostly)


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        ("expect_column_values_to_be_betwen", {"column": "age"}, f"did you mean '{BETWEEN}'?"),
        (BETWEEN, {"column": "aeg", "min_value": 1}, "no column 'aeg'; did you mean 'age'?"),
        (BETWEEN, {"column": "age", "min_val": 1}, "argument 'min_val'; did you mean 'min_value'?"),
        (BETWEEN, {"min_value": 1}, "column: field required"),
        (BETWEEN, {"column": 3, "min_value": 1}, "column: str type expected (it is 3)"),
        (BETWEEN, {"column": "age"}, "min_value and max_value cannot both be None"),
        (BETWEEN, {"column": "age", "min_value": 1, "mostly": 95},
         "mostly: ensure this value is less than or equal to 1.0 (it is 95)"),
        (BETWEEN, {"column": "age", "min_value": "old"}, "min_value: value is not a valid float"),
        (BETWEEN, {"column": "age", "min_value": 1, "severity": "warning"},
         "severity: write it beside the rule"),
        (BETWEEN, {"column": "age", "min_value": 1, "result_format": "COMPLETE"},
         "result_format: this is for Great Expectations itself; leave it out"),
        (BETWEEN, {"column": "age", "min_value": {"$PARAMETER": "low"}}, "give a value"),
        (BETWEEN, {"column": "age", "min_value": 1, "row_condition": "age > 3"},
         "unable to parse condition: age > 3"),
        (BETWEEN, {"column": "age", "min_value": 1, "row_condition": 'col("aeg") > 3'},
         "no column 'aeg'; did you mean 'age'?"),
        (BETWEEN, {"column": "age", "min_value": 1, "condition_parser": "pandas",
                   "row_condition": "@pd.io.common.os.system('touch owned')"},
         "pandas expressions are not run"),
        ("expect_column_pair_values_to_be_equal", {"column_A": "age", "column_B": "zipp"},
         "no column 'zipp'; did you mean 'zip'?"),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["age", "zipp"], "sum_total": 1},
         "no column 'zipp'; did you mean 'zip'?"),
        ("expect_column_values_to_be_in_set", {"column": "born", "value_set": [date(1990, 1, 1)]},
         "'born' holds dates, which Great Expectations does not find in a value set; use",
         ),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_before_any_is_run(
    rule: str, arguments: dict[str, Any], message: str
) -> None:
    rules = [expectation(BETWEEN, column="age", min_value=1), expectation(rule, **arguments)]
    schema = schema_of(people())
    with pytest.raises(FieldError) as raised:
        validate(people(), schema, rules, table="people")
    assert message in str(raised.value)
    assert str(raised.value).startswith("tables.people.expect.1")
    assert raised.value.exit_code == 2


def test_all_wrong_rules_are_told_at_once() -> None:
    rules = [
        expectation("expect_wonders", column="x"),
        expectation(BETWEEN, column="agee", min_value=1),
    ]
    with pytest.raises(FieldError) as raised:
        validate(people(), schema_of(people()), rules, table="people")
    assert [path for path, _ in raised.value.problems] == [
        ("tables", "people", "expect", 0),
        ("tables", "people", "expect", 1, BETWEEN),
    ]


@pytest.mark.parametrize(
    ("rule", "arguments", "reason"),
    [
        # These name the value they choke on, so their own words are not shown.
        ("expect_column_mean_to_be_between", {"column": "name", "min_value": 1}, "suit String?"),
        (BETWEEN, {"column": "name", "min_value": 1}, "suit String?"),
        ("expect_column_values_to_match_json_schema", {"column": "name", "json_schema": {}},
         "suit String?"),
        # These fail without a single row, so they cannot.
        (BETWEEN, {"column": "age", "min_value": 3, "max_value": 1},
         "min_value cannot be greater than max_value"),
        ("expect_column_values_to_match_regex", {"column": "name", "regex": "("}, "unterminated"),
        ("expect_column_values_to_match_like_pattern", {"column": "name", "like_pattern": "A%"},
         "using PandasExecutionEngine"),
    ],
)  # fmt: skip
def test_a_rule_that_raises_could_not_be_evaluated(
    rule: str, arguments: dict[str, Any], reason: str
) -> None:
    report = check(
        people(), expectation(rule, **arguments), expectation(BETWEEN, column="age", min_value=1)
    )
    broken, other = report.results[-2:]
    assert other.success
    assert (broken.success, broken.failed_rows, broken.rows_seen) == (False, None, 0)
    assert broken.message is not None and broken.message.startswith("could not evaluate: ")
    assert reason in broken.message
    assert CANARY not in report.model_dump_json()
    with pytest.raises(InputError, match="could not evaluate"):
        report.raise_for_critical()


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
        {"n": [big, big + 1, None, -3] * 5, "u": pl.Series([2**64 - 1] * 20, dtype=pl.UInt64)}
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
