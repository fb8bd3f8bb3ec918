"""What validation found: counts and names, never a value of the table."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import Severity


class RuleResult(BaseModel):
    """How one rule fared.

    rows_seen: rows the rule was really held against; 0 for one on the table's columns and types,
        and for one that could not be evaluated.
    failed_rows: rows that break a row-wise rule; None where a rule is about a column as a whole.
    message: what the counts do not say, e.g. why a rule could not be evaluated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    column: str | None
    severity: Severity
    success: bool
    rows_seen: int
    failed_rows: int | None
    origin: Literal["schema", "last run", "dataset file"]
    message: str | None = None

    def describe(self) -> str:
        """One line: the rule, its column, how many rows of how many break it, and the message."""
        text = self.rule if self.column is None else f"{self.rule} on {self.column!r}"
        if self.failed_rows is not None:
            text += f": {self.failed_rows:,} of {self.rows_seen:,} rows fail"
        elif not self.message:
            text += ": does not hold for the table as a whole"
        return text + (f" ({self.message})" if self.message else "")


class ValidationReport(BaseModel):
    """All rules of a table and how they fared. `rows` is the table's height."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    rows: int
    results: list[RuleResult]

    def failed(self, severity: Severity | str | None = None) -> list[RuleResult]:
        """The rules that did not hold, of one severity or of all."""
        return [r for r in self.results if not r.success and severity in (None, r.severity)]

    def raise_for_critical(self) -> None:
        """Raise InputError if a critical rule failed: which ones, which columns, how many rows."""
        critical, warned = self.failed(Severity.CRITICAL), self.failed(Severity.WARNING)
        if not critical:
            return
        count = "a critical rule" if len(critical) == 1 else f"{len(critical)} critical rules"
        lines = [f"table {self.table!r} breaks {count}:"]
        lines += [f"  {result.describe()} [{result.origin}]" for result in critical]
        if warned:
            lines += ["and, as warnings:", *(f"  {result.describe()}" for result in warned)]
        lines.append(
            f"mend the source, or change tables.{self.table}: `columns` overrides a type, `mostly`"
            " in a rule lets a share of the rows fail, and `severity: warning` only reports"
        )
        raise InputError("\n".join(lines))

    def summary(self) -> list[dict[str, Any]]:
        """One plain record a rule, for a table in a terminal or a UI."""
        fields = ("rule", "column", "severity", "success", "failed_rows", "rows_seen", "message")
        records = self.model_dump(mode="json")["results"]
        return [{field: record[field] for field in fields} for record in records]
