"""The tables of a dataset with their links, and what a row is told of its parents and children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError
from aigc_pipeline.relations import plan as names
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.links import (
    Link,
    find_depths,
    find_entities,
    find_groups,
    find_link,
    gather,
)
from aigc_pipeline.relations.plan import (
    ReferencePlan,
    count_name,
    hidden,
    renamed,
    usual_name,
)
from aigc_pipeline.relations.strays import orphan_sizes, states_of
from aigc_pipeline.relations.under_owner import inherited_columns, numbered_part
from aigc_pipeline.relations.usual import usual_columns, usual_of
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import Kind

MAX_WORDS = 1000  # values of a category that other tables' rows are told


@dataclass
class Draft:
    """A table on its way to wide rows; columns as (values, schema)."""

    known: dict[str, tuple[pl.Series, ColumnSchema]] = field(default_factory=dict)
    drawn: dict[str, tuple[pl.Series, ColumnSchema]] = field(default_factory=dict)


class Linked:
    """Training tables that know which row refers to which.

    whole: all rows of tables that are referred to from other entities, whose links may lead there.
    links: by relation, the parent's row of each child row, among the rows of `parents`. usual: by
    relation, columns of which a parent has a usual value. entities: by table, of each row.
    context: by table, the columns that rows below it are told, as table and column.
    """

    def __init__(
        self,
        frames: Mapping[str, pl.DataFrame],
        graph: Graph,
        schemas: Mapping[str, TableSchema],
        whole: Mapping[str, pl.DataFrame],
        min_subjects: int,
    ) -> None:
        self.frames, self.graph, self.schemas = frames, graph, schemas
        self.min_subjects = min_subjects
        self.parents: dict[str, pl.DataFrame] = {}  # by relation, the rows it may lead to
        self.links: dict[str, Link] = {}
        for relation in graph.relations:
            owned = graph.owner_of(relation.child) == relation
            parent = frames[relation.parent]
            if not owned and not relation.is_self:
                parent = whole.get(relation.parent, parent)
            self.parents[relation.name] = parent
            both = {relation.child: frames[relation.child], relation.parent: parent}
            self.links[relation.name] = find_link(both, relation)
        self.usual = {
            r.name: usual_columns(frames[r.child], schemas[r.child], self.links[r.name].row)
            if self.is_matched(r)
            else []
            for r in graph.relations
        }
        self.entities = find_entities(frames, graph)
        self.context: dict[str, list[tuple[str, str]]] = {}

    def told(self, table: str) -> list[ColumnSchema]:
        """The columns of a table that other tables' rows are made with."""
        found = []
        for column in self.schemas[table].columns:
            if column.is_generated or column.kind == Kind.TEXT:
                continue
            distinct = self.frames[table][column.name].n_unique()
            if distinct > 1 and (column.is_numeric or distinct <= MAX_WORDS):
                found.append(column)
        return found

    def inherited(self, name: str, owner: Relation) -> list[str]:
        frames, row = (self.frames[name], self.frames[owner.parent]), self.links[owner.name].row
        return inherited_columns(*frames, row, self.schemas[name], self.graph.tables[name], owner)

    def numbered(self, name: str, owner: Relation) -> tuple[str, int] | None:
        groups = find_groups(self.frames[name], owner, self.links[owner.name])
        order = self.order_of(name, groups)
        return numbered_part(self.frames[name][order], groups[order], self.graph.tables[name])

    def order_of(self, name: str, groups: np.ndarray) -> np.ndarray:
        """Rows by owner, in their order under it."""
        order_by = self.graph.tables[name].order_by
        if order_by is None:
            return np.argsort(groups, kind="stable")
        column = self.schemas[name][order_by]
        values = self.frames[name].select(canonical_expr(column)).to_series()
        if values.null_count():
            text = f"{order_by!r} is missing in {values.null_count()} rows, which have no place"
            at = ("tables", name, "order_by")
            raise FieldError([(at, f"{text} in the order; fill them, or leave order_by out")])
        return np.lexsort((values.to_numpy(), groups))

    def add_reference(self, relation: Relation, draft: Draft) -> ReferencePlan:
        """A parent's columns, as columns of the child that are drawn."""
        link = self.links[relation.name]
        features = self.told(relation.parent)
        parents = self.parents[relation.name]
        depths = find_depths(link) if relation.is_self else None
        plan = ReferencePlan(
            relation=relation.name,
            columns=list(relation.columns),
            parent=relation.parent,
            features=[c.name for c in features],
            usual=[usual_name(relation, c) for c in self.usual[relation.name]],
            states=bool((link.row < 0).any()),
            depth=depths is not None,
            orphans=orphan_sizes(self.frames[relation.child], relation, link, self.min_subjects),
        )
        if plan.states:
            schema = hidden(plan.state, Kind.CATEGORY, "String")
            draft.drawn[plan.state] = states_of(link), schema
        for column in features:
            wide = plan.wide(column.name)
            values = gather(parents[column.name], link.row)
            draft.drawn[wide] = values, renamed(column, wide)
        for column_name in self.usual[relation.name]:
            wide = plan.wide(usual_name(relation, column_name))
            schema = renamed(self.schemas[relation.child][column_name], wide)
            values = self.frames[relation.child][column_name]
            draft.drawn[wide] = usual_of(values, link.row, link.row), schema
        if depths is not None:
            schema = hidden(names.DEPTH, Kind.INTEGER, "Int64")
            draft.drawn[names.DEPTH] = pl.Series(names.DEPTH, depths), schema
        return plan

    def add_counts(self, name: str, draft: Draft, *, owned_only: bool) -> list[str]:
        """How many children each row has, and the usual values of these, as drawn columns."""
        counted = []
        for relation in self.graph.children_of(name):
            is_owner = self.graph.owner_of(relation.child) == relation
            if not is_owner and (owned_only or self.is_inherited(relation)):
                continue
            row = find_link(self.frames, relation).row
            count = np.bincount(row[row >= 0], minlength=len(self.frames[name]))
            column = count_name(relation)
            schema = hidden(column, Kind.INTEGER, "Int64")
            draft.drawn[column] = pl.Series(column, count.astype(np.int64)), schema
            counted.append(relation.name)
            for child_column in self.usual[relation.name]:
                wide = usual_name(relation, child_column)
                schema = renamed(self.schemas[relation.child][child_column], wide)
                values = self.frames[relation.child][child_column]
                every = np.arange(len(self.frames[name]))
                draft.drawn[wide] = usual_of(values, row, every), schema
        return counted

    def is_matched(self, relation: Relation) -> bool:
        """Whether a parent's row is found by what is shared with it."""
        owned = self.graph.owner_of(relation.child) == relation
        return not (owned or relation.is_self or self.graph.tables[relation.parent].keep)

    def is_inherited(self, relation: Relation) -> bool:
        owner = self.graph.owner_of(relation.child)
        if owner is None or self.graph.tables[relation.child].keep:
            return False
        inherited = self.inherited(relation.child, owner)
        return set(relation.columns) <= set(inherited)
