"""Drift: what moved is named, what did not is not, and no value is told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluation_kit import schema_of

from aigc_pipeline import stages
from aigc_pipeline.drift import TableDrift, compare_tables
from aigc_pipeline.evaluation import render_report
from aigc_pipeline.lake import Lake
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec


def customers(rows: int, seed: int) -> pl.DataFrame:
    """Rows of one distribution: a skewed number, one that many share, a category, gaps, a flag."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "income": rng.lognormal(10, 1, rows),
            "children": rng.poisson(0.7, rows),
            "city": rng.choice(["Bern", "Basel", "Chur"], rows, p=[0.6, 0.3, 0.1]),
            "phone": pl.Series(rng.random(rows)).set(pl.Series(rng.random(rows) < 0.3), None),
            "active": rng.random(rows) < 0.9,
        }
    )


def compared(before: pl.DataFrame, after: pl.DataFrame) -> TableDrift:
    schema = schema_of(before)
    return compare_tables(before, after, (schema, schema_of(after)))


@pytest.mark.parametrize("rows", [40, 300, 5000])
def test_two_samples_of_one_source_did_not_move(rows: int) -> None:
    drifts = [compared(customers(rows, i), customers(rows, 100 + i)) for i in range(20)]
    assert not [column for drift in drifts for column in drift.moved]
    # What chance is said to show is what it shows.
    for name in ("income", "children", "city"):
        columns = [c for drift in drifts for c in drift.columns if c.column == name]
        seen = np.mean([c.distance for c in columns])
        assert seen == pytest.approx(np.mean([c.chance for c in columns]), rel=0.35)


def test_planted_shifts_are_named_and_nothing_else() -> None:
    before, after = customers(2000, 1), customers(2000, 2)
    after = after.with_columns(
        income=pl.col("income") * 1.6,
        city=pl.col("city").replace("Chur", "Genf"),
        phone=pl.when(pl.int_range(pl.len()) % 4 > 0).then("phone"),
    )
    drift = compared(before, after)
    assert {c.column for c in drift.moved} == {"income", "city", "phone"}
    found = {c.column: c for c in drift.columns}
    assert found["city"].distance == pytest.approx(0.1, abs=0.03)  # a tenth of the rows
    assert found["income"].distance == pytest.approx(0.19, abs=0.05)  # 2 Phi(ln 1.6 / 2) - 1
    assert found["phone"].nulls_shifted and not found["phone"].shifted
    assert drift.largest == found["income"].distance
    told = drift.model_dump_json()
    assert "Genf" not in told and "Chur" not in told


def test_a_distance_is_the_share_of_rows_that_moved() -> None:
    before = pl.DataFrame({"x": [1.0] * 60 + [2.0] * 40, "c": ["a"] * 100})
    after = pl.DataFrame({"x": [1.0] * 20 + [2.0] * 80, "c": ["b"] * 100})
    x, c = compared(before, after).columns
    assert x.distance == 0.4 and c.distance == 1.0 and x.shifted and c.shifted


def test_an_empty_side_has_no_distance() -> None:
    before = pl.DataFrame({"x": [1.0, 2.0] * 50})
    after = pl.DataFrame({"x": pl.Series([None] * 100, dtype=pl.Float64)})
    [column] = compared(before, after).columns
    assert column.distance is None and not column.shifted and column.nulls_shifted
    assert compared(before, after).largest is None


def test_columns_that_changed_their_kind_are_not_compared() -> None:
    before = pl.DataFrame({"x": [1.0] * 9, "gone": [1.0] * 9, "y": [2.0] * 9})
    after = pl.DataFrame({"x": ["a"] * 9, "new": [1.0] * 9, "y": [2.0] * 9})
    assert [c.column for c in compared(before, after).columns] == ["y"]


def spec() -> DatasetSpec:
    table = {"source": {"file": "wine.csv"}, "target": "cultivar"}
    return DatasetSpec.model_validate({"name": "wines", "tables": {"wine": table}})


def test_a_source_that_moved_is_told_at_validation(wine: pl.DataFrame, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()

    def outcome(df: pl.DataFrame):
        df.write_csv(folder / "wine.csv")
        stages.ingest(lake, spec(), folder)
        result = stages.validate(lake, spec())
        check = next(c for c in result.checks if c.name == "source_drift")
        assert result.version is not None and check.severity == "warning"
        return result, check

    result, check = outcome(wine)
    assert check.passed and "no earlier run" in check.message
    assert result.version.read_json("drift.json") == {}
    result, check = outcome(wine.sample(fraction=1.0, shuffle=True, seed=1))
    assert check.passed and result.metadata["source_drift"] == {"wine": 0.0}
    result, check = outcome(wine.with_columns(pl.col("hue") + 0.6))
    assert not check.passed and check.metadata == {"moved": 1}
    assert check.message.startswith("wine.'hue': ") and "of its values moved" in check.message
    assert result.metadata["source_drift"]["wine"] > 0.3
    drift = {
        name: TableDrift.model_validate(each)
        for name, each in result.version.read_json("drift.json").items()
    }
    page = render_report(spec(), {}, [], {}, drift=drift)
    assert "1 of 14 columns moved since the run before." in page
    assert "since the run before" not in render_report(spec(), {}, [], {})


def test_a_released_schema_that_changes_is_told_at_validation(
    wine: pl.DataFrame, tmp_path: Path, lake: Lake
) -> None:
    wine.rename({"hue": "tint"}).write_csv(tmp_path / "wine.csv")
    released = TableSchema(name="wine", columns=schema_of(wine).columns)
    with lake.writing("wines", "release") as draft:
        draft.write_json("schemas/wine.json", released.model_dump(mode="json"))
        table = {"scenario": "baseline", "schema_name": "wines", "table": "wine", "rows": 1}
        draft.meta.update(
            title=None, description=None, domain=None, owners=[], seed=0, rows={}, privacy={},
            model={"family": "gan", "quality": "draft"}, scenarios={}, about={},
            tables=[{**table, "columns": [], "shards": []}],
        )  # fmt: skip
    stages.ingest(lake, spec(), tmp_path)
    result = stages.validate(lake, spec())
    check = next(c for c in result.checks if c.name == "schema_as_released")
    assert not check.passed and check.severity == "warning"
    assert "column 'tint' is new" in check.message and "column 'hue' is gone" in check.message
