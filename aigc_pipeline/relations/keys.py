"""Whether rows find their parents: what the data say of each relation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath, did_you_mean
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources.references import incomparable, owner_column

Problem = tuple[FieldPath, str]


@dataclass(frozen=True)
class RelationFacts:
    """What the data say of one relation, in counts.

    rows: of the child. nulls: those without a reference, that is with any of its columns missing.
    orphans: those whose parent is not there. parents: distinct rows of the parent that are
    referred to, of parent_rows. most: children of the parent that has most.
    """

    relation: Relation
    rows: int
    nulls: int
    orphans: int
    parents: int
    parent_rows: int
    most: int

    @property
    def null_rate(self) -> float:
        """Share of the child's rows without a reference."""
        return self.nulls / self.rows if self.rows else 0.0

    @property
    def orphan_rate(self) -> float:
        """Share of the child's rows whose parent is not there."""
        return self.orphans / self.rows if self.rows else 0.0

    def describe(self) -> str:
        """One line, as a check's message has it."""
        words = [f"{self.relation.name}: {self.parents} of {self.parent_rows} parents"]
        words += [f"{self.null_rate:.2%} without one"] if self.nulls else []
        words += [f"{self.orphan_rate:.2%} orphans"] if self.orphans else []
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for metadata."""
        counts = {k: v for k, v in self.__dict__.items() if k != "relation"}
        return {"relation": self.relation.name, **counts}


def inspect_relations(frames: Mapping[str, pl.DataFrame], graph: Graph) -> list[RelationFacts]:
    """The facts of every relation, in the graph's order.

    frames: by table, with the columns of all keys and references; keys are unique, which
    `infer_schema` sees to.

    Raises FieldError with all that is wrong: references of another type than the key, missing ones
    that are not declared optional, orphans that are to be refused. In counts, never values.
    """
    _check_types(frames, graph)
    found = [_facts(frames, relation) for relation in graph.relations]
    problems = [problem for facts in found for problem in _faults(facts)]
    if problems:
        raise FieldError(problems)
    return found


def drop_orphans(frames: Mapping[str, pl.DataFrame], graph: Graph) -> dict[str, pl.DataFrame]:
    """The tables without the orphans that are declared `orphans: drop`.

    A row whose parent is dropped is an orphan in its turn, and its own relation says what becomes
    of it. Raises FieldError for references of another type than the key.
    """
    _check_types(frames, graph)
    left = dict(frames)
    dropped = True
    while dropped:  # a self reference may reach rows already seen
        dropped = False
        for table in graph.order:
            for relation in graph.parents_of(table):
                if relation.orphans == "drop":
                    stays = ~is_orphan(left, relation)
                    if not stays.all():
                        left[table], dropped = left[table].filter(stays), True
    return left


def references(frames: Mapping[str, pl.DataFrame], relation: Relation) -> pl.DataFrame:
    """The child's references under the names and in the types of the parent's key."""
    parent, child = frames[relation.parent], frames[relation.child]
    pairs = zip(relation.columns, relation.key, strict=True)
    return child.select(
        pl.col(column).cast(parent.schema[key], strict=False).alias(key) for column, key in pairs
    )


def parent_rows(frames: Mapping[str, pl.DataFrame], relation: Relation) -> pl.Series:
    """For every row of the child the number of its parent's row, from 0; null where it has none.

    Of parents with the same key it is the first.
    """
    names = list(relation.key)
    key = frames[relation.parent].select(names).with_row_index("row").unique(names, keep="first")
    made = references(frames, relation)
    joined = made.join(key, on=names, how="left", maintain_order="left")
    return joined["row"]


def is_null(frames: Mapping[str, pl.DataFrame], relation: Relation) -> pl.Series:
    """By row of the child whether it has no reference: any of its columns is missing."""
    child = frames[relation.child]
    return child.select(pl.any_horizontal(pl.col(relation.columns).is_null())).to_series()


def is_orphan(frames: Mapping[str, pl.DataFrame], relation: Relation) -> pl.Series:
    """By row of the child whether it refers to a parent that is not there."""
    return parent_rows(frames, relation).is_null() & ~is_null(frames, relation)


def check_owner_columns(schemas: Mapping[str, TableSchema], graph: Graph) -> None:
    """Raise FieldError where a rule names a column of the owner that it cannot be held against.

    Such a rule is `less_equal: [day, patients.futime]`. The owner's column must be there, be
    learned, and compare with the other.
    """
    problems: list[Problem] = []
    for name, schema in schemas.items():
        table = graph.tables[name]
        owner = table.owner(name)
        for number, constraint in enumerate(table.constraints):
            pair = constraint.less_equal or constraint.less_than
            if pair is None or owner is None:
                continue
            at: FieldPath = ("tables", name, "constraints", number)
            theirs = [owner_column(side, schema.names, owner) for side in pair]
            problems += _pair_problems(pair, theirs, schema, schemas[owner.table], at)
    if problems:
        raise FieldError(problems)


def _pair_problems(
    pair: tuple[str, str],
    theirs: list[str | None],
    schema: TableSchema,
    owner: TableSchema,
    at: FieldPath,
) -> list[Problem]:
    if not any(theirs):
        return []
    for name in theirs:
        if name is not None and name not in owner.names:
            text = f"{owner.name!r} has no column {name!r}; {did_you_mean(name, owner.names)}"
            return [(at, text)]
        if name is not None and owner[name].is_generated:
            return [(at, f"{owner.name}.{name} is made afresh, so no rule can bind it")]
    kinds = [
        schema[own].kind if name is None else owner[name].kind
        for own, name in zip(pair, theirs, strict=True)
    ]
    return [(at, text) for text in incomparable(pair, kinds)]


def _facts(frames: Mapping[str, pl.DataFrame], relation: Relation) -> RelationFacts:
    rows = parent_rows(frames, relation)
    nulls = is_null(frames, relation)
    counts = rows.drop_nulls().value_counts()["count"].to_numpy()
    return RelationFacts(
        relation=relation,
        rows=len(rows),
        nulls=int(nulls.sum()),
        orphans=int((rows.is_null() & ~nulls).sum()),
        parents=len(counts),
        parent_rows=len(frames[relation.parent]),
        most=int(counts.max(initial=0)),
    )


def _faults(facts: RelationFacts) -> list[Problem]:
    relation = facts.relation
    at: FieldPath = ("tables", relation.child, "parents", relation.number)
    problems = []
    if facts.nulls and not relation.optional:
        text = (
            f"{' + '.join(relation.columns)} is missing in {facts.nulls} of {facts.rows} rows; if"
            " a row may have no parent, say `optional: true`"
        )
        problems.append(((*at, "optional"), text))
    if facts.orphans and relation.orphans == "refuse":
        text = (
            f"{facts.orphans} of {facts.rows} rows refer to a row of {relation.parent!r} that is"
            " not there; mend the source, or say `orphans: reproduce` (made at that rate) or"
            " `orphans: drop` (left out)"
        )
        problems.append(((*at, "orphans"), text))
    return problems


def _check_types(frames: Mapping[str, pl.DataFrame], graph: Graph) -> None:
    problems: list[Problem] = []
    for relation in graph.relations:
        child, parent = frames[relation.child].schema, frames[relation.parent].schema
        for column, key in zip(relation.columns, relation.key, strict=True):
            if not _same_type(child[column], parent[key]):
                text = (
                    f"{column!r} holds {child[column]}, but the key {relation.parent}.{key} holds"
                    f" {parent[key]}; read both as the same type"
                )
                at = ("tables", relation.child, "parents", relation.number, "column")
                problems.append((at, text))
    if problems:
        raise FieldError(problems)


def _same_type(one: pl.DataType, other: pl.DataType) -> bool:
    return one == other or (one.is_integer() and other.is_integer())
