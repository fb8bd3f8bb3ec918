"""The context: what a row is generated under, the seam for conditions, parents and earlier rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.autoregressive import Autoregressive
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import TableSpec

ROWS = 3000


@pytest.fixture(scope="module")
def fitted() -> tuple[Autoregressive, TableCodec, np.ndarray, np.ndarray]:
    """A generator of a child table whose rows depend on their parent's two features."""
    rng = np.random.default_rng(0)
    context = rng.normal(size=(ROWS, 2)).astype(np.float32)
    kind = np.where(context[:, 0] > 0, "high", "low")
    amount = (100 + 20 * context[:, 1] + rng.normal(0, 2, ROWS)).round(1)
    df = pl.DataFrame({"kind": kind, "amount": amount})
    spec = TableSpec(source={"file": "children.csv"})
    codec = TableCodec.fit(df, infer_schema(df, "children", spec), spec)
    tokens = codec.encode(df)
    generator = Autoregressive()
    generator.fit(codec, tokens, context=context)
    return generator, codec, tokens, context


def test_rows_follow_their_context(fitted) -> None:
    generator, codec, _, _ = fitted
    fresh = np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32)
    draw = generator.sample(ROWS, seed=[0], context=fresh)
    rows = codec.decode(draw.tokens, np.random.default_rng(0))
    assert ((rows["kind"] == "high").to_numpy() == (fresh[:, 0] > 0)).mean() > 0.93
    assert np.corrcoef(rows["amount"].to_numpy(), fresh[:, 1])[0, 1] > 0.9


def test_the_likelihood_knows_the_context(fitted) -> None:
    generator, _, tokens, context = fitted
    right = generator.log_prob(tokens, context).mean()
    wrong = generator.log_prob(tokens, np.roll(context, 1, axis=0)).mean()
    assert right > wrong + 1


def test_a_context_survives_saving(fitted, tmp_path) -> None:
    generator, codec, _, context = fitted
    generator.save(tmp_path)
    loaded = Autoregressive.load(tmp_path, codec)
    draws = [g.sample(200, seed=[3], context=context[:200]).tokens for g in (generator, loaded)]
    assert np.array_equal(*draws)
