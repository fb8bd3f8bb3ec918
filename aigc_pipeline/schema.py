"""What a table's columns are: kind, storage type, text format, role.

Tables keep the source's own Polars dtypes everywhere (a month kept as text stays text), so real and
synthetic tables always look alike. `canonical` gives the values a metric or codec works on.
"""

from __future__ import annotations

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
