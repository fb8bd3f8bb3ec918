"""Fixtures that many test files share: real tables from packages, and a lake to work in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from browser_kit import Browser, chromium, why_not

from aigc_pipeline.lake import Lake

pytest_plugins = ["guarantees"]


def pytest_configure() -> None:
    """Each of several workers keeps to one core: with all of them in each, they wait in turn."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: a worker that came to one last would end alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def few_queries() -> Iterator[None]:
    """Evaluations ask a dozen queries instead of sixty: else half a run's time goes into them.

    A file whose tests are about the verdict has a fixture of this name that changes nothing.
    """
    if not {"aigc_pipeline.cli", "aigc_pipeline.stages"} & sys.modules.keys():
        yield  # nothing here evaluates, and the judge takes seconds to import
        return
    from aigc_pipeline.stages import judge

    with pytest.MonkeyPatch.context() as patch:
        few = partial(judge.evaluate_queries, queries=12, rounds=2)
        patch.setattr(judge, "evaluate_queries", few)
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture(scope="session")
def wine() -> pl.DataFrame:
    """178 Italian wines (scikit-learn): 13 measured numbers and a cultivar."""
    from sklearn.datasets import load_wine

    data = load_wine(as_frame=True).frame
    frame = pl.from_pandas(data)
    cultivar = pl.col("target").replace_strict({0: "barolo", 1: "grignolino", 2: "barbera"})
    return frame.with_columns(cultivar.alias("cultivar")).drop("target")


@pytest.fixture(scope="session")
def diabetes() -> pl.DataFrame:
    """442 patients (scikit-learn, unscaled): age, sex, measurements, disease progression."""
    from sklearn.datasets import load_diabetes

    return pl.from_pandas(load_diabetes(as_frame=True, scaled=False).frame)


@pytest.fixture
def orders() -> pl.DataFrame:
    """Sixty orders with a key, sums that hold, dates as text and a constant column."""
    count = 60
    days = [date(2023, 1, 1) + timedelta(days=7 * i) for i in range(count)]
    i = pl.Series("order_id", range(1001, 1001 + count))
    return (
        pl.DataFrame([i])
        .with_columns(
            net=(pl.col("order_id") * 7 % 50 + 1) * 0.1,
            tax=(pl.col("order_id") * 3 % 11) * 0.1,
            quantity=pl.col("order_id") % 5 + 1,
            grade=pl.format(
                "{}-{}", pl.Series(["A", "B", "C"] * (count // 3)), pl.col("order_id") % 2
            ),
            day=pl.Series(days).dt.to_string("%d.%m.%Y"),
            shipped=pl.Series(days),
            fixed=pl.lit("x"),
        )
        .with_columns(gross=(pl.col("net") + pl.col("tax")).round(1))
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; tests that look at pages are skipped where there is none."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with chromium() as running:
        yield running
