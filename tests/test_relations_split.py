"""Training and holdout of related tables: entities stay whole, and go to one side or the other."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from mall_kit import CUSTOMERS, frames, graph, spec, tables

from aigc_pipeline.errors import InputError
from aigc_pipeline.relations import split_tables


def split(**changes: Any) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    shop = spec(**changes)
    return split_tables(frames(), graph(**changes), shop)


def without_regions() -> dict[str, Any]:
    said = tables()
    del said["customers"]["parents"][0], said["regions"]
    return said


def test_all_that_hangs_on_a_row_goes_with_it() -> None:
    shop = spec(tables=without_regions(), evaluation={"holdout": 0.3})
    rows = frames()
    del rows["regions"]
    sides = split_tables(rows, graph(tables=without_regions()), shop)
    for name, df in rows.items():
        assert sum(len(side[name]) for side in sides) == len(df)
    for side in sides:
        assert set(side["orders"]["customer"]) <= set(side["customers"]["id"])
        assert set(side["lines"]["order_id"]) == set(side["orders"]["order_id"])
    assert len(sides[1]["customers"]) == round(0.3 * CUSTOMERS)
    assert len(sides[1]["products"]) == 12  # a reference's table is split for itself
    friends = sides[1]["customers"]["friend"].drop_nulls()
    assert not friends.is_in(sides[1]["customers"]["id"].to_list()).all()  # left as they are


def test_rows_keep_their_order_and_the_seed_decides() -> None:
    (train, _), (again, _) = split(), split()
    assert train["orders"].equals(again["orders"])
    assert train["orders"]["order_id"].is_sorted()
    other, _ = split(synthesis={"seed": 7})
    assert not train["customers"].equals(other["customers"])


def test_a_kept_table_that_owns_rows_is_split_like_any_other() -> None:
    train, holdout = split(evaluation={"holdout": 0.4})
    assert (len(train["regions"]), len(holdout["regions"])) == (3, 2)
    region = ["country", "zone"]
    for side, other in ((train, holdout), (holdout, train)):
        placed = side["customers"].drop_nulls("zone").filter(pl.col("country") != "Z")
        assert placed.join(side["regions"], on=region).height == len(placed) > 0
        assert placed.join(other["regions"], on=region).is_empty()


def test_a_kept_table_that_others_only_refer_to_is_whole_on_both_sides() -> None:
    said = tables()
    said["products"]["keep"] = True
    train, holdout = split(tables=said)
    assert train["products"].equals(holdout["products"]) and len(train["products"]) == 40


def test_rows_without_an_owner_are_drawn_orphans_by_the_owner_they_name() -> None:
    train, holdout = split()
    lone = [side["customers"].filter(pl.col("zone").is_null()) for side in (train, holdout)]
    assert sum(map(len, lone)) == 30 and all(map(len, lone))
    orphans = [side["customers"].filter(pl.col("country") == "Z") for side in (train, holdout)]
    named = [set(df["zone"].drop_nulls()) for df in orphans]
    assert named[0].isdisjoint(named[1]) and named[0] | named[1] == {1, 2}
    assert sum(len(df.drop_nulls("zone")) for df in orphans) == 30


def test_too_few_entities_are_told() -> None:
    rows = frames()
    rows["orders"] = rows["orders"].with_columns(customer=pl.lit(1001))
    with pytest.raises(InputError, match=r"^orders: 1500 rows under 5 of 'regions' are too few"):
        split_tables(rows, graph(), spec())
