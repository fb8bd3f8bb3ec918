"""Implausible rows of a table: found by their likelihood, and left out of training."""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.spec import GeneratorSpec, PrivacySpec

SHOWN = 3  # columns named a row


def score_cells(codec: TableCodec, generator: Generator, df: pl.DataFrame) -> pl.DataFrame:
    """Log-likelihood of each cell given those before it in nats, by column; low is implausible.

    A fixed combination of columns is one cell. A number beyond the learned range loses a nat for
    each width of the outermost bin that it lies outside, as under an exponential tail. Raises
    InputError in a family without a likelihood.
    """
    scores = generator.cell_log_prob(codec.encode(df))
    found: dict[str, np.ndarray] = {}
    for at, each in enumerate(codec.codecs):
        name = ", ".join(each.columns)
        found[name] = found.get(name, 0.0) + scores[:, at]
        if isinstance(each, NumberCodec) and len(each.spans):
            found[name] -= _beyond(each, df)
    return pl.DataFrame(found)


def _beyond(codec: NumberCodec, df: pl.DataFrame) -> np.ndarray:
    """How far values lie outside the learned range, in outermost bins, float64 [rows]."""
    units, present = codec.units(df)
    low, high, last = codec.spans.low, codec.spans.high, len(codec.spans) - 1
    below = (low[0] - units) / max(high[0] - low[0], codec.grid.unit)
    above = (units - high[last]) / max(high[last] - low[last], codec.grid.unit)
    return np.where(present, np.maximum(below, above).clip(min=0), 0.0)


def rank_rows(scores: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The rows of lowest likelihood, lowest first: row (from 1), log_prob, columns.

    scores: what `score_cells` gave. columns: the ones that surprise most, i.e. whose score is
    furthest below their column's mean.
    """
    values = scores.to_numpy()
    total = values.sum(1)
    lowest = np.argsort(total, kind="stable")[:rows]
    behind = values[lowest] - values.mean(0)
    names = np.array(scores.columns)
    columns = [", ".join(names[np.argsort(each)[:SHOWN]]) for each in behind]
    return pl.DataFrame(
        {
            "row": lowest + 1,
            "log_prob": total[lowest],
            "columns": pl.Series(columns, dtype=pl.String),
        }
    )


def check_outliers(generator: GeneratorSpec, privacy: PrivacySpec) -> None:
    """Raise InputError where rows are to be left out of training with differential privacy."""
    if generator.outliers and privacy.dp is not None:
        raise InputError(
            "generator.outliers does not go with privacy.dp: which rows are left out would depend"
            " on every row, and cost privacy that nothing accounts for; set one of them only"
        )


def without_outliers(
    codec: TableCodec,
    tokens: np.ndarray,
    share: float,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> tuple[TableCodec, np.ndarray]:
    """Codecs without the share of rows that a first draft model finds least likely; rows that stay.

    The codecs keep their values and bins, with the marginals of these rows, whose numbers are
    int64 [rows], in order.
    """
    from aigc_pipeline.generators.autoregressive import Autoregressive

    draft = Autoregressive()
    draft.fit(codec, tokens, quality="draft", seed=seed, compute=compute, progress=progress)
    number = round(share * len(tokens))
    kept = np.sort(np.argsort(draft.log_prob(tokens), kind="stable")[number:])
    tokens = tokens[kept]
    codec = TableCodec.from_json(codec.to_json())
    for at, each in enumerate(codec.codecs):
        counts = np.maximum(np.bincount(tokens[:, at], minlength=each.size), 0.1)
        each.marginal = counts / counts.sum()
        if isinstance(each, CategoryCodec) and each.page is None:
            each.shares = each.marginal
    return codec, kept
