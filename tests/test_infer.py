"""What columns are, what is derived from what, and a dataset file's claims against the data."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.schema import TableSchema, canonical
from aigc_pipeline.sources import apply_derive, derive_agreement, infer_schema, read_table
from aigc_pipeline.sources.dates import guess_format, parse_dates
from aigc_pipeline.sources.guess import guess_kind, named_like_id
from aigc_pipeline.spec import Kind, TableSpec

N = 60
DAYS = [date(2023, 1, 1) + timedelta(days=7 * i) for i in range(N)]


def spec(**fields: Any) -> TableSpec:
    return TableSpec.model_validate({"source": {"file": "t.csv"}, **fields})


def schema(df: pl.DataFrame, **fields: Any) -> TableSchema:
    return infer_schema(df, "t", spec(**fields))


def refusal(df: pl.DataFrame, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        schema(df, **fields)
    return str(caught.value)


# Kinds


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("age", [i % 40 for i in range(N)], Kind.INTEGER),
        ("flag", [i % 2 for i in range(N)], Kind.INTEGER),
        ("whole", [float(i % 7) for i in range(N)], Kind.INTEGER),
        ("huge", [1e300 + i for i in range(N)], Kind.NUMBER),
        ("rate", [i / 7 for i in range(N)], Kind.NUMBER),
        ("customer_id", [i * 17 + 3 for i in range(N)], Kind.ID),
        ("customerID", [i * 17 + 3 for i in range(N)], Kind.ID),
        ("paid", [i * 17 + 3 for i in range(N)], Kind.INTEGER),
        ("row", list(range(1, N + 1)), Kind.ID),
        ("year", list(range(1960, 1960 + N)), Kind.INTEGER),
        ("merchant_id", [i % 9 for i in range(N)], Kind.INTEGER),
        ("yes", [i % 3 == 0 for i in range(N)], Kind.BOOLEAN),
        ("when", DAYS, Kind.DATETIME),
        ("at", [datetime(2023, 1, 1) + timedelta(hours=i) for i in range(N)], Kind.DATETIME),
        ("colour", ["red", "green"] * (N // 2), Kind.CATEGORY),
        ("ref", [f"AB-{i:05}" for i in range(N)], Kind.ID),
        ("user_key", ["abcdefghij"[i % 10] * (i // 10 + 1) for i in range(N)], Kind.ID),
        ("street", [f"{i} Long Winding Road" for i in range(N)], Kind.TEXT),
        ("nothing", [None] * N, Kind.CATEGORY),
        ("constant", [5] * N, Kind.INTEGER),
        ("zip", ["02139", "10115", "75001"] * (N // 3), Kind.CATEGORY),
        ("compact", ["20240101", "20240102", "20240103"] * (N // 3), Kind.CATEGORY),
        ("version", ["1.2", "1.3", "2.0"] * (N // 3), Kind.CATEGORY),
        ("clock", ["10:30", "11:00", "12:15"] * (N // 3), Kind.CATEGORY),
    ],
)
def test_kinds(name: str, values: list[Any], kind: Kind) -> None:
    column = pl.Series(name, values)
    assert guess_kind(column).kind == kind
    with_null = pl.DataFrame([pl.Series(name, [*values[1:], None]), pl.Series("z", values)])
    if name in ("customer_id", "customerID", "ref"):  # rows are still told apart by it
        assert "ids that nearly tell rows apart" in refusal(with_null)
    elif name == "huge":
        assert "beyond 4e+18" in refusal(with_null)
    else:
        assert schema(with_null)[name].nullable


@pytest.mark.parametrize(
    "name", ["id", "ID", "order_id", "orderId", "OrderID", "uuid", "ORDER_NO", "id_customer", "pk"]
)
def test_names_of_ids(name: str) -> None:
    assert named_like_id(name)
    assert not any(map(named_like_id, ["paid", "covid", "width", "identity", "candidate", "größe"]))


FORMATS = [
    "%Y-%m-%d", "%d.%m.%Y", "%b-%Y", "%Y-%m", "%-m/%-d/%Y", "%d/%m/%Y", "%B %-d, %Y", "%d %b %Y",
    "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%.3fZ", "%d/%m/%Y %I:%M %p",
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(
        st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
        min_size=8,
        max_size=40,
        unique=True,
    ),
)
def test_a_guessed_format_reads_and_writes_the_texts(format: str, moments: list[datetime]) -> None:
    texts = pl.Series(moments, dtype=pl.Datetime("us")).dt.to_string(format)
    guessed = guess_format(texts)
    if guessed is None:  # too few distinct ones, or day and month cannot be told apart
        days = [m.day for m in moments]
        assert texts.n_unique() < 3 or ("/" in format and max(days) <= 12)
    else:
        assert parse_dates(texts, guessed).dt.to_string(guessed).equals(texts)
        assert parse_dates(texts, guessed).equals(parse_dates(texts, format))


def test_ambiguous_or_mixed_dates_are_not_guessed() -> None:
    assert guess_format(pl.Series(["01/02/2023", "03/04/2023", "05/06/2023"])) is None
    assert guess_format(pl.Series(["2023-01-02", "2023-01-03", "soon"])) is None
    assert guess_format(pl.Series(["2023-01-02", "2023-1-03", "2023-01-04"])) is None
    assert guess_format(pl.Series(["2023-01-02", "2023-01-03"] * 9)) is None


# The dataset file's claims


def test_the_schema_keeps_order_dtypes_and_roles(orders: pl.DataFrame) -> None:
    found = schema(
        orders,
        key="order_id",
        target="grade",
        columns={"fixed": {"pii": "company", "description": "d"}, "quantity": {"type": "category"}},
        derive={"ratio": "net / (net + tax)", "gross": "net + tax"},
        constraints=[
            {"less_equal": ["tax", "gross"]},
            {"fixed_combination": ["grade", "quantity"]},
        ],
        expect=[{"expect_column_values_to_not_be_null": {"column": "ratio"}}],
    )
    assert found.names == [*orders.columns, "ratio"]
    assert found["order_id"].key and found["order_id"].kind == Kind.ID
    assert found["day"].format == "%d.%m.%Y" and found["shipped"].format is None
    assert found["gross"].derived == "net + tax" and found["gross"].decimals == 1
    assert found["ratio"].derived == "net / (net + tax)" and found["ratio"].decimals is None
    assert found["fixed"].pii == "company" and found["fixed"].description == "d"
    assert [c.dtype for c in found.columns][:3] == ["Int64", "Float64", "Float64"]
    assert found["quantity"].kind == Kind.CATEGORY and found["quantity"].dtype == "Int64"
    assert canonical(apply_derive(orders, spec(derive={"ratio": "net"})), found).height == N


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"columns": {"quantty": {}}},
            "tables.t.columns.quantty: there is no column 'quantty'; did you mean 'quantity'?",
        ),
        (
            {"key": "orderid"},
            "tables.t.key: there is no column 'orderid'; did you mean 'order_id'?",
        ),
        ({"target": "Grade"}, "tables.t.target: there is no column 'Grade'; did you mean 'grade'?"),
        (
            {"derive": {"x": "netto * 2"}},
            "tables.t.derive.x: there is no column 'netto'; did you mean 'net'?",
        ),
        (
            {"constraints": [{"less_equal": ["net", "taxx"]}]},
            "tables.t.constraints.0.less_equal: there is no column 'taxx'",
        ),
        (
            {"constraints": [{"sum": {"total": "all", "parts": ["net", "fee"]}}]},
            "tables.t.constraints.0.sum: there is no column 'fee'",
        ),
        (
            {"expect": [{"expect_column_values_to_be_unique": {"column": "ordr_id"}}]},
            "tables.t.expect.0.expect_column_values_to_be_unique.column: there is no column 'ord",
        ),
        (
            {
                "expect": [
                    {"expect_compound_columns_to_be_unique": {"column_list": ["net", "nope"]}}
                ]
            },
            "there is no column 'nope'",
        ),
    ],
)
def test_unknown_columns(orders: pl.DataFrame, fields: dict[str, Any], message: str) -> None:
    assert message in refusal(orders, **fields)


def test_all_problems_come_at_once(orders: pl.DataFrame) -> None:
    with pytest.raises(FieldError) as caught:
        schema(orders, key="kee", target="tagret", columns={"colum": {}}, derive={"x": "nett + 1"})
    assert len(caught.value.problems) == 4 and str(caught.value).count("\n") == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"derive": {"x": "order_id + 1"}}, "nothing can be derived from it"),
        ({"target": "order_id"}, "tables.t.target: 'order_id' is made afresh"),
        ({"constraints": [{"less_than": ["order_id", "net"]}]}, "no rule can bind it"),
        (
            {"constraints": [{"less_than": ["net", "shipped"]}]},
            "'net' (number) and 'shipped' (datetime) cannot be compared",
        ),
        (
            {"constraints": [{"less_equal": ["grade", "fixed"]}]},
            "both must be numbers, or both dates",
        ),
        (
            {
                "constraints": [
                    {"fixed_combination": ["grade", "net"]},
                    {"fixed_combination": ["net", "tax"]},
                ]
            },
            "in another fixed_combination",
        ),
        (
            {"columns": {"order_id": {"pii": "phone"}}},
            "pii is faked as text, but the column holds Int64",
        ),
    ],
)
def test_rules_must_suit_their_columns(
    orders: pl.DataFrame, fields: dict[str, Any], message: str
) -> None:
    assert message in refusal(orders, key="order_id", **fields)


def test_a_sum_needs_numbers(orders: pl.DataFrame) -> None:
    message = refusal(orders, constraints=[{"sum": {"total": "all", "parts": ["net", "shipped"]}}])
    assert "all" in message


@pytest.mark.parametrize(
    ("column", "claim", "message"),
    [
        ("grade", {"type": "number"}, "type: the values of 60 of 60 rows do not read as number"),
        ("net", {"type": "integer"}, "rows do not read as integer"),
        ("quantity", {"type": "boolean"}, "of 60 rows do not read as boolean"),
        ("net", {"type": "text"}, "60 of 60 rows do not read as text"),
        ("net", {"type": "id"}, "rows do not read as id"),
        ("shipped", {"type": "number"}, "60 of 60 rows do not read as number"),
        ("quantity", {"type": "datetime"}, "the column holds Int64, not dates"),
        ("grade", {"type": "datetime"}, "no one format reads all values; say it with `format`"),
        ("day", {"format": "%Y-%m-%d"}, "'%Y-%m-%d' does not read the values of 60 of 60 rows"),
        ("shipped", {"format": "%Y-%m-%d"}, "but the column holds Date"),
        ("day", {"type": "category", "format": "%d.%m.%Y"}, "a format goes with type datetime"),
    ],
)
def test_types_that_do_not_fit(
    orders: pl.DataFrame, column: str, claim: dict[str, str], message: str
) -> None:
    found = refusal(orders, columns={column: claim})
    assert f"tables.t.columns.{column}" in found and message in found
    assert "2023" not in found and "A-0" not in found


def test_types_that_do_fit(orders: pl.DataFrame) -> None:
    df = orders.with_columns(
        bit=pl.col("order_id") % 2,
        answer=pl.Series(["Yes", "no"] * (N // 2)),
        amount=pl.format("{}.5", "quantity"),
        ambiguous=pl.Series(["01/02/2023", "03/04/2023"] * (N // 2)),
    )
    claims = {
        "bit": {"type": "boolean"},
        "answer": {"type": "boolean"},
        "amount": {"type": "number"},
        "ambiguous": {"format": "%d/%m/%Y"},
        "quantity": {"type": "number"},
        "grade": {"type": "id"},
        "day": {"type": "datetime"},
        "net": {"type": "category"},
        "fixed": {"type": "text"},
    }
    found = schema(df, columns=claims)
    assert found["bit"].kind == Kind.BOOLEAN and found["bit"].dtype == "Int64"
    assert found["ambiguous"].kind == Kind.DATETIME and found["day"].format == "%d.%m.%Y"
    assert {found[c].kind for c in ("amount", "quantity")} == {Kind.NUMBER}


def test_keys_must_tell_rows_apart(orders: pl.DataFrame) -> None:
    message = refusal(orders, key="quantity")
    assert "tables.t.key: 'quantity' repeats an earlier value in 55 rows of 60" in message
    holed = orders.with_columns(pl.when(pl.col("quantity") > 1).then("order_id").alias("order_id"))
    assert "'order_id' is missing in 12 rows of 60" in refusal(holed, key="order_id")
    assert "tables.t.key" in refusal(orders, key="shipped")


def test_a_target_must_vary(orders: pl.DataFrame) -> None:
    assert "tables.t.target: 'fixed' never varies" in refusal(orders, target="fixed")
    empty = orders.with_columns(fixed=pl.lit(None, dtype=pl.String))
    assert "never varies" in refusal(empty, target="fixed")


HOSTILE = ['a"b', "it's", "x y", "größe 数", "SELECT 1; --", "a.b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_rules(name: str) -> None:
    df = pl.DataFrame({name: [1.5, 2.5] * 30, "other": [1.0, 2.0] * 30})
    rules = {"constraints": [{"sum": {"total": f"all {name}", "parts": [name, "other"]}}]}
    found = schema(df, columns={name: {"type": "number"}}, **rules)
    total = apply_derive(df, spec(**rules))[f"all {name}"]
    assert found.names[-1] == f"all {name}" and total.to_list()[:2] == [2.5, 4.5]


# The shipped datasets


@pytest.mark.parametrize("name", ["loans", "churn"])
def test_shipped_datasets_suit_their_data(name: str) -> None:
    root = Path(__file__).parents[1]
    dataset = load_dataset(root / "datasets" / f"{name}.yaml")
    for table_name, table in dataset.tables.items():
        df = read_table(table.source, root, name=table_name)
        found = infer_schema(df, table_name, table)
        assert set(df.columns) <= set(found.names)
        for same, of in derive_agreement(df, table).values():
            assert same / of > 0.99
        for column in df.columns:
            assert str(df.schema[column]) == found[column].dtype
