"""Privacy: does the synthetic table repeat what single real people brought to it?

Copies and near copies of training rows, rare values, extremes, and whether synthetic rows lie
nearer to the rows a model was trained on than to rows it never saw. Each is compared with what the
holdout, other real people, gets. None of these is a proof: they find leaks, not their absence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coded, Coder

MAX_ROWS = 10_000  # of each table in a comparison of all pairs of rows
BUDGET = 1_200_000_000  # values compared at most: a few seconds
BLOCK = 4_000_000  # distances held in memory at a time
REPLAYED = 0.9  # share of the columns in which a replayed row equals one training row
TIE = 1e-6

COPIES = "Share of rows equal to a training row in every column"
REPLAYS = "Share of rows equal to one training row in at least 9 of 10 columns"
DISTANCE = "Share of synthetic rows nearer to a training row than to any holdout row"
RARE = "Values of too few people to be shown that appear all the same"
EXTREMES = "Numbers beyond the range that is protected"


def score(
    plain: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
    coded: tuple[Coded, Coded, Coded],
    coder: Coder,
    *,
    seed: int,
) -> tuple[dict[str, Score], dict[str, float]]:
    """The privacy scores of (train, holdout, synthetic) tables, and row counts behind them.

    plain: `plain_values` of the tables; coded: the same, coded.
    """
    rng = np.random.default_rng(seed)
    shares, facts = distance_share(*coded, coder, rng)
    replays, replay_rows = _replays(coded, rng)
    return {
        "copied_rows": _copies(plain),
        "replayed_rows": replays,
        "dcr_share": shares,
        "rare_values": _rare(plain, coder),
        "extreme_values": _extremes(plain, coder),
    }, {**facts, "replay_rows": replay_rows}


def _share(value: float, rows: int, reference: float | None, fresh: int, description: str) -> Score:
    """A score that is a share of rows, with binomial errors."""
    error = (
        None if reference is None else float(np.sqrt(reference * (1 - reference) / max(fresh, 1)))
    )
    return Score(
        value=value,
        error=float(np.sqrt(value * (1 - value) / max(rows, 1))),
        reference=reference,
        reference_error=error,
        reference_rows=fresh if reference is not None else None,
        better="low",
        description=description,
    )


def _copies(plain: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> Score:
    train, holdout, synthetic = (p.with_columns(pl.selectors.float().round(9)) for p in plain)
    if not train.width:
        return not_evaluated("low", "every column is generated afresh", COPIES)
    known = train.unique()

    def copied(table: pl.DataFrame) -> float:
        found = table.join(known, on=train.columns, how="semi", nulls_equal=True)
        return found.height / table.height

    reference = copied(holdout) if holdout.height else None
    return _share(copied(synthetic), synthetic.height, reference, holdout.height, COPIES)


def _replays(
    coded: tuple[Coded, Coded, Coded], rng: np.random.Generator
) -> tuple[Score, int]:
    """Rows that differ from some training row in a tenth of the columns at most."""
    train, holdout, synthetic = (_integers(coded), *_sizes(coded))[0]
    columns = train.shape[1]
    if not columns:
        return not_evaluated("low", "every column is generated afresh", REPLAYS), 0
    known = train[rng.permutation(len(train))[:MAX_ROWS]]
    most = int(np.floor(columns * (1 - REPLAYED) + 1e-9))
    queries = min(len(synthetic), MAX_ROWS, max(1, BUDGET // (len(known) * columns)))

    def replayed(table: np.ndarray) -> tuple[float, int]:
        some = table[rng.permutation(len(table))[:queries]]
        nearest = [mismatches(rows, known).min(1) for rows in _blocks(some, len(known))]
        return float((np.concatenate(nearest) <= most).mean()), len(some)

    value, rows = replayed(synthetic)
    reference, fresh = replayed(holdout) if len(holdout) else (None, 0)
    return _share(value, rows, reference, fresh, REPLAYS), rows
