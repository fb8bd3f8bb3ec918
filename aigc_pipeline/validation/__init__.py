"""A table's contract as a Great Expectations suite: its schema, and what the user expects of it."""

from __future__ import annotations

import warnings

import polars as pl

from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Expectation
from aigc_pipeline.validation.report import RuleResult, ValidationReport

__all__ = ["RuleResult", "ValidationReport", "validate"]


def validate(
    df: pl.DataFrame,
    schema: TableSchema,
    expectations: list[Expectation],
    *,
    table: str,
    earlier: pl.DataFrame | None = None,
) -> ValidationReport:
    """Hold a table against its schema, the last run's rows and the dataset file's `expect` rules.

    From the schema: the columns and their order, each column's type, no missing value in a column
    that is not nullable, a unique key (of one column or of several), datetimes kept as text that
    parse, all critical; and, as a warning, ids that repeat. From the last run, as warnings: ranges
    and category sets. From the dataset file: any Great Expectations rule that runs on pandas, by
    its own name.

    Row-wise rules see every row, in pieces of bounded size whose counts are summed; `mostly` is
    held against the total. Rules on a column as a whole get just the columns they name. The report
    has counts, never values. Nothing is printed, sent or written.

    Args:
        df: the table, derived columns included, in the dtypes that sources give.
        schema: what it should be; one from an earlier run notices a source that changed.
        expectations: the rules under `expect`.
        table: the table's name in the dataset file, for messages.
        earlier: the rows that the last run accepted, if there was one.

    Raises:
        FieldError: rules or arguments that do not exist or do not fit, and unknown columns, all at
            once and before any rule is run.
    """
    from aigc_pipeline.validation.expect import dataset_rules
    from aigc_pipeline.validation.history import earlier_rules
    from aigc_pipeline.validation.rules import schema_rules
    from aigc_pipeline.validation.runner import run_rules

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations are nothing a user can act on
        rules = schema_rules(df, schema) + dataset_rules(df, schema, expectations, table)
        if earlier is not None:
            rules += earlier_rules(df, schema, earlier)
        formats = {c.name: c.format for c in schema.columns if c.format is not None}
        results = run_rules(rules, df, formats)
    return ValidationReport(table=table, rows=len(df), results=results)
