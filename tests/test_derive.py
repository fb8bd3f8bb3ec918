"""Derived columns: what an expression may be, and the form its values take."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import apply_derive, derive_agreement, infer_schema
from aigc_pipeline.sources.derive import decimals_of
from aigc_pipeline.spec import TableSpec

N = 60  # rows of `orders`


def spec(**fields: Any) -> TableSpec:
    return TableSpec.model_validate({"source": {"file": "t.csv"}, **fields})


def refusal(df: pl.DataFrame, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        infer_schema(df, "t", spec(**fields))
    return str(caught.value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("net +", "is no SQL expression that Polars reads"),
        ("net; DROP TABLE t", "is no SQL expression"),
        ("frobnicate(net)", "is no SQL expression"),
        ("1 + 1", "names no column"),
        ("net / SUM(net)", "looks at more than one row"),
        ("net - VAR(net)", "looks at more than one row"),
        ("LAG(net) OVER (ORDER BY day)", "looks at more than one row"),
        ("net * (SELECT 1)", "looks at more than one row"),
        ("net * grade", "cannot be computed from columns of these types"),
        ("x + 1", "derived from itself: 'x' needs 'x'"),
    ],
)
def test_expressions_that_are_refused(orders: pl.DataFrame, expression: str, message: str) -> None:
    found = refusal(orders, derive={"x": expression})
    assert "tables.t.derive.x: " in found and message in found


def test_circles_and_double_definitions_are_refused(orders: pl.DataFrame) -> None:
    message = refusal(orders, derive={"a": "b + net", "b": "a - net"})
    assert "derived from itself" in message and "'a'" in message
    both = {
        "derive": {"gross": "net"},
        "constraints": [{"sum": {"total": "gross", "parts": ["net", "tax"]}}],
    }
    assert "column 'gross' is derived in two ways" in refusal(orders, **both)
    assert "differs from the column 'net' only by case" in refusal(
        orders, derive={"NET": "tax + 1"}
    )
    assert "'*' cannot name a column" in refusal(orders, derive={"*": "net + 1"})
    assert "cannot be derived" in refusal(orders, key="order_id", derive={"order_id": "quantity"})
    message = refusal(orders, derive={"gross": "grade"})
    assert "do not fit the column's Float64" in message and "A-" not in message


def test_derived_columns_keep_place_dtype_and_decimals(orders: pl.DataFrame) -> None:
    table = spec(
        derive={
            "letter": "SUBSTRING(grade, 1, 1)",
            "gross": "net + tax",
            "twice": "gross * 2",
            "quantity": "CASE WHEN net > 2 THEN 1.0 ELSE 2.0 END",
            "share": "tax / (quantity - 1)",
        }
    )
    done = apply_derive(orders, table)
    assert done.columns == [*orders.columns, "letter", "twice", "share"]
    assert done.schema["quantity"] == pl.Int64
    assert done["gross"].to_list() == [round(v, 1) for v in (orders["net"] + orders["tax"])]
    assert (done["net"] + done["tax"]).to_list() != done["gross"].to_list()  # 0.1 + 0.2
    assert done["share"].is_finite().all() and done["share"].null_count() > 0  # divided by zero
    assert derive_agreement(orders, table)["gross"] == (N, N)
    assert derive_agreement(orders, table)["quantity"][0] < N


def test_the_schema_gives_the_form_of_derived_columns(orders: pl.DataFrame) -> None:
    table = spec(derive={"gross": "net + tax", "quantity": "net * 1"})
    learned = orders.select("net", "tax").head(5)
    done = apply_derive(learned, table, infer_schema(orders, "t", table))
    assert done["gross"].to_list() == orders["gross"].to_list()[:5]
    assert done.schema["quantity"] == pl.Int64
    assert apply_derive(learned, table).columns == ["net", "tax", "gross", "quantity"]


def test_missing_parts_make_a_missing_total() -> None:
    df = pl.DataFrame({"a": [1, None, 3] * 10, "b": [4, 5, 6] * 10, "total": [0, 0, 0] * 10})
    table = spec(constraints=[{"sum": {"total": "total", "parts": ["a", "b"]}}])
    assert apply_derive(df, table)["total"].to_list()[:3] == [5, None, 9]
    assert infer_schema(df, "t", table)["total"].derived == '"a" + "b"'
    assert derive_agreement(df, table) == {"total": (0, 30)}


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1.0, 2.0, None], 0),
        ([0.1 + 0.2, 0.5], 1),
        ([0.0] * 50 + [19.99, 5.01], 2),
        ([i / 7 for i in range(1, 30)], None),
        ([float(i) for i in range(20)] + [1 / 3], 0),
        ([1e17, 0.5], None),
        ([None], None),
    ],
)
def test_decimals(values: list[float | None], decimals: int | None) -> None:
    assert decimals_of(pl.Series(values, dtype=pl.Float64)) == decimals
