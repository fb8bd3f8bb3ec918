"""Whether rows find their parents: facts of each relation, what is refused, what is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mall_kit import CUSTOMERS, ORDERS, frames, graph, spec, tables

from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.relations import check_owner_columns, drop_orphans, inspect_relations
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import DatasetSpec, Kind
from aigc_pipeline.stages import ingest, validate


def schemas_of(spec: DatasetSpec, rows: dict[str, pl.DataFrame]) -> dict[str, TableSchema]:
    return {n: infer_schema(rows[n], n, t, kept=spec.kept) for n, t in spec.tables.items()}


def changed(table: str, parent: int, **fields: Any) -> dict[str, Any]:
    said = tables()
    said[table]["parents"][parent].update(fields)
    return said


def test_facts_are_counts() -> None:
    region, friend, customer, order, product = inspect_relations(frames(), graph())
    assert (region.rows, region.nulls, region.orphans) == (CUSTOMERS, 30, 30)
    assert (region.parents, region.parent_rows) == (5, 5) and region.orphan_rate == 0.1
    assert friend.nulls == CUSTOMERS * 3 // 4 and friend.orphans == 0 < friend.parents
    buyers = frames()["orders"].group_by("customer").len()
    assert (customer.parents, customer.most) == (len(buyers), buyers["len"].max())
    assert (order.rows, order.parents, order.most) == (2 * ORDERS, ORDERS, 2)
    assert product.null_rate == product.orphan_rate == 0
    shown = "customers.country+zone -> regions: 5 of 5 parents, 10.00% without one, 10.00% orphans"
    assert region.describe() == shown
    assert region.to_json()["relation"] == "customers.country+zone -> regions"


def test_what_is_refused_is_told_in_counts() -> None:
    rows = frames()
    rows["orders"] = (
        rows["orders"]
        .with_columns(customer=pl.when(pl.col("order_id") >= 12).then("customer"))
        .with_columns(
            customer=pl.when(pl.col("order_id") == 20).then(987_654).otherwise("customer")
        )
    )
    refusing = graph(tables=changed("customers", 0, optional=False, orphans="refuse"))
    with pytest.raises(FieldError) as caught:
        inspect_relations(rows, refusing)
    lines = str(caught.value).splitlines()
    assert [line.partition("; ")[0] for line in lines] == [
        "tables.customers.parents.0.optional: country + zone is missing in 30 of 300 rows",
        "tables.customers.parents.0.orphans: 30 of 300 rows refer to a row of 'regions' that is"
        " not there",
        "tables.orders.parents.0.optional: customer is missing in 12 of 1500 rows",
        "tables.orders.parents.0.orphans: 1 of 1500 rows refer to a row of 'customers' that is"
        " not there",
    ]
    assert "say `orphans: reproduce`" in lines[1] and "987" not in str(caught.value)


def test_references_have_the_type_of_the_key() -> None:
    rows = frames()
    rows["orders"] = rows["orders"].with_columns(pl.col("customer").cast(pl.Int16))
    assert inspect_relations(rows, graph())[2].orphans == 0  # any width of whole numbers will do
    rows["orders"] = rows["orders"].with_columns(pl.col("customer").cast(pl.String))
    for act in (inspect_relations, drop_orphans):
        with pytest.raises(FieldError, match=r"'customer' holds String, but .* holds Int64"):
            act(rows, graph())


def test_dropping_goes_down_to_the_last_child() -> None:
    said = changed("orders", 0, orphans="drop")
    said["customers"]["parents"][1]["orphans"] = "drop"
    said["lines"]["parents"][0]["orphans"] = "drop"
    rows = frames()
    chain = {1000: 1004, 1004: 1008, 1008: 1}  # the last one's friend is not there
    friend = pl.col("id").replace_strict(chain, default=None)
    rows["customers"] = rows["customers"].with_columns(friend=friend)
    left = drop_orphans(rows, graph(tables=said))
    assert set(rows["customers"]["id"]) - set(left["customers"]["id"]) == set(chain)
    assert len(left["orders"]) == ORDERS - rows["orders"]["customer"].is_in(list(chain)).sum()
    assert len(left["lines"]) == 2 * len(left["orders"]) < 2 * ORDERS
    inspect_relations(left, graph(tables=said))
    assert left["regions"] is rows["regions"]
    same = drop_orphans(frames(), graph())
    assert all(same[name].equals(df) for name, df in frames().items())


def test_a_circle_among_rows_is_no_fault() -> None:
    rows = frames()
    rows["customers"] = rows["customers"].with_columns(friend=pl.col("id").reverse())
    assert inspect_relations(rows, graph())[1].parents == CUSTOMERS


def test_a_column_that_holds_a_key_is_opaque_unless_the_parent_is_kept() -> None:
    found = schemas_of(spec(), frames())
    customers, lines = found["customers"], found["lines"]
    assert customers.key == ["id"] and customers["id"].key and customers["id"].is_generated
    assert (customers["country"].parent, customers["country"].kind) == ("regions", Kind.CATEGORY)
    assert customers["zone"].kind == Kind.INTEGER and not customers["zone"].is_generated
    assert (customers["friend"].parent, customers["friend"].kind) == ("customers", Kind.ID)
    assert lines.key == ["order_id", "line"] and not any(c.key for c in lines.columns)
    assert {c.name: c.kind for c in lines.columns} == {
        "order_id": Kind.ID, "line": Kind.INTEGER, "product": Kind.ID, "count": Kind.INTEGER,
    }  # fmt: skip
    assert all(c.kept and not c.is_generated for c in found["regions"].columns)
    assert found["regions"].key == ["country", "zone"]


def test_keys_of_kept_tables_are_values_like_any_other() -> None:
    said = tables()
    said["products"]["keep"] = True
    found = schemas_of(spec(tables=said), frames())
    assert (found["products"]["sku"].kind, found["products"]["sku"].key) == (Kind.CATEGORY, True)
    assert not found["products"]["sku"].is_generated
    assert found["lines"]["product"].kind == Kind.CATEGORY


def test_an_opaque_column_has_no_type_of_its_own() -> None:
    said = tables()
    said["orders"]["columns"] = {"customer": {"type": "category"}}
    with pytest.raises(FieldError, match=r"customer: 'customer' holds the key of 'customers'"):
        schemas_of(spec(tables=said), frames())
    said["orders"]["columns"] = {"customer": {"type": "id", "description": "who"}}
    assert schemas_of(spec(tables=said), frames())["orders"]["customer"].description == "who"


def test_a_composite_key_is_unique_and_never_missing() -> None:
    rows = frames()
    line = pl.when(pl.col("order_id") < 5).then(1).otherwise("line")
    line = pl.when(pl.col("order_id") < 1497).then(line)
    rows["lines"] = rows["lines"].with_columns(line=line)
    with pytest.raises(FieldError) as caught:
        schemas_of(spec(), rows)
    assert str(caught.value) == (
        "tables.lines.key: 'order_id' + 'line' is missing in 6 rows and repeats an earlier value"
        " in 5 rows of 3000; a key is unique and never missing"
    )


def test_a_rule_may_name_a_column_of_the_owner() -> None:
    rows = frames()
    said = tables()
    said["orders"]["constraints"] = [{"less_than": ["customers.age", "day"]}]
    shop = spec(tables=said)
    check_owner_columns(schemas_of(shop, rows), graph(tables=said))
    for pair, message in {
        ("customers.aeg", "day"): "'customers' has no column 'aeg'; did you mean 'age'?",
        ("customers.id", "day"): "customers.id is made afresh",
        ("customers.country", "day"): "'customers.country' .category. and 'day' .integer. cannot",
        ("products.price", "day"): "there is no column 'products.price'",
        ("customers.age", "customers.zone"): "both columns are the owner's",
    }.items():
        said["orders"]["constraints"] = [{"less_than": list(pair)}]
        shop = spec(tables=said)
        with pytest.raises(FieldError, match=message):
            check_owner_columns(schemas_of(shop, rows), graph(tables=said))


def test_order_needs_time_or_number() -> None:
    said = tables()
    said["lines"]["order_by"] = "count"
    assert schemas_of(spec(tables=said), frames())
    said["lines"]["order_by"] = "product"
    with pytest.raises(FieldError, match=r"lines.order_by: 'product' \(id\) has no order"):
        schemas_of(spec(tables=said), frames())


def test_the_validated_stage_says_how_tables_refer(tmp_path: Path, lake: Lake) -> None:
    rows = frames()
    rows["lines"] = rows["lines"].with_columns(
        product=pl.when(pl.col("order_id") < 4).then(pl.lit("gone")).otherwise("product")
    )
    for name, df in rows.items():
        df.write_csv(tmp_path / f"{name}.csv")
    ingest(lake, spec(), tmp_path)
    result = validate(lake, spec())
    check = next(c for c in result.checks if c.name == "references_hold")
    assert not check.passed and check.severity == "warning"
    assert check.message.startswith("8 rows of lines were dropped, orphans; customers.country+zone")
    assert result.version is not None and result.version.meta["dropped"] == {"lines": 8}
    assert result.version.meta["relations"][0]["orphans"] == 30
    assert result.metadata["rows"]["regions"] == 5  # a kept table may be as small as it likes
    parts = [
        pl.read_parquet(result.version.file(f"lines/{part}.parquet"))
        for part in ("train", "holdout")
    ]
    assert sum(map(len, parts)) == 2 * ORDERS - 8
    rules = [r["rule"] for r in result.version.read_json("lines/validation.json")["results"]]
    assert rules.count("expect_compound_columns_to_be_unique") == 1
    with pytest.raises(InputError, match=r"orders\.parents\.0\.orphans: \d+ of 1500 rows"):
        rows["customers"].head(100).write_csv(tmp_path / "customers.csv")
        ingest(lake, spec(), tmp_path)
        validate(lake, spec())
