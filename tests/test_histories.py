"""Rows made one after the other: what is told of those before, times that come back, no drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from aigc_pipeline.relations import graph_of
from aigc_pipeline.relations.frames import Wide, widen
from aigc_pipeline.relations.histories import make_children
from aigc_pipeline.relations.plan import FIRST, GAP, ROWS
from aigc_pipeline.relations.settle import owners_of, settle
from aigc_pipeline.relations.so_far import SoFar, context_of
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import DatasetSpec, GeneratorSpec, PrivacySpec
from aigc_pipeline.tabular import TableModel
from aigc_pipeline.wide import encode_wide, fit_tables

CARTS, PRODUCTS = 500, 14
SPEC = DatasetSpec.model_validate(
    {
        "name": "market",
        "tables": {
            "carts": {"source": {"file": "carts.csv"}, "key": "cart"},
            "items": {
                "source": {"file": "items.csv"},
                "parents": [{"column": "cart", "table": "carts"}],
                "order_by": "minute",
            },
        },
    }
)


def market(seed: int = 0) -> dict[str, pl.DataFrame]:
    """Carts of up to six different products, put in at full five minutes; prices go on."""
    rng = np.random.default_rng(seed)
    items = []
    for cart in range(CARTS):
        rows = int(rng.integers(1, 7))
        price = 10.0 + rng.normal()
        minutes = np.sort(rng.integers(0, 12, rows)) * 5
        for minute, product in zip(minutes, rng.permutation(PRODUCTS)[:rows], strict=True):
            price = round(0.9 * price + 1.0 + float(rng.normal()), 2)
            items.append((cart, int(minute), f"p{product}", price))
    columns = ["cart", "minute", "product", "price"]
    return {
        "carts": pl.DataFrame({"cart": range(CARTS), "large": [i % 2 == 0 for i in range(CARTS)]}),
        "items": pl.DataFrame(items, schema=columns, orient="row"),
    }


def wide_of(frames: dict[str, pl.DataFrame]) -> dict[str, Wide]:
    schemas = {n: infer_schema(frames[n], n, t) for n, t in SPEC.tables.items()}
    return widen(frames, graph_of(SPEC), schemas)


@pytest.fixture(scope="module")
def wide() -> Wide:
    return wide_of(market())["items"]


@pytest.fixture(scope="module")
def model(wide: Wide) -> TableModel:
    fitted = fit_tables(
        {"items": wide}, market(), graph_of(SPEC), GeneratorSpec(quality="draft"), PrivacySpec()
    )
    return fitted["items"]


def made_items(wide: Wide, model: TableModel) -> tuple[pl.DataFrame, np.ndarray]:
    owners = owners_of(wide.plan, market(), graph_of(SPEC))
    assert owners is not None
    known = {name: owners[name] for name in owners.columns if name != ROWS}
    counts = owners[ROWS].to_numpy()
    children = make_children(wide.plan, SPEC.tables["items"], model, known, counts, [0, 1])
    return children.rows, children.owner


def test_a_row_is_told_how_often_each_value_came_before(wide: Wide) -> None:
    codec, _, _ = encode_wide(wide, PrivacySpec())
    context = context_of(wide.frame, wide.plan, codec)
    assert context is not None and context.shape == (len(wide.frame), PRODUCTS)
    cart: list[str] = []
    (products,) = (c for c in codec.codecs if c.columns == ["product"])
    for at, (position, product) in enumerate(
        wide.frame.select("(position)", "product").head(60).rows()
    ):
        cart = cart if position else []
        had = [products.frame()["product"].to_list().index(each) for each in cart]
        expected = np.log1p(np.bincount(had, minlength=PRODUCTS))
        assert np.allclose(context[at], expected)
        cart.append(product)


def test_it_is_told_the_same_while_rows_are_made(wide: Wide) -> None:
    codec, _, _ = encode_wide(wide, PrivacySpec())
    context = context_of(wide.frame, wide.plan, codec)
    assert context is not None
    position = wide.frame["(position)"].to_numpy()
    owner = (position == 0).cumsum() - 1
    kept = SoFar(wide.plan, codec, int(owner.max()) + 1)
    for step in range(int(position.max()) + 1):
        rows = np.flatnonzero(position == step)
        told = kept.of(owner[rows])
        assert told is not None and np.array_equal(told, context[rows])
        kept.add(owner[rows], wide.frame[rows])


def test_without_an_order_nothing_is_told(wide: Wide) -> None:
    codec, _, _ = encode_wide(wide, PrivacySpec())
    plan = wide.plan.model_copy(update={"history": []})
    assert context_of(wide.frame, plan, codec) is None
    assert SoFar(plan, codec, 3).of(np.arange(3)) is None
    assert owners_of(plan, market(), graph_of(SPEC)) is None


def test_times_that_come_back_are_drawn_as_they_are(wide: Wide, model: TableModel) -> None:
    assert FIRST in wide.schema.names and GAP not in wide.schema.names
    rows, owner = made_items(wide, model)
    assert set(rows["minute"].to_list()) <= set(range(0, 60, 5))
    same = owner[1:] == owner[:-1]
    assert (np.diff(rows["minute"].to_numpy())[same] >= 0).all()


@pytest.mark.parametrize(
    "minute",
    [
        pl.col("minute") * 100 + pl.int_range(pl.len()) % 97,  # too many values
        pl.int_range(pl.len()).over("cart") * 7 + pl.col("cart") % 50,  # few, but weekly
    ],
)
def test_other_times_are_drawn_as_gaps(minute: pl.Expr) -> None:
    frames = market()
    frames["items"] = frames["items"].with_columns(minute.alias("minute"))
    assert GAP in wide_of(frames)["items"].schema.names


def test_no_product_is_in_a_cart_twice(wide: Wide, model: TableModel) -> None:
    rows, owner = made_items(wide, model)
    again = pl.DataFrame({"owner": owner, "product": rows["product"]}).is_duplicated().mean()
    assert len(rows) > 1000 and again is not None and again < 0.01


def test_what_leans_to_one_side_is_settled(wide: Wide, model: TableModel) -> None:
    """Biased to high prices, which it reads back, the model drifts; settled, it does not."""
    at = next(
        i
        for i, c in enumerate(model.codec.codecs)
        if c.columns == ["price"] and c.size > 10 and i >= model.codec.known_tokens
    )
    head = model.generator.net.column(at).head  # type: ignore[attr-defined]
    before = head.bias.detach().clone()
    real = wide.frame["price"].mean()
    try:
        with torch.no_grad():
            head.bias.add_(torch.linspace(0, 1.5, len(before)))
        drifted = made_items(wide, model)[0]["price"].mean()
        owners = owners_of(wide.plan, market(), graph_of(SPEC))
        assert owners is not None
        settle(wide.plan, SPEC.tables["items"], model, owners, seed=0)
        settled = made_items(wide, model)[0]["price"].mean()
    finally:
        with torch.no_grad():
            head.bias.copy_(before)
    assert abs(settled - real) < 0.25 * abs(drifted - real)  # type: ignore[operator]


def test_settling_repeats_itself(wide: Wide, model: TableModel) -> None:
    owners = owners_of(wide.plan, market(), graph_of(SPEC))
    assert owners is not None
    biases = []
    for _ in range(2):
        copy = replace(model)
        copy.generator = type(model.generator)(
            model.generator.net,
            model.generator.rules,  # type: ignore[attr-defined,call-arg]
        )
        state = {k: v.clone() for k, v in copy.generator.net.state_dict().items()}
        settle(wide.plan, SPEC.tables["items"], copy, owners, seed=3)
        biases.append([c.head.bias.detach().clone() for c in copy.generator.net.columns])
        copy.generator.net.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(*biases, strict=True))
