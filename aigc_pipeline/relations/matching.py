"""Which of a parent's rows a child row refers to, so that what they share goes together.

Child rows are made with the columns of the parent they will have; each parent row says how many
children it has. A child then takes a free place of a parent that has these columns: all of them
where there is one, else fewer and fewer. The numbers of children stay as the parents have them.
"""

from __future__ import annotations

import numpy as np


def match(
    children: np.ndarray,
    parents: np.ndarray,
    places: np.ndarray,
    rng: np.random.Generator,
    *,
    firm: int = 0,
) -> np.ndarray:
    """The parent's row for each child row, int64 [children]; -1 where none will do.

    children, parents: int64 [rows, features], the most important feature first: what is given up
    to find a free place is the last one, then the last but one. places: how many children each
    parent has room for; they are scaled to the number of children. firm: that many features, the
    first ones, are never given up; places are, where there are too few for these.
    """
    found = np.full(len(children), -1, dtype=np.int64)
    if not len(children) or not len(parents):
        return found
    room = scale_places(places, len(children), rng)
    todo = rng.permutation(len(children))
    for width in range(children.shape[1], firm - 1, -1):
        if not len(todo):
            return found
        slots = rng.permutation(np.repeat(np.arange(len(parents)), room))
        wanted, offered = _codes(children[todo, :width], parents[slots, :width])
        chosen = _pair(wanted, offered)
        hit = chosen >= 0
        found[todo[hit]] = slots[chosen[hit]]
        room -= np.bincount(slots[chosen[hit]], minlength=len(parents))
        todo = todo[~hit]
    if firm and len(todo):  # more children than room: parents take more of them
        each = rng.permutation(len(parents))
        wanted, offered = _codes(children[todo, :firm], parents[each, :firm])
        order = np.argsort(offered, kind="stable")
        low = np.searchsorted(offered[order], wanted, side="left")
        high = np.searchsorted(offered[order], wanted, side="right")
        at = low + np.floor(rng.random(len(todo)) * (high - low)).astype(np.int64)
        hit = high > low
        found[todo[hit]] = each[order[at[hit]]]
    return found


def scale_places(places: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers of places that add up to `total`, as near as can be to what is asked for."""
    room = np.maximum(places, 0).astype(np.int64)
    if room.sum() == 0:
        room = np.ones(len(room), dtype=np.int64)
    exact = room * (total / room.sum())
    scaled = np.floor(exact).astype(np.int64)
    rest = total - int(scaled.sum())
    share = exact - scaled
    if rest and share.sum() <= 0:
        share = np.ones(len(room))
    # Systematic sampling: each place is rounded up with the probability of its fraction.
    edges = np.cumsum(share) / max(share.sum(), 1e-12) * rest
    marks = np.arange(rest) + rng.random()
    np.add.at(scaled, np.minimum(np.searchsorted(edges, marks, side="right"), len(room) - 1), 1)
    return scaled


def _codes(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two arrays of features as numbers, equal where all features are."""
    codes = np.zeros(len(first) + len(second), dtype=np.int64)
    for column in np.concatenate([first, second]).T:
        _, values = np.unique(column, return_inverse=True)
        codes = codes * (int(values.max(initial=0)) + 1) + values
        _, codes = np.unique(codes, return_inverse=True)  # so that products stay small
    return codes[: len(first)], codes[len(first) :]


def _pair(wanted: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """For each one wanted an offered one of the same number, each once; -1 where none is left."""
    order, slots = np.argsort(wanted, kind="stable"), np.argsort(offered, kind="stable")
    sorted_wanted, sorted_offered = wanted[order], offered[slots]
    rank = np.arange(len(wanted)) - np.searchsorted(sorted_wanted, sorted_wanted, side="left")
    at = np.searchsorted(sorted_offered, sorted_wanted, side="left") + rank
    inside = at < len(offered)
    inside[inside] = sorted_offered[at[inside]] == sorted_wanted[inside]
    chosen = np.full(len(wanted), -1, dtype=np.int64)
    chosen[order[inside]] = slots[at[inside]]
    return chosen
