"""The children of all owners, one step after the other: what comes next, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.features.category import polars_dtype
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.features.table import holds
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.relations.graph import Relation
from aigc_pipeline.relations.history import History, previous_name, room, with_weekdays
from aigc_pipeline.relations.links import gather
from aigc_pipeline.relations.plan import (
    FIRST,
    GAP,
    LEFT,
    ORPHAN,
    OWNER,
    POSITION,
    PRESENT,
    ROOM,
    ROWS,
    Fitted,
    TablePlan,
)
from aigc_pipeline.relations.repeats import Repeats
from aigc_pipeline.relations.so_far import SoFar
from aigc_pipeline.relations.strays import draw_sizes, fill_orphans, from_text
from aigc_pipeline.schema import canonical_expr
from aigc_pipeline.sources import apply_derive
from aigc_pipeline.spec import TableSpec

CHUNK = 2048  # rows drawn at a time, by one core
ATTEMPTS = 10  # draws of a row that breaks a rule, before the history ends with the one before
HISTORIES = 2  # of an owner, before what does not fit in the time that is left is squeezed in

Rows = tuple[np.ndarray, pl.DataFrame]  # each row's owner, its number in `rows`; and the rows


@dataclass(frozen=True)
class Children:
    """Rows made under owners, by owner and in order.

    owner: the owner's row, -1 where there is none; position: from 0; state, group: of the owner
    that is not there.
    """

    rows: pl.DataFrame
    owner: np.ndarray
    position: np.ndarray
    state: np.ndarray
    group: np.ndarray

    def with_orphans(
        self, frame: pl.DataFrame, owner: Relation, plan: TablePlan, rng: np.random.Generator
    ) -> pl.DataFrame:
        """The frame with references to owners that are not there, where there are to be some."""
        at = np.flatnonzero(self.state == ORPHAN)
        if not len(at):
            return frame
        groups = np.unique(self.group[at], return_inverse=True)[1]
        if plan.orphan_values:
            chosen = rng.integers(0, len(plan.orphan_values), int(groups.max()) + 1)[groups]
            made = []
            for i, column in enumerate(owner.columns):
                text = pl.Series([plan.orphan_values[c][i] for c in chosen])
                values = pl.select(from_text(text, frame[column].dtype)).to_series()
                made.append(frame[column].scatter(at, values))
            return frame.with_columns(made)
        return frame.with_columns(
            fill_orphans(frame[column], at, groups, frame[column]) for column in owner.columns
        )


def make_children(
    plan: TablePlan,
    spec: TableSpec,
    model: Fitted,
    context: Mapping[str, pl.Series],
    counts: np.ndarray,
    entropy: list[int],
) -> Children:
    """All rows of a table that has an owner.

    context: by wide name, the known column for each row of the owner's table. counts: how many
    children each of these has. Rows that break a rule are drawn again, and so is a history that
    cannot go on; what still does not fit in the time there is is squeezed into it, or left out.
    """
    return Maker(plan, spec, model, context, counts, entropy).children()


class Maker:
    """Makes the children of all owners (see `make_children`).

    given: with `noting`, what the rows of each step were made with: tokens of known columns, int32
    [rows, known], and the context, float32 [rows, features], if there is one.
    """

    def __init__(
        self,
        plan: TablePlan,
        spec: TableSpec,
        model: Fitted,
        context: Mapping[str, pl.Series],
        counts: np.ndarray,
        entropy: list[int],
        *,
        noting: bool = False,
    ) -> None:
        self.plan, self.spec, self.entropy = plan, spec, entropy
        self.codec, self.generator = model.codec, model.generator
        owners = len(counts)
        rng = np.random.default_rng([*entropy, 2])
        state = [np.full(owners, PRESENT, dtype=object)]
        rows = [counts.astype(np.int64)]
        for what, sizes in plan.strays.items():
            drawn = draw_sizes(sizes, owners, rng)
            rows.append(drawn)
            state.append(np.full(len(drawn), what, dtype=object))
        self.rows, self.state = np.concatenate(rows), np.concatenate(state)
        self.noting = noting
        self.given: list[tuple[np.ndarray, np.ndarray | None]] = []
        self.owner = np.concatenate([np.arange(owners), np.full(len(self.rows) - owners, -1)])
        known = [gather(values, self.owner).alias(name) for name, values in context.items()]
        if OWNER in self.codec.known:
            known.append(pl.Series(OWNER, self.state.tolist(), dtype=pl.String))
        self.known = [c for c in self.codec.schema.columns if c.name in self.codec.known]
        self.context = with_weekdays(pl.DataFrame(known), self.known)
        # What is known of the owner does not change from row to row: it is encoded once.
        self.encoded = {
            i: each.encode(self.context)
            for i, each in enumerate(self.codec.codecs[: self.codec.known_tokens])
            if set(each.columns) <= set(self.context.columns)
        }
        self.time = next(
            (c for c in self.codec.codecs if isinstance(c, NumberCodec) and c.columns == [FIRST]),
            None,
        )

    def children(self) -> Children:
        groups = np.flatnonzero(self.rows > 0)
        if self.plan.history:
            parts = self._histories(groups)
        else:
            parts = [self._step(np.repeat(groups, self.rows[groups]), 0, 0, None)]
        group = np.concatenate([of for of, _ in parts])
        step = np.concatenate([np.full(len(of), n) for n, (of, _) in enumerate(parts)])
        frame = pl.concat([rows for _, rows in parts])
        order = np.lexsort((step, group))
        group = group[order]
        first = np.searchsorted(group, group, side="left")
        generated = [
            g.make(0, len(frame), np.random.default_rng([*self.entropy, 6]))
            for g in self.codec.generated
        ]
        return Children(
            frame[order].with_columns(generated),
            self.owner[group],
            np.arange(len(group)) - first,
            self.state[group],
            group,
        )

    def _histories(self, groups: np.ndarray) -> list[Rows]:
        """All rows of some owners, one part a step.

        A history that ends too early is made anew, for whoever has it would have too few rows.
        """
        done: list[Rows] = []
        for attempt in range(HISTORIES):
            parts = self._steps(groups, attempt)
            made = np.bincount(np.concatenate([of for of, _ in parts]), minlength=len(self.rows))
            short = groups[made[groups] < self.rows[groups]]
            if attempt == HISTORIES - 1:
                short = short[:0]
            for step, (of, rows) in enumerate(parts):
                whole = ~np.isin(of, short)
                part = of[whole], rows.filter(pl.Series(whole))
                if step < len(done):
                    before = done[step]
                    done[step] = (
                        np.concatenate([before[0], part[0]]),
                        pl.concat([before[1], part[1]]),
                    )
                else:
                    done.append(part)
            if not len(short):
                break
            groups = short
        return done

    def _steps(self, groups: np.ndarray, attempt: int) -> list[Rows]:
        """Row by row, those of owners whose history goes on."""
        plan = self.plan
        columns = {c.name: c for c in [*self.codec.schema.columns, *plan.columns.columns]}
        history = History(len(self.rows), plan.history, [columns[c] for c in plan.means])
        self.repeats = Repeats(plan.repeats)
        self.so_far = SoFar(plan, self.codec, len(self.rows))
        parts = [self._step(groups, 0, attempt, history)]
        while len(parts[-1][0]):
            step, (kept, rows) = len(parts), parts[-1]
            history.add(kept, rows)
            self.repeats.add(kept, rows)
            self.so_far.add(kept, rows)
            going_on = kept[self.rows[kept] > step]
            if not len(going_on):
                break
            parts.append(self._step(going_on, step, attempt, history))
        return parts

    def _step(self, groups: np.ndarray, step: int, attempt: int, history: History | None) -> Rows:
        """A row for each of some groups; and the groups that got one."""
        known = self.context[groups]
        if history is not None:
            dtypes = {c.name: polars_dtype(c.dtype) for c in self.plan.columns.columns}
            dtypes |= {GAP: pl.Float64()}
            before = history.of(groups, dtypes)
            place = {POSITION: np.full(len(groups), step), ROWS: self.rows[groups]}
            place[LEFT] = self.rows[groups] - step
            before = with_weekdays(before, self.known)
            known = pl.concat([known, before, pl.DataFrame(place)], how="horizontal")
            if self.plan.bound is not None and self.plan.order is not None:
                end = self.codec.schema[self.plan.bound]
                last = known[previous_name(self.plan.order)]
                left = room(known[end.name], end, last, self.plan.columns[self.plan.order])
                known = known.with_columns(left.alias(ROOM))
        given = np.full((len(groups), len(self.codec.codecs)), -1, dtype=np.int32)
        for i, each in enumerate(self.codec.codecs[: self.codec.known_tokens]):
            given[:, i] = self.encoded[i][groups] if i in self.encoded else each.encode(known)
        context = None if history is None else self.so_far.of(groups)
        todo = np.arange(len(groups))
        made: list[pl.DataFrame] = []
        places: list[np.ndarray] = []
        for again in range(ATTEMPTS):
            seed = [*self.entropy, 7, step, attempt, again]
            under = None if context is None else context[todo]
            rows = self._draw(known[todo], given[todo], under, seed)
            rows, good = self._timed(rows, known[todo], step)
            good &= self._keeps(rows, groups[todo])
            if history is not None and again < ATTEMPTS - 1:
                rng = np.random.default_rng([*seed, 2])
                good &= self.repeats.accept(groups[todo], rows, step, rng)
            made.append(rows.filter(pl.Series(good)))
            places.append(todo[good])
            todo, late = todo[~good], rows.filter(pl.Series(~good))
            if not len(todo):
                break
        if len(todo) and attempt == HISTORIES - 1:
            rows, good = self._squeezed(late, known[todo], seed)
            good &= self._keeps(rows, groups[todo])
            made.append(rows.filter(pl.Series(good)))
            places.append(todo[good])
        at = np.concatenate(places)
        order = np.argsort(at)
        at, known_tokens = at[order], self.codec.known_tokens
        if self.noting:
            self.given.append((given[at, :known_tokens], None if context is None else context[at]))
        return groups[at], pl.concat(made)[order]

    def _draw(
        self, known: pl.DataFrame, given: np.ndarray, context: np.ndarray | None, seed: list[int]
    ) -> pl.DataFrame:
        """Rows as the model makes them, in batches; only what is drawn."""
        starts = range(0, len(given), CHUNK)

        def draw(start: int) -> np.ndarray:
            part = given[start : start + CHUNK]
            under = None if context is None else context[start : start + CHUNK]
            drawn = self.generator.sample(len(part), seed=[*seed, start], given=part, context=under)
            return drawn.tokens

        with make_pool(cores()) as pool:
            tokens = np.concatenate([np.zeros_like(given[:0]), *pool.map(draw, starts)])
        rows = self.codec.decode(tokens, np.random.default_rng([*seed, 1]), known=known)
        return rows.drop(self.codec.known)

    def _timed(
        self, rows: pl.DataFrame, known: pl.DataFrame, step: int
    ) -> tuple[pl.DataFrame, np.ndarray]:
        """The rows with their ordering column, and which of them have a place in the order."""
        good = np.ones(len(rows), dtype=bool)
        order = self.plan.order
        if order is None or self.time is None or not self.plan.history:
            return rows, good
        column = self.plan.columns[order]
        if GAP not in rows.columns:
            rows = rows.with_columns(rows[FIRST].alias(order))
            numbers = rows.select(canonical_expr(column)).to_series().to_numpy()
            good = np.isfinite(numbers)
            if step > 0:
                before = known.select(pl.col(previous_name(order)).alias(order))
                least = before.select(canonical_expr(column)).to_series().to_numpy()
                good &= numbers > least if self.plan.apart else numbers >= least
        elif step == 0:
            rows = rows.with_columns(rows[FIRST].alias(order), pl.lit(None, pl.Float64).alias(GAP))
            good = rows[order].is_not_null().to_numpy()
        else:
            before = known.select(pl.col(previous_name(order)).alias(order))
            numbers = before.select(canonical_expr(column)).to_series().to_numpy()
            numbers = numbers + rows[GAP].cast(pl.Float64).fill_null(np.nan).to_numpy()
            good = np.isfinite(numbers)
            if self.plan.apart:
                good &= rows[GAP].cast(pl.Float64).fill_null(0.0).to_numpy() > 0
            grid = self.time.grid
            numbers = grid.to_values(grid.to_units(np.where(good, numbers, 0.0)))
            rows = rows.with_columns(self.time.to_column(numbers).alias(order))
        if self.plan.order_end is not None:
            numbers = rows.select(canonical_expr(column)).to_series().to_numpy()
            good &= np.nan_to_num(numbers, nan=np.inf) <= self.plan.order_end
        return rows, good

    def _squeezed(
        self, rows: pl.DataFrame, known: pl.DataFrame, seed: list[int]
    ) -> tuple[pl.DataFrame, np.ndarray]:
        """The rows at a random time in their part of what is left before the owner's bound."""
        order, time = self.plan.order, self.time
        if order is None or time is None or ROOM not in known.columns:
            return rows, np.zeros(len(rows), dtype=bool)
        before = known.select(pl.col(previous_name(order)).alias(order))
        start = before.select(canonical_expr(self.plan.columns[order])).to_series()
        started = start.is_not_null().to_numpy()
        part = np.nan_to_num((known[ROOM] / known[LEFT]).to_numpy().astype(np.float64))
        gap = part * np.random.default_rng(seed).random(len(rows))
        moment = start.fill_null(0.0).to_numpy() + gap
        moment = time.grid.to_values(time.grid.to_units(moment))
        gap = moment - start.fill_null(0.0).to_numpy()
        rows = rows.with_columns(time.to_column(moment).alias(order))
        if GAP in rows.columns:
            gaps = pl.Series(GAP, np.where(started, gap, np.nan), nan_to_null=True)
            rows = rows.with_columns(gaps)
        return rows, (gap > 0) | (~started & (gap >= 0)) if self.plan.apart else gap >= 0

    def _keeps(self, rows: pl.DataFrame, groups: np.ndarray) -> np.ndarray:
        """Which rows keep the table's rules, those that name the owner's columns too."""
        rules = [c for c in self.spec.constraints if c.less_equal or c.less_than]
        if not rules:
            return np.ones(len(rows), dtype=bool)
        whole = rows.with_columns(self.context[groups].get_columns())
        inherited = [
            whole[name].alias(c)
            for c in self.plan.inherited
            for name in [f"{self.plan.owner}.{c}"]
            if name in whole.columns
        ]
        whole = whole.with_columns(inherited)
        present = set(whole.columns)
        derived = [c for c in self.spec.derive if c not in present]
        if derived and set(self.plan.columns.names) <= present | set(derived):
            whole = apply_derive(whole, self.spec, self.plan.columns)
        known = {c.name: c for c in [*self.codec.schema.columns, *self.plan.columns.columns]}
        checks = [holds(rule, known) for rule in rules if set(rule.columns()) <= set(whole.columns)]
        if not checks:
            return np.ones(len(rows), dtype=bool)
        return whole.select(pl.all_horizontal(checks)).to_series().to_numpy()
