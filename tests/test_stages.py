"""The whole pipeline on a small real table, stage by stage, through the lake to the warehouse."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from aigc_pipeline import stages
from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError, GateRefused, InputError
from aigc_pipeline.lake import STAGES, Lake
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse import query


def make_spec(**changes) -> DatasetSpec:
    table = {
        "source": {"file": "wine.csv"},
        "target": "cultivar",
        "derive": {"phenol_share": "flavanoids / total_phenols"},
        **changes.pop("table", {}),
    }
    base = {
        "name": "wines",
        "tables": {"wine": table},
        "generator": {"quality": "draft"},
        "synthesis": {
            "rows": 300,
            "scenarios": {
                "strong": {"where": {"alcohol": {"min": 13.5}}, "rows": 50},
                "even": {"balance": {"cultivar": {"barolo": 0.5, "barbera": 0.25}}, "rows": 60},
            },
        },
        "gates": {"copied_rows": {"max": "holdout"}},
    }
    return DatasetSpec.model_validate({**base, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, wine: pl.DataFrame) -> Path:
    folder = tmp_path_factory.mktemp("source")
    wine.write_csv(folder / "wine.csv")
    return folder


def run_all(lake: Lake, spec: DatasetSpec, source: Path, until: str = "release", seed: int = 0):
    steps = {
        "raw": lambda: stages.ingest(lake, spec, source),
        "validated": lambda: stages.validate(lake, spec),
        "features": lambda: stages.featurize(lake, spec),
        "model": lambda: stages.train(lake, spec, seed=seed),
        "synthetic": lambda: stages.synthesize(lake, spec, seed=seed),
        "evaluation": lambda: stages.evaluate(lake, spec),
        "release": lambda: stages.release(lake, spec),
    }
    results = {}
    for stage in STAGES[: STAGES.index(until) + 1]:
        results[stage] = steps[stage]()
        declared = [name for name, _ in stages.STAGE_CHECKS[stage]]
        assert [c.name for c in results[stage].checks] == declared
    return results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, source: Path):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    return lake, run_all(lake, make_spec(), source)


def test_a_real_table_becomes_a_release_in_the_warehouse(finished) -> None:
    lake, results = finished
    assert all(c.passed for r in results.values() for c in r.checks if c.severity == "critical")
    assert query(lake, "SELECT count(*) FROM wines.wine").frame.item() == 300
    strong = query(lake, "SELECT count(*), min(alcohol) FROM wines__strong.wine").frame
    assert strong.row(0)[0] == 50 and strong.row(0)[1] >= 13.5
    shares = "SELECT cultivar, count(*) FROM wines__even.wine GROUP BY 1"
    made = dict(query(lake, shares).frame.iter_rows())
    assert made == {"barolo": 30, "barbera": 15, "grignolino": 15}
    noted = query(lake, "SELECT shares FROM catalog.scenarios WHERE scenario = 'even'").frame
    assert json.loads(noted.item()) == {"cultivar": {"barolo": 0.5, "barbera": 0.25}}
    assert results["validated"].metadata["holdout_rows"] == {"wine": 36}
    assert results["evaluation"].metadata["report"].read_text().startswith("<!")


def test_derived_columns_hold_exactly(finished) -> None:
    lake, _ = finished
    rows = query(lake, "SELECT flavanoids / total_phenols AS x, phenol_share AS y FROM wines.wine")
    assert rows.frame.select((pl.col("x") - pl.col("y")).abs().max()).item() < 1e-9


def test_every_version_names_its_inputs_by_hash(finished) -> None:
    lake, results = finished
    for stage in STAGES[1:]:
        inputs = results[stage].version.manifest["inputs"]
        assert inputs, stage
        for name, given in inputs.items():
            assert lake.version("wines", name, given["version"]).sha256 == given["sha256"]


def parquet_hashes(lake: Lake) -> dict[str, str]:
    version = lake.current("wines", "synthetic")
    return {name: version.manifest["files"][name]["sha256"] for name in version.files()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(finished, source, tmp_path):
    lake, _ = finished
    again, other = Lake(tmp_path / "again"), Lake(tmp_path / "other")
    run_all(again, make_spec(), source, until="synthetic")
    run_all(other, make_spec(), source, until="synthetic", seed=1)
    first = parquet_hashes(lake)
    assert len(first) == 3 and parquet_hashes(again) == first
    assert all(parquet_hashes(other)[name] != first[name] for name in first)


def test_a_missed_gate_refuses_and_changes_nothing(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    run_all(lake, make_spec(), source)
    release, warehouse = lake.current("wines", "release"), sha256_file(lake.warehouse)
    strict = make_spec(gates={"detection_auc": {"max": 0.0}})
    result = stages.evaluate(lake, strict)
    assert [c.passed for c in result.checks] == [False]
    with pytest.raises(GateRefused, match="detection_auc"):
        stages.release(lake, strict)
    assert lake.current("wines", "release") == release
    assert [v.id for v in lake.versions("wines", "release")] == [release.id]
    assert sha256_file(lake.warehouse) == warehouse


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_a_shard_changed_after_evaluation_is_not_released(source, tmp_path, change: str) -> None:
    lake = Lake(tmp_path / "lake")
    run_all(lake, make_spec(), source, until="evaluation")
    shard = lake.current("wines", "synthetic").path / "baseline/wine/part-00000.parquet"
    if change == "edit":
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    else:
        shard.unlink()
    with pytest.raises(ArtefactError, match=r"part-00000\.parquet"):
        stages.release(lake, make_spec())
    assert not lake.warehouse.exists() and lake.find_current("wines", "release") is None


def test_other_rows_than_those_judged_are_not_released(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    run_all(lake, make_spec(), source, until="evaluation")
    stages.synthesize(lake, make_spec(), seed=5)
    with pytest.raises(ArtefactError, match="judged other rows"):
        stages.release(lake, make_spec())
    assert not lake.warehouse.exists()


def test_a_release_that_cannot_be_published_is_not_in_force(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    run_all(lake, make_spec(), source, until="evaluation")
    lake.warehouse.mkdir()  # nothing can be put in its place
    with pytest.raises(ArtefactError, match="could not be rebuilt"):
        stages.release(lake, make_spec())
    assert lake.find_current("wines", "release") is None
    lake.warehouse.rmdir()
    first = stages.release(lake, make_spec()).version
    # The same once there is a release: it stays in force, and the warehouse as it was.
    stages.synthesize(lake, make_spec(), seed=5)
    stages.evaluate(lake, make_spec())
    kept = lake.warehouse.rename(tmp_path / "kept.duckdb")
    lake.warehouse.mkdir()
    with pytest.raises(ArtefactError, match="could not be rebuilt"):
        stages.release(lake, make_spec())
    lake.warehouse.rmdir()
    kept.rename(lake.warehouse)
    assert lake.current("wines", "release") == first
    assert (
        query(lake, "SELECT release FROM catalog.releases WHERE is_current").frame.item()
        == first.id
    )


def test_a_failed_contract_stops_before_training(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    rule = {"expect_column_values_to_be_between": {"column": "alcohol", "max_value": 12}}
    spec = make_spec(table={"expect": [rule]})
    stages.ingest(lake, spec, source)
    result = stages.validate(lake, spec)
    contract = next(c for c in result.checks if c.name == "contract")
    assert result.version is None and not contract.passed
    assert (
        "expect_column_values_to_be_between" in contract.message and "alcohol" in contract.message
    )
    assert lake.find_current("wines", "validated") is None
    with pytest.raises(ArtefactError, match="there is no validated yet"):
        stages.featurize(lake, spec)


def test_a_warning_is_reported_and_does_not_stop(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    rule = {"expect_column_values_to_be_between": {"column": "alcohol", "max_value": 12}}
    spec = make_spec(table={"expect": [{**rule, "severity": "warning"}]})
    stages.ingest(lake, spec, source)
    result = stages.validate(lake, spec)
    assert result.version is not None
    assert [c.name for c in result.checks if not c.passed] == ["contract_warnings"]


def test_a_changed_source_schema_is_noticed(wine: pl.DataFrame, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()
    wine.write_csv(folder / "wine.csv")
    assert stages.ingest(lake, make_spec(), folder).checks[0].passed
    changed = wine.drop("hue").with_columns(pl.lit("x").alias("label"), pl.lit("y").alias("ash"))
    changed.write_csv(folder / "wine.csv")
    check = stages.ingest(lake, make_spec(), folder).checks[0]
    assert not check.passed and check.severity == "warning"
    assert "'label' was added" in check.message and "'hue' is gone" in check.message
    assert "'ash' changed from Float64 to String" in check.message


def test_numbers_and_categories_the_last_run_did_not_see_are_told(wine, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()

    def outcome(df: pl.DataFrame):
        df.write_csv(folder / "wine.csv")
        stages.ingest(lake, make_spec(), folder)
        result = stages.validate(lake, make_spec())
        assert result.version is not None
        return next(c for c in result.checks if c.name == "contract_warnings")

    assert outcome(wine).passed and outcome(wine).passed  # the same rows again are no news
    drifted = wine.with_columns(
        pl.col("hue") + pl.when(pl.int_range(pl.len()) < 9).then(7.5).otherwise(0.0),
        pl.col("cultivar").replace({"barolo": "nebbiolo"}),
    )
    check = outcome(drifted)
    assert not check.passed and check.severity == "warning"
    assert "expect_column_values_to_be_between on 'hue': 9 of 178 rows fail" in check.message
    assert "expect_column_values_to_be_in_set on 'cultivar': 59 of 178 rows fail" in check.message
    assert "nebbiolo" not in check.message and "by what the last run saw" in check.message


def test_a_damaged_earlier_run_does_not_stop_the_next(source: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    run_all(lake, make_spec(), source, until="validated")
    (lake.current("wines", "validated").path / "wine/train.parquet").write_bytes(b"torn")
    run_all(lake, make_spec(), source, until="validated")
    lake.current("wines", "validated").verify()


def test_derived_columns_that_disagree_with_the_source_are_reported(wine, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()
    wine.with_columns((pl.col("ash") * 2).alias("double")).write_csv(folder / "wine.csv")
    spec = make_spec(table={"derive": {"double": "ash * 3"}})
    stages.ingest(lake, spec, folder)
    check = stages.validate(lake, spec).checks[-1]
    assert not check.passed and "wine.double as derived differs in 178 of 178 rows" in check.message


def scenario(**where) -> dict:
    return {"synthesis": {"scenarios": {"odd": {"where": where}}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            scenario(alcohl=13),
            "scenarios.odd.where.alcohl: unknown column 'alcohl'; did you mean 'alcohol'",
        ),
        (scenario(alcohol="strong"), "'strong' does not fit a number column"),
        (
            {"synthesis": {"scenarios": {"odd": {"balance": {"cultivr": {"barolo": 0.5}}}}}},
            r"scenarios\.odd\.balance\.cultivr: unknown column 'cultivr'; did you mean 'cultivar'",
        ),
        (
            {"synthesis": {"scenarios": {"odd": {"balance": {"alcohol": {"much": 0.5}}}}}},
            r"scenarios\.odd\.balance\.alcohol: 'much' does not fit a number column",
        ),
        ({"privacy": {"subject": "owner"}}, "privacy.subject: unknown column 'owner'"),
    ],
)
def test_a_spec_that_does_not_fit_its_table_stops_before_training(
    source: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    lake, spec = Lake(tmp_path / "lake"), make_spec(**changes)
    stages.ingest(lake, spec, source)
    with pytest.raises(InputError, match=message):
        stages.validate(lake, spec)
    assert lake.find_current("wines", "validated") is None


def test_a_scenario_that_is_never_met_names_itself(source: Path, tmp_path: Path) -> None:
    lake, spec = Lake(tmp_path / "lake"), make_spec(**scenario(cultivar="riesling"))
    run_all(lake, spec, source, until="model")
    with pytest.raises(
        InputError, match=r"scenario 'odd', table 'wine'.*no value that was learned"
    ):
        stages.synthesize(lake, spec)
    assert lake.find_current("wines", "synthetic") is None


def test_all_rows_of_a_subject_are_on_one_side_of_the_split(wine, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()
    wine.with_columns((pl.int_range(pl.len()) // 6).alias("maker")).write_csv(folder / "wine.csv")
    spec = make_spec(privacy={"subject": "maker"})
    stages.ingest(lake, spec, folder)
    version = stages.validate(lake, spec).version
    sides = [pl.read_parquet(version.path / "wine" / f"{s}.parquet") for s in ("train", "holdout")]
    assert set(sides[0]["maker"]).isdisjoint(sides[1]["maker"]) and all(len(s) for s in sides)


def test_two_tables_are_released_together(wine, diabetes, tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), tmp_path / "source"
    folder.mkdir()
    wine.write_csv(folder / "wine.csv")
    diabetes.write_csv(folder / "patients.csv")
    spec = DatasetSpec.model_validate(
        {
            "name": "pair",
            "tables": {
                "wine": {"source": {"file": "wine.csv"}, "target": "cultivar"},
                "patients": {"source": {"file": "patients.csv"}, "target": "target"},
            },
            "generator": {"quality": "draft"},
            "synthesis": {"scenarios": {"old": {"where": {"age": {"min": 60}}, "rows": 40}}},
            "gates": {"copied_rows": {"max": "holdout"}},
        }
    )
    run_all(lake, spec, folder)
    # As many rows as the source has, and the scenario only where its column is.
    counts = "SELECT count(*) FROM pair.{}"
    assert query(lake, counts.format("wine")).frame.item() == 178
    assert query(lake, counts.format("patients")).frame.item() == 442
    assert query(lake, "SELECT count(*), min(age) FROM pair__old.patients").frame.row(0)[0] == 40
    with pytest.raises(InputError, match="wine"):
        query(lake, "SELECT * FROM pair__old.wine")
