"""Rules, how each kind is best run, and those that a schema implies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind, Severity
from aigc_pipeline.validation.frames import View, pandas_type, type_name

_HEADER_RULES = {
    "expect_column_to_exist",
    "expect_column_type_to_be",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_of_type",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
}
_TEXT_RULES = {
    "expect_column_value_lengths_to_be_between",
    "expect_column_value_lengths_to_equal",
    "expect_column_values_to_be_dateutil_parseable",
    "expect_column_values_to_be_json_parseable",
    "expect_column_values_to_match_json_schema",
    "expect_column_values_to_match_regex",
    "expect_column_values_to_match_regex_list",
    "expect_column_values_to_match_strftime_format",
    "expect_column_values_to_not_match_regex",
    "expect_column_values_to_not_match_regex_list",
}
# Each row is judged by itself, so pieces may be summed. All other rules see all rows at once.
_ROW_RULES = _TEXT_RULES | {
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_column_pair_values_to_be_equal",
    "expect_column_pair_values_to_be_in_set",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_null",
    "expect_column_values_to_not_be_in_set",
    "expect_column_values_to_not_be_null",
    "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_select_column_values_to_be_unique_within_record",
}


@dataclass(frozen=True)
class Rule:
    """One rule, ready to run.

    make: gives a fresh Great Expectations object; one belongs to one suite only.
    columns: the columns it needs.
    shown: the column or columns the report names.
    by_row: rows are judged one by one, so the table may come in pieces.
    present_only: rows that miss a value are left out first.
    note: what the report says besides counts.
    """

    name: str
    make: Callable[[], Any]
    columns: tuple[str, ...]
    shown: str | None
    severity: Severity
    origin: Literal["schema", "last run", "dataset file"]
    view: View
    by_row: bool
    mostly: float = 1.0
    present_only: bool = False
    note: str | None = None


def view_of(name: str) -> View:
    """The view a rule needs, dates kept as text aside."""
    if name in _HEADER_RULES:
        return View.HEADER
    return View.TEXTS if name in _TEXT_RULES else View.VALUES


def is_by_row(name: str) -> bool:
    """Whether a rule judges each row by itself."""
    return name in _ROW_RULES


def rule_kinds() -> dict[str, Any]:
    """Every rule of Great Expectations by its own name."""
    import great_expectations.expectations as gxe

    kinds = {getattr(kind, "expectation_type", ""): kind for kind in vars(gxe).values()}
    return {name: kind for name, kind in kinds.items() if name.startswith("expect_")}


def schema_rules(df: pl.DataFrame, schema: TableSchema) -> list[Rule]:
    """What a schema implies. A column that is missing is told once, by the rule on all columns."""
    kinds = rule_kinds()
    columns = _schema_rule(
        kinds,
        "expect_table_columns_to_match_ordered_list",
        note=_difference(df.columns, schema.names),
        column_list=schema.names,
    )
    present = [c for c in schema.columns if c.name in df.columns]
    return [
        columns,
        *(rule for c in present for rule in _column_rules(kinds, c, df.schema[c.name])),
        *_composite_key(kinds, df, schema),
    ]


def _composite_key(kinds: dict[str, Any], df: pl.DataFrame, schema: TableSchema) -> Iterator[Rule]:
    """Rows differ in their key; the key of one column has its rule among the column's own."""
    if len(schema.key) > 1 and set(schema.key) <= set(df.columns):
        rule, key = "expect_compound_columns_to_be_unique", schema.key
        yield _schema_rule(kinds, rule, columns=key, column_list=key)


def _column_rules(
    kinds: dict[str, Any], column: ColumnSchema, dtype: pl.DataType
) -> Iterator[Rule]:
    expected, found = type_name(column.dtype), type_name(dtype)
    yield _schema_rule(
        kinds,
        "expect_column_type_to_be",
        note=None if found == expected else f"the schema says {expected}, the table has {found}",
        column=column.name,
        type_=pandas_type(expected),
    )
    if column.key or not column.nullable:
        yield _schema_rule(kinds, "expect_column_values_to_not_be_null", column=column.name)
    if column.key or (column.kind == Kind.ID and column.parent is None):
        # An id may well repeat (a customer's orders); those made afresh will not, which is worth
        # a word but no reason to stop.
        severity = Severity.CRITICAL if column.key else Severity.WARNING
        yield _schema_rule(
            kinds, "expect_column_values_to_be_unique", severity=severity, column=column.name
        )
    if column.format is not None and dtype == pl.String:
        # Polars parses, as every later stage does: Python's strptime knows other directives.
        yield _schema_rule(
            kinds,
            "expect_column_values_to_not_be_null",
            view=View.MOMENTS,
            by_row=False,
            present_only=True,
            note=f"once parsed with {column.format!r}",
            column=column.name,
        )


def _schema_rule(
    kinds: dict[str, Any],
    name: str,
    *,
    severity: Severity = Severity.CRITICAL,
    view: View | None = None,
    by_row: bool | None = None,
    present_only: bool = False,
    note: str | None = None,
    columns: Sequence[str] = (),
    **arguments: Any,
) -> Rule:
    if "column" in arguments:
        columns = [arguments["column"]]
    return Rule(
        name=name,
        make=lambda: kinds[name](**arguments),
        columns=tuple(columns),
        shown=", ".join(columns) or None,
        severity=severity,
        origin="schema",
        view=view or view_of(name),
        by_row=is_by_row(name) if by_row is None else by_row,
        present_only=present_only,
        note=note,
    )


def _difference(found: list[str], expected: list[str]) -> str | None:
    """How a table's columns differ from the schema's, in words; None where they do not."""
    if found == expected:
        return None
    missing = [repr(name) for name in expected if name not in found]
    unexpected = [repr(name) for name in found if name not in expected]
    words = [f"missing: {', '.join(missing)}"] if missing else []
    words += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    return "; ".join(words) or "the columns come in another order"
