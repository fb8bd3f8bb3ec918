"""Numbers that often equal another column's number exactly.

A settled loan has paid back its very amount, a payment settles last month's very bill. Bins would
miss that by a few cents each time, so "as in that column" becomes a state of its own.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.schema import ColumnSchema, canonical_expr
from aigc_pipeline.spec import Kind

SHARE = 0.01  # of rows that must be equal, zeros not counted
OVER_CHANCE = 5.0  # times as many as independence would give
ROWS = 50_000


def find_copies(df: pl.DataFrame, columns: list[ColumnSchema]) -> dict[str, str]:
    """By column, the one column it often equals. No column is both a copy and a source.

    Of a pair, the column with more distinct values is the copy.
    """
    numeric = [c for c in columns if c.is_numeric]
    values = {c.name: df[:ROWS].select(canonical_expr(c)).to_series().to_numpy() for c in numeric}
    dated = {c.name: c.kind == Kind.DATETIME for c in numeric}
    counts = {name: np.unique(v[v == v], return_counts=True) for name, v in values.items()}
    found = []
    names = list(values)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            if dated[first] != dated[second]:
                continue
            equal = np.mean((values[first] == values[second]) & (values[first] != 0))
            if equal >= SHARE and equal >= OVER_CHANCE * _chance(counts[first], counts[second]):
                source, copy = sorted((first, second), key=lambda name: len(counts[name][0]))
                found.append((-equal, copy, source))
    copies: dict[str, str] = {}
    for _, copy, source in sorted(found):
        if copy not in copies and copy not in copies.values() and source not in copies:
            copies[copy] = source
    return copies


def _chance(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """How often independent columns would agree, zeros not counted."""
    common, at_first, at_second = np.intersect1d(
        first[0], second[0], assume_unique=True, return_indices=True
    )
    shares = first[1][at_first] / first[1].sum() * (second[1][at_second] / second[1].sum())
    return float(shares[common != 0].sum())
