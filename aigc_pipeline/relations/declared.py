"""What a dataset file says of relations, checked before any row is read."""

from __future__ import annotations

from collections.abc import Iterator

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.relations.graph import Graph
from aigc_pipeline.spec import DatasetSpec

Problem = tuple[FieldPath, str]


def graph_of(spec: DatasetSpec) -> Graph:
    """The graph of a dataset's tables, once all that is declared of them goes together.

    Raises FieldError with everything that does not: see `Graph`, and besides keys and parents with
    repeated columns, an order without an owner, and tables that are kept though they are not fit
    to be.
    """
    graph = Graph(spec.tables)
    problems = [problem for name in spec.tables for problem in _table_problems(graph, name)]
    if graph.is_related and spec.privacy.subject is not None:
        text = (
            "tables that refer to each other have their subjects already: the rows at the top,"
            " with all that hangs on them; leave it out"
        )
        problems.append((("privacy", "subject"), text))
    if graph.is_related or spec.kept:
        problems += _learning_problems(spec)
    if problems:
        raise FieldError(problems)
    return graph


def _learning_problems(spec: DatasetSpec) -> Iterator[Problem]:
    """What single tables can have, and tables that are learned together cannot."""
    together = "tables that refer to each other, or are kept,"
    if spec.generator.family != "autoregressive":
        text = f"{together} are learned by the family autoregressive; write that, or leave it out"
        yield ("generator", "family"), text
    if spec.generator.outliers:
        yield ("generator", "outliers"), f"{together} are learned whole; leave it out"
    if spec.privacy.dp is not None:
        text = f"{together} cannot be learned with differential privacy; leave it out"
        yield ("privacy", "dp"), text
    for name, scenario in spec.synthesis.scenarios.items():
        if scenario.balance:
            at = ("synthesis", "scenarios", name, "balance")
            yield at, f"{together} take conditions only; say it with `where`"


def _table_problems(graph: Graph, name: str) -> Iterator[Problem]:
    table, at = graph.tables[name], ("tables", name)
    if repeated := _repeated(table.keys):
        yield (*at, "key"), f"{repeated!r} comes twice; list each column once"
    if table.key == []:
        yield (*at, "key"), "an empty list; name the key's columns, or leave it out"
    yield from _parent_problems(graph, name)
    yield from _order_problems(graph, name)
    if table.keep:
        yield from _keep_problems(graph, name)


def _parent_problems(graph: Graph, name: str) -> Iterator[Problem]:
    table = graph.tables[name]
    seen: dict[frozenset[str], str] = {}  # the columns of a parent before -> that parent
    for relation in graph.parents_of(name):
        at: FieldPath = ("tables", name, "parents", relation.number, "column")
        shown = " + ".join(map(repr, relation.columns))
        if repeated := _repeated(relation.columns):
            yield at, f"{repeated!r} comes twice; list one column for each of the key's, in order"
        columns = frozenset(relation.columns)
        if columns in seen:
            text = f"{shown} already holds the key of {seen[columns]!r}; leave out one of the two"
            yield at, text
        seen[columns] = relation.parent
        if relation.is_self and relation.columns == relation.key:
            yield at, f"{shown} is the table's own key, so each row would refer to itself"
        for column in relation.columns:
            said = table.columns.get(column)
            if said is not None and said.pii is not None:
                text = f"{column!r} holds a key of {relation.parent!r}; say pii there, not here"
                yield ("tables", name, "columns", column, "pii"), text


def _order_problems(graph: Graph, name: str) -> Iterator[Problem]:
    table = graph.tables[name]
    if table.order_by is None:
        return
    at, owner = ("tables", name, "order_by"), graph.owner_of(name)
    if owner is None:
        yield at, "rows are ordered under their owner, and there is none; name it in `parents`"
    elif table.order_by in owner.columns:
        yield at, f"{table.order_by!r} is the same in all rows of an owner; name another column"
    if table.order_by in table.derive:
        text = f"{table.order_by!r} is derived, not learned; order by what it comes from"
        yield at, text
    if table.keys == (table.order_by,):
        yield at, f"{table.order_by!r} is the key, which is made afresh; name a time or a number"


def _keep_problems(graph: Graph, name: str) -> Iterator[Problem]:
    table, at = graph.tables[name], ("tables", name)
    for field in ("derive", "constraints", "target", "order_by"):
        if getattr(table, field):
            text = "the table is kept as it is, so nothing in it is made; leave this out, or `keep`"
            yield (*at, field), text
    for column, said in table.columns.items():
        if said.pii is not None:
            text = "a table that is kept is published; one with personal data must not be"
            yield (*at, "columns", column, "pii"), text
    for relation in graph.parents_of(name):
        if not graph.tables[relation.parent].keep:
            text = (
                f"{name!r} is kept as it is, but {relation.parent!r} is made afresh, so no row"
                " would find its parent; keep both or neither"
            )
            yield (*at, "parents", relation.number, "table"), text
    if all(t.keep for t in graph.tables.values()):
        yield (*at, "keep"), "every table is kept, so there is nothing to make"


def _repeated(columns: tuple[str, ...]) -> str | None:
    return next((c for c in columns if columns.count(c) > 1), None)
