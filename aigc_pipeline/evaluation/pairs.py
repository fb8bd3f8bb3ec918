"""All pairs of rows of two tables, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 2_000_000  # pairs of rows held in memory at a time


def blocks(rows: np.ndarray, others: int) -> Iterator[np.ndarray]:
    """Parts of `rows`, so small that one part's pairs with `others` rows fit in memory."""
    size = max(1, BLOCK // max(others, 1))
    return (rows[start : start + size] for start in range(0, len(rows), size))


def mismatches(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many columns each pair of rows differs, uint16 [rows, others], column by column."""
    count = np.zeros((len(rows), len(others)), dtype=np.uint16)
    for column in range(rows.shape[1]):
        count += rows[:, column, None] != others[None, :, column]
    return count


def distances(
    numbers: np.ndarray,
    codes: np.ndarray,
    other_numbers: np.ndarray,
    other_codes: np.ndarray,
    *,
    differs: float,
) -> np.ndarray:
    """L1 distances, float64 [rows, others]: numbers add their difference, categories `differs`."""
    from scipy.spatial.distance import cdist

    found = differs * mismatches(codes, other_codes)
    if numbers.shape[1]:
        found += cdist(numbers, other_numbers, metric="cityblock")
    return found
