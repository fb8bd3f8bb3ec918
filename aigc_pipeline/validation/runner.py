"""Running rules through Great Expectations and adding up what it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from aigc_pipeline.validation.frames import View, to_pandas, type_name
from aigc_pipeline.validation.report import RuleResult
from aigc_pipeline.validation.rules import Rule

if TYPE_CHECKING:
    import pandas as pd

# Cells of one piece of a table: some 200 MB as pandas text.
CELLS = 4_000_000


@dataclass(frozen=True)
class Outcome:
    """What one rule did on one frame. `error`: why it could not be evaluated."""

    success: bool
    rows: int | None = None
    missing: int = 0
    failed: int | None = None
    error: str | None = None


def run_rules(rules: list[Rule], df: pl.DataFrame, formats: Mapping[str, str]) -> list[RuleResult]:
    """Results of all rules, in their order."""
    groups: dict[Any, list[int]] = {}
    for index, rule in enumerate(rules):
        together = rule.by_row or rule.view is View.HEADER
        key = (rule.view, together or rule.columns, rule.present_only)
        groups.setdefault(key, []).append(index)
    results: dict[int, RuleResult] = {}
    for indices in groups.values():
        group = [rules[index] for index in indices]
        results.update(zip(indices, _run_group(group, df, formats), strict=True))
    _fresh_context()  # the process keeps the last one, and that one the last rows it saw
    return [results[index] for index in range(len(rules))]


def _run_group(group: list[Rule], df: pl.DataFrame, formats: Mapping[str, str]) -> list[RuleResult]:
    """Rules of one view, over the columns they name."""
    view = group[0].view
    table = df.head(0) if view is View.HEADER else df.select(_needed(group, df))
    if group[0].present_only:
        table = table.drop_nulls()
    pieces = _pieces(table) if group[0].by_row else iter([table])
    outcomes: list[list[Outcome]] = [[] for _ in group]
    for piece in pieces:
        found = _evaluate(group, to_pandas(piece, view, formats))
        for seen, outcome in zip(outcomes, found, strict=True):
            seen.append(outcome)
    broken = [i for i, seen in enumerate(outcomes) if any(o.error is not None for o in seen)]
    results = [_add_up(rule, seen, len(table)) for rule, seen in zip(group, outcomes, strict=True)]
    if broken:
        again = _evaluate([group[i] for i in broken], to_pandas(table.head(0), view, formats))
        for i, without_rows in zip(broken, again, strict=True):
            results[i] = _could_not(group[i], outcomes[i], without_rows, table)
    return results


def _needed(group: list[Rule], df: pl.DataFrame) -> list[str]:
    named = dict.fromkeys(name for rule in group for name in rule.columns)
    return list(named) or df.columns[:1]  # a rule on the number of rows needs just some column


def _pieces(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    rows = max(1, CELLS // max(1, table.width))
    for start in range(0, max(1, len(table)), rows):
        yield table[start : start + rows]


def _add_up(rule: Rule, outcomes: list[Outcome], rows: int) -> RuleResult:
    counted = [o for o in outcomes if o.rows is not None and o.failed is not None]
    if len(counted) < len(outcomes):  # about the column as a whole
        return _result(rule, all(o.success for o in outcomes), rows)
    seen, failed = sum(o.rows or 0 for o in counted), sum(o.failed or 0 for o in counted)
    present = seen - sum(o.missing for o in counted)
    success = outcomes[0].success
    if len(outcomes) > 1:  # Great Expectations' own formula, over the total
        success = present == 0 or (present - failed) / present >= rule.mostly
    return _result(rule, success, seen, failed)


def _result(rule: Rule, success: bool, rows: int, failed: int | None = None) -> RuleResult:
    return RuleResult(
        rule=rule.name,
        column=rule.shown,
        severity=rule.severity,
        success=success,
        rows_seen=rows,
        failed_rows=failed,
        origin=rule.origin,
        message=rule.note,
    )


def _could_not(
    rule: Rule, outcomes: list[Outcome], without_rows: Outcome, table: pl.DataFrame
) -> RuleResult:
    """A rule that raised. Its error may quote a value, unless it comes up without any row too."""
    error = next(o.error for o in outcomes if o.error is not None)
    if error != without_rows.error:
        kinds = sorted({type_name(table.schema[name]) for name in rule.columns})
        error = f"does the rule suit {' and '.join(kinds) or 'this table'}?"
    failed = _result(rule, False, 0)
    return failed.model_copy(update={"message": f"could not evaluate: {error}"})


def _evaluate(rules: list[Rule], frame: pd.DataFrame) -> list[Outcome]:
    """One run of Great Expectations: a fresh context, an asset, a batch, a suite."""
    import great_expectations as gx

    context = _fresh_context()
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="contract", expectations=[rule.make() for rule in rules])
    suite = context.suites.add(suite)
    # Counts only. `Batch.validate` because a validation definition also stores what was observed.
    counts = {
        "result_format": "BASIC",
        "exclude_unexpected_values": True,
        "partial_unexpected_count": 0,
    }
    found = batch.validate(suite, result_format=counts)
    by_id = {result.expectation_config.id: result for result in found.results}
    return [_outcome(by_id.get(expectation.id)) for expectation in suite.expectations]


def _outcome(result: Any) -> Outcome:
    error = "no result" if result is None else _error(result.exception_info or {})
    if error is not None:
        return Outcome(success=False, error=error)
    counts = result.result
    return Outcome(
        success=bool(result.success),
        rows=counts.get("element_count"),
        missing=counts.get("missing_count") or 0,
        failed=counts.get("unexpected_count"),
    )


def _error(info: Mapping[str, Any]) -> str | None:
    """The first line of an exception's message; a failed metric has its own entry."""
    for entry in (info, *(value for value in info.values() if isinstance(value, Mapping))):
        if entry.get("raised_exception", "exception_message" in entry):
            return (str(entry.get("exception_message") or "").splitlines() or ["unknown error"])[0]
    return None


def _fresh_context() -> Any:
    """A context in memory that sends nothing, draws no progress bar and makes no folder."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(project_config=config, mode="ephemeral")
