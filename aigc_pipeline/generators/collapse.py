"""Whether training collapsed: what ties columns together, in a model's rows and in real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

GROUPS = 12  # of a column's tokens, for counts that hold on other rows
ROWS = 10_000
LEAST = 0.05  # nats a row of dependence, below which there is nothing to learn
SHARE = 0.5  # of the real rows' dependence, below which a model missed what there is


def collapse_warning(
    made: np.ndarray, rows: np.ndarray, held_out: np.ndarray, marginals: Sequence[np.ndarray]
) -> str | None:
    """A plain warning where a model's own rows lack most of what ties the real columns together.

    made, rows, held_out: int32 tokens [rows, columns] of the model, of training and held out.
    """
    found, real = pairs_gain(rows, [made, held_out], marginals)
    if real < LEAST or found >= SHARE * real:
        return None
    return (
        f"training collapsed: knowing which values go together is worth {real:.2f} nats a row on "
        f"held-out rows, {found:.2f} on the model's own, whose columns are too independent of each "
        "other; give it more rows or a higher quality, or take family: autoregressive"
    )


def pairs_gain(
    rows: np.ndarray, others: Sequence[np.ndarray], marginals: Sequence[np.ndarray]
) -> list[float]:
    """Nats a row by which the best tree of pairs beats independent columns on each of `others`.

    The tree (Chow and Liu 1968) is found on `rows`; tokens are told apart in at most 12 groups.
    """
    groups = [group_tokens(marginal) for marginal in marginals]
    start = np.cumsum([0] + [int(g.max()) + 1 for g in groups])
    seen = one_hot(rows[:ROWS], groups, start)
    expected = np.outer(seen.mean(0), seen.mean(0))
    # A pair never seen is taken for as likely as a tenth of a row.
    ratio = np.log((seen.T @ seen + 0.1) / (len(seen) * expected + 0.1))

    def gains(told: np.ndarray) -> np.ndarray:
        """Of each pair of columns, float [columns, columns]."""
        whole = ratio * (told.T @ told) / len(told)
        return np.add.reduceat(np.add.reduceat(whole, start[:-1], 0), start[:-1], 1)

    tree = minimum_spanning_tree(-np.triu(gains(seen).clip(min=0), 1)).toarray() < 0
    return [float(gains(one_hot(o[:ROWS], groups, start))[tree].sum()) for o in others]


def group_tokens(marginal: np.ndarray) -> np.ndarray:
    """The group of each token: neighbours of about equal mass together, int64 [size]."""
    middle = np.cumsum(marginal) - marginal / 2
    group = np.minimum((middle * GROUPS).astype(np.int64), GROUPS - 1)
    return np.unique(group, return_inverse=True)[1]


def one_hot(tokens: np.ndarray, groups: list[np.ndarray], start: np.ndarray) -> np.ndarray:
    """Groups of tokens as indicators, float32 [rows, all groups]."""
    found = np.zeros((len(tokens), start[-1]), dtype=np.float32)
    for j, group in enumerate(groups):
        found[np.arange(len(tokens)), start[j] + group[tokens[:, j]]] = 1.0
    return found
