"""Batches of synthetic rows that keep every constraint and meet every condition, exactly.

Conditions on all rows (`where`) restrict the tokens while sampling; each row then carries the
probability of having been allowed (`Draw.log_weight`), and is accepted in proportion to it, which
yields the true conditional distribution without repeating rows. What tokens cannot express (part of
a bin, a derived column, an inequality between columns) is checked on the decoded row. Work is
bounded: a condition that the model all but never meets is an error. Conditions on each row are for
`completion`; shares of values (`balance`) are drawn value by value.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.conditions import check_names, check_where, condition_expr, typed_cells
from aigc_pipeline.features.known import Known
from aigc_pipeline.generators.base import Draw, Generator
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources.derive import dtype_named
from aigc_pipeline.spec import Balance, Where
from aigc_pipeline.synthesis.balance import Cell, find_cells, whole_counts
from aigc_pipeline.synthesis.completion import LEAST_RATE, Completer, holds

BATCH = 8192
# Candidates to look at before giving up on a condition that hardly any row meets, and on one that
# none has met: where LEAST_RATE of them did, that would happen once in three thousand times.
HOPELESS = 40 * BATCH
NONE_YET = 10 * BATCH
PILOT = 2 * BATCH  # rows that say how often values come together


@dataclass(frozen=True)
class Sampler:
    """A fitted codec and generator, ready to make rows."""

    codec: TableCodec
    generator: Generator

    def batches(
        self,
        rows: int | None,
        *,
        seed: int,
        where: Where | None = None,
        balance: Balance | None = None,
        conditions: pl.DataFrame | None = None,
        stream: str = "",
        progress: Progress = silent,
    ) -> Iterator[pl.DataFrame]:
        """Frames of at most 8,192 rows in the source's schema, `rows` in all.

        where: what all rows meet. balance: by column, the share of some values; the others keep
        their proportions. conditions: one row for each row to make, with the values it has in some
        columns; null is missing there, and a column left out is free. They set the number of rows.
        The same seed and stream (a scenario's or table's name) give the same rows.

        Raises InputError for an unknown column, or a condition that is (almost) never met.
        """
        entropy = [seed, zlib.crc32(stream.encode())]
        check_where(where or {}, self.codec.schema)
        if conditions is not None:
            if balance:
                raise InputError("conditions and balance do not go together; give one of them")
            if rows not in (None, len(conditions)):
                raise InputError(
                    f"{rows} rows are asked for, but there are {len(conditions)} rows of"
                    " conditions; leave out the number of rows"
                )
            rows = len(conditions)
            frames = self._under(conditions, where or {}, entropy)
        elif rows is None:
            raise InputError("the number of rows is missing")
        elif balance:
            frames = self._balanced(rows, balance, where or {}, entropy)
        else:
            frames = self._frames(rows, entropy, where)
        made = 0
        for number, frame in enumerate(frames):
            yield self.codec.complete(frame, made, np.random.default_rng([*entropy, number, 2]))
            made += len(frame)
            progress(f"{made:,} of {rows:,} rows", made / rows)

    def table(
        self,
        rows: int | None = None,
        *,
        seed: int,
        where: Where | None = None,
        balance: Balance | None = None,
        conditions: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """All rows at once."""
        options = {"where": where, "balance": balance, "conditions": conditions}
        return pl.concat(self.batches(rows, seed=seed, **options))  # type: ignore[arg-type]

    def _frames(
        self,
        rows: int,
        entropy: list[int],
        where: Where | None = None,
        beside: Where | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Learned and derived columns of rows. beside: what no row meets."""
        allowed = self._allowed(where)
        keeps = self.codec.satisfied(where)
        for name, condition in (beside or {}).items():
            keeps &= ~condition_expr(self.codec.schema[name], condition)
        ceiling = self._ceiling(entropy, allowed)

        def draw(number: int) -> Draw:
            return self.generator.sample(BATCH, seed=[*entropy, number], allowed=allowed)

        made = tried = number = 0
        coming: deque[Future[Draw]] = deque()
        # A batch a core at a time, and only batches that will surely be needed.
        with make_pool(cores()) as pool:
            while made < rows:
                while len(coming) <= min((rows - made - 1) // BATCH, cores()):
                    coming.append(pool.submit(draw, number + len(coming)))
                drawn = coming.popleft().result()
                rng = np.random.default_rng([*entropy, number, 1])
                tried, number = tried + BATCH, number + 1
                accepted = np.log(1 - rng.random(BATCH)) + ceiling < drawn.log_weight
                frame = self.codec.decode(drawn.tokens[accepted], rng).filter(keeps)
                frame = frame.head(rows - made)
                enough = HOPELESS if made + len(frame) else NONE_YET
                if tried >= enough and made + len(frame) < LEAST_RATE * tried:
                    raise InputError(
                        f"the condition is met by {made + len(frame)} of {tried:,} sampled rows, "
                        "too few to go on; widen it, or check it against the constraints"
                    )
                if len(frame):
                    yield frame
                    made += len(frame)

    def _allowed(self, where: Where | None) -> dict[int, np.ndarray]:
        """The tokens that may be drawn. Raises InputError where there are none."""
        allowed = self.codec.allowed(where)
        for position, mask in allowed.items():
            if not mask.any():
                names = ", ".join(self.codec.codecs[position].columns)
                raise InputError(
                    f"where.{names}: no value that was learned meets the condition (values of "
                    "fewer than min_subjects subjects are not learned); widen it"
                )
        return allowed

    def _ceiling(self, entropy: list[int], allowed: dict[int, np.ndarray]) -> float:
        """A bound on the log weights, from a pilot batch: accepting against it wastes fewer rows.

        A row above the bound is accepted once, so the bound is taken generously.
        """
        if not allowed:
            return 0.0
        pilot = self.generator.sample(BATCH, seed=[*entropy, 2**31], allowed=allowed)
        probability = np.exp(pilot.log_weight).mean()
        # A value may be rare by itself; values that all but exclude each other are an error.
        apart = np.prod([self.codec.codecs[i].marginal[mask].sum() for i, mask in allowed.items()])
        if probability < LEAST_RATE * apart:
            raise InputError(
                f"the model gives the condition a probability of {probability:.1g}, too "
                "small to sample from; widen it"
            )
        return min(float(pilot.log_weight.max()) + 0.1, 0.0)

    def _balanced(
        self, rows: int, balance: Balance, where: Where, entropy: list[int]
    ) -> Iterator[pl.DataFrame]:
        """Rows of each kind that a balance tells apart, in exact numbers, mixed."""
        for name in balance:
            if name in where:
                raise FieldError([(("balance", name), "it has a condition too; keep one of them")])
        pilot = pl.concat(self._frames(PILOT, [*entropy, 1, 1, 1], where))
        cells = find_cells(balance, pilot, self.codec.schema)
        counts = whole_counts(np.array([cell.share for cell in cells]), rows)
        order = np.repeat(np.arange(len(cells)), counts).astype(np.int32)
        np.random.default_rng([*entropy, 1, 1, 2]).shuffle(order)
        stocks = [
            _Stock(self._of(cell, int(counts[i]), where, [*entropy, 1, 1, 3 + i]))
            for i, cell in enumerate(cells)
        ]
        for start in range(0, rows, BATCH):
            kinds = order[start : start + BATCH]
            parts = [stock.take(int((kinds == i).sum())) for i, stock in enumerate(stocks)]
            place = np.empty(len(kinds), dtype=np.int64)
            place[np.argsort(kinds, kind="stable")] = np.arange(len(kinds))
            yield pl.concat(part for part in parts if len(part))[place]

    def _of(
        self, cell: Cell, rows: int, where: Where, entropy: list[int]
    ) -> Iterator[pl.DataFrame]:
        """Rows of one kind. Raises InputError that names its values' columns."""
        try:
            yield from self._frames(rows, entropy, {**where, **cell.where}, cell.beside)
        except InputError as error:
            names = ", ".join(cell.where or cell.beside)
            raise InputError(f"balance.{names}: {error}") from error

    def _under(
        self, conditions: pl.DataFrame, where: Where, entropy: list[int]
    ) -> Iterator[pl.DataFrame]:
        """Rows that have the values of a frame of conditions."""
        schema = self.codec.schema
        check_names(conditions.columns, schema, ("conditions",))
        for name in conditions.columns:
            if name in where:
                raise FieldError([(("where", name), "conditions name it too; keep one of them")])
        cells = typed_cells(conditions, schema, ("conditions",))
        learned = self.codec.learned
        given = {name: np.full(len(cells), name in cells.columns) for name in learned}
        known = Known.read(self.codec, fill_columns(cells, learned, schema), given)
        for name, odd in known.unlearned.items():
            if odd.any():
                raise InputError(
                    f"conditions.{name}: row {int(odd.argmax()) + 1} has a value that was not "
                    "learned (values of fewer than min_subjects subjects are not); change it"
                )
        derived = [name for name in cells.columns if name not in learned]
        keeps = self.codec.satisfied(where)

        def kept(frame: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
            same = [frame[name].eq_missing(cells[name][rows]).to_numpy() for name in derived]
            return np.logical_and.reduce([holds(frame, keeps), *same])

        completer = Completer(self.codec, self.generator, self._allowed(where))
        yield from completer.frames(known, kept, entropy)


class _Stock:
    """Rows that come in frames, taken in other numbers."""

    def __init__(self, frames: Iterator[pl.DataFrame]) -> None:
        self.frames = frames
        self.rest = pl.DataFrame()

    def take(self, rows: int) -> pl.DataFrame:
        """The next rows."""
        parts = [self.rest]
        while sum(map(len, parts)) < rows:
            parts.append(next(self.frames))
        together = pl.concat(part for part in parts if part.width) if rows else self.rest
        self.rest = together[rows:]
        return together[:rows]


def fill_columns(cells: pl.DataFrame, names: list[str], schema: TableSchema) -> pl.DataFrame:
    """The columns of these names, null throughout where there are none."""
    missing = [
        pl.lit(None, dtype=dtype_named(schema[name].dtype)).alias(name)
        for name in names
        if name not in cells.columns
    ]
    return cells.with_columns(missing).select(names)
