"""`aigc diff`: what was planted between two releases is named, and nothing else."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from cli_kit import aigc, enter
from warehouse_kit import TABLE, column, release, shop, shop_rows, shop_schemas

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Kind
from aigc_pipeline.warehouse import diff, publish, rollback

ROWS = 120


def plain(change: pl.Expr | None = None, orders: TableSchema | None = None) -> dict[str, Any]:
    """The shop without its scenario, the orders changed at will; what `release` takes."""
    tables, schemas = shop_rows(1, ROWS), shop_schemas()
    if change is not None:
        tables["orders"] = tables["orders"].with_columns(change)
    if orders is not None:
        schemas["orders"] = orders
        tables["orders"] = tables["orders"].with_columns(
            pl.lit("x").alias("channel"), pl.col("amount").round().cast(pl.Int64)
        )
        tables["orders"] = tables["orders"].select(orders.names)
    return {"tables": tables, "schemas": schemas}


def changed_schema() -> TableSchema:
    """The orders without their day, with a channel, and whole amounts."""
    old = shop_schemas()["orders"]
    columns = [c for c in old.columns if c.name not in ("day", "amount")]
    columns += [column("amount", Kind.INTEGER, "Int64"), column("channel", Kind.CATEGORY, "String")]
    return TableSchema(name="orders", columns=columns)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[Version]]:
    """A release, and one whose orders have other columns and other cities, and a worse score."""
    lake = Lake(tmp_path_factory.mktemp("diff") / "lake")
    spec = shop(synthesis={})
    change = pl.col("city").fill_null("Genf").replace("Bern", "Chur")
    made = [
        release(lake, spec, **plain()),
        release(lake, spec, **plain(change, changed_schema()), auc=0.6),
    ]
    publish(lake)
    return lake, made


def test_a_planted_schema_change_and_shift_are_named(two: tuple[Lake, list[Version]]) -> None:
    lake, (first, second) = two
    found = diff(lake, "shop")
    assert (found.before, found.after) == (first.id, second.id)
    assert [c.describe() for c in found.schema_] == [
        "orders: column 'amount' was number (Float64), is integer (Int64)",
        "orders: column 'channel' is new, category (String)",
        "orders: column 'day' is gone, it was datetime (Date)",
    ]
    moved = {name: [c.column for c in drift.moved] for name, drift in found.drift.items()}
    assert moved == {"orders": ["city"], TABLE: []}
    scores = {(s.table, s.score): (s.before, s.after) for s in found.scores}
    assert scores["orders", "detection_auc"] == (0.55, 0.6)
    assert {(r.table, r.before, r.after) for r in found.rows} == {
        ("shop.orders", ROWS, ROWS),
        (f"shop.{TABLE}", ROWS, ROWS),
    }
    assert found.source_drift == {}  # the kit's runs have no real rows


def test_the_other_way_round_and_a_release_with_itself(two: tuple[Lake, list[Version]]) -> None:
    lake, (first, second) = two
    back = diff(lake, "shop", second.id, first.id)
    assert [c.column for c in back.schema_] == ["amount", "day", "channel"]
    same = diff(lake, "shop", first.id, first.id)
    assert same.schema_ == [] and not any(d.moved for d in same.drift.values())
    assert all(s.before == s.after for s in same.scores)
    rollback(lake, "shop")
    with pytest.raises(InputError, match=f"no release before {first.id}"):
        diff(lake, "shop")  # the one in force is the first now
    assert diff(lake, "shop", second.id).after == first.id
    rollback(lake, "shop", second.id)


def test_a_scenario_of_one_release_alone_is_shown_by_its_rows(lake: Lake) -> None:
    release(lake, shop(synthesis={}), **plain())
    release(lake, shop())
    rows = {r.table: (r.before, r.after) for r in diff(lake, "shop").rows}
    assert rows["shop__crisis.orders"] == (None, 3) and rows["shop.orders"] == (ROWS, 10)


def test_what_cannot_be_compared_is_refused(two: tuple[Lake, list[Version]]) -> None:
    lake, (first, _) = two
    with pytest.raises(InputError, match=r"no release 'v1': there are"):
        diff(lake, "shop", "v1")
    with pytest.raises(InputError, match=r"'shpo' has no release: did you mean 'shop'"):
        diff(lake, "shpo")
    schema = first.path / "schemas/orders.json"
    whole = schema.read_bytes()
    schema.write_text("{}")
    with pytest.raises(ArtefactError, match=r"schemas/orders\.json: its bytes changed"):
        diff(lake, "shop")
    schema.write_bytes(whole)


def test_the_command_shows_it_to_people_and_programs(
    two: tuple[Lake, list[Version]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, (first, second) = two
    enter(monkeypatch, lake.home.parent)
    monkeypatch.setenv("AIGC_HOME", str(lake.home))
    shown = aigc("diff", "shop")
    assert shown.code == 0, shown.err
    for part in (first.id, second.id, "channel", "datetime (Date)", "moved", "detection_auc"):
        assert part in shown.out
    told = aigc("diff", "shop", first.id, "--json").json
    assert told["schema"][1] == {
        "table": "orders",
        "column": "channel",
        "before": None,
        "after": "category (String)",
        "words": "orders: column 'channel' is new, category (String)",
    }
    cities = [c for c in told["drift"]["orders"]["columns"] if c["column"] == "city"]
    assert cities[0]["shifted"] is True
    assert aigc("diff", "shop", "v9").code == 2
