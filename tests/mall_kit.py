"""A small mall of five related tables, with every kind of relation and every kind of flaw."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.relations import Graph, graph_of
from aigc_pipeline.spec import DatasetSpec

CUSTOMERS, ORDERS = 300, 1500


def tables() -> dict[str, dict[str, Any]]:
    """The dataset file's `tables`, to be changed at will; sources are not read."""
    return {
        "regions": {"source": {"file": "regions.csv"}, "key": ["country", "zone"], "keep": True},
        "customers": {
            "source": {"file": "customers.csv"},
            "key": "id",
            "parents": [
                {"column": ["country", "zone"], "table": "regions", "optional": True,
                 "orphans": "reproduce"},
                {"column": "friend", "table": "customers", "optional": True},
            ],
        },
        "orders": {
            "source": {"file": "orders.csv"},
            "key": "order_id",
            "parents": [{"column": "customer", "table": "customers"}],
            "order_by": "day",
        },
        "lines": {
            "source": {"file": "lines.csv"},
            "key": ["order_id", "line"],
            "parents": [
                {"column": "order_id", "table": "orders"},
                {"column": "product", "table": "products", "orphans": "drop"},
            ],
        },
        "products": {"source": {"file": "products.csv"}, "key": "sku"},
    }  # fmt: skip


def spec(**changes: Any) -> DatasetSpec:
    """The dataset; `changes` are of its fields, `tables` among them."""
    return DatasetSpec.model_validate({"name": "mall", "tables": tables(), **changes})


def graph(**changes: Any) -> Graph:
    return graph_of(spec(**changes))


def frames(seed: int = 0) -> dict[str, pl.DataFrame]:
    """Rows: a tenth of the customers has no region, 30 a missing one; no other orphan."""
    rng = np.random.default_rng(seed)
    number = np.arange(CUSTOMERS)
    regions = pl.DataFrame(
        {"country": ["A", "A", "B", "B", "C"], "zone": [1, 2, 1, 2, 1], "tax": [0, 5, 7, 7, 9]}
    )
    place = regions.drop("tax")[rng.integers(0, 5, CUSTOMERS)]
    customers = place.with_columns(
        id=pl.Series(number + 1000),
        age=pl.Series(rng.integers(18, 90, CUSTOMERS)),
        friend=pl.Series(rng.integers(1000, 1000 + CUSTOMERS, CUSTOMERS)),
    ).with_columns(
        zone=pl.when(pl.Series(number % 10 != 0)).then("zone"),
        country=pl.when(pl.Series(number % 10 == 1)).then(pl.lit("Z")).otherwise("country"),
        friend=pl.when(pl.Series(number % 4 == 0)).then("friend"),
    )
    buyer = rng.integers(0, 200, ORDERS)  # a hundred customers buy nothing
    orders = pl.DataFrame(
        {
            "order_id": np.arange(ORDERS),
            "customer": buyer + 1000,
            "day": rng.integers(0, 365, ORDERS),
        }
    )
    lines = pl.DataFrame(
        {
            "order_id": np.repeat(np.arange(ORDERS), 2),
            "line": np.tile([1, 2], ORDERS),
            "product": [f"p{i}" for i in rng.integers(0, 40, 2 * ORDERS)],
            "count": rng.integers(1, 9, 2 * ORDERS),
        }
    )
    products = pl.DataFrame({"sku": [f"p{i}" for i in range(40)], "price": rng.random(40)})
    return {
        "regions": regions, "customers": customers, "orders": orders, "lines": lines,
        "products": products,
    }  # fmt: skip
