"""Rules that the last run's rows imply: ranges of numbers and sets of categories.

A range inferred from the very rows it is held against could never fail; held against the next
delivery it tells of a source that drifted. These rules warn and never stop a run.
"""

from __future__ import annotations

import polars as pl

from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Kind, Severity
from aigc_pipeline.validation.frames import View
from aigc_pipeline.validation.rules import Rule, rule_kinds

MAX_CATEGORIES = 50
# A new extreme now and then is no news: this share of the rows may lie beyond the old range.
BEYOND = 0.01


def earlier_rules(df: pl.DataFrame, schema: TableSchema, earlier: pl.DataFrame) -> list[Rule]:
    """Warnings for numbers beyond the earlier range and categories not seen earlier.

    Columns that are new, changed their type, or are made afresh are left out.
    """
    kinds = rule_kinds()
    rules = []
    for column in schema.judged:
        name = column.name
        if df.schema.get(name) != earlier.schema.get(name) or name not in df.columns:
            continue
        known = earlier[name].drop_nulls().unique().sort()
        if column.kind in (Kind.NUMBER, Kind.INTEGER) and known.dtype.is_numeric() and len(known):
            bounds = {"min_value": known[0], "max_value": known[-1], "mostly": 1 - BEYOND}
            rules.append(_rule(kinds, "expect_column_values_to_be_between", name, bounds))
        elif known.dtype == pl.String and column.kind == Kind.CATEGORY:
            if 0 < len(known) <= MAX_CATEGORIES:
                values = {"value_set": known.to_list()}
                rules.append(_rule(kinds, "expect_column_values_to_be_in_set", name, values))
    return rules


def _rule(kinds: dict, name: str, column: str, arguments: dict) -> Rule:
    return Rule(
        name=name,
        make=lambda: kinds[name](column=column, **arguments),
        columns=(column,),
        shown=column,
        severity=Severity.WARNING,
        origin="last run",
        view=View.VALUES,
        by_row=True,
        mostly=arguments.get("mostly", 1.0),
        note="by what the last run saw",
    )
