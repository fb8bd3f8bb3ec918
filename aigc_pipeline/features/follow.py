"""Where numbers that follow others lie, from tokens alone, and what that says to later columns.

A number that is near another one is drawn relative to it, again and again along a chain: each
month's balance follows the last one's. Its bin says where it then lies, and is worked out, not
drawn, or errors would add up. How far it lies from where the chain began (a balance from its
limit) is told to the network besides: the bins of both hold that only roughly, and it is where
behaviour turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.features.reference import Near

_STEPS = [0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.3, 0.4]
_STEPS += [0.6, 0.8, 1.1, 1.5, 2.0, 3.0]
# Offsets from the root, as logarithms of ratios or in interquartile ranges: fixed, so not learned.
EDGES = np.array([*(-s for s in reversed(_STEPS)), 0.0, *_STEPS])
OFFSETS = len(EDGES) + 2  # the bins between edges, and one for "not known"


@dataclass(frozen=True)
class Follower:
    """A number that other columns refer to, or that refers to them.

    relation: position of its relation's tokens, None where it follows nothing. root: the number
    that its chain begins with, None where it is that.
    """

    number: NumberCodec
    relation: int | None = None
    root: Near | None = None

    @property
    def name(self) -> str:
        """Its column."""
        return self.number.columns[0]


@dataclass
class Places:
    """About where the numbers of some rows lie: the middle of a bin, or of an offset from another.

    followers: by position of their tokens. values: float64 [rows] by column, filled as columns are
    drawn; NaN where missing.
    """

    followers: Mapping[int, Follower]
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def settle(self, at: int, tokens: np.ndarray) -> np.ndarray:
        """Note column `at` of tokens int64 [rows, columns], and return its bins as they follow."""
        follower, own = self.followers[at], tokens[:, at]
        number, span = follower.number, own - follower.number.first
        present = (span >= 0) & (len(number.spans) > 0)
        values = np.full(len(own), np.nan)
        if present.any():
            low, high = (number.grid.to_values(e) for e in (number.spans.low, number.spans.high))
            values[present] = ((low + high) / 2)[span[present]]
            if follower.relation is not None and number.relation is not None:
                found = number.relation.middle(tokens[:, follower.relation], self.values)
                told = present & ~np.isnan(found)
                values[told] = found[told].clip(low.min(), high.max())
                own = own.copy()
                own[told] = number.spans.find(number.grid.to_units(values[told])) + number.first
        self.values[follower.name] = values
        return own

    def offset(self, at: int) -> np.ndarray:
        """Where column `at`, settled, lies from its root: a token in [0, OFFSETS), int64 [rows]."""
        follower = self.followers[at]
        assert follower.root is not None
        offset = follower.root.offset(
            self.values[follower.name], follower.root.reference.total(self.values)
        )
        if not follower.root.ratio:
            offset = offset / _spread(follower.number)
        known = ~np.isnan(offset)
        return np.where(known, np.searchsorted(EDGES, np.where(known, offset, 0.0)) + 1, 0)


def offset_tokens(followers: Mapping[int, Follower], tokens: np.ndarray) -> np.ndarray:
    """The offsets of whole rows, tokens [rows, columns], int64 [rows, numbers with a root]."""
    places = Places(followers)
    found = []
    for at, follower in sorted(followers.items()):
        places.settle(at, tokens)
        if follower.root is not None:
            found.append(places.offset(at))
    return np.stack(found, 1) if found else np.zeros((len(tokens), 0), dtype=np.int64)


def offset_basis() -> np.ndarray:
    """What the network is told of an offset: which edges it is beyond, and whether it is known."""
    tokens = np.arange(OFFSETS)
    beyond = tokens[:, None] > np.arange(1, OFFSETS - 1)
    return np.hstack([beyond, tokens[:, None] == 0]).astype(np.float32)


def find_followers(
    numbers: Mapping[int, NumberCodec], relations: Mapping[int, int]
) -> dict[int, Follower]:
    """Followers by position, from all numbers by position and the positions of their relations."""
    by_name = {number.columns[0]: number for number in numbers.values()}
    needed = {n for number in numbers.values() if number.relation for n in number.relation.names}
    return {
        at: Follower(number, relations.get(at), _root(number, by_name))
        for at, number in numbers.items()
        if number.relation is not None or number.columns[0] in needed
    }


def _root(number: NumberCodec, by_name: Mapping[str, NumberCodec]) -> Near | None:
    """The end of the chain of columns that a number is near."""
    found: Near | None = None
    while number.relation is not None:
        steps = [near for near, _ in number.relation.near if len(near.reference.columns) == 1]
        copies = [r for r in number.relation.copies if len(r.columns) == 1]
        if not steps and not copies:
            break
        found = steps[0] if steps else Near(copies[0], False)
        number = by_name[found.reference.columns[0].name]
    return found


def _spread(number: NumberCodec) -> float:
    """Interquartile range of a number, from its bins."""
    shares = number.marginal[number.first :]
    at = np.searchsorted(np.cumsum(shares) / shares.sum(), [0.25, 0.75])
    low, high = number.grid.to_values(number.spans.low[np.minimum(at, len(shares) - 1)])
    return max(float(high - low), 10.0**-number.grid.decimals)
