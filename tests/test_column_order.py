"""The order in which a model sees a table's columns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.telling import find_telling
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import Source, TableSpec


def _fitted(df: pl.DataFrame) -> TableCodec:
    spec = TableSpec(source=Source(file="x"))
    return TableCodec.fit(df, infer_schema(df, "x", spec), spec)


def test_leading_columns_come_first_then_small_ones() -> None:
    df = pl.DataFrame(
        {"a": ["x", "y"] * 50, "b": list(range(10)) * 10, "c": [1.5, 2.5, 3.5, 4.5] * 25}
    )
    codec = _fitted(df)
    assert [c.columns[0] for c in codec.codecs] == ["a", "c", "b"]
    schema = codec.schema
    leading = TableCodec.fit(df, schema, codec.spec, lead=["b"])
    assert [c.columns[0] for c in leading.codecs] == ["b", "a", "c"]


def test_what_tells_of_the_target_comes_early_with_what_it_follows() -> None:
    rng = np.random.default_rng(0)
    bought = rng.random(4000) < 0.3
    offer = rng.integers(1, 9000, 4000)
    paid = np.where(rng.random(4000) < 0.5, offer, offer + 3000 * bought)
    df = pl.DataFrame(
        {
            "idle": rng.integers(0, 9000, 4000),
            "offer": offer,
            "paid": paid,
            "bought": np.where(bought, "yes", "no"),
        }
    )
    codec = _fitted(df)
    assert codec.learned == ["bought", "idle", "offer", "paid"]
    spec = codec.spec.model_copy(update={"target": "bought"})
    assert TableCodec.fit(df, codec.schema, spec).learned == ["bought", "offer", "paid", "idle"]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String, pl.Boolean, pl.Date])
def test_numbers_are_compared_by_what_they_tell_of_any_target(dtype) -> None:
    rng = np.random.default_rng(0)
    target = pl.Series(rng.integers(0, 2, 2000)).cast(dtype)
    numbers = {
        "much": rng.normal(size=2000) + 2 * target.to_physical().cast(pl.Int8).to_numpy(),
        "little": rng.normal(size=2000) + 0.5 * target.to_physical().cast(pl.Int8).to_numpy(),
        "constant": np.zeros(2000),
        "missing": pl.Series([None] * 2000, dtype=pl.Float64),
    }
    df = pl.DataFrame({"target": target, **numbers})
    assert find_telling(df, list(numbers), "target") == {"much"}
