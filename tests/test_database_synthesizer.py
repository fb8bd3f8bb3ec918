"""The front door for related tables: declare, fit, sample, save and load, in any frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aigc_pipeline import DatabaseSynthesizer
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.spec import Between
from aigc_pipeline.synthesizer import NotFittedError

TABLES: dict[str, Any] = {
    "channels": {"key": "channel", "keep": True},
    "customers": {"key": "customer_id"},
    "orders": {
        "key": "order_id",
        "parents": [
            {"column": "customer_id", "table": "customers"},
            {"column": "channel", "table": "channels"},
        ],
        "order_by": "day",
        "constraints": [{"less_equal": ["customers.joined", "day"]}],
    },
}
DRAFT = {"quality": "draft"}


def shop() -> dict[str, pl.DataFrame]:
    """150 customers, of whom the golden ones buy more, after they joined; two channels."""
    rng = np.random.default_rng(0)
    number = np.arange(150)
    tier = rng.choice(["silver", "gold"], 150)
    customers = pl.DataFrame(
        {
            "customer_id": number + 1000,
            "tier": tier,
            "joined": rng.integers(0, 100, 150),
        }
    )
    buyer = np.repeat(number, np.where(tier == "gold", 5, 2))
    orders = pl.DataFrame(
        {
            "order_id": np.arange(len(buyer)),
            "customer_id": buyer + 1000,
            "day": customers["joined"].to_numpy()[buyer] + rng.integers(0, 200, len(buyer)),
            "channel": rng.choice(["web", "shop"], len(buyer), p=[0.8, 0.2]),
        }
    )
    channels = pl.DataFrame({"channel": ["web", "shop"], "fee": [0, 2]})
    return {"channels": channels, "customers": customers, "orders": orders}


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    return shop()


@pytest.fixture(scope="module")
def fitted(frames: dict[str, pl.DataFrame]) -> DatabaseSynthesizer:
    return DatabaseSynthesizer(TABLES, generator=DRAFT, seed=3).fit(frames)


def hang_together(made: dict[str, pl.DataFrame]) -> bool:
    """Whether every order has its customer, and comes after the customer did."""
    both = made["orders"].join(made["customers"], on="customer_id")
    return len(both) == len(made["orders"]) and bool((both["joined"] <= both["day"]).all())


def test_it_makes_whole_databases(fitted: DatabaseSynthesizer, frames) -> None:
    made = fitted.sample()
    assert list(made) == list(TABLES) and made["channels"].equals(frames["channels"])
    assert all(made[name].schema == frames[name].schema for name in TABLES)
    assert len(made["customers"]) == 150 and 300 < len(made["orders"]) < 800
    assert hang_together(made)
    assert not set(made["customers"]["customer_id"]) & set(frames["customers"]["customer_id"])
    assert fitted.cards_["orders"]["rows"] == len(frames["orders"])
    assert fitted.schemas_["orders"].names == frames["orders"].columns


def test_sizes_seeds_and_conditions(fitted: DatabaseSynthesizer) -> None:
    some = fitted.sample(40)
    assert len(some["customers"]) == 40 == len(fitted.sample({"customers": 40})["customers"])
    assert some["orders"].equals(fitted.sample(40, seed=3)["orders"])
    assert not some["orders"].equals(fitted.sample(40, seed=4)["orders"])
    gold = fitted.sample(40, where={"customers.tier": "gold"})
    assert set(gold["customers"]["tier"]) == {"gold"} and len(gold["customers"]) == 40
    assert len(gold["orders"]) > len(some["orders"])


def test_a_condition_on_a_child_is_met_by_as_many_rows_as_asked(fitted) -> None:
    made = fitted.sample(60, where={"channel": "shop", "orders.day": Between(min=50)})
    assert set(made["orders"]["channel"]) == {"shop"} and made["orders"]["day"].min() >= 50
    assert 60 <= len(made["orders"]) < 120
    assert set(made["orders"]["customer_id"]) == set(made["customers"]["customer_id"])


def test_a_condition_on_a_lookup_table_is_one_on_what_refers_to_it(fitted, frames) -> None:
    made = fitted.sample(where={"channels.fee": 2})
    assert set(made["orders"]["channel"]) == {"shop"} and hang_together(made)
    assert made["channels"].equals(frames["channels"])


def test_it_is_the_same_after_load(fitted: DatabaseSynthesizer, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # replaces itself
    made, again = fitted.sample(30), DatabaseSynthesizer.load(tmp_path / "model").sample(30)
    assert all(again[name].equals(df) for name, df in made.items())
    (tmp_path / "model" / "database.json").write_text("{}")
    with pytest.raises(ArtefactError, match="no database can be read here"):
        DatabaseSynthesizer.load(tmp_path / "model")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="files here that are no model"):
        fitted.save(tmp_path)


def test_pandas_in_pandas_out(frames: dict[str, pl.DataFrame]) -> None:
    import pandas as pd

    model = DatabaseSynthesizer(TABLES, generator={**DRAFT, "time_limit": "1s"})
    made = model.fit({name: df.to_pandas() for name, df in frames.items()}).sample(30)
    assert all(isinstance(df, pd.DataFrame) for df in made.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"orders": {"parents": [{"column": "id", "table": "customer"}]}}, "mean 'customers'"),
        ({"customers": {}}, "has no key, so nothing can refer"),
        ({"channels": {"kee": "channel"}}, r"tables\.channels\.kee: Extra inputs"),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DatabaseSynthesizer({**TABLES, **change})


def test_mistakes_are_told(fitted: DatabaseSynthesizer, frames) -> None:
    with pytest.raises(InputError, match="learn each by itself with Synthesizer"):
        DatabaseSynthesizer({"customers": {"key": "customer_id"}})
    with pytest.raises(InputError, match="cannot be learned with differential privacy"):
        DatabaseSynthesizer(TABLES, privacy={"dp": {"epsilon": 3}})
    fresh = DatabaseSynthesizer(TABLES)
    with pytest.raises(NotFittedError, match="call fit or load first"):
        fresh.sample()
    with pytest.raises(InputError, match="table 'channels' is missing"):
        fresh.fit({name: frames[name] for name in ("customers", "orders")})
    with pytest.raises(InputError, match="nothing is said of a table 'order'; did you mean"):
        fresh.fit({**frames, "order": frames["orders"]})
    owned = DatabaseSynthesizer(
        {
            "channels": TABLES["channels"],
            "orders": {"parents": [{"column": "channel", "table": "channels"}]},
        }
    )
    with pytest.raises(InputError, match="2 rows of the kept table 'channels' are too few"):
        owned.fit({name: frames[name] for name in ("channels", "orders")})
    lost = {**frames, "customers": frames["customers"].head(100)}
    with pytest.raises(InputError, match="refer to a row of 'customers' that is not there"):
        fresh.fit(lost)
    with pytest.raises(InputError, match="rows of 'orders' cannot be chosen"):
        fitted.sample({"orders": 10})
    with pytest.raises(InputError, match="no row of 'orders' met the condition"):
        fitted.sample(10, where={"orders.day": Between(min=100_000)})
    with pytest.raises(InputError, match="unknown column 'tire'; did you mean 'tier'"):
        fitted.sample(where={"tire": "gold"})
