"""Canaries planted in the source, and secrets around it: searched for in all that is made.

In one file, so that one process learns the dataset for all of its tests.
"""

from __future__ import annotations

import stat
from typing import Any

import polars as pl
import pytest
from canaries_kit import PAIRS, SALARY, canary, find, orders, people
from conftest import SECRETS, Attacked

from aigc_pipeline.parquet import read_parquet

PLANTED = {f"once {i}": canary("once", i) for i in range(10)}
FIVE = {f"five {i}": canary("five", i) for i in range(6)}
PLANTED |= {f"product of one with 50 rows {i}": canary("product", i) for i in range(1)}
IDENTIFIERS = {
    f"{kind} {i}": canary(kind, i) for kind in ("mail", "tel", "acct") for i in range(len(people()))
} | {f"in free text {i}": canary("note", i) for i in range(10)}


@pytest.fixture(scope="module")
def places(attacked: Attacked) -> list[tuple[str, bytes]]:
    """All bytes of what was made of the source."""
    return attacked.published()


def synthetic(attacked: Attacked, table: str) -> pl.DataFrame:
    version = attacked.lake.current("canaries", "synthetic")
    names = [n for n in version.files(f"baseline/{table}/") if n.endswith(".parquet")]
    return pl.concat([read_parquet(version.file(name)) for name in names])


def test_the_search_finds_what_is_there(attacked: Attacked, places: Any) -> None:
    """The positive control: a word that many have, and a canary in the copies of the source."""
    spread = find({"usual": "climbing", "common": canary("twenty", 0)}, places)
    for stage in ("features", "model", "synthetic", "release", "warehouse.duckdb"):
        assert any(f"/{stage}" in place for place in spread["usual"]), stage
    assert spread["common"]  # twenty people have it: no secret
    real = find(PLANTED, attacked.everything())
    assert real.keys() == PLANTED.keys()  # raw rows are kept, 0600


@pytest.mark.parametrize(
    ("what", "needles"),
    [
        ("a text that one person has, and one that one person has in 50 rows", PLANTED),
        ("texts that five people have each", FIVE),
        ("mail, phone and account numbers, in columns and in free text", IDENTIFIERS),
    ],
)
def test_what_few_people_have_is_found_nowhere(
    what: str, needles: dict[str, str], places: Any, tried: Any
) -> None:
    line = tried("Privacy", f"canaries: {what}; searched for in every byte")
    assert find(needles, places) == {}
    line.happened("found nowhere", len(needles))


def test_extremes_and_rare_combinations(attacked: Attacked, places: Any, tried: Any) -> None:
    line = tried("Privacy", "canaries: a salary beyond all, a pair of values that one person has")
    assert find({"salary": str(SALARY), "whole": str(int(SALARY))}, places) == {}
    made = synthetic(attacked, "people")
    sixth = people()["salary"].sort(descending=True)[5]
    assert made["salary"].max() < SALARY / 2 and made["salary"].max() <= sixth  # type: ignore
    line.happened("no salary beyond the sixth largest")
    city, status = PAIRS
    pairs = made.filter((pl.col("city") == city) & (pl.col("status") == status)).height
    # A pair of usual values is no secret in itself; it must not be the person who is drawn again.
    one = people().filter((pl.col("city") == city) & (pl.col("status") == status)).drop("note")
    same = made.join(one, on=["city", "status", "hobby", "salary"], how="semi").height
    assert same == 0
    line.happened(f"the person's row came back in none of {pairs} rows with the pair")


def test_a_customer_with_500_orders(attacked: Attacked, tried: Any) -> None:
    line = tried("Privacy", "canaries: one customer with 500 orders among customers with a few")
    most = synthetic(attacked, "orders").group_by("person_id").len()["len"].max()
    usual = orders(people()).group_by("person_id").len()["len"].sort(descending=True)
    assert usual.head(2).to_list() == [500, 50]
    assert most is not None and most <= usual[2]  # type: ignore[operator]
    line.happened(f"no synthetic customer has more orders than the others have, {usual[2]}")


def test_secrets_are_written_nowhere(attacked: Attacked, tried: Any) -> None:
    line = tried(
        "Attacks", "secrets in a URL, a variable, the environment; every byte of lake and Dagster"
    )
    places = attacked.everything()
    assert find({"control": "canaries"}, places)  # the search finds what is there
    assert len(attacked.failed) == 1 and "127.0.0.1:1" in attacked.failed[0]
    everywhere = [*places, ("errors and tracebacks", "\n".join(attacked.failed).encode())]
    assert find(SECRETS, everywhere) == {}
    line.happened("in no file, log, traceback or database, after a good and a failed run", 3)


def test_only_the_owner_reads_the_lake(attacked: Attacked, tried: Any) -> None:
    line = tried("Attacks", "files that others on the machine may read")
    for path in [attacked.lake.home, *attacked.lake.home.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        names = ("warehouse.duckdb", ".warehouse.lock", "CURRENT")
        if path.name in names:  # synthetic only, or no more than a version's name
            continue
        assert mode & 0o077 == 0, f"{path} is {mode:o}"
        line.happened("0600 in 0700 folders")
