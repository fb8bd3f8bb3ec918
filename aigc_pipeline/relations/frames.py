"""Wide training rows: each table's own columns beside all that its rows are made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.relations import plan as names
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.history import (
    come_back,
    gaps_of,
    history_of,
    mean_name,
    previous_name,
    room,
    weekday_name,
    weekday_of,
)
from aigc_pipeline.relations.linked import Draft, Linked
from aigc_pipeline.relations.links import (
    Link,
    find_groups,
    gather,
)
from aigc_pipeline.relations.plan import (
    ENTITY,
    FIRST,
    GAP,
    LEFT,
    POSITION,
    ROOM,
    ROWS,
    TablePlan,
    hidden,
    renamed,
)
from aigc_pipeline.relations.repeats import repeat_rates
from aigc_pipeline.relations.strays import group_sizes, known_orphans, states_of
from aigc_pipeline.relations.under_owner import (
    bound_of,
    end_of_time,
)
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import MIN_SUBJECTS, Constraint, Kind, Source, TableSpec

MAX_STEPS = 100  # rows under one owner, up to which rows without an order are made one by one
MIN_OWNERS = 20  # rows of a kept table, for the numbers of their children to be learned


@dataclass(frozen=True)
class Wide:
    """A table as its model sees it.

    frame: training rows, with the number of each one's root entity. known: columns that are given
    with each row to make, the others are drawn.
    """

    frame: pl.DataFrame
    schema: TableSchema
    spec: TableSpec
    known: list[str]
    plan: TablePlan


def widen(
    frames: Mapping[str, pl.DataFrame],
    graph: Graph,
    schemas: Mapping[str, TableSchema],
    *,
    whole: Mapping[str, pl.DataFrame] | None = None,
    min_subjects: int = MIN_SUBJECTS,
) -> dict[str, Wide]:
    """Wide rows of every table that has something to learn; a mere lookup table is left out.

    frames: training rows with derived columns, of whole root entities. whole: all rows of tables
    that are referred to from other entities: a parent that is only held out is none that is
    missing. min_subjects: entities that the end of a table's time rests on. Raises FieldError for
    an ordering column with missing values.
    """
    return _Widener(frames, graph, schemas, whole or {}, min_subjects).tables()


class _Widener(Linked):
    def tables(self) -> dict[str, Wide]:
        made = {}
        for name in self.graph.order:
            keep = self.graph.tables[name].keep
            wide = self._kept(name) if keep else self._made(name)
            if wide is not None:
                made[name] = wide
        return made

    def _kept(self, name: str) -> Wide | None:
        """A kept table's rows are given; only how many children they have is learned."""
        draft = Draft()
        counts = self.add_counts(name, draft, owned_only=True)
        if not counts:
            return None
        self._check_kept_owner(name)
        for column in self.told(name):
            draft.known[column.name] = self.frames[name][column.name], column
        self.context[name] = [(name, c) for c in draft.known]
        plan = TablePlan(
            table=name,
            columns=self.schemas[name],
            keep=True,
            own=list(draft.known),
            counts=counts,
        )
        return self._wide(name, draft, plan, np.arange(len(self.frames[name])))

    def _check_kept_owner(self, name: str) -> None:
        """How many children its rows have can be learned only where there are rows enough."""
        rows = len(self.frames[name])
        if rows >= MIN_OWNERS:
            return
        problems: list[tuple[FieldPath, str]] = []
        for relation in self.graph.owned_by(name):
            text = (
                f"{rows} rows of the kept table {name!r} are too few to learn how many rows of"
                f" {relation.child!r} each has; list another parent first, or leave this one out:"
                " its column is learned as a category"
            )
            problems.append((("tables", relation.child, "parents", relation.number), text))
        raise FieldError(problems)

    def _made(self, name: str) -> Wide:
        df, schema, spec = self.frames[name], self.schemas[name], self.graph.tables[name]
        owner = self.graph.owner_of(name)
        link = None if owner is None else self.links[owner.name]
        inherited = [] if owner is None else self.inherited(name, owner)
        numbered = None if owner is None else self.numbered(name, owner)
        apart = {*inherited, *(() if owner is None else owner.columns), spec.order_by}
        apart |= {numbered[0]} if numbered else set()
        own = [
            c
            for c in schema.columns
            if not c.is_generated and c.derived is None and c.name not in apart
        ]
        draft, order = Draft(), np.arange(len(df))
        for column in own:
            draft.drawn[column.name] = df[column.name], column
        history: list[str] = []
        means: list[str] = []
        repeats: dict[str, list[float]] = {}
        strays: dict[str, dict[int, float]] = {}
        orphan_values: list[list[str | None]] = []
        if owner is not None and link is not None:
            groups = find_groups(df, owner, link)
            order = self.order_of(name, groups)
            self._add_owner(owner, link, draft)
            history, means = self._add_history(name, own, groups, order, draft)
            if history:
                repeats = repeat_rates(df[order], groups[order], own)
            strays = group_sizes(groups, link, len(self.frames[owner.parent]))
            if self.graph.tables[owner.parent].keep:
                orphan_values = known_orphans(df, owner, link, self.min_subjects)
                if not orphan_values:
                    strays.pop(names.ORPHAN, None)
        references = [
            self.add_reference(r, draft)
            for r in self.graph.references_of(name)
            if not self.graph.tables[r.parent].keep and not set(r.columns) <= set(inherited)
        ]
        counts = self.add_counts(name, draft, owned_only=False)
        if owner is None:  # a root is made by its model alone: keys and derived columns with it
            for column in schema.columns:
                if column.derived is not None or self._is_fresh(column):
                    draft.drawn.setdefault(column.name, (df[column.name], column))
        else:
            for column in schema.columns:
                if self._is_fresh(column):
                    draft.drawn[column.name] = df[column.name], column
        above = [] if owner is None else self.context.get(owner.parent, [])
        self.context[name] = [(name, c.name) for c in self.told(name)] + above
        plan = TablePlan(
            table=name,
            columns=schema,
            owner=None if owner is None else owner.parent,
            own=[c.name for c in own],
            inherited=inherited,
            context=above,
            history=history,
            means=means,
            order=spec.order_by if history else None,
            order_end=(
                end_of_time(df, schema[spec.order_by], self.entities[name], self.min_subjects)
                if history and spec.order_by
                else None
            ),
            bound=bound_of(self.graph, name) if ROOM in draft.known else None,
            apart=owner is not None and set(spec.keys) - set(owner.columns) == {spec.order_by},
            repeats=repeats,
            references=references,
            counts=counts,
            strays=strays,
            numbered=numbered,
            orphan_values=orphan_values,
        )
        return self._wide(name, draft, plan, order)

    def _is_fresh(self, column: ColumnSchema) -> bool:
        """Made afresh and no reference to a parent."""
        return column.is_generated and column.parent is None

    def _wide(self, name: str, draft: Draft, plan: TablePlan, order: np.ndarray) -> Wide:
        for column, (values, timed) in list(draft.known.items()):
            if timed.kind == Kind.DATETIME:
                wide = weekday_name(column)
                draft.known[wide] = weekday_of(values, timed), hidden(wide, Kind.CATEGORY, "Int64")
        both = {**draft.known, **draft.drawn}
        frame = pl.DataFrame([values.alias(column) for column, (values, _) in both.items()])
        frame = frame.with_columns(pl.Series(ENTITY, self.entities[name]))[order]
        columns = [renamed_if(schema, column) for column, (_, schema) in both.items()]
        schema = TableSchema(name=name, columns=columns)
        spec = self._wide_spec(name, schema, with_rules=self.graph.owner_of(name) is None)
        return Wide(frame, schema, spec, list(draft.known), plan)

    def _wide_spec(self, name: str, schema: TableSchema, *, with_rules: bool) -> TableSpec:
        """The table's spec, less what is no concern of its model's."""
        spec = self.graph.tables[name]
        present = set(schema.names)
        rules = [
            c
            for c in spec.constraints
            if set(c.columns()) <= present and (with_rules or c.fixed_combination)
        ]
        for relation in self.graph.references_of(name):  # a composite key goes together
            if len(relation.columns) > 1 and set(relation.columns) <= present:
                rules.append(Constraint(fixed_combination=list(relation.columns)))
        return TableSpec(
            source=Source(file="wide"),
            target=spec.target if spec.target in present else None,
            columns={c: s for c, s in spec.columns.items() if c in present},
            derive=spec.derive if with_rules and not spec.keep else {},
            constraints=[] if spec.keep else rules,
        )

    def _add_owner(self, owner: Relation, link: Link, draft: Draft) -> None:
        """The owner's columns, and those of its owners, as known ones."""
        rows: dict[str, np.ndarray] = {owner.parent: link.row}
        above = self.graph.owner_of(owner.parent)
        while above is not None:
            below = rows[above.child]
            row = self.links[above.name].row[np.maximum(below, 0)]
            rows[above.parent] = np.where(below >= 0, row, -1)
            above = self.graph.owner_of(above.parent)
        for table, column in self.context.get(owner.parent, []):
            values = gather(self.frames[table][column], rows[table])
            name = f"{table}.{column}"
            draft.known[name] = values, renamed(self.schemas[table][column], name)
        if (link.row < 0).any():
            states = states_of(link)
            draft.known[names.OWNER] = states, hidden(names.OWNER, Kind.CATEGORY, "String")

    def _add_history(
        self,
        name: str,
        own: list[ColumnSchema],
        groups: np.ndarray,
        order: np.ndarray,
        draft: Draft,
    ) -> tuple[list[str], list[str]]:
        """Time as gaps, and what came before, where rows are made one after the other."""
        spec, schema = self.graph.tables[name], self.schemas[name]
        if spec.order_by is None and np.bincount(np.unique(groups, return_inverse=True)[1]).max(
            initial=0
        ) > (MAX_STEPS):
            return [], []
        back = np.argsort(order)
        frame = pl.DataFrame([draft.drawn[c.name][0] for c in own])
        columns = list(own)
        if spec.order_by is not None:
            column = schema[spec.order_by]
            values = self.frames[name][spec.order_by]
            numbers = self.frames[name].select(canonical_expr(column)).to_series().to_numpy()
            frame = frame.with_columns(values)
            columns.append(column)
            draft.drawn[FIRST] = values.alias(FIRST), renamed(column, FIRST)
            gaps = gaps_of(numbers[order], groups[order])
            # Times that come back (a minute of the hour) are drawn as they are, others as gaps.
            if not come_back(numbers[order], gaps):
                gap = pl.Series(GAP, gaps[back], nan_to_null=True)
                first = pl.select(pl.when(gap.is_null()).then(values).alias(FIRST)).to_series()
                draft.drawn[FIRST] = first, renamed(column, FIRST)
                draft.drawn[GAP] = gap, hidden(GAP, Kind.NUMBER, "Float64")
                frame = frame.with_columns(gap)
                columns.append(hidden(GAP, Kind.NUMBER, "Float64"))
        told = [c for c in columns if c.kind != Kind.TEXT]
        measured = [c for c in told if c.is_numeric and c.kind != Kind.DATETIME]
        before = history_of(frame[order], groups[order], [c.name for c in told], measured)[back]
        for each in (POSITION, ROWS, LEFT):
            draft.known[each] = before[each], hidden(each, Kind.INTEGER, "Int64")
        bound = bound_of(self.graph, name)
        if bound is not None and bound in draft.known:
            end, end_schema = draft.known[bound]
            timed = schema[spec.order_by or ""]
            draft.known[ROOM] = (
                room(end, end_schema, before[previous_name(timed.name)], timed),
                hidden(ROOM, Kind.NUMBER, "Float64"),
            )
        for column in told:
            wide = previous_name(column.name)
            draft.known[wide] = before[wide], renamed(column, wide)
        for column in measured:
            wide = mean_name(column.name)
            draft.known[wide] = before[wide], hidden(wide, Kind.NUMBER, "Float64")
        return [c.name for c in told], [c.name for c in measured]


def renamed_if(schema: ColumnSchema, name: str) -> ColumnSchema:
    """A column's schema under its wide name."""
    return schema if schema.name == name else schema.model_copy(update={"name": name})
