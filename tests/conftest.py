"""Fixtures that many test files share: real tables from packages, and a lake to work in."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aigc_pipeline.lake import Lake


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
