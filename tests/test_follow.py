"""Numbers that follow others along a chain: where they lie, and that they keep to its root."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.follow import EDGES, OFFSETS, Places, offset_basis, offset_tokens
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.generators import autoregressive
from aigc_pipeline.generators.autoregressive import (
    FREE_DROPOUT,
    FREE_PASSES,
    Autoregressive,
    layouts,
)
from aigc_pipeline.generators.network import DROPOUT
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import fit_table

SPEC = TableSpec(source=Source(file="accounts.csv"))
ROWS = 8_000
MONTHS = [f"balance_{month}" for month in range(1, 7)]


@pytest.fixture(scope="module")
def accounts() -> pl.DataFrame:
    """Balances of six months, each a little off the last; half the accounts are full."""
    rng = np.random.default_rng(0)
    limit = rng.choice(np.arange(2, 60), ROWS) * 10_000.0
    full = rng.random(ROWS) < 0.5
    balance = limit * np.where(full, rng.normal(0.99, 0.003, ROWS), 0.9 * rng.random(ROWS))
    columns = {"limit": limit}
    for name in MONTHS:
        columns[name] = balance.round()
        balance = np.clip(balance + rng.laplace(0, 900, ROWS), 500, limit)
    return pl.DataFrame(columns)


@pytest.fixture(scope="module")
def codec(accounts: pl.DataFrame) -> TableCodec:
    return TableCodec.fit(accounts, infer_schema(accounts, "accounts", SPEC), SPEC)


def test_a_chain_has_one_root(codec: TableCodec) -> None:
    followers = codec.followers()
    roots = {f.name: f.root.reference.names for f in followers.values() if f.root is not None}
    assert roots == {name: {"limit"} for name in MONTHS}


def test_what_follows_nothing_is_held_to_less(codec: TableCodec, accounts: pl.DataFrame) -> None:
    """Dropout blunts rules: there is less of it for what follows another column."""
    by_name = {}
    for part, layout in zip(codec.codecs, layouts(codec), strict=True):
        by_name.setdefault(part.columns[0], set()).add(layout.dropout)
    assert by_name == {"limit": {FREE_DROPOUT}} | {name: {DROPOUT} for name in MONTHS}
    alone = accounts.select("limit").with_columns(full=pl.col("limit") > 300_000)
    free = TableCodec.fit(alone, infer_schema(alone, "accounts", SPEC), SPEC)
    assert {layout.dropout for layout in layouts(free)} == {FREE_DROPOUT}


def test_targets_of_what_follows_are_softened_less(codec: TableCodec) -> None:
    def own(codec: TableCodec) -> dict[str, float]:
        """What softened targets leave to the true bin, on average, by column."""
        found = {}
        for number in codec.codecs:
            if isinstance(number, NumberCodec) and (targets := number.smoothing()) is not None:
                bins = number.first + number.spans.bins
                found[number.columns[0]] = float(targets[bins, bins].mean())
        return found

    loose = pl.DataFrame({"amount": np.random.default_rng(0).lognormal(5, 1, 4000)})
    free = own(TableCodec.fit(loose, infer_schema(loose, "loose", SPEC), SPEC))
    follows = own(codec)
    assert set(follows) <= set(MONTHS) and min(follows.values()) > 0.5
    assert free["amount"] < 0.45


def test_small_tables_have_more_passes_and_those_where_nothing_follows_fewer(
    codec: TableCodec, accounts: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = accounts.select("limit").with_columns(full=pl.col("limit") > 300_000)
    free = TableCodec.fit(alone, infer_schema(alone, "accounts", SPEC), SPEC)

    class Caught(Exception):
        pass

    def caught(net: object, loss: object, rows: np.ndarray, *others: Any, **_: object) -> None:
        effort = others[1]
        raise Caught(effort.steps * effort.batch / len(rows))

    def passes(codec: TableCodec, df: pl.DataFrame, quality: str, times: int = 1) -> float:
        with pytest.raises(Caught) as found:
            Autoregressive().fit(codec, np.tile(codec.encode(df), (times, 1)), quality=quality)
        return float(found.value.args[0])

    monkeypatch.setattr(autoregressive, "train", caught)
    # 7,600, 22,800 and 53,200 rows to train on: a small table, a middling one, a large one.
    strict = [passes(codec, accounts, "standard", times) for times in (1, 3, 7)]
    assert strict == pytest.approx([28, 16 * 28_000 / 22_800, 12], rel=0.01)
    assert passes(free, alone, "standard") == pytest.approx(FREE_PASSES * 28, rel=0.01)
    draft = passes(codec, accounts, "draft"), passes(free, alone, "draft")
    assert draft == pytest.approx((4, 4), rel=0.01)


def test_bins_that_are_worked_out_are_those_that_values_lie_in(
    codec: TableCodec, accounts: pl.DataFrame
) -> None:
    tokens = codec.encode(accounts).astype(np.int64)
    places = Places(codec.followers())
    for at, follower in sorted(places.followers.items()):
        settled = places.settle(at, tokens)
        off = np.abs(places.values[follower.name] - accounts[follower.name].to_numpy())
        assert np.abs(settled - tokens[:, at]).mean() < 1
        assert np.median(off) < 1_000


def test_offsets_tell_how_far_a_balance_is_from_its_limit(
    codec: TableCodec, accounts: pl.DataFrame
) -> None:
    followers = codec.followers()
    offsets = offset_tokens(followers, codec.encode(accounts).astype(np.int64))
    assert offsets.shape == (len(accounts), len(MONTHS))
    assert offset_basis().shape == (OFFSETS, len(EDGES) + 1)
    share = (accounts[MONTHS[0]] / accounts["limit"]).log().to_numpy()
    within = np.abs(offsets[:, 0] - (np.searchsorted(EDGES, share) + 1))
    assert (within <= 1).mean() > 0.9


def test_balances_keep_to_their_limit(accounts: pl.DataFrame) -> None:
    generator = GeneratorSpec(quality="draft")
    made = fit_table(accounts, SPEC, name="accounts", generator=generator).sample(4_000, seed=0)
    beyond = (made[MONTHS[-1]] > 1.02 * made["limit"]).mean()
    near = (made[MONTHS[-1]] > 0.95 * made["limit"]).mean()
    assert beyond < 0.03
    assert near == pytest.approx((accounts[MONTHS[-1]] > 0.95 * accounts["limit"]).mean(), abs=0.06)
