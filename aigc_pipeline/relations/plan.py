"""What is learned of a related table besides its model: which columns are made how.

A table is learned from *wide* rows: its own columns beside what is known when a row is made (its
owner's row, the rows before it under the same owner) and what its relations need (the columns of
the parents it refers to, how many children it has). A plan says which column is which.
"""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.relations.graph import Relation
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind

POSITION = "(position)"  # of a row among its owner's, from 0
ROWS = "(rows)"  # how many the owner has
LEFT = "(left)"  # how many of these are still to come, the row itself included
FIRST = "(first)"  # value of the ordering column in the first row; in all, where it has few
GAP = "(gap)"  # by how much it rises from row to row; seconds for a datetime
ROOM = "(room)"  # from the row before to the owner's bound on the ordering column
OWNER = "(owner)"  # whether there is one
DEPTH = "(depth)"  # rows above a row in a table that refers to itself
ENTITY = "(entity)"  # number of the root entity: whom privacy is counted in
COUNT = "(rows of "  # how names of columns begin that count children
PRESENT, NONE, ORPHAN = "present", "none", "orphan"


class _Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferencePlan(_Plan):
    """How a parent that is no owner is found for each row.

    features: the parent's columns that the row is learned with; usual: hidden ones among them, the
    most frequent value that a column of this table has under a parent. states: whether the row is
    learned with whether there is a parent at all. depth: whether parents lie one level higher in a
    table that refers to itself, which keeps rows from being their own ancestors. orphans: sizes of
    groups of rows that share a parent that is not there, with their shares.
    """

    relation: str
    columns: list[str]
    parent: str
    features: list[str]
    usual: list[str] = []
    states: bool = False
    depth: bool = False
    orphans: dict[int, float] = {}

    @property
    def state(self) -> str:
        """The wide column that says whether there is a parent."""
        return f"({'+'.join(self.columns)})"

    def wide(self, feature: str) -> str:
        """The wide column of one of the parent's columns."""
        return f"{'+'.join(self.columns)}>{feature}"


class TablePlan(_Plan):
    """How a table is made.

    columns: the table's schema. own: columns learned as they are. inherited: columns that always
    equal the owner's of the same name. context: known columns of the owners, as table and column.
    history, means: columns of which the row before is told, and means so far. order: the column
    that orders the rows, where its values end, and whether no two are equal. bound: the known
    column of the owner that the order must not pass, by a rule. repeats: by column, how often a
    value has been under the same owner before, by position. counts: the relations
    whose children are counted. strays: by state, the sizes of groups of rows that share an owner
    that is not there, and how often they occur for one row of the owner. numbered: a part of the
    key that counts an owner's rows, and where it starts. orphan_values: keys
    that are referred to and not in the owner's table, where that is kept.
    """

    table: str
    columns: TableSchema
    keep: bool = False
    owner: str | None = None
    own: list[str] = []
    inherited: list[str] = []
    context: list[tuple[str, str]] = []
    history: list[str] = []
    means: list[str] = []
    order: str | None = None
    order_end: float | None = None
    apart: bool = False
    bound: str | None = None
    repeats: dict[str, list[float]] = {}
    references: list[ReferencePlan] = []
    counts: list[str] = []
    strays: dict[str, dict[int, float]] = {}
    numbered: tuple[str, int] | None = None
    orphan_values: list[list[str | None]] = []


class Fitted(Protocol):
    """A table's model, as far as making rows goes: a `TableModel`."""

    codec: TableCodec
    generator: Generator


def count_name(relation: Relation) -> str:
    """The hidden column of a parent that counts its children by a relation."""
    return f"{COUNT}{relation.child} by {'+'.join(relation.columns)})"


def usual_name(relation: Relation, column: str) -> str:
    """The hidden column of a parent with the value most of its children have."""
    return f"(usual {column} of {relation.child} by {'+'.join(relation.columns)})"


def hidden(name: str, kind: Kind, dtype: str) -> ColumnSchema:
    """The schema of a column that only the model sees."""
    return ColumnSchema(name=name, kind=kind, dtype=dtype, nullable=True)


def renamed(column: ColumnSchema, name: str) -> ColumnSchema:
    """A column under another name, as a plain learned column."""
    plain = {"name": name, "key": False, "derived": None, "nullable": True}
    return column.model_copy(update=plain)
