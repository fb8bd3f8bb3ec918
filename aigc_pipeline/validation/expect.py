"""The rules under `expect` in a dataset file, checked before any is run."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath, did_you_mean
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Expectation
from aigc_pipeline.validation.frames import View, pandas_type
from aigc_pipeline.validation.rules import Rule, is_by_row, rule_kinds, view_of

# Arguments of every rule that steer Great Expectations itself.
_INTERNAL = {
    "batch_id", "catch_exceptions", "id", "meta", "rendered_content", "result_format", "severity",
    "windows",
}  # fmt: skip
# Rules that compare values by order, so that dates kept as text must be parsed for them.
_ORDER_RULES = {
    "expect_column_max_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_be_increasing",
}


def dataset_rules(
    df: pl.DataFrame, schema: TableSchema, expectations: list[Expectation], table: str
) -> list[Rule]:
    """The rules, ready to run. Raises FieldError with all that is wrong with any of them."""
    kinds = rule_kinds()
    rules, problems = [], []
    for index, expectation in enumerate(expectations):
        at = ("tables", table, "expect", index)
        try:
            rules.append(_rule(df, schema, expectation, kinds, at))
        except FieldError as error:
            problems += error.problems
    if problems:
        raise FieldError(problems)
    return rules


def _rule(
    df: pl.DataFrame,
    schema: TableSchema,
    expectation: Expectation,
    kinds: dict[str, Any],
    at: FieldPath,
) -> Rule:
    name, arguments = expectation.rule, expectation.arguments
    if name not in kinds:
        raise FieldError([(at, f"unknown rule {name!r}; {did_you_mean(name, kinds)}")])
    at = (*at, name)
    _check_arguments(arguments, at)
    if "row_condition" in arguments:
        arguments.setdefault("condition_parser", "great_expectations")
    named = _named_columns(name, arguments)
    used = [*named, *_condition_columns(_build(kinds[name], arguments, at), at)]
    unknown = [column for column in dict.fromkeys(used) if column not in df.columns]
    if unknown:
        hints = [f"there is no column {c!r}; {did_you_mean(c, df.columns)}" for c in unknown]
        raise FieldError([(at, hint) for hint in hints])

    dated = [c for c in named if df.schema[c].is_temporal()]
    if dated and ("value_set" in arguments or "value_pairs_set" in arguments):
        text = f"{dated[0]!r} holds dates, which Great Expectations does not find in a value set"
        raise FieldError([(at, f"{text}; use expect_column_values_to_be_between")])
    texts = {c.name for c in schema.columns if c.format is not None}
    parse = name in _ORDER_RULES and not texts.isdisjoint(named)
    if name in _ORDER_RULES and (dated or parse):
        bounds = {k: _moment(v) for k, v in arguments.items() if k in ("min_value", "max_value")}
        arguments |= bounds
    view = View.MOMENTS if parse else view_of(name)
    typed = view is View.HEADER and named
    return Rule(
        name=name,
        make=lambda: kinds[name](**arguments),
        columns=tuple(dict.fromkeys(used)),
        shown=", ".join(named) or None,
        severity=expectation.severity,
        origin="dataset file",
        view=view,
        by_row=is_by_row(name),
        mostly=float(arguments.get("mostly", 1.0)),
        note=f"its pandas type is {pandas_type(df.schema[named[0]])}" if typed else None,
    )


def _check_arguments(arguments: dict[str, Any], at: FieldPath) -> None:
    for argument, value in arguments.items():
        if argument == "severity":
            text = "write it beside the rule, not among its arguments"
        elif argument in _INTERNAL:
            text = "this is for Great Expectations itself; leave it out"
        elif isinstance(value, dict) and "$PARAMETER" in value:
            text = "suite parameters are unknown here; give a value"
        else:
            continue
        raise FieldError([((*at, argument), text)])


def _named_columns(name: str, arguments: dict[str, Any]) -> list[str]:
    """The columns a rule is about. One on the table's columns as such only lists names."""
    if name.startswith("expect_table_"):
        return []
    listed = arguments.get("column_list")
    values = [arguments.get(key) for key in ("column", "column_A", "column_B")]
    values += listed if isinstance(listed, list) else []
    return [value for value in values if isinstance(value, str)]


def _build(kind: Any, arguments: dict[str, Any], at: FieldPath) -> Any:
    """The Great Expectations object, or FieldError with its own words."""
    from great_expectations.exceptions import GreatExpectationsError

    try:
        return kind(**arguments)
    except (ValueError, TypeError, GreatExpectationsError) as error:
        details = getattr(error, "errors", None)  # of its pydantic, which is version 1
        texts = _messages(details(), kind, arguments) if callable(details) else [str(error)]
        raise FieldError([(at, text) for text in texts]) from error


def _messages(errors: list[dict[str, Any]], kind: Any, arguments: dict[str, Any]) -> list[str]:
    """One message a field, in the words of pydantic."""
    fields: dict[str, list[str]] = {}
    for error in errors:
        fields.setdefault(str(error["loc"][0]), []).append(error["msg"])
    if len(fields) > 1:  # a rule on all fields fails too when one of them is wrong
        fields.pop("__root__", None)
    messages = []
    for field, found in fields.items():
        # Each type a field may have complains; a dict would be a suite parameter.
        text = " or ".join(m for m in dict.fromkeys(found) if "dict" not in m) or found[0]
        if field == "__root__":
            messages.append(text)
        elif field in arguments and field not in kind.__fields__:
            valid = kind.__fields__.keys() - _INTERNAL
            messages.append(f"unknown argument {field!r}; {did_you_mean(field, valid)}")
        else:
            given = f" (it is {arguments[field]!r})" if field in arguments else ""
            messages.append(f"{field}: {text}{given}")
    return messages


def _condition_columns(rule: Any, at: FieldPath) -> list[str]:
    """The columns of a row condition. One in pandas' own words could run any code: refused."""
    found: list[str] = []
    waiting: list[Any] = [getattr(rule, "row_condition", None)]
    while waiting:
        condition = waiting.pop()
        if hasattr(condition, "pass_through_filter"):
            text = 'write it as col("name") == "value"; pandas expressions are not run'
            raise FieldError([((*at, "row_condition"), text)])
        waiting += getattr(condition, "conditions", [])
        if hasattr(condition, "column"):
            found.append(condition.column.name)
    return found


def _moment(value: Any) -> Any:
    """A bound as a naive datetime: pandas compares its own with neither dates nor text."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    return datetime.combine(value, time()) if isinstance(value, date) else value
