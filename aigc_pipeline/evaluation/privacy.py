"""Privacy: does the synthetic table repeat what single real people brought to it?

Copies and near copies of training rows, rare values, extremes, and whether synthetic rows lie
nearer to the rows a model was trained on than to rows it never saw. Each is compared with what the
holdout, other real people, gets. None of these is a proof: they find leaks, not their absence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import polars.selectors as cs

from aigc_pipeline.evaluation.pairs import blocks, distances, mismatches
from aigc_pipeline.evaluation.result import Score, not_evaluated
from aigc_pipeline.evaluation.tables import Coded, Coder

MAX_ROWS = 10_000  # of each table where all pairs of rows are compared
MIN_ROWS = 50  # of the holdout, for a distance share
BUDGET = 1_500_000_000  # values compared with each set of rows at most: a second or two
REPLAYED = 0.9  # share of its columns in which a replayed row equals one training row
TIE = 1e-6

COPIES = "Share of rows equal to a training row in every column"
REPLAYS = "Share of rows equal to one training row in at least nine of ten columns"
DISTANCE = "Share of synthetic rows nearer to a training row than to any holdout row"
RARE = "Categories that too few people have to be shown, and that appear all the same"
EXTREMES = "Share of rows with a number beyond the protected range"
UNPROTECTED = "privacy.min_subjects is 1, so no value counts as rare or extreme"

Three = tuple[Coded, Coded, Coded]
ThreeFrames = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def score(
    plain: ThreeFrames, coded: Three, coder: Coder, *, seed: int
) -> tuple[dict[str, Score], dict[str, float]]:
    """The privacy scores of (train, holdout, synthetic) tables, and the row counts behind them.

    plain: `plain_values` of the tables. coded: the same tables, coded.
    """
    rng = np.random.default_rng(seed)
    nearer, distance_facts = _distance_share(coded, rng)
    replays, replay_facts = _replays(coded, rng)
    return {
        "copied_rows": _copies(plain),
        "replayed_rows": replays,
        "dcr_share": nearer,
        "rare_values": _rare(plain, coder),
        "extreme_values": _extremes(plain, coder),
    }, distance_facts | replay_facts


def _copies(plain: ThreeFrames) -> Score:
    train, holdout, synthetic = (p.with_columns(cs.float().round(9)) for p in plain)
    if not train.width:
        return not_evaluated("low", "every column is generated afresh", COPIES)
    known = train.unique()

    def copied(table: pl.DataFrame) -> np.ndarray:
        found = table.join(known, on=train.columns, how="semi", nulls_equal=True)
        return np.arange(table.height) < found.height

    return share_of(copied(synthetic), copied(holdout), COPIES)


def _replays(coded: Three, rng: np.random.Generator) -> tuple[Score, dict[str, float]]:
    train, holdout, synthetic = _integers(coded)
    columns = train.shape[1]
    if not columns:
        return not_evaluated("low", "every column is generated afresh", REPLAYS), {}
    known = _some(train, MAX_ROWS, rng)
    queries = min(MAX_ROWS, max(1, BUDGET // (len(known) * columns)))
    most = int(np.floor(columns * (1 - REPLAYED) + 1e-9))  # columns that may differ

    def replayed(table: np.ndarray) -> np.ndarray:
        parts = [mismatches(rows, known).min(1) <= most for rows in blocks(table, len(known))]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    ours, fresh = (replayed(_some(t, queries, rng)) for t in (synthetic, holdout))
    return share_of(ours, fresh, REPLAYS), {"replay_rows": len(ours)}


def share_of(ours: np.ndarray, fresh: np.ndarray, description: str) -> Score:
    """A share of synthetic rows beside that of holdout rows, of bool arrays, with their errors."""
    error, fresh_error = (
        float(np.sqrt(rows.mean() * (1 - rows.mean()) / len(rows))) if len(rows) else None
        for rows in (ours, fresh)
    )
    return Score(
        value=float(ours.mean()),
        error=error,
        reference=float(fresh.mean()) if len(fresh) else None,
        reference_error=fresh_error,
        reference_rows=len(fresh) or None,
        better="low",
        description=description,
    )


def _distance_share(coded: Three, rng: np.random.Generator) -> tuple[Score, dict[str, float]]:
    """Distance share as in TabSyn: L1 over numbers scaled to the training range and categories.

    A missing number counts as the median, a differing category as 2, a tie as one half. Training
    rows are cut down to the holdout's number, so 0.5 is what rows from neither would get. Zhang et
    al. (2024), "Mixed-type tabular data synthesis with score-based diffusion in latent space".
    """
    train, holdout, synthetic = coded
    rows = min(len(train), len(holdout), MAX_ROWS)
    columns = train.numbers.shape[1] + train.codes.shape[1]
    if rows < MIN_ROWS or not columns:
        reason = f"it needs {MIN_ROWS} training and holdout rows, and a column to judge"
        return not_evaluated("half", reason, DISTANCE), {}
    queries = min(len(synthetic), MAX_ROWS, max(1, BUDGET // (rows * columns)))
    known, unseen, some = (
        table.take(rng.permutation(len(table))[:n])
        for table, n in ((train, rows), (holdout, rows), (synthetic, queries))
    )
    scaled = _scaler(train)
    points = [scaled(table) for table in (known, unseen, some)]
    nearer = 0.0
    for block in blocks(np.arange(queries), rows):
        to_known, to_unseen = (
            distances(points[2][block], some.codes[block], points[i], table.codes, differs=2.0)
            for i, table in enumerate((known, unseen))
        )
        gap = to_known.min(1) - to_unseen.min(1)
        nearer += (gap < -TIE).sum() + (np.abs(gap) <= TIE).sum() / 2
    error = float(np.sqrt(0.25 / queries))
    result = Score(
        value=float(nearer / queries),
        error=error,
        reference=0.5,
        reference_error=error,
        better="half",
        description=DISTANCE,
    )
    return result, {"dcr_rows": queries, "dcr_reference_rows": rows}


def _scaler(train: Coded) -> Callable[[Coded], np.ndarray]:
    """A function from a table to its numbers on the training rows' scale, missing ones filled."""
    empty = np.isnan(train.numbers).all(0)
    numbers = np.where(empty, 0.0, train.numbers)
    low, middle = np.nanmin(numbers, axis=0), np.nanmedian(numbers, axis=0)
    width = np.nanmax(numbers, axis=0) - low
    width = np.where(width > 0, width, 1.0)

    def scaled(table: Coded) -> np.ndarray:
        return (np.where(np.isnan(table.numbers), middle, table.numbers) - low) / width

    return scaled


def _integers(coded: Three) -> list[np.ndarray]:
    """The tables as integers that are equal where values are: int32 [rows, columns] each."""
    ends = np.cumsum([len(t) for t in coded])[:-1]
    numbers = np.concatenate([t.numbers for t in coded])
    ranks = [np.unique(column, return_inverse=True)[1] for column in numbers.T]
    codes = np.concatenate([t.codes for t in coded])
    whole = np.column_stack([*ranks, codes]).astype(np.int32)
    return np.split(whole, ends)


def _some(table: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return table[rng.permutation(len(table))[:most]]


def _rare(plain: ThreeFrames, coder: Coder) -> Score:
    if coder.min_subjects <= 1:
        return not_evaluated("low", UNPROTECTED, RARE)
    _, holdout, synthetic = plain

    def found(table: pl.DataFrame) -> float:
        return sum(len(coder.rare[c] & set(table[c].unique())) for c in coder.categories)

    reference = found(holdout) if holdout.height else None
    return Score(value=found(synthetic), reference=reference, better="low", description=RARE)


def _extremes(plain: ThreeFrames, coder: Coder) -> Score:
    if coder.min_subjects <= 1:
        return not_evaluated("low", UNPROTECTED, EXTREMES)
    _, holdout, synthetic = plain

    def beyond(table: pl.DataFrame) -> np.ndarray:
        numbers = table.select(coder.numeric).to_numpy().reshape(table.height, len(coder.numeric))
        return np.any((numbers < coder.low) | (numbers > coder.high), axis=1)

    return share_of(beyond(synthetic), beyond(holdout), EXTREMES)
