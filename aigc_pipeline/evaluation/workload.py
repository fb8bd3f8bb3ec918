"""The questions BI would ask of a dataset, drawn by seed from its schemas and relations.

Group-bys, filters, joins from child to parent, time buckets, top lists, distinct counts, shares,
children per parent. All SQL is built with sqlglot, and its texts and thresholds are protected ones
(`facts`), so a query may be shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlglot import exp

from aigc_pipeline.evaluation.facts import FEW, ColumnFacts, Facts, moment
from aigc_pipeline.relations import Graph, Relation
from aigc_pipeline.spec import Kind

TOP = 10
MOST_CHILDREN = 20  # parents of more children than that are one group
_DAYS = {"day": 1.0, "week": 7.0, "month": 30.4, "year": 365.25}


@dataclass(frozen=True)
class Query:
    """A question: its SQL, and how answers to it are compared.

    keys: columns that tell groups apart. measures: column -> whether groups add up; what does not
    (an average) is weighted by rows. rows: the column that counts a group's rows, if there is one.
    """

    kind: str
    tables: tuple[str, ...]
    sql: str
    keys: tuple[str, ...] = ()
    measures: dict[str, bool] = field(default_factory=lambda: {"value": True})
    rows: str | None = "rows"


def workload(graph: Graph, facts: Facts, *, dataset: str, seed: int) -> Iterator[Query]:
    """Queries without end or repetition; ends only where nothing new is found any more."""
    writer = _Writer(graph, facts, dataset, np.random.default_rng(seed))
    seen: set[str] = set()
    in_vain = 0
    while in_vain < 300:
        query = writer.draw()
        if query is None or query.sql in seen:
            in_vain += 1
            continue
        seen.add(query.sql)
        in_vain = 0
        yield query


@dataclass
class _Place:
    """A FROM clause under way: its tables, and whether a part of the dataset scales it evenly.

    A join to a row of another root finds fewer partners in a part than in the whole, so there only
    shares and averages are asked for.
    """

    tables: list[str]
    joins: list[Relation] = field(default_factory=list)
    scales: bool = True
    used: set[tuple[str, str]] = field(default_factory=set)  # columns that play a part already


class _Writer:
    def __init__(self, graph: Graph, facts: Facts, dataset: str, rng: np.random.Generator) -> None:
        self.graph, self.facts, self.dataset, self.rng = graph, facts, dataset, rng
        # Larger tables are asked more: they have more to say.
        self.tables = [n for n, known in facts.items() if known and not graph.tables[n].keep]
        width = np.array([1.0 + len(facts[name]) for name in self.tables])
        self.weights = np.sqrt(width) / np.sqrt(width).sum() if self.tables else width

    def draw(self) -> Query | None:
        """One query of a kind and a table drawn at random; None where that table has no such."""
        if not self.tables:
            return None
        table = self.tables[self.rng.choice(len(self.tables), p=self.weights)]
        kinds: list[tuple[float, Callable[[str], Query | None]]] = [
            (5, self._groups),
            (3, self._groups_of_two),
            (3, self._buckets),
            (2, self._top),
            (2, self._histogram),
            (2, self._total),
            (1, self._frequent),
        ]
        if self.graph.children_of(table):
            kinds.append((3, self._children))
        chances = np.array([weight for weight, _ in kinds])
        return kinds[self.rng.choice(len(kinds), p=chances / chances.sum())][1](table)

    # The kinds of queries.

    def _groups(self, table: str) -> Query | None:
        place = self._place(table)
        key = self._pick(place, lambda c: c.is_dimension and len(c.values) <= FEW)
        if key is None:
            return None
        return self._grouped("group by", place, [self._column(*key)])

    def _groups_of_two(self, table: str) -> Query | None:
        place = self._place(table)
        first, second = (
            self._pick(place, lambda c: c.is_dimension and len(c.values) <= FEW) for _ in range(2)
        )
        if first is None or second is None:
            return None
        return self._grouped("two keys", place, [self._column(*first), self._column(*second)])

    def _buckets(self, table: str) -> Query | None:
        place = self._place(table)
        found = self._pick(place, lambda c: c.is_time)
        if found is None:
            return None
        days = (found[1].high - found[1].low) / 86400
        units = [unit for unit, length in _DAYS.items() if 3 <= days / length <= 60]
        if found[1].column.format is not None and "%d" not in found[1].column.format:
            units = [unit for unit in units if unit in ("month", "year")]
        if not units:
            return None
        unit = exp.Literal.string(units[self.rng.integers(len(units))])
        bucket = exp.Anonymous(this="date_trunc", expressions=[unit, self._time(*found)])
        keys: list[exp.Expr] = [bucket]
        also = self._pick(place, lambda c: c.is_dimension and len(c.values) <= 5)
        if also is not None and self.rng.random() < 0.3:
            keys.append(self._column(*also))
        return self._grouped("over time", place, keys)

    def _histogram(self, table: str) -> Query | None:
        place = self._place(table)
        found = self._pick(place, lambda c: c.is_measure and bool(c.step) and not c.values)
        if found is None or found[1].step is None:
            return None
        key = self._column(*found)
        if found[1].column.kind != Kind.INTEGER or found[1].step > 1:
            width = exp.convert(_plain(found[1].step))
            key = exp.Floor(this=exp.Div(this=key, expression=width.copy()))
            key = exp.Mul(this=key, expression=width)
        return self._grouped("histogram", place, [key])

    def _top(self, table: str) -> Query | None:
        place = self._place(table)
        key = self._pick(place, lambda c: len(c.values) > 5)
        if key is None:
            return None
        measure, additive, _ = self._measure(place)
        if not additive:
            measure = _share()
        select = self._filtered(self._select(place, [self._column(*key)], measure), place)
        order = [exp.Ordered(this=exp.column("value"), desc=True, nulls_first=False)]
        select = select.order_by(*order, exp.column("k1")).limit(TOP)
        return self._query(f"top {TOP}", place, select, 1, True)

    def _total(self, table: str) -> Query | None:
        place = self._place(table)
        condition = self._condition(place)
        measure, additive, _ = self._measure(place, shares=False)
        if condition is None or (additive and not place.scales):
            return None
        select = self._select(place, [], measure).where(condition)
        return self._query("total", place, select, 0, additive)

    def _frequent(self, table: str) -> Query | None:
        place = self._place(table)
        key = self._pick(place, lambda c: len(c.values) > 5)
        if key is None:
            return None
        select = self._filtered(self._select(place, [self._column(*key)], _share()), place)
        least = exp.GTE(this=exp.column("value"), expression=exp.convert(0.05))
        select.set("qualify", exp.Qualify(this=least))
        return self._query("frequent groups", place, select, 1, True)

    def _children(self, parent: str) -> Query | None:
        relations = [
            r
            for r in self.graph.children_of(parent)
            if r == self.graph.owner_of(r.child) and not self.graph.tables[parent].keep
        ]
        if not relations:
            return None
        relation = relations[self.rng.integers(len(relations))]
        place = _Place([parent, relation.child])
        per = exp.Count(this=self._name(relation.child, relation.columns[0]))
        capped = exp.Anonymous(this="least", expressions=[per, exp.convert(MOST_CHILDREN)])
        keys = [self._name(parent, column) for column in relation.key]
        inner = (
            exp.select(exp.alias_(capped, "children", quoted=True))
            .from_(self._table(parent))
            .join(self._table(relation.child), on=self._on(relation), join_type="left")
            .group_by(*keys)
        )
        if self.rng.random() < 0.5:
            inner = self._filtered(inner, _Place([parent]))
        outer = (
            exp.select(
                exp.alias_(exp.column("children", quoted=True), "k1"),
                exp.alias_(exp.Count(this=exp.Star()), "rows", quoted=True),
                exp.alias_(_share(), "value", quoted=True),
            )
            .from_(inner.subquery("parents"))
            .group_by(exp.column("children", quoted=True))
        )
        return self._query("children per parent", place, outer, 1, True)

    # The parts that they share.

    def _place(self, table: str) -> _Place:
        """The table, in about half of the cases with one or two of its parents or grandparents."""
        place = _Place([table])
        for chance in (0.6, 0.4):
            near = [
                relation
                for name in place.tables
                for relation in self.graph.parents_of(name)
                if relation.parent not in place.tables and self.facts.get(relation.parent)
            ]
            if not near or self.rng.random() >= chance:
                break
            relation = near[self.rng.integers(len(near))]
            place.tables.append(relation.parent)
            place.joins.append(relation)
            owned = relation == self.graph.owner_of(relation.child)
            place.scales &= owned or self.graph.tables[relation.parent].keep
        return place

    def _pick(
        self, place: _Place, fits: Callable[[ColumnFacts], bool]
    ) -> tuple[str, ColumnFacts] | None:
        """A column of one of the place's tables that plays no part yet.

        Columns of few values come first: most reports break down by these.
        """
        for table in self.rng.permutation(place.tables).tolist():
            found = [
                known
                for name, known in self.facts[table].items()
                if fits(known) and (table, name) not in place.used
            ]
            if found:
                chances = np.array([1 / np.sqrt(max(len(known.values), 2)) for known in found])
                known = found[self.rng.choice(len(found), p=chances / chances.sum())]
                place.used.add((table, known.column.name))
                return table, known
        return None

    def _grouped(self, kind: str, place: _Place, keys: list[exp.Expr]) -> Query | None:
        measure, additive, conditional = self._measure(place)
        select = self._select(place, keys, measure)
        # Without a filter, a count by one key says nothing of how columns go together.
        chance = 0.7 if additive and len(keys) == 1 else 0.3
        if not conditional and self.rng.random() < chance:
            select = self._filtered(select, place)
        return self._query(kind, place, select, len(keys), additive)

    def _measure(self, place: _Place, *, shares: bool = True) -> tuple[exp.Expr, bool, bool]:
        """What is computed of a group, whether it adds up, and whether it holds a condition."""
        draw = self.rng.random()
        has_number = draw < 0.35 or 0.6 <= draw < 0.8
        number = self._pick(place, lambda c: c.is_measure) if has_number else None
        if number is not None and draw < 0.35:
            return exp.Avg(this=self._column(*number)), False, False
        if draw < 0.5 and (condition := self._condition(place)) is not None:
            case = exp.Case(default=exp.convert(0)).when(condition, exp.convert(1))
            return exp.Avg(this=case), False, True
        if shares and (not place.scales or draw < 0.6):
            return _share(), True, False
        if number is not None and draw < 0.8:
            return exp.Sum(this=self._column(*number)), True, False
        links = [r for r in self.graph.parents_of(place.tables[0]) if len(r.columns) == 1]
        if links and draw < 0.88:
            link = links[self.rng.integers(len(links))]
            column = self._name(place.tables[0], link.columns[0])
            return exp.Count(this=exp.Distinct(expressions=[column])), True, False
        return exp.Count(this=exp.Star()), True, False

    def _select(self, place: _Place, keys: list[exp.Expr], measure: exp.Expr) -> exp.Select:
        select = exp.select(
            *(exp.alias_(key, f"k{i}", quoted=True) for i, key in enumerate(keys, 1)),
            exp.alias_(exp.Count(this=exp.Star()), "rows", quoted=True),
            exp.alias_(measure, "value", quoted=True),
        ).from_(self._table(place.tables[0]))
        for relation in place.joins:
            select = select.join(self._table(relation.parent), on=self._on(relation))
        return select.group_by(*(key.copy() for key in keys)) if keys else select

    def _filtered(self, select: exp.Select, place: _Place) -> exp.Select:
        condition = self._condition(place)
        return select if condition is None else select.where(condition)

    def _condition(self, place: _Place) -> exp.Expr | None:
        """An equality, a short list or a range, by protected values and round thresholds."""
        found = self._pick(place, lambda c: c.is_dimension or bool(c.thresholds) or c.is_time)
        if found is None:
            return None
        known = found[1]
        if known.is_dimension:
            count = min(int(self.rng.integers(1, 4)), len(known.values) - 1, FEW)
            ranks = np.arange(1, min(len(known.values), FEW) + 1)
            chances = (1 / ranks) / (1 / ranks).sum()
            picked = sorted(self.rng.choice(len(ranks), size=count, replace=False, p=chances))
            values = [exp.convert(_plain(known.values[i])) for i in picked]
            column = self._column(*found)
            if len(values) == 1:
                return exp.EQ(this=column, expression=values[0])
            return exp.In(this=column, expressions=values)
        if known.is_time:
            share = self.rng.uniform(0.2, 0.8)
            start = moment(known.low + share * (known.high - known.low)).date()
            if known.high - known.low > 120 * 86400:
                start = start.replace(day=1)
            bound: exp.Expr = exp.cast(exp.Literal.string(start.isoformat()), "DATE")
            left = self._time(*found)
        else:
            level = known.thresholds[self.rng.integers(len(known.thresholds))]
            bound, left = exp.convert(_plain(level)), self._column(*found)
        return (exp.GTE if self.rng.random() < 0.5 else exp.LT)(this=left, expression=bound)

    def _query(
        self, kind: str, place: _Place, select: exp.Select, keys: int, additive: bool
    ) -> Query | None:
        asked = {table for table, _ in place.used} | {r.child for r in place.joins}
        if not asked >= {relation.parent for relation in place.joins}:
            return None  # a join that nothing is asked of is no question of its own
        return Query(
            kind=f"{kind}, joined" if place.joins else kind,
            tables=tuple(place.tables),
            sql=select.sql(dialect="duckdb"),
            keys=tuple(f"k{i}" for i in range(1, keys + 1)),
            measures={"value": additive},
        )

    def _table(self, name: str) -> exp.Table:
        quoted = (exp.to_identifier(part, quoted=True) for part in (name, self.dataset))
        this, db = quoted
        return exp.Table(this=this, db=db)

    def _name(self, table: str, column: str) -> exp.Column:
        return exp.column(column, table=table, quoted=True)

    def _column(self, table: str, known: ColumnFacts) -> exp.Expr:
        return self._name(table, known.column.name)

    def _time(self, table: str, known: ColumnFacts) -> exp.Expr:
        """A time column as a time; kept as text, it is read by its format."""
        column = self._column(table, known)
        if known.column.format is None:
            return column
        form = exp.Literal.string(known.column.format)
        return exp.Anonymous(this="strptime", expressions=[column, form])

    def _on(self, relation: Relation) -> exp.Expr:
        return exp.and_(
            *(
                exp.EQ(
                    this=self._name(relation.child, column),
                    expression=self._name(relation.parent, key),
                )
                for column, key in zip(relation.columns, relation.key, strict=True)
            )
        )


def _share() -> exp.Expr:
    """A group's share of all rows."""
    whole = exp.Window(this=exp.Sum(this=exp.Count(this=exp.Star())))
    return exp.Div(
        this=exp.Mul(this=exp.Count(this=exp.Star()), expression=exp.convert(1.0)),
        expression=whole,
    )


def _plain(value: Any) -> Any:
    """A whole float as an integer, so that SQL reads as people write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
