"""A small table of every storage type, and rules run on it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import Expectation, Source, TableSpec
from aigc_pipeline.validation import RuleResult, ValidationReport, validate

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
