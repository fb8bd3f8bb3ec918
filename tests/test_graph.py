"""What a dataset file says of relations: the graph it gives, and faults told by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mall_kit import graph, spec, tables

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import FieldError, InputError
from aigc_pipeline.relations import Graph, graph_of
from aigc_pipeline.spec import DatasetSpec

GOOD = """\
name: shop
tables:
  customers:
    source: {file: customers.csv}
    key: id
  orders:
    source: {file: orders.csv}
    key: [id, day]
    parents:
      - column: id
        table: customers
    order_by: day
"""


def refusal(tmp_path: Path, old: str, new: str) -> str:
    assert old in GOOD
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_dataset(path)
    return str(caught.value).replace(f"{tmp_path}/", "")


def problems(**changes: Any) -> list[str]:
    """Faults of the shop once its tables are changed: {table: {field: value}}."""
    said = tables()
    for table, fields in changes.items():
        said[table].update(fields)
    with pytest.raises(FieldError) as caught:
        graph_of(DatasetSpec.model_validate({"name": "mall", "tables": said}))
    return str(caught.value).splitlines()


def test_parents_come_before_their_children() -> None:
    found = graph()
    assert found.order == ["regions", "products", "customers", "orders", "lines"]
    assert found.is_related and [r.name for r in found.relations] == [
        "customers.country+zone -> regions",
        "customers.friend -> customers",
        "orders.customer -> customers",
        "lines.order_id -> orders",
        "lines.product -> products",
    ]


def test_the_first_other_table_is_the_owner_and_the_rest_are_references() -> None:
    found = graph()
    assert {name: r and r.parent for name in found.tables if (r := found.owner_of(name))} == {
        "customers": "regions", "orders": "customers", "lines": "orders",
    }  # fmt: skip
    assert [r.parent for r in found.references_of("lines")] == ["products"]
    assert [r.is_self for r in found.references_of("customers")] == [True]
    assert [r.child for r in found.owned_by("customers")] == ["orders"]
    assert [r.child for r in found.children_of("customers")] == ["customers", "orders"]
    assert found.owned_by("products") == [] and found.root_of("lines") == "regions"
    assert Graph({"products": found.tables["products"]}).is_related is False
    assert spec().kept == {"regions"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("table: customers", "table: custmers",
         "shop.yaml:11: tables.orders.parents.0.table: there is no table 'custmers';"
         " did you mean 'customers'?"),
        ("    key: id\n", "",
         "shop.yaml:10: tables.orders.parents.0.table: 'customers' has no key"),
        ("column: id", "column: [id, day]",
         "shop.yaml:10: tables.orders.parents.0.column: the key of 'customers' is id, but here is"
         " id, day;"),
        ("key: id\n", "key: id\n    parents: [{column: [a, b], table: orders}]\n",
         "shop.yaml:6: tables.customers.parents.0: tables refer to each other in a circle"),
        ("order_by: day", "order_by: id",
         "shop.yaml:12: tables.orders.order_by: 'id' is the same in all rows of an owner"),
        ("[id, day]", "[id, id]", "shop.yaml:8: tables.orders.key: 'id' comes twice"),
        ("    order_by", "    keep: true\n    order_by",
         "tables.orders.parents.0.table: 'orders' is kept as it is, but 'customers' is made"),
        ("name: shop\n", "name: shop\nprivacy: {subject: id}\n",
         "shop.yaml:2: privacy.subject: tables that refer to each other have their subjects"),
    ],
)  # fmt: skip
def test_faults_have_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refusal(tmp_path, old, new)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"products": {"order_by": "price"}},
         "tables.products.order_by: rows are ordered under their owner, and there is none"),
        ({"orders": {"order_by": "order_id"}}, "tables.orders.order_by: 'order_id' is the key"),
        ({"orders": {"derive": {"day": "a + 1"}}}, "tables.orders.order_by: 'day' is derived"),
        ({"lines": {"key": []}}, "tables.lines.key: an empty list"),
        ({"regions": {"derive": {"tax": "zone + 1"}}},
         "tables.regions.derive: the table is kept as it is, so nothing in it is made"),
        ({"regions": {"columns": {"country": {"pii": "name"}}}},
         "tables.regions.columns.country.pii: a table that is kept is published"),
        ({"orders": {"columns": {"customer": {"pii": "uuid"}}}},
         "tables.orders.columns.customer.pii: 'customer' holds a key of 'customers'; say pii"),
        ({"lines": {"parents": [{"column": "product", "table": "products"},
                                {"column": "product", "table": "orders"}]}},
         "tables.lines.parents.1.column: 'product' already holds the key of 'products'"),
        ({"customers": {"parents": [{"column": "id", "table": "customers"}]}},
         "tables.customers.parents.0.column: 'id' is the table's own key"),
        ({"customers": {"parents": [{"column": ["zone", "zone"], "table": "regions"}]}},
         "tables.customers.parents.0.column: 'zone' comes twice"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    found = problems(**changes)
    assert len(found) == 1 and found[0].startswith(message)


def test_something_must_be_made() -> None:
    only = {"regions": tables()["regions"]}
    with pytest.raises(FieldError, match="every table is kept"):
        graph_of(DatasetSpec.model_validate({"name": "mall", "tables": only}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": {"family": "gan"}}, "generator.family: tables that refer to each other"),
        ({"generator": {"outliers": 0.1}}, "generator.outliers: tables that refer to each other"),
        ({"privacy": {"dp": {"epsilon": 3}}}, "privacy.dp: tables that refer to each other"),
        ({"privacy": {"subject": "id"}}, "privacy.subject: tables that refer to each other"),
        ({"synthesis": {"scenarios": {"a": {"balance": {"zone": {"1": 0.5}}}}}},
         "synthesis.scenarios.a.balance: tables that refer to each other"),
    ],
)  # fmt: skip
def test_what_is_for_single_tables(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError) as refused:
        graph_of(DatasetSpec.model_validate({"name": "mall", "tables": tables(), **changes}))
    assert str(refused.value).startswith(message)
