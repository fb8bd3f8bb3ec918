"""Rows of which some cells are known, completed by a model: sampling-importance-resampling.

A family draws the open cells under the known ones and says how likely the latter were along the
way (`Draw.log_weight`). Of several candidates a row, one is kept with a chance in proportion to
that (Rubin 1988), which tends to the model's true conditional distribution as candidates grow. Rows
whose candidates are worth too few equal ones (Kish's effective sample size) get more, up to a
bound. A family that cannot draw under given tokens is asked for a pool of rows to find them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.known import Known, Masks
from aigc_pipeline.generators.base import Draw, Generator

BATCH = 8192
BLOCK = 2048  # rows completed at a time
CANDIDATES = (4, 28, 96, 384)  # a row, round by round, as long as they do not suffice
EFFECTIVE = 10.0  # equal candidates that suffice
TRIES = 30  # rows completed, for one that keeps every rule
POOL = 16 * BATCH
# A condition that is so many times less likely than its values by themselves is an error.
LEAST_RATE = 1e-4

Keeps = Callable[[pl.DataFrame, np.ndarray], np.ndarray]


@dataclass
class Choice:
    """Candidates chosen so far, one a row, and how the others fared.

    log_sum, log_squares: of all candidates' weights and their squares, float64 [rows].
    """

    tokens: np.ndarray
    cells: pl.DataFrame
    log_sum: np.ndarray
    log_squares: np.ndarray
    count: np.ndarray

    @property
    def suffices(self) -> np.ndarray:
        """Rows whose candidates are worth enough equal ones, or are all alike, bool [rows]."""
        with np.errstate(invalid="ignore"):
            effective = np.exp(2 * self.log_sum - self.log_squares)
        return np.greater_equal(effective, np.minimum(EFFECTIVE, 0.95 * self.count))

    @property
    def chance(self) -> np.ndarray:
        """Log of the candidates' mean weight: the known values' probability, float64 [rows]."""
        return self.log_sum - np.log(np.maximum(self.count, 1))


@dataclass
class Completer:
    """A fitted codec and generator that complete rows.

    allowed: by codec position, the tokens that may be drawn where nothing is known, bool [size].
    strict: whether a row that the model gives no chance is an error; else it is completed from what
    the columns before it in the model say.
    """

    codec: TableCodec
    generator: Generator
    allowed: Masks
    strict: bool = True

    def frames(self, known: Known, keeps: Keeps, entropy: list[int]) -> Iterator[pl.DataFrame]:
        """Learned and derived columns of completed rows, in frames of at most 2,048.

        keeps: which rows of a finished frame are as they must be; with their positions in `known`,
        int64 [n]. Raises InputError for a row that cannot be completed so.
        """
        for start in range(0, len(known), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(known)))
            yield self._block(known.take(rows), rows, keeps, [*entropy, start + 1])

    def _block(
        self, known: Known, rows: np.ndarray, keeps: Keeps, entropy: list[int]
    ) -> pl.DataFrame:
        made: pl.DataFrame | None = None
        pending = np.arange(len(rows))
        for attempt in range(1, TRIES + 1):
            some = known.take(pending)
            choice = self._choose(some, [*entropy, attempt])
            if self.strict and attempt == 1:
                self._check_chances(some, choice, rows)
            rng = np.random.default_rng([*entropy, attempt, 1])
            frame = self.codec.decode(choice.tokens, rng, known=choice.cells)
            if made is None:
                made = frame
            else:
                place = np.arange(len(rows))
                place[pending] = len(rows) + np.arange(len(pending))
                made = pl.concat([made, frame])[place]
            pending = pending[~keeps(frame, rows[pending])]
            if not len(pending):
                break
        if len(pending) and self.strict:
            raise InputError(
                f"row {rows[pending[0]] + 1}: none of {TRIES} rows drawn under its conditions keeps"
                " every constraint and derived column; check it against them"
            )
        assert made is not None  # there is at least one attempt
        return made

    def _choose(self, known: Known, entropy: list[int]) -> Choice:
        """One candidate a row, chosen by weight."""
        rows, settled = len(known), known.is_settled
        nothing = np.full(rows, -np.inf)
        choice = Choice(
            known.tokens, known.cells, nothing, nothing.copy(), np.zeros(rows, dtype=np.int64)
        )
        apart = self._chance_apart(known)
        for turn, number in enumerate(CANDIDATES, start=1):
            # A few candidates that are equally unlikely tell little of what others would be.
            todo = np.flatnonzero(~choice.suffices | (choice.chance - apart < np.log(LEAST_RATE)))
            for start in range(0, len(todo), BATCH // number):
                some = todo[start : start + BATCH // number]
                seed = [*entropy, turn, start + 1]
                self._add(choice, known, some, number, settled, seed)
        hopeless = np.flatnonzero(np.isneginf(choice.log_sum))
        if len(hopeless) and not self.strict:  # no guess at what is open was any good
            left = known.take(hopeless)
            index = np.arange(rows)
            index[hopeless] = rows + np.arange(len(hopeless))
            choice.cells = pl.concat([choice.cells, left.cells])[index]
            choice.tokens[hopeless] = self._draw(left.fixed, [*entropy, 0]).tokens
        return choice

    def _add(
        self,
        choice: Choice,
        known: Known,
        rows: np.ndarray,
        number: int,
        settled: bool,
        seed: list[int],
    ) -> None:
        """Draw more candidates for some rows, and let them compete with the chosen ones."""
        rng = np.random.default_rng([*seed, 1])
        guess, weight = known.take(np.repeat(rows, number)), np.zeros(len(rows) * number)
        if not settled:
            guess, weight = guess.propose(self.allowed, rng)
        draw = self._draw(guess.fixed, seed)
        weight = (weight + draw.log_weight).reshape(len(rows), number)
        best = (weight + rng.gumbel(size=weight.shape)).argmax(1)  # drawn by weight
        log_sum = np.logaddexp.reduce(weight, axis=1)
        total = np.logaddexp(choice.log_sum[rows], log_sum)
        first = choice.count[rows] == 0
        with np.errstate(invalid="ignore"):
            better = np.log(1 - rng.random(len(rows))) < log_sum - total
        taken = first | better
        index = np.arange(len(known))
        index[rows[taken]] = len(known) + np.arange(len(rows))[taken]
        chosen = np.arange(len(rows)) * number + best
        choice.tokens = np.concatenate([choice.tokens, draw.tokens[chosen]])[index]
        choice.cells = pl.concat([choice.cells, guess.cells[chosen]])[index]
        squares = np.logaddexp.reduce(2 * weight, axis=1)
        choice.log_squares[rows] = np.logaddexp(choice.log_squares[rows], squares)
        choice.log_sum[rows] = total
        choice.count[rows] += number

    def _draw(self, given: np.ndarray, seed: list[int]) -> Draw:
        if self.generator.conditional:
            allowed = self.allowed or None
            return self.generator.sample(len(given), seed=seed, allowed=allowed, given=given)
        return match(self._pool, given, np.random.default_rng(seed))

    @cached_property
    def _pool(self) -> np.ndarray:
        """Tokens of rows drawn as they come, int32 [n, codecs]."""
        draws = [
            self.generator.sample(BATCH, seed=[0, at], allowed=self.allowed or None)
            for at in range(1, POOL // BATCH + 1)
        ]
        return np.concatenate([d.tokens[np.isfinite(d.log_weight)] for d in draws])

    def _check_chances(self, known: Known, choice: Choice, rows: np.ndarray) -> None:
        """Raise InputError for a row whose known cells the model all but rules out together."""
        chance = choice.chance
        poor = np.flatnonzero(~(chance - self._chance_apart(known) >= np.log(LEAST_RATE)))
        if not len(poor):
            return
        at = poor[0]
        names = [name for name, given in known.given.items() if given[at]]
        shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        often = "never" if np.isneginf(chance[at]) else "all but never"
        raise InputError(
            f"row {rows[at] + 1}: the model has {often} these values together ({shown});"
            " change one, or leave out a column"
        )

    def _chance_apart(self, known: Known) -> np.ndarray:
        """Log probability of each row's known values, each by itself; float64 [rows]."""
        apart, fixed = known.log_density(), known.fixed
        for at, codec in enumerate(self.codec.codecs):
            tokens = fixed[:, at]
            apart += np.where(tokens >= 0, np.log(np.maximum(codec.marginal[tokens], 1e-12)), 0.0)
        return apart


def holds(frame: pl.DataFrame, rule: pl.Expr) -> np.ndarray:
    """Rows in which a rule holds, bool [rows]."""
    return frame.with_columns(rule.alias("__holds"))["__holds"].to_numpy()


def match(pool: np.ndarray, given: np.ndarray, rng: np.random.Generator) -> Draw:
    """For each row a random one of a pool, int32 [n, codecs], that has its given tokens.

    Weighted by the share of the pool that has them; -inf where none does.
    """
    tokens, weight = given.copy(), np.full(len(given), -np.inf)
    for pattern in np.unique(given >= 0, axis=0):
        rows = np.flatnonzero(((given >= 0) == pattern).all(1))
        columns = [str(at) for at in np.flatnonzero(pattern)]
        keys = pl.DataFrame(given[np.ix_(rows, np.flatnonzero(pattern))], schema=columns)
        offered = pl.DataFrame(pool[:, pattern], schema=columns).with_row_index("__row")
        if columns:
            grouped = offered.group_by(columns, maintain_order=True).agg("__row")
            found = keys.join(grouped, on=columns, how="left", maintain_order="left")["__row"]
        else:
            found = pl.Series([offered["__row"].to_list()] * len(rows))
        count = found.list.len().fill_null(0).to_numpy()
        some = np.flatnonzero(count > 0)
        pick = pl.Series((rng.random(len(some)) * count[some]).astype(np.int64))
        tokens[rows[some]] = pool[found.gather(some).list.get(pick).to_numpy()]
        weight[rows[some]] = np.log(count[some] / len(pool))
    return Draw(tokens, weight)
