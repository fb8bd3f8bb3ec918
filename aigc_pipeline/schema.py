"""What a table's columns are: kind, storage type, text format, role.

Tables keep the source's own Polars dtypes everywhere (a month kept as text stays text), so real and
synthetic tables always look alike. `canonical` gives the values a metric or codec works on.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from pydantic import BaseModel, ConfigDict

from aigc_pipeline.spec import Kind


class ColumnSchema(BaseModel):
    """One column: its meaning (`kind`), its storage (`dtype`, a Polars type) and its role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind
    dtype: str
    nullable: bool
    format: str | None = None  # of a datetime kept as text
    pii: str | None = None
    derived: str | None = None  # SQL expression it is recomputed from
    decimals: int | None = None  # of a derived float the source has too: it is rounded alike
    key: bool = False  # the table's whole key; the parts of a composite one are not marked
    parent: str | None = None  # the table whose key it holds
    kept: bool = False  # of a table that is released as it is
    description: str | None = None

    @property
    def is_numeric(self) -> bool:
        """Ordered and measured: number, integer or datetime."""
        return self.kind in (Kind.NUMBER, Kind.INTEGER, Kind.DATETIME)

    @property
    def is_generated(self) -> bool:
        """Made afresh rather than learned: keys, ids and faked personal data.

        Nothing is made in a table that is kept.
        """
        return not self.kept and (self.key or self.pii is not None or self.kind == Kind.ID)


class TableSchema(BaseModel):
    """A table's columns in the source's order, and those of its primary key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    columns: list[ColumnSchema]
    key: list[str] = []

    def __getitem__(self, name: str) -> ColumnSchema:
        return next(c for c in self.columns if c.name == name)

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    @property
    def judged(self) -> list[ColumnSchema]:
        """Columns a fidelity metric can compare: all but those generated afresh."""
        return [c for c in self.columns if not c.is_generated]


def canonical(df: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The judged columns as plain values, in schema order.

    number, integer, datetime -> Float64 (datetime as seconds since 1970); boolean, category and
    text -> String. Missing stays null.
    """
    return df.select(canonical_expr(c) for c in schema.judged)


def canonical_expr(column: ColumnSchema) -> pl.Expr:
    """The expression behind `canonical` for one column."""
    expr = pl.col(column.name)
    if column.kind == Kind.DATETIME:
        if column.format is not None:
            expr = expr.str.to_datetime(column.format, time_unit="us")
        return expr.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    if column.is_numeric:
        return expr.cast(pl.Float64).fill_nan(None)
    return expr.cast(pl.String)


class SchemaChange(BaseModel):
    """A table, or a column of one, that came, went or changed: `kind (dtype)` before and after."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    column: str | None = None  # None: the table as a whole
    before: str | None = None  # None: it was not there
    after: str | None = None  # None: it is gone

    def describe(self) -> str:
        """The change in words."""
        if self.column is None:
            return f"table {self.table!r} is {'new' if self.before is None else 'gone'}"
        if self.before is None:
            return f"{self.table}: column {self.column!r} is new, {self.after}"
        if self.after is None:
            return f"{self.table}: column {self.column!r} is gone, it was {self.before}"
        return f"{self.table}: column {self.column!r} was {self.before}, is {self.after}"


def schema_changes(
    before: Mapping[str, TableSchema], after: Mapping[str, TableSchema]
) -> list[SchemaChange]:
    """How a dataset's tables differ: those that came or went, and the columns of the others that
    came, went or changed their kind or type. In the order of `after`, what is gone behind it."""
    changes = []
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            changes.append(SchemaChange(table=name, after="table"))
            continue
        if name not in after:
            changes.append(SchemaChange(table=name, before="table"))
            continue
        was, now = ({c.name: _type(c) for c in side[name].columns} for side in (before, after))
        changes += [
            SchemaChange(table=name, column=c, before=was.get(c), after=now.get(c))
            for c in dict.fromkeys([*now, *was])
            if was.get(c) != now.get(c)
        ]
    return changes


def _type(column: ColumnSchema) -> str:
    return f"{column.kind} ({column.dtype})"
