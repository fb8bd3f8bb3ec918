"""Which numbers tell most of the target."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

PARTS = 20  # of about equal mass, into which columns are cut to be compared
SHARE = 0.5
ROWS = 20_000


def find_telling(df: pl.DataFrame, names: Collection[str], target: str) -> set[str]:
    """Columns that tell at least half as much of the target as the one that tells most.

    names: columns to compare. What one tells is its mutual information with the target, both cut
    into twentieths; missing values are a part of their own.
    """
    rank = pl.all().rank() * PARTS // (pl.len() + 1)
    parts = df.head(ROWS).select(target, *names).select(rank.fill_null(PARTS))

    def entropy(*columns: str) -> float:
        return parts.group_by(columns).len()["len"].sort().entropy() or 0.0

    own = entropy(target)
    told = {name: own + entropy(name) - entropy(name, target) for name in names}
    enough = SHARE * max(told.values())
    return {name for name, nats in told.items() if nats >= enough}
