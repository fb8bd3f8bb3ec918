"""A large vocabulary as two tokens: the page a value is on, and the word that it is on the page.

A softmax over 300,000 values costs too much, and most values are too rare to learn by themselves.
Frequent values have a page each. The others share pages with values whose rows look alike in the
other columns, so that the page says what there is to know of them and the word little more than how
frequent they are. A factorised softmax: Goodman (2001), "Classes for fast maximum entropy
training"; likeness by correspondence analysis: Benzécri (1973).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from aigc_pipeline.features.codec import Codec, Part
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Condition

if TYPE_CHECKING:
    from aigc_pipeline.features.category import CategoryCodec

LARGE = 1_000  # tokens from which on a vocabulary is put on pages
ALONE = 256  # values with a page each
SHARED = 256  # other pages, at least
ROWS = 300_000  # looked at for likeness
GROUPS = 16  # of values of another column
AXES = 8
SHRUNK = 20.0  # rows of average looks that are added to each value's own


class Pages:
    """Where each value stands. page, word: int32 [values]; words count up from 0 on each page."""

    def __init__(self, page: np.ndarray) -> None:
        if page.min(initial=0) < 0 or page.max(initial=0) >= max(len(page), 1):
            raise ValueError("more pages than values")  # from a file, and a matter of memory
        self.page = page.astype(np.int32)
        self.words = np.bincount(self.page)  # on each page
        self._values = np.argsort(self.page, kind="stable")
        self._start = np.cumsum(self.words) - self.words
        self.word = np.empty(len(page), dtype=np.int32)
        self.word[self._values] = np.arange(len(page)) - self._start[self.page[self._values]]

    def value(self, page: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Values by page and word, int64 [n]; a word the page lacks counts from its start again."""
        return self._values[self._start[page] + word % self.words[page]]

    def exist(self) -> np.ndarray:
        """Which words a page has, bool [pages, words]."""
        return np.arange(self.words.max()) < self.words[:, None]


class Page(Part):
    """The page of a category's value."""

    name = "page"
    main: CategoryCodec

    def __init__(self, main: CategoryCodec, pages: Pages) -> None:
        super().__init__(main, np.bincount(pages.page, weights=main.shares))
        self.pages = pages

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        return self.pages.page[self.main.index(df)]

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        return self._having(self.main.meets(column, condition))

    def emitted(self) -> np.ndarray:
        return self._having(self.main.drawable())

    def allows(self) -> np.ndarray:
        return self.pages.exist()

    def _having(self, values: np.ndarray) -> np.ndarray:
        """Pages with at least one of some values, bool [pages]."""
        mask = np.zeros(self.size, dtype=bool)
        mask[self.pages.page[values]] = True
        return mask


def find_pages(
    index: np.ndarray, shares: np.ndarray, traits: Sequence[np.ndarray], *, has_other: bool
) -> Pages:
    """Pages for a vocabulary.

    index: int [rows], the value in each row. shares: float [values]. traits: int [rows] each, what
    the same rows are like in other columns. has_other: whether the last value stands for all rare
    ones; it has a page of its own, however frequent it is, so that it can be left out of a sample.
    """
    count = len(shares)
    alone = np.argsort(-shares, kind="stable")[:ALONE]
    if has_other:
        alone = np.union1d(alone, [count - 1])
    rest = np.setdiff1d(np.arange(count), alone)
    shared = max(SHARED, math.isqrt(count))
    page = np.empty(count, dtype=np.int64)
    page[alone] = np.arange(len(alone))
    looks = _looks(index, count, traits)[rest]
    page[rest] = len(alone) + _halved(looks, shares[rest], min(shared, len(rest)))
    return Pages(page)


def find_traits(df: pl.DataFrame, codecs: Sequence[Codec]) -> list[np.ndarray]:
    """What rows are like in each of some columns: at most 16 groups of tokens, int64 [rows]."""
    found = []
    for codec in codecs:
        if codec.basis() is not None:  # in order: as many groups of about equal mass
            middle = np.cumsum(codec.marginal) - codec.marginal / 2
            group = np.minimum((middle * GROUPS).astype(np.int64), GROUPS - 1)
        else:
            group = np.empty(codec.size, dtype=np.int64)
            group[np.argsort(-codec.marginal, kind="stable")] = np.arange(codec.size)
            group = np.minimum(group, GROUPS - 1)
        found.append(group[codec.encode(df)])
    return found


def _looks(index: np.ndarray, count: int, traits: Sequence[np.ndarray]) -> np.ndarray:
    """Principal coordinates of the values' mean traits, float64 [values, axes].

    Correspondence analysis of values by traits, each value's profile drawn towards the average.
    """
    from scipy.sparse import csr_array

    if not traits:
        return np.zeros((count, 1))
    rows = len(index)
    width = [int(trait.max()) + 1 for trait in traits]
    places = np.stack(traits, 1) + np.cumsum([0, *width[:-1]])
    table = csr_array(
        (
            np.ones(places.size, dtype=np.float32),
            (np.repeat(index, len(traits)), places.ravel()),
        ),
        shape=(count, sum(width)),
    )
    seen = np.bincount(index, minlength=count).astype(float)
    mean = np.bincount(places.ravel(), minlength=sum(width)) / rows
    scale = 1 / np.sqrt(np.maximum(mean, 1 / rows))
    # Rows of the residual matrix are weight * (profile - mean) * scale; it is never made, being
    # dense. Its Gram matrix, weighted by the values' rows, is small.
    weight = 1 / (seen + SHRUNK)  # of counts: profiles are shrunk by seen / (seen + SHRUNK)
    mass = seen * (weight * seen) ** 2
    scaled = csr_array(table.multiply((np.sqrt(seen) * weight)[:, None]))
    gram = (scaled.T @ scaled).toarray().astype(float)
    cross = table.T @ (weight**2 * seen**2)
    gram += mass.sum() * np.outer(mean, mean) - np.outer(cross, mean) - np.outer(mean, cross)
    axes = np.linalg.eigh(gram * np.outer(scale, scale))[1][:, -AXES:] * scale[:, None]
    return (table @ axes) * weight[:, None] - np.outer(weight * seen, mean @ axes)


def _halved(looks: np.ndarray, shares: np.ndarray, parts: int) -> np.ndarray:
    """Values in `parts` groups of about equal count, split where they vary most; int64 [values].

    A k-d tree: Bentley (1975). Values that look alike are told apart by how frequent they are.
    """
    group = np.zeros(len(looks), dtype=np.int64)
    todo = [(np.arange(len(looks)), parts, 0)]
    while todo:
        members, parts, first = todo.pop()
        if parts == 1:
            group[members] = first
            continue
        part = looks[members]
        mean = np.average(part, axis=0, weights=shares[members])
        axis = int(np.average((part - mean) ** 2, axis=0, weights=shares[members]).argmax())
        members = members[np.argsort(part[:, axis], kind="stable")]
        left = parts // 2
        at = len(members) * left // parts
        todo += [(members[:at], left, first), (members[at:], parts - left, first + left)]
    return group
