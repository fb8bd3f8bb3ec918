"""Validation: the real Great Expectations on small tables, through `validate` alone."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from validation_kit import (
    BETWEEN,
    CANARY,
    check,
    expectation,
    fate,
    people,
    schema_of,
)

from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Severity
from aigc_pipeline.validation import runner, validate


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


def test_a_composite_key_tells_rows_apart() -> None:
    df = people().with_columns(visit=pl.lit(1))
    schema = schema_of(df, key=["person", "visit"])
    assert not validate(df, schema, [], table="people").failed()
    twice = df.with_columns(person=pl.col("person").clip(lower_bound=5))
    (failed,) = validate(twice, schema, [], table="people").failed("critical")
    assert (failed.rule, failed.column) == (
        "expect_compound_columns_to_be_unique",
        "person, visit",
    )
    assert failed.failed_rows == 5  # all that share a key


def test_a_reference_may_repeat() -> None:
    df = people().with_columns(boss=pl.col("person") // 2 + 1)
    parents = [{"column": "boss", "table": "people"}]
    report = check(df, key="person", parents=parents)
    unique = [r.column for r in report.results if r.rule == "expect_column_values_to_be_unique"]
    assert unique == ["person"]
