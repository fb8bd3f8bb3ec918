"""Fixtures of the fault tests: the process that forks trials, and a lake that is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import polars as pl
import pytest
from faults_kit import Prepared, Worker, prepare


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler: the broken disk is a library put before libc")
    made = Worker(tmp_path_factory.mktemp("worker"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def prepared(
    worker: Worker, wine: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    return prepare(worker, wine, tmp_path_factory.mktemp("prepared"))
