"""What a number is often equal or close to: another column, or a sum or difference of two.

A settled loan has paid back its very amount, a payment settles last month's very bill, this month's
balance is last month's and a little. Bins would miss that by a few cents each time, so "as there"
becomes a token of its own, and "as there, and that much more" a token after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.schema import ColumnSchema, canonical_expr
from aigc_pipeline.spec import Kind

SHARE = 0.01  # of rows that must be equal, zeros not counted
OVER_CHANCE = 5.0  # times as many as rows put together at random
MAX_COPIES = 3
MAX_NEAR = 3
MAX_SUMMANDS = 24  # columns among which sums of two are looked for
LEAST_NEAR = 0.05  # of rows, for a column to be looked at as close
LEAST_GAIN = 0.08  # nats a row, for a difference to be worth a token
LEAST_FINENESS = 0.27  # nats a row, by which fine bins of the offset fit better than coarse ones
ROWS = 20_000


@dataclass(frozen=True)
class Reference:
    """One column, or two with signs: the value that another column may repeat."""

    columns: tuple[ColumnSchema, ...]
    signs: tuple[int, ...]

    def values(self, df: pl.DataFrame) -> np.ndarray:
        """The value in each row, float64 [rows]; NaN where a column is missing."""
        return self.total(
            {c.name: df.select(canonical_expr(c)).to_series().to_numpy() for c in self.columns}
        )

    def total(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The value in each row, from the columns' values by name, float64 [rows]."""
        parts = [s * values[c.name] for s, c in zip(self.signs, self.columns, strict=True)]
        return np.sum(parts, axis=0)

    @property
    def names(self) -> set[str]:
        """The columns it needs."""
        return {c.name for c in self.columns}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        columns = [c.model_dump(mode="json") for c in self.columns]
        return {"columns": columns, "signs": list(self.signs)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Reference:
        """The reference `to_json` described."""
        columns = tuple(ColumnSchema.model_validate(c) for c in state["columns"])
        return cls(columns, tuple(int(s) for s in state["signs"]))


@dataclass(frozen=True)
class Near:
    """A reference whose value another column is often close to, by difference or by ratio."""

    reference: Reference
    ratio: bool

    def offset(self, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Where values lie relative to the reference's, float64; NaN where there is no answer.

        The difference, or the logarithm of the ratio of two positive values.
        """
        if not self.ratio:
            return own - other
        positive = (own > 0) & (other > 0)
        ratio = np.divide(own, other, out=np.ones(len(own)), where=positive)
        return np.where(positive, np.log(ratio), np.nan)

    def value(self, offset: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The values that lie there, float64."""
        return other * np.exp(offset) if self.ratio else other + offset

    def breadth(self, low: np.ndarray, high: np.ndarray, own: np.ndarray) -> np.ndarray:
        """How much room offsets from low to high leave a value near `own`."""
        return (high - low) * np.abs(own) if self.ratio else high - low


@dataclass(frozen=True)
class Related:
    """What a column's codec is told of earlier columns: what it repeats, what it is close to."""

    copies: tuple[Reference, ...] = ()
    near: tuple[Near, ...] = ()

    @property
    def names(self) -> set[str]:
        """The columns it needs."""
        references = (*self.copies, *(near.reference for near in self.near))
        return set().union(*(reference.names for reference in references))


def with_related(names: set[str], related: Mapping[str, Related]) -> set[str]:
    """Columns, and all that follow them or that they follow, by however many steps."""
    links = [{name, *told.names} for name, told in related.items()]
    while more := set().union(*(link for link in links if link & names)) - names:
        names = names | more
    return names


def find_related(
    df: pl.DataFrame, columns: list[ColumnSchema], known: Collection[str] = ()
) -> dict[str, Related]:
    """By column, references among the columns before it that its values often meet.

    columns: numeric ones, in the order in which the model sees them. known: those that are given,
    so that it does not matter what they follow.
    """
    df = df.head(ROWS)
    values = {c.name: df.select(canonical_expr(c)).to_series().to_numpy() for c in columns}
    shuffled = np.random.default_rng(0).permutation(len(df))
    found: dict[str, Related] = {}
    for position, column in enumerate(columns):
        if column.name in known:
            continue
        dated = column.kind == Kind.DATETIME
        earlier = [c for c in columns[:position] if (c.kind == Kind.DATETIME) == dated]
        own = values[column.name]
        todo = (own != 0) & ~np.isnan(own)
        singles = [Reference((c,), (1,)) for c in earlier]
        copies: list[Reference] = []
        for pool in (singles, [] if dated else _sums([c for c in earlier if c.name not in known])):
            for _ in range(MAX_COPIES - len(copies)):
                best = _best_copy(own, todo, pool, values, shuffled)
                if best is None:
                    break
                copies.append(best)
                todo = todo & ~_same(own, _evaluate(best, values))
        candidates = [Near(reference, False) for reference in singles]
        if not dated:
            candidates += [Near(reference, True) for reference in singles]
            candidates += [Near(reference, False) for reference in _moves(found, earlier)]
        near: list[Near] = []
        while len(near) < MAX_NEAR:
            closest = _nearest(own, todo, candidates, values, shuffled)
            if closest is None:
                break
            near.append(closest)
            candidates.remove(closest)
            todo = todo & ~_close(closest, own, _evaluate(closest.reference, values), todo)
        if copies or near:
            found[column.name] = Related(tuple(copies), tuple(near))
    return found


def _sums(columns: list[ColumnSchema]) -> list[Reference]:
    pool = columns[:MAX_SUMMANDS]
    pairs = [(a, b) for a in pool for b in pool if a.name != b.name]
    sums = [Reference((a, b), (1, 1)) for a, b in pairs if a.name < b.name]
    return sums + [Reference((a, b), (1, -1)) for a, b in pairs]


def _moves(found: dict[str, Related], columns: list[ColumnSchema]) -> list[Reference]:
    """How much a column is above another one that it is close to, as a reference."""
    moves = []
    for column in columns:
        for near in found[column.name].near if column.name in found else ():
            if len(near.reference.columns) == 1 and not near.ratio:
                moves.append(Reference((column, *near.reference.columns), (1, -1)))
    return moves


def _evaluate(reference: Reference, values: dict[str, np.ndarray]) -> np.ndarray:
    parts = [s * values[c.name] for s, c in zip(reference.signs, reference.columns, strict=True)]
    return parts[0] if len(parts) == 1 else np.add(*parts)


def _same(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Equal but for the rounding of a sum."""
    return np.abs(own - other) <= 1e-9 * np.maximum(np.abs(own), 1.0)


def _best_copy(
    own: np.ndarray,
    todo: np.ndarray,
    pool: list[Reference],
    values: dict[str, np.ndarray],
    shuffled: np.ndarray,
) -> Reference | None:
    """The reference that most rows in `todo` repeat, if that is more than chance explains."""
    best, most = None, SHARE
    for reference in pool:
        other = _evaluate(reference, values)
        chosen = todo
        if len(reference.columns) == 2:  # with a part that is zero it is no sum
            first, second = (values[c.name] for c in reference.columns)
            chosen = todo & (first != 0) & (second != 0)
        share = float(np.mean(_same(own, other) & chosen))
        if share > most:
            chance = float(np.mean(_same(own, other[shuffled]) & todo))
            if share >= OVER_CHANCE * chance:
                best, most = reference, share
    return best


def _nearest(
    own: np.ndarray,
    todo: np.ndarray,
    pool: list[Near],
    values: dict[str, np.ndarray],
    shuffled: np.ndarray,
) -> Near | None:
    """The reference to which the offsets are densest, compared with the values themselves."""
    best, most = None, LEAST_GAIN
    if todo.sum() < 1000:
        return None
    for near in pool:
        other = _evaluate(near.reference, values)
        # Rows put together at random tell what a column gains that is merely small, or coarse.
        gain = _gain(near, own, other, todo) - _gain(near, own, other[shuffled], todo)
        if gain > most and _fineness(near, own, other, todo) >= LEAST_FINENESS:
            best, most = near, gain
    return best


def _fineness(near: Near, own: np.ndarray, other: np.ndarray, todo: np.ndarray) -> float:
    """Mean log density of offsets in 150 bins over that in 12, on rows the bins were not cut from.

    A mere dependence between two columns has a smooth distribution of offsets, which the network
    learns by itself; ridges and edges are what a token has to tell it.
    """
    offset = near.offset(own, other)
    offset = offset[todo & ~np.isnan(offset) & (offset != 0)]
    if len(offset) < 600:
        return 0.0
    return _log_density(offset[::2], offset[1::2], 150) - _log_density(
        offset[::2], offset[1::2], 12
    )


def _log_density(seen: np.ndarray, held_out: np.ndarray, bins: int) -> float:
    """Mean log density of held-out values within the range seen, by quantile bins."""
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, bins + 1)))
    share = np.histogram(seen, edges)[0] / len(seen)
    inside = held_out[(held_out >= edges[0]) & (held_out <= edges[-1])]
    at = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(share) - 1)
    return float(np.log(np.maximum(share, 1e-9) / np.diff(edges))[at].mean())


def _gain(near: Near, own: np.ndarray, other: np.ndarray, todo: np.ndarray) -> float:
    """Mean over rows of log(density of the offset / density of the value), where positive."""
    known, ratio = _ratio(near, own, other, todo)
    return float(np.log(ratio).clip(min=0).sum() / len(own)) if known.mean() >= LEAST_NEAR else 0.0


def _close(near: Near, own: np.ndarray, other: np.ndarray, todo: np.ndarray) -> np.ndarray:
    """Rows whose offset is denser than their value, bool [rows]."""
    known, ratio = _ratio(near, own, other, todo)
    close = np.zeros(len(own), dtype=bool)
    close[known] = ratio > 1
    return close


def _ratio(
    near: Near, own: np.ndarray, other: np.ndarray, todo: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows in `todo` with an offset, bool [rows], and how many times denser it is there."""
    offset = near.offset(own, other)
    known = todo & ~np.isnan(offset) & (offset != 0)
    if known.sum() < 100:
        return known, np.ones(int(known.sum()))
    values = np.log(own[known]) if near.ratio else own[known]
    return known, _widths(values) / _widths(offset[known])


def _widths(values: np.ndarray, bins: int = 100) -> np.ndarray:
    """Width of the quantile bin each value lies in: one over its density, up to a factor."""
    edges = np.quantile(values, np.linspace(0, 1, bins + 1))
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    spread = max(float(edges[-1] - edges[0]), 1e-12)
    return np.maximum(np.diff(edges), spread * 1e-6)[at]
