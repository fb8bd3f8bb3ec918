"""How the tables of a dataset refer to each other: relations, owners, the order of making them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from aigc_pipeline.errors import FieldError, did_you_mean
from aigc_pipeline.spec import TableSpec


@dataclass(frozen=True)
class Relation:
    """Rows of `child` refer to rows of `parent`: child[columns] = parent[key].

    number: its place among the child's parents in the dataset file.
    """

    child: str
    columns: tuple[str, ...]
    parent: str
    key: tuple[str, ...]
    optional: bool
    orphans: Literal["refuse", "reproduce", "drop"]
    number: int

    @property
    def name(self) -> str:
        """As people write it: `orders.customer_id -> customers`."""
        return f"{self.child}.{'+'.join(self.columns)} -> {self.parent}"

    @property
    def is_self(self) -> bool:
        """Whether rows refer to rows of their own table."""
        return self.child == self.parent


class Graph:
    """The relations of a dataset's tables.

    A table's *owner* is its first parent that is another table: its rows are made under the
    owner's rows. Its other parents are *references*, chosen for each row. A table without an owner
    is a *root*: each of its rows is an entity, with all that hangs on it.
    """

    def __init__(self, tables: Mapping[str, TableSpec]) -> None:
        """Raises FieldError for unknown parents, parents without a key, and cycles."""
        self.tables = dict(tables)
        self.relations = _relations(self.tables)
        self.order = _order(self.tables, self.relations)

    @cached_property
    def is_related(self) -> bool:
        """Whether any table refers to another one, or to itself."""
        return bool(self.relations)

    def parents_of(self, table: str) -> list[Relation]:
        """The relations a table's rows have to others, as the dataset file lists them."""
        return [r for r in self.relations if r.child == table]

    def children_of(self, table: str) -> list[Relation]:
        """The relations that other tables' rows have to this one's."""
        return [r for r in self.relations if r.parent == table]

    def owner_of(self, table: str) -> Relation | None:
        """The relation under which a table's rows are made."""
        return next((r for r in self.parents_of(table) if not r.is_self), None)

    def references_of(self, table: str) -> list[Relation]:
        """All relations to parents but the owner."""
        owner = self.owner_of(table)
        return [r for r in self.parents_of(table) if r is not owner]

    def owned_by(self, table: str) -> list[Relation]:
        """The relations under which rows are made for each of this table's rows."""
        owners = [self.owner_of(name) for name in self.order]
        return [r for r in owners if r is not None and r.parent == table]

    def root_of(self, table: str) -> str:
        """The table at the top of a table's owners: privacy is counted in its rows."""
        owner = self.owner_of(table)
        return table if owner is None else self.root_of(owner.parent)


def _relations(tables: Mapping[str, TableSpec]) -> list[Relation]:
    relations, problems = [], []
    for child, spec in tables.items():
        for number, parent in enumerate(spec.parents):
            at = ("tables", child, "parents", number)
            if parent.table not in tables:
                text = f"there is no table {parent.table!r}; {did_you_mean(parent.table, tables)}"
                problems.append(((*at, "table"), text))
                continue
            key = tables[parent.table].keys
            if not key:
                text = f"{parent.table!r} has no key, so nothing can refer to it; give it a `key`"
                problems.append(((*at, "table"), text))
            elif len(key) != len(parent.columns):
                text = (
                    f"the key of {parent.table!r} is {', '.join(key)}, but here is"
                    f" {', '.join(parent.columns)}; list one column for each, in that order"
                )
                problems.append(((*at, "column"), text))
            relations.append(
                Relation(
                    child,
                    parent.columns,
                    parent.table,
                    key,
                    parent.optional,
                    parent.orphans,
                    number,
                )
            )
    if problems:
        raise FieldError(problems)
    return relations


def _order(tables: Mapping[str, TableSpec], relations: list[Relation]) -> list[str]:
    """Tables with every parent before its children, else as the dataset file lists them."""
    sorter: TopologicalSorter[str] = TopologicalSorter({name: [] for name in tables})
    for relation in relations:
        if not relation.is_self:
            sorter.add(relation.child, relation.parent)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = list(error.args[1])[::-1]
        first = next(r for r in relations if r.child == circle[0] and r.parent == circle[1])
        text = (
            f"tables refer to each other in a circle ({' -> '.join(circle)}), so none can be made"
            " first; leave out one of these parents"
        )
        raise FieldError([(("tables", first.child, "parents", first.number), text)]) from None
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=list(tables).index)
        order += ready
        sorter.done(*ready)
    return order
