"""Rows of which some cells are known: the tokens these fix, and guesses at what they leave open.

A known value fixes its tokens, but for two things: which combination it belongs to, where only some
columns of a fixed combination are known; and what a number follows, where that is missing. (Is this
payment last month's bill? Then the bill is this very amount.) `propose` guesses both, and says how
likely the guess was, so that an importance weight sets it right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.codec import Codec, Part
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.features.parts import Relation
from aigc_pipeline.features.reference import Near, Reference
from aigc_pipeline.features.table import TableCodec
from aigc_pipeline.schema import canonical_expr

Masks = dict[int, np.ndarray]  # by codec position, the tokens that may be drawn, bool [size]


@dataclass
class Known:
    """Known cells of rows, and the tokens they fix.

    cells: the learned columns in the source's dtypes; null where missing or open.
    given: by column, where a cell is known (a null there is known to be missing), bool [rows].
    tokens: int32 [rows, codecs]; -1 where open.
    unlearned: by column or columns, where a known value is none that was learned, bool [rows]. A
    number then counts as the nearest one that was, a category as a rare one where there were any;
    what still has no token fixes none.
    """

    codec: TableCodec
    cells: pl.DataFrame
    given: dict[str, np.ndarray]
    tokens: np.ndarray
    unlearned: dict[str, np.ndarray]

    @classmethod
    def read(cls, codec: TableCodec, cells: pl.DataFrame, given: dict[str, np.ndarray]) -> Known:
        """The tokens that known cells fix."""
        tokens = np.full((len(cells), len(codec.codecs)), -1, dtype=np.int32)
        known = cls(codec, cells, given, tokens, {})
        for each in codec.codecs:
            if not isinstance(each, Part):
                here = known._all_given(each)
                encoded, learned, usable = _encode(each, cells)
                known.unlearned[", ".join(each.columns)] = here & ~learned
                tokens[:, known._at(each)] = np.where(here & usable, encoded, -1)
                known._fix_parts(each)
        return known

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def fixed(self) -> np.ndarray:
        """The tokens that a model must draw, int32 [rows, codecs]; -1 where it is free.

        A number that follows another has its value from that, whatever its bin, so its bin is free:
        how well the model knows it says nothing of how likely the value is.
        """
        fixed = self.tokens.copy()
        for number in self._numbers():
            if number.relation is not None:
                fixed[self.tokens[:, self._at(number.relation)] > 0, self._at(number)] = -1
        return fixed

    def take(self, rows: np.ndarray) -> Known:
        """A selection of rows, int64 [n]; a row may be taken more than once."""
        given = {name: each[rows] for name, each in self.given.items()}
        unlearned = {name: each[rows] for name, each in self.unlearned.items()}
        return Known(self.codec, self.cells[rows], given, self.tokens[rows], unlearned)

    @property
    def is_settled(self) -> bool:
        """Whether the known cells leave nothing open of themselves."""
        followers = (self._open(n, n.relation).any() for n in self._numbers() if n.relation)
        return not any(followers) and not any(self._partly(c).any() for c in self._categories())

    def propose(self, masks: Masks, rng: np.random.Generator) -> tuple[Known, np.ndarray]:
        """One guess a row at what is open; and what to add to a log weight for it, float64 [rows].

        masks: tokens that a guess must keep to. The weight is the density of the known and guessed
        values under their tokens, over the guess's own probability.
        """
        guess = Known(self.codec, self.cells, dict(self.given), self.tokens.copy(), self.unlearned)
        chance = np.zeros(len(self))
        for category in self._categories():
            chance += guess._guess_combination(category, masks, rng)
        followed: dict[int, np.ndarray] = {}
        # What a number follows comes before it, and may follow something in turn.
        for number in reversed(self._numbers()):
            if number.relation is not None:
                told, log_chance = guess._guess_relation(number, number.relation, rng)
                followed[self._at(number.relation)] = told
                chance += log_chance
        possible = np.ones(len(self), dtype=bool)
        for number in self._numbers():
            possible &= guess._fix_guessed(number)
        for at, told in followed.items():  # a guess that the cells do not bear out is none
            possible &= (told < 0) | (guess.tokens[:, at] == told)
        weight = np.where(possible, guess.log_density() - chance, -np.inf)
        return guess, weight

    def log_density(self) -> np.ndarray:
        """Log probability of the known numbers where their tokens leave a choice, [rows]."""
        total = np.zeros(len(self))
        for number in self._numbers():
            at = self._at(number)
            present = self.tokens[:, at] >= number.first
            span = np.where(present, self.tokens[:, at] - number.first, 0)
            level = np.zeros(len(self), dtype=np.int64)
            if number.roundness is not None:
                level = np.maximum(self.tokens[:, self._at(number.roundness)] - 1, 0)
            step = _steps(number)[level]
            low, high = number.spans.low[span] / step, number.spans.high[span] / step
            choices = np.floor(high + 1e-9) - np.ceil(low - 1e-9) + 1
            units, _ = number.units(self.cells)
            density = number.common.log_density(units, number.cells(span, level), choices)
            density[number.spans.single[span]] = 0.0
            if number.relation is not None:
                told = self.tokens[:, self._at(number.relation)]
                density[number.relation.repeats(told)] = 0.0
                for _, near, start, stop in _references(number.relation):
                    here = (told >= start) & (told < stop)
                    if near is not None and here.any():
                        low, high = _offsets(number, number.relation, near, told[here] - start)
                        breadth = near.breadth(low, high, self._values(number)[here])
                        choices = breadth * 10.0**number.grid.decimals / step[here]
                        density[here] = -np.log(np.maximum(choices, 1))
            total += np.where(present, density, 0.0)
        return total

    def _numbers(self) -> list[NumberCodec]:
        return [codec for codec in self.codec.codecs if isinstance(codec, NumberCodec)]

    def _categories(self) -> list[CategoryCodec]:
        return [codec for codec in self.codec.codecs if isinstance(codec, CategoryCodec)]

    def _at(self, codec: Codec) -> int:
        return next(i for i, each in enumerate(self.codec.codecs) if each is codec)

    def _all_given(self, codec: Codec) -> np.ndarray:
        return np.logical_and.reduce([self.given[c] for c in codec.columns])

    def _values(self, number: NumberCodec) -> np.ndarray:
        """A column's known numbers, float64 [rows]; NaN where there is none."""
        return self.cells.select(canonical_expr(number.column)).to_series().to_numpy()

    def _missing(self, reference: Reference) -> np.ndarray:
        """How many of a reference's columns are not known, int64 [rows]."""
        return np.sum([~self.given[name] for name in reference.names], axis=0)

    def _fix_parts(self, codec: Codec) -> None:
        """Fix the tokens of a known value's parts where they follow from what is known."""
        usable = self.tokens[:, self._at(codec)] >= 0
        for part in codec.parts()[:-1]:
            self.tokens[:, self._at(part)] = np.where(usable, part.encode(self.cells), -1)
        if isinstance(codec, NumberCodec) and codec.relation is not None:
            unsure = self._open(codec, codec.relation)
            for part in codec.parts()[:-1]:
                self.tokens[unsure, self._at(part)] = -1

    def _open(self, number: NumberCodec, relation: Relation) -> np.ndarray:
        """Rows where a number is known and may follow what is not, bool [rows]."""
        present = self.tokens[:, self._at(number)] >= number.first
        told = relation.encode(self.cells)
        unsure = np.zeros(len(self), dtype=bool)
        for reference, _, start, _ in _references(relation):  # the first that holds is told
            unsure |= ((told == 0) | (start < told)) & (self._missing(reference) > 0)
        return unsure & present

    # Combinations

    def _partly(self, codec: CategoryCodec) -> np.ndarray:
        """Rows where some columns of a combination are known and others are not, bool [rows]."""
        flags = np.stack([self.given[c] for c in codec.columns])
        return np.logical_and(flags.any(0), ~flags.all(0))

    def _guess_combination(
        self, codec: CategoryCodec, masks: Masks, rng: np.random.Generator
    ) -> np.ndarray:
        """Choose among the combinations that hold what is known, by their share; log chances."""
        chance, partly = np.zeros(len(self)), self._partly(codec)
        if not partly.any():
            return chance
        frame, usable = codec.frame(), codec.drawable()
        for part in codec.parts():
            if self._at(part) in masks:
                usable &= masks[self._at(part)][part.encode(frame)]
        values = np.flatnonzero(usable)
        vocabulary = frame[values].with_columns(pl.Series("__value", values))
        flags = np.stack([self.given[c] for c in codec.columns])
        for pattern in np.unique(flags[:, partly], axis=1).T:
            names = [c for c, known in zip(codec.columns, pattern, strict=True) if known]
            rows = np.flatnonzero((flags == pattern[:, None]).all(0))
            fitting = vocabulary.group_by(names, maintain_order=True).agg("__value")
            keys = fitting.drop("__value").with_row_index("__key")
            known = self.cells.select(names)[rows]
            found = known.join(keys, on=names, how="left", nulls_equal=True, maintain_order="left")
            key_of = found["__key"]
            chance[rows[key_of.is_null().to_numpy()]] = np.inf  # a combination not learned
            for key in key_of.drop_nulls().unique(maintain_order=True):
                chosen = rows[(key_of == key).fill_null(False).to_numpy()]
                choices = fitting["__value"][key].to_numpy()
                shares = codec.shares[choices] / codec.shares[choices].sum()
                drawn = rng.choice(len(choices), len(chosen), p=shares)
                guessed = frame[choices[drawn]]
                for part in codec.parts():
                    self.tokens[chosen, self._at(part)] = part.encode(guessed)
                chance[chosen] = np.log(shares[drawn])
        return chance

    # Numbers that follow others

    def _guess_relation(
        self, number: NumberCodec, relation: Relation, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose what numbers follow, and work out the missing number from that.

        Returns the chosen tokens, -1 where nothing was open, and log chances; [rows] each. The sum
        of two missing numbers is not among the choices.
        """
        told, chance = np.full(len(self), -1), np.zeros(len(self))
        rows = np.flatnonzero(self._open(number, relation))
        if not len(rows):
            return told, chance
        sure = relation.encode(self.cells[rows])
        shares = np.zeros((len(rows), relation.size))
        shares[np.arange(len(rows)), sure] = relation.marginal[sure]
        for reference, _, start, stop in _references(relation):
            solvable = (self._missing(reference)[rows] == 1) & ((sure == 0) | (start < sure))
            shares[solvable, start:stop] = relation.marginal[start:stop]
        total = shares.cumsum(1)
        drawn = (total <= rng.random((len(rows), 1)) * total[:, -1:]).sum(1)
        told[rows] = drawn
        chance[rows] = np.log(shares[np.arange(len(rows)), drawn] / total[:, -1])
        for reference, near, start, stop in _references(relation):
            chosen = rows[(drawn >= start) & (drawn < stop) & (drawn != sure)]
            if len(chosen) and near is None:
                chance[chosen] += self._solve(number, relation, reference, None, chosen, rng)
            elif len(chosen):
                # Which span of offsets it is follows from the value, not from the one drawn first.
                chance[chosen] = -np.log(total[np.isin(rows, chosen), -1])
                chance[chosen] += self._solve(number, relation, reference, near, chosen, rng)
                said = relation.encode(self.cells[chosen])
                told[chosen] = np.where((said >= start) & (said < stop), said, relation.size)
        return told, chance

    def _solve(
        self,
        number: NumberCodec,
        relation: Relation,
        reference: Reference,
        near: Near | None,
        rows: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Set a reference's one missing column so that a number follows it; log chances [n].

        near: what the number is near to, by an offset that is drawn; without, it is equal. The
        chance of a value is the mass of the offsets that lead to it.
        """
        chance, wanted = np.zeros(len(rows)), self._values(number)[rows]
        missing = {c.name: ~self.given[c.name][rows] for c in reference.columns}
        by_name = {n.columns[0]: n for n in self._numbers()}
        if near is not None:
            low, high, mass = _spans(number, relation, near)
            span = rng.choice(len(mass), len(rows), p=mass / mass.sum())
            offset = low[span] + rng.random(len(rows)) * (high - low)[span]
            wanted = wanted * np.exp(-offset) if near.ratio else wanted - offset
        for column, sign in zip(reference.columns, reference.signs, strict=True):
            here, target = missing[column.name], by_name[column.name]
            if not here.any():
                continue
            rest = np.zeros(len(rows))
            for other, factor in zip(reference.columns, reference.signs, strict=True):
                if other.name != column.name:
                    rest += factor * self._values(by_name[other.name])[rows]
            value = (sign * (wanted - rest))[here]
            possible = np.isfinite(value)
            units = target.grid.to_units(np.where(possible, value, 0.0))
            if near is not None:
                level = np.zeros(len(units), dtype=np.int64)
                if target.roundness is not None:  # people's round numbers are guessed as such
                    shares = target.roundness.marginal[1:] / target.roundness.marginal[1:].sum()
                    level = rng.choice(len(shares), len(level), p=shares)
                    chance[here] += np.log(shares[level])
                units = target.grid.snap(units, level)
                possible &= target.grid.level(units) == level
                half = 0.5 * _steps(target)[level] / 10.0**target.grid.decimals
                middle = sign * target.grid.to_values(units) + rest[here]
                own = self._values(number)[rows[here]]
                least, most = near.offset(own, middle + half), near.offset(own, middle - half)
                most = np.where(np.isnan(most), np.inf, most)  # a ratio to what may be zero
                unit = 1e-6 if near.ratio else 10.0**-number.grid.decimals  # of offsets
                start, stop = low - unit / 2, high + unit / 2
                shared = np.minimum(stop, most[:, None]) - np.maximum(start, least[:, None])
                share = (mass / (stop - start) * shared.clip(min=0)).sum(1)
                possible &= share > 0
                chance[here] += np.log(np.where(share > 0, share, 1.0))
            values = np.full(len(self), np.nan)
            values[rows[here]] = target.grid.to_values(units)
            filled = self.cells[column.name].fill_null(target.to_column(values))
            self.cells = self.cells.with_columns(filled)
            self.given[column.name] = self.given[column.name].copy()
            self.given[column.name][rows[here]] = True
            possible &= self._fix_guessed(target)[rows[here]]
            chance[np.flatnonzero(here)[~possible]] = np.inf
        return chance

    def _fix_guessed(self, number: NumberCodec) -> np.ndarray:
        """Fix a number's tokens by its known and guessed values; where it can have these, [rows].

        Whether it follows anything that is still open has been guessed by now.
        """
        guessed = self.given[number.columns[0]] & (self.tokens[:, self._at(number)] < 0)
        encoded, learned, usable = _encode(number, self.cells)
        known = (self.tokens[:, self._at(number)] >= 0) | (guessed & usable)
        for part in number.parts():
            at = self._at(part)
            tokens = encoded if part is number else part.encode(self.cells)
            self.tokens[:, at] = np.where(known, tokens, self.tokens[:, at])
        wrong = self.unlearned.get(number.columns[0])
        return ~guessed | learned if wrong is None else ~guessed | learned | wrong


def _references(relation: Relation) -> Iterator[tuple[Reference, Near | None, int, int]]:
    """Each reference of a relation with the tokens that name it, as [start, stop)."""
    for start, reference in enumerate(relation.copies, start=1):
        yield reference, None, start, start + 1
    start = 1 + len(relation.copies)
    for near, spans in relation.near:
        yield near.reference, near, start, start + len(spans)
        start += len(spans)


def _offsets(
    number: NumberCodec, relation: Relation, near: Near, span: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of spans of offsets, as numbers or as logarithms of a ratio."""
    spans = next(spans for other, spans in relation.near if other is near)
    scale = 1e6 if near.ratio else 10.0**number.grid.decimals
    return spans.low[span] / scale, spans.high[span] / scale


def _spans(
    number: NumberCodec, relation: Relation, near: Near
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends of all spans of offsets, and their shares of the rows; [spans] each."""
    start, stop = next((a, b) for _, other, a, b in _references(relation) if other is near)
    low, high = _offsets(number, relation, near, np.arange(stop - start))
    return low, high, relation.marginal[start:stop]


def _steps(number: NumberCodec) -> np.ndarray:
    """Size of each level of roundness in units, float64 [levels]."""
    return np.array([n * 10.0**number.grid.decimals / d for n, d in number.grid.steps])


def _encode(codec: Codec, cells: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens; where each row's values can be drawn; and where they have a token; [rows] each."""
    tokens = codec.encode(cells)
    if isinstance(codec, NumberCodec):
        units, present = codec.units(cells)
        missing = cells[codec.columns[0]].is_null().to_numpy()
        inside = np.zeros(len(units), dtype=bool)
        if len(codec.spans):
            span = codec.spans.find(units)
            inside = codec.spans.low[span] == units
            if len(codec.spans.bins):
                low = codec.spans.low[codec.spans.bins[0]]
                high = codec.spans.high[codec.spans.bins[-1]]
                inside |= ~codec.spans.single[span] & (units >= low) & (units <= high)
        learned = np.where(missing, codec.first == 1, inside & present)
        return tokens, learned, learned | present
    if not isinstance(codec, CategoryCodec):
        raise TypeError(f"no column of its own: {codec.type_name}")
    same = codec.frame()[codec.index(cells)]
    equal = [same[c].eq_missing(cells[c]).to_numpy() for c in codec.columns]
    learned = np.logical_and.reduce(equal) & codec.drawable()[codec.index(cells)]
    # A rare category has the token of all rare ones, if that one may be drawn.
    return tokens, learned, learned | (codec.has_other & bool(codec.drawable()[-1]))
