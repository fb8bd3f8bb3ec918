"""Tables of a dataset: where they are read, their columns, rules and expectations."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from aigc_pipeline.spec.base import Model, Name


class Kind(StrEnum):
    """What a column means, whatever its storage type."""

    NUMBER = "number"
    INTEGER = "integer"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    ID = "id"
    TEXT = "text"


class Severity(StrEnum):
    """What a failed expectation does: `critical` stops the run, `warning` is reported."""

    CRITICAL = "critical"
    WARNING = "warning"


class Source(Model):
    """Where a table is read: exactly one of `file`, `sql` or `sample`."""

    file: str | None = Field(
        None, description="Path, glob or http(s) URL of CSV, Parquet, JSON lines or Excel"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Checksum; required for a URL"
    )
    sheet: str | None = Field(None, description="Excel sheet; the first one by default")
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV column delimiter")
    encoding: str = Field("utf-8", description="CSV text encoding")
    null_values: list[str] = Field([""], description="CSV texts that mean missing")
    sql: str | None = Field(
        None,
        repr=False,  # it may hold a password
        description="sqlite:///path or postgresql://… ; ${VAR} is read from the environment",
    )
    query: str | None = Field(None, description="SELECT statement to run on `sql`")
    table: str | None = Field(None, description="Table to read whole from `sql`")
    sample: str | None = Field(
        None, description="Packaged sample, e.g. openintro/loans_full_schema"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [k for k in ("file", "sql", "sample") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"name exactly one of file, sql, sample (found: {', '.join(given) or 'none'})"
            )
        if self.sql is not None and (self.query is None) == (self.table is None):
            raise ValueError("a sql source needs exactly one of query, table")
        if self.sql is None and (self.query or self.table):
            raise ValueError("query and table go with sql")
        if self.file and re.match(r"https?://", self.file) and not self.sha256:
            raise ValueError(
                "a file read from a URL needs its sha256, so that a changed file is noticed"
            )
        return self


class ColumnSpec(Model):
    """What the user says of a column; whatever is left out is inferred."""

    type: Kind | None = Field(None, description="Overrides the inferred type")
    format: str | None = Field(
        None, description="strptime format of a datetime kept as text, e.g. %b-%Y"
    )
    pii: (
        Literal["name", "email", "phone", "address", "company", "ip", "iban", "user_name", "uuid"]
        | None
    ) = Field(None, description="Direct identifier: never learned, faked afresh")
    description: str | None = None


class Constraint(Model):
    """A rule between columns that every synthetic row keeps. Exactly one field."""

    less_equal: tuple[Name, Name] | None = Field(
        None,
        description="[low, high]: low <= high where both are present; `patients.age` is the"
        " column of the owner, that is of the first parent",
    )
    less_than: tuple[Name, Name] | None = Field(
        None, description="[low, high]: low < high where both are present, as in less_equal"
    )
    fixed_combination: list[Name] | None = Field(
        None,
        min_length=2,
        description="Columns whose values appear only in combinations seen in the data",
    )
    sum: SumConstraint | None = Field(None, description="total = sum of parts")

    @model_validator(mode="after")
    def _exactly_one(self) -> Constraint:
        if len(self.model_fields_set) != 1:
            raise ValueError(
                "a constraint is exactly one of less_equal, less_than, fixed_combination, sum"
            )
        return self

    def columns(self) -> list[str]:
        """All columns the rule names."""
        if self.sum is not None:
            return [self.sum.total, *self.sum.parts]
        return list(self.less_equal or self.less_than or self.fixed_combination or ())


class SumConstraint(Model):
    """`total` equals the sum of `parts`; it is recomputed, so it holds exactly."""

    total: Name
    parts: list[Name] = Field(min_length=2)


class Expectation(Model):
    """A Great Expectations rule by its own name, with its arguments and a severity."""

    model_config = ConfigDict(extra="allow", frozen=True)

    severity: Severity = Severity.CRITICAL

    @model_validator(mode="after")
    def _one_rule(self) -> Expectation:
        rules = self.model_extra or {}
        if len(rules) != 1 or not next(iter(rules)).startswith("expect_"):
            raise ValueError(
                "write one Great Expectations rule, e.g. "
                "{expect_column_values_to_not_be_null: {column: x}}"
            )
        if not isinstance(next(iter(rules.values())), dict):
            raise ValueError("the rule's arguments are a mapping, e.g. {column: x, min_value: 0}")
        return self

    @property
    def rule(self) -> str:
        """The expectation's name, e.g. `expect_column_values_to_be_between`."""
        return next(iter(self.model_extra or {}))

    @property
    def arguments(self) -> dict[str, Any]:
        """The expectation's keyword arguments."""
        return dict((self.model_extra or {})[self.rule])


class ParentSpec(Model):
    """A table whose rows this table's rows belong to, and the columns that say which.

    The first one that is another table is the owner: rows are made for each of its rows. The
    others are chosen for each row.
    """

    column: Name | list[Name] = Field(
        description="Column that holds the parent's key; a list for a composite key, in its order"
    )
    table: Name = Field(description="The parent; it needs a key. The table itself is allowed")
    optional: bool = Field(False, description="Whether a row may have no parent (null)")
    orphans: Literal["refuse", "reproduce", "drop"] = Field(
        "refuse",
        description="Rows whose parent is not there: refused, made at their real rate, or dropped",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the parent's key."""
        return (self.column,) if isinstance(self.column, str) else tuple(self.column)


class TableSpec(Model):
    """One table of the dataset."""

    source: Source
    description: str | None = None
    key: Name | list[Name] | None = Field(
        None,
        description="Primary key: generated afresh, never learned; a list for a composite key",
    )
    parents: list[ParentSpec] = Field(
        [], description="Tables this one refers to; its rows are made under the first one's"
    )
    order_by: Name | None = Field(
        None, description="Column of time or number that orders the rows under their owner"
    )
    keep: bool = Field(
        False, description="A public lookup table (a calendar, currencies): released as it is"
    )
    target: str | None = Field(None, description="Column that the utility score predicts")
    columns: dict[Name, ColumnSpec] = Field({})
    derive: dict[Name, str] = Field(
        {}, description="column: SQL expression over other columns, recomputed after sampling"
    )
    constraints: list[Constraint] = Field([])
    expect: list[Expectation] = Field([])

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the primary key; empty without one."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key or ())

    def owner(self, name: str) -> ParentSpec | None:
        """The first parent that is another table than this one, called `name`."""
        return next((parent for parent in self.parents if parent.table != name), None)

    @property
    def references(self) -> set[str]:
        """The columns that hold a parent's key."""
        return {name for parent in self.parents for name in parent.columns}


Constraint.model_rebuild()
