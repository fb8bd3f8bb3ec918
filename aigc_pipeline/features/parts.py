"""Tokens beside a number's own: what other column it repeats or is close to, how round it is.

The bin of a number says where it lies; within a bin it would be drawn blindly. Two smaller columns
of tokens say more where the data have more to say, and the network learns them like any column.
Both come before the bin. A number that follows from another column by its *relation* keeps its bin
too: no value is drawn from that, but it tells later columns where the number lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.linalg import block_diag

from aigc_pipeline.features.codec import Part, Subjects
from aigc_pipeline.features.ordered import RULED_WIDTH, Spans, cut, order_features, softened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aigc_pipeline.features.number import NumberCodec
    from aigc_pipeline.features.reference import Near, Reference, Related

LEAST_NEAR = 0.03  # of rows, for differences to be told
MAX_NEAR = 100  # bins of a difference


class NumberPart(Part):
    """Tokens that say more of a number.

    Token 0 says nothing: the number is missing, a frequent value, or drawn from its bin.
    """

    def __init__(self, number: NumberCodec, marginal: np.ndarray) -> None:
        super().__init__(number, marginal)
        self.number = number


class Roundness(NumberPart):
    """Which level of its grid a number is on: token 1 + level."""

    name = "roundness"

    @classmethod
    def fit(cls, number: NumberCodec, df: pl.DataFrame) -> Roundness:
        """Count the levels of a column's numbers; the grid of `number` has more than one."""
        part = cls(number, np.ones(len(number.grid.steps) + 1))
        counts = np.bincount(part.encode(df), minlength=part.size)
        part.marginal = np.maximum(counts, 0.1) / np.maximum(counts, 0.1).sum()
        return part

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        units, present = self.number.units(df)
        in_bin = present & ~self.number.spans.single[self.number.spans.find(units)]
        if self.number.relation is not None:
            in_bin &= ~self.number.relation.repeats(self.number.relation.encode(df))
        return np.where(in_bin, self.number.grid.level(units) + 1, 0).astype(np.int32)

    def allows(self) -> np.ndarray:
        """Which number tokens go with which level, bool [levels + 1, number tokens]."""
        number = self.number
        allowed = np.zeros((self.size, number.size), dtype=bool)
        allowed[0] = True
        bins = number.first + number.spans.bins
        if number.relation is None:
            allowed[0, bins] = False
        low, high = number.spans.low[number.spans.bins], number.spans.high[number.spans.bins]
        rng = np.random.default_rng(0)
        for level in range(len(number.grid.steps)):
            at = np.full(len(low), level)
            allowed[1 + level, bins] = number.grid.draw(low, high, at, rng)[1]
        return allowed


class Relation(NumberPart):
    """What other value a number follows: [none, equal to reference r…, so much above reference r…].

    A difference is told only where that says more than the number's own bin, the wider of the two.
    copies: references that are repeated. near: references with the bins of the differences.
    """

    name = "relation"

    def __init__(
        self,
        number: NumberCodec,
        copies: list[Reference],
        near: list[tuple[Near, Spans]],
        marginal: np.ndarray,
    ) -> None:
        super().__init__(number, marginal)
        self.copies, self.near = copies, near

    @classmethod
    def fit(
        cls, number: NumberCodec, df: pl.DataFrame, related: Related, subjects: Subjects, bins: int
    ) -> Relation | None:
        """Cut the differences into bins; None where nothing is worth telling."""
        part = cls(number, list(related.copies), [], np.ones(1 + len(related.copies)))
        for near in related.near:
            free = part.encode(df) == 0
            spans = _fit_near(number, df, near, free, subjects, bins)
            if spans is not None:
                part.near.append((near, spans))
        size = 1 + len(part.copies) + sum(len(spans) for _, spans in part.near)
        counts = np.maximum(np.bincount(part.encode(df), minlength=size), 0.1)
        return cls(number, part.copies, part.near, counts / counts.sum()) if size > 1 else None

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        tokens = np.zeros(len(df), dtype=np.int32)
        units, present = self.number.units(df)
        for index, reference in enumerate(self.copies, start=1):
            other, known = _units(self.number, reference, df)
            equal = known & present & (units == other) & (units != 0)
            tokens[equal & (tokens == 0)] = index
        start = 1 + len(self.copies)
        for near, spans in self.near:
            offset, told = _offsets(self.number, near, df)
            told &= (tokens == 0) & _tells(self.number, near, spans, offset, units)
            tokens[told] = start + spans.find(offset[told])
            start += len(spans)
        return tokens

    @property
    def names(self) -> set[str]:
        """The columns it refers to."""
        references = [*self.copies, *(near.reference for near, _ in self.near)]
        return set().union(*(reference.names for reference in references))

    def repeats(self, tokens: np.ndarray) -> np.ndarray:
        """Rows that are equal to a reference, bool [rows]."""
        return (tokens > 0) & (tokens <= len(self.copies))

    def apply(
        self,
        units: np.ndarray,
        tokens: np.ndarray,
        level: np.ndarray,
        row: pl.DataFrame,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units where tokens name a reference that is present, and the rows where they do.

        level: of roundness, int64 [rows], for what is near a reference.
        """
        number, moved = self.number, units.copy()
        told = np.zeros(len(tokens), dtype=bool)
        for index, reference in enumerate(self.copies, start=1):
            other, known = _units(number, reference, row)
            here = known & (tokens == index)
            moved[here], told = other[here], told | here
        start = 1 + len(self.copies)
        bounds = int(number.spans.low.min()), int(number.spans.high.max())
        for near, spans in self.near:
            other = near.reference.values(row)
            here = ~np.isnan(other) & (tokens >= start) & (tokens < start + len(spans))
            at = tokens[here] - start
            drawn = self._draw_near(near, spans, at, other[here], level[here], rng)
            moved[here], told = np.clip(drawn, *bounds), told | here
            start += len(spans)
        return moved, told

    def middle(self, tokens: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """About what a number is by its relation, float64 [rows]; NaN where that does not say.

        values: of the columns referred to, by name.
        """
        found = np.full(len(tokens), np.nan)
        for index, reference in enumerate(self.copies, start=1):
            here = tokens == index
            if here.any():
                found[here] = reference.total(values)[here]
        start = 1 + len(self.copies)
        for near, spans in self.near:
            here = (tokens >= start) & (tokens < start + len(spans))
            if here.any():
                at = tokens[here] - start
                offset = (spans.low[at] + spans.high[at]) / 2 / _scale(self.number, near)
                found[here] = near.value(offset, near.reference.total(values)[here])
            start += len(spans)
        return found

    def _draw_near(
        self,
        near: Near,
        spans: Spans,
        at: np.ndarray,
        other: np.ndarray,
        level: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A value in units for each span of offsets, on the level of roundness asked for."""
        grid, scale = self.number.grid, _scale(self.number, near)
        units = np.zeros(len(at), dtype=np.int64)
        todo = np.arange(len(at))
        for _ in range(5):
            low, high = spans.low[at[todo]], spans.high[at[todo]]
            offset = (low + rng.random(len(todo)) * (high - low)) / scale
            drawn = grid.to_units(near.value(offset, other[todo]))
            units[todo] = grid.snap(drawn, level[todo])
            if len(grid.steps) == 1:
                break
            todo = todo[grid.level(units[todo]) != level[todo]]
        return units

    def allows(self) -> np.ndarray:
        """Which number tokens go with which relation, bool [size, number tokens]."""
        allowed = np.ones((self.size, self.number.size), dtype=bool)
        allowed[1:, : self.number.first] = False  # what is missing follows nothing
        return allowed

    def basis(self) -> np.ndarray | None:
        flags = 1 + len(self.copies)
        blocks = [np.eye(flags, dtype=np.float32)]
        start = flags
        for _, spans in self.near:
            ordered = order_features(self.marginal[start : start + len(spans)])
            blocks.append(np.pad(ordered, ((0, 0), (0, 1)), constant_values=1.0))
            start += len(spans)
        return block_diag(*blocks).astype(np.float32)

    def smoothing(self) -> np.ndarray | None:
        target = np.eye(self.size, dtype=np.float32)
        start = 1 + len(self.copies)
        for _, spans in self.near:
            part = slice(start, start + len(spans))
            if len(spans.bins) >= 12:
                target[part, part] = softened(self.marginal[part], spans.bins, RULED_WIDTH)
            start += len(spans)
        return target if self.near else None


def _units(
    number: NumberCodec, reference: Reference, df: pl.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """A reference's values in the number's units, and where they are known."""
    values = reference.values(df)
    known = ~np.isnan(values)
    return number.grid.to_units(np.where(known, values, 0.0)), known


def _scale(number: NumberCodec, near: Near) -> float:
    """Offsets are cut as whole numbers: in units of the number, or in millionths of a ratio."""
    return 1e6 if near.ratio else 10.0**number.grid.decimals


def _offsets(number: NumberCodec, near: Near, df: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from a reference, scaled, int64 [rows], and where there is one."""
    units, present = number.units(df)
    offset = near.offset(number.grid.to_values(units), near.reference.values(df))
    known = present & ~np.isnan(offset)
    scaled = np.where(known, offset, 0.0) * _scale(number, near)
    return np.rint(scaled).astype(np.int64), known


def _tells(
    number: NumberCodec, near: Near, spans: Spans, offset: np.ndarray, units: np.ndarray
) -> np.ndarray:
    """Whether an offset lies in a bin of offsets that is narrower than the number's own bin."""
    own = number.spans.find(units)
    wide = (number.spans.high[own] - number.spans.low[own]) / 10.0**number.grid.decimals
    at = spans.find(offset)
    inside = (offset >= spans.low[at]) & (offset <= spans.high[at])
    low, high = spans.low[at] / _scale(number, near), spans.high[at] / _scale(number, near)
    return inside & (near.breadth(low, high, number.grid.to_values(units)) < wide)


def _fit_near(
    number: NumberCodec,
    df: pl.DataFrame,
    near: Near,
    free: np.ndarray,
    subjects: Subjects,
    max_bins: int,
) -> Spans | None:
    """Bins of the offsets from a reference, among rows that are free for it."""
    units, _ = number.units(df)
    offset, known = _offsets(number, near, df)
    free = free & known & ~number.spans.single[number.spans.find(units)]
    spans, close = None, free
    for _ in range(3):  # which rows are close depends on the bins, and the bins on the rows
        if close.sum() < max(LEAST_NEAR * len(df), 20 * subjects.minimum):
            return None
        chosen = np.flatnonzero(close)
        bins = min(max_bins, MAX_NEAR, max(len(chosen) // 40, 10))
        spans = Spans(*cut(offset[chosen], subjects.take(chosen), 1, bins))
        if not len(spans):
            return None
        close = free & _tells(number, near, spans, offset, units)
    return spans if close.sum() >= LEAST_NEAR * len(df) else None
