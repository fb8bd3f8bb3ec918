"""Explain: which columns inform which, as the model has learned it.

A column is hidden from the model by giving every held-out row another row's tokens of it, several
times over; what the likelihood of each later column then loses is what the hidden one tells of it
(permutation importance; Breiman 2001, "Random forests"; Fisher et al. 2019). Over the draws the
likelihoods are averaged, not their logarithms: that is the likelihood of a model that knows only
how often the hidden values occur. No column tells more than all together: what a later column's
likelihood gains over its marginal shares is the most that any one may cost. The order of columns is
the model's, so "informs" goes one way, and what two columns both tell of a third counts for neither
while the other stands.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.evaluation.result import Influence, Learned
from aigc_pipeline.evaluation.trees import single_thread
from aigc_pipeline.features import TableCodec
from aigc_pipeline.schema import TableSchema

MAX_ROWS = 1_000  # held-out rows
MIN_ROWS = 50
BUDGET = 6_000_000  # cells whose likelihood is asked for: some seconds
DRAWS = 4  # of what is hidden
SHOWN = 30  # the strongest pairs
ERRORS = 3.0  # standard errors that a loss must exceed to be no accident


class Likelihood(Protocol):
    """A generator that can say how likely a row's cells are (`generators.base.Generator`)."""

    def cell_log_prob(self, tokens: np.ndarray) -> np.ndarray: ...

    def log_prob(self, tokens: np.ndarray) -> np.ndarray: ...


class FittedModel(Protocol):
    """The model behind the synthetic rows: codecs and a generator, as a `TableModel` has them."""

    @property
    def codec(self) -> TableCodec: ...

    @property
    def generator(self) -> Likelihood: ...


def check_model(model: FittedModel, schema: TableSchema) -> None:
    """Raise InputError for a model that learned other columns than those to be judged."""
    for column in model.codec.schema.columns:
        if column.is_generated or column.derived is not None:
            continue
        if column.name not in schema.names or schema[column.name].dtype != column.dtype:
            raise InputError(
                f"table {schema.name!r}: the model learned a column {column.name!r} of type"
                f" {column.dtype}, which the rows to judge do not have; give the model that these"
                " rows were made with"
            )


def explain(model: FittedModel, holdout: pl.DataFrame, *, seed: int) -> Learned:
    """The strongest influences between columns, measured on rows the model never saw."""
    if holdout.height < MIN_ROWS:
        why_not = f"it needs {MIN_ROWS} holdout rows; there are {holdout.height}"
        return Learned(why_not=why_not)
    affordable = BUDGET // (DRAWS * len(model.codec.codecs) ** 2)
    rows = min(holdout.height, MAX_ROWS, max(affordable, MIN_ROWS))
    rng = np.random.default_rng(seed)
    chosen = holdout[np.sort(rng.permutation(holdout.height)[:rows])]
    tokens = model.codec.encode(chosen)
    columns = _columns(model.codec)
    found = []
    with single_thread():
        try:
            known = model.generator.cell_log_prob(tokens)
        except InputError as error:  # a family without a likelihood
            return Learned(why_not=str(error))
        told = known - _marginal(model.codec, tokens)
        for name, hidden in columns.items():
            lost = known - _without(model.generator, tokens, hidden, rng)
            for other, at in columns.items():
                losses, most = lost[:, at].sum(1), told[:, at].sum(1).mean()
                nats, deviation = min(losses.mean(), most), losses.std() / np.sqrt(rows)
                if at[0] > hidden[-1] and nats > ERRORS * deviation:
                    share = round(float(nats / most), 4)
                    nats = round(float(nats), 4)
                    found.append(Influence(column=name, informs=other, nats=nats, share=share))
    found.sort(key=lambda influence: -influence.nats)
    return Learned(rows=rows, influences=found[:SHOWN])


def _columns(codec: TableCodec) -> dict[str, list[int]]:
    """Positions of each column's tokens, in the model's order; a fixed combination is one."""
    columns: dict[str, list[int]] = {}
    for position, each in enumerate(codec.codecs):
        columns.setdefault(" + ".join(each.columns), []).append(position)
    return columns


def _marginal(codec: TableCodec, tokens: np.ndarray) -> np.ndarray:
    """Log-likelihood of each cell by its column's marginal shares alone, [rows, codecs]."""
    shares = [each.marginal[tokens[:, j]] for j, each in enumerate(codec.codecs)]
    return np.log(np.stack(shares, axis=1))


def _without(
    generator: Likelihood, tokens: np.ndarray, hidden: list[int], rng: np.random.Generator
) -> np.ndarray:
    """Log-likelihood of each cell where some columns are hidden, float64 [rows, codecs]."""
    drawn = []
    for _ in range(DRAWS):
        changed = tokens.copy()
        changed[:, hidden] = tokens[rng.permutation(len(tokens))][:, hidden]
        drawn.append(generator.cell_log_prob(changed))
    return np.logaddexp.reduce(drawn, axis=0) - np.log(DRAWS)
