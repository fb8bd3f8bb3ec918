"""How tables hang together for judging: pools, entities, and who belongs to whom.

A *pool* is a table that is not split into training and holdout rows: kept as it is, or the same
on both sides. All others are made of *entities*: a root row with all rows it owns, however deep.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.relations import Graph, Relation
from aigc_pipeline.relations.links import find_link
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import Kind, TableSpec

NULL, ORPHAN = -1, -2  # in place of a parent's row


class Layout:
    """The graph with what judging adds to it.

    pools: tables that are not split. schemas: of the columns that are compared:
    nothing generated afresh, and no key or reference but those of kept tables.
    """

    def __init__(
        self,
        graph: Graph,
        tables: Mapping[str, TableSpec],
        schemas: Mapping[str, TableSchema],
        pools: set[str],
    ) -> None:
        self.graph, self.tables, self.pools, self.full = graph, tables, pools, schemas
        self.order = graph.order
        self.schemas = {
            name: _compared(schemas[name], tables[name], tables) for name in graph.order
        }

    def owner_of(self, table: str) -> Relation | None:
        """The relation a table's rows are made under; None below a pool, and of a pool."""
        owner = self.graph.owner_of(table)
        return None if owner is None or {table, owner.parent} & self.pools else owner

    def root_of(self, table: str) -> str:
        """The table whose rows are the entities of this one."""
        owner = self.owner_of(table)
        return table if owner is None else self.root_of(owner.parent)

    @cached_property
    def roots(self) -> list[str]:
        """Tables whose rows are entities."""
        return [t for t in self.order if t not in self.pools and self.owner_of(t) is None]

    def owned_by(self, table: str) -> list[str]:
        """Tables whose rows are made under this one's."""
        owners = {name: self.owner_of(name) for name in self.order}
        return [name for name, owner in owners.items() if owner and owner.parent == table]

    def descendants(self, table: str) -> list[str]:
        """All tables below this one, nearest first."""
        children = self.owned_by(table)
        return children + [d for child in children for d in self.descendants(child)]

    def ordered(self) -> list[str]:
        """Tables whose rows have an order under their owner."""
        return [t for t in self.order if self.order_column(t) is not None]

    def order_column(self, table: str) -> ColumnSchema | None:
        """What orders a table's rows under their owner; None where nothing does."""
        name = self.tables[table].order_by
        if name is None or self.owner_of(table) is None:
            return None
        column = self.full[table][name]
        return column if column.is_numeric else None


def _compared(
    schema: TableSchema, table: TableSpec, tables: Mapping[str, TableSpec]
) -> TableSchema:
    """The columns to compare.

    A kept table's keys are public values: which currency it is matters, in that table and where
    another one refers to it.
    """
    public = {
        parent.columns[0]
        for parent in table.parents
        if tables[parent.table].keep and len(parent.columns) == 1
    }
    if table.keep and len(table.keys) == 1:
        public |= set(table.keys)
    left_out = (table.references | set(table.keys)) - public
    plain = {"kind": Kind.CATEGORY, "key": False, "pii": None}
    columns = [c.model_copy(update=plain) if c.name in public else c for c in schema.columns]
    return schema.model_copy(
        update={"columns": [c for c in columns if not c.is_generated and c.name not in left_out]}
    )


def link(child: pl.DataFrame, relation: Relation, parent: pl.DataFrame) -> np.ndarray:
    """The parent's row of each child row, int64 [rows]; NULL or ORPHAN where there is none.

    A composite reference with any part missing counts as null (SQL's MATCH SIMPLE).
    """
    found = find_link({relation.parent: parent, relation.child: child}, relation)
    return np.where(found.missing, NULL, np.where(found.orphan, ORPHAN, found.row))


def order_values(df: pl.DataFrame, column: ColumnSchema) -> np.ndarray:
    """What rows are ordered by: float64 [rows], datetimes as seconds since 1970, NaN if missing."""
    return df.select(canonical_expr(column).cast(pl.Float64)).to_series().to_numpy()


def check_tables(side: str, tables: Mapping[str, pl.DataFrame], layout: Graph) -> None:
    """Raise InputError when a table of the graph, or a column its relations need, is missing."""
    for name in layout.order:
        if name not in tables:
            raise InputError(f"{side} rows: table {name!r} is missing; give every table")
        needed = {c for r in layout.parents_of(name) for c in r.columns}
        needed |= {c for r in layout.children_of(name) for c in r.key}
        if missing := sorted(needed - set(tables[name].columns)):
            raise InputError(
                f"{side} rows: table {name!r} lacks the key column {', '.join(map(repr, missing))}"
            )
