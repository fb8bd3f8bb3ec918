"""The Dagster graph as it loads: light, whole, and with everything the UI shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_project import DATASET, edit_dataset, make_project

from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.definitions import compose, defs
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import STAGES
from aigc_pipeline.stages import STAGE_CHECKS
from resources import ComputeResource, LakeResource, LogReporter, WarehouseResource
from resources.executor import executor_from_env

ROOT = Path(__file__).parent.parent
HEAVY = ["torch", "great_expectations", "pandas", "sdmetrics", "sklearn", "altair", "vl_convert"]


@pytest.fixture
def project(tmp_path: Path, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project that the environment points at."""
    root = make_project(tmp_path / "project", wine)
    monkeypatch.setenv("AIGC_DATASETS", str(root / "datasets"))
    monkeypatch.setenv("AIGC_HOME", str(root / "lake"))
    monkeypatch.delenv("AIGC_EXECUTOR", raising=False)
    return root


def graph(project: Path) -> dg.Definitions:
    """The definitions of the project's one dataset."""
    return compose([find_dataset("wine", project / "datasets")], project, LogReporter())


def test_definitions_load_without_heavy_modules() -> None:
    code = (
        "import json, sys\n"
        "from aigc_pipeline.definitions import defs\n"
        "keys = [key.path for key in defs().resolve_all_asset_keys()]\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "print(json.dumps([keys, heavy]))"
    )
    environment = {**os.environ, "AIGC_DATASETS": str(ROOT / "datasets")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    keys, heavy = json.loads(done.stdout)
    assert ["loans", "release"] in keys
    assert heavy == []


def test_the_workspace_validates(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    dagster = Path(sys.executable).with_name("dagster")
    done = subprocess.run(
        [dagster, "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_the_instance_settings_are_ones_dagster_knows(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_seven_assets_in_one_chain(project: Path) -> None:
    nodes = graph(project).resolve_asset_graph()
    for stage in STAGES:
        node = nodes.get(dg.AssetKey(["wine", stage]))
        before = STAGES[STAGES.index(stage) - 1 : STAGES.index(stage)]
        assert node.parent_keys == {dg.AssetKey(["wine", name]) for name in before}
        assert node.group_name == "wine"
        assert node.kinds
        assert node.code_version
        assert node.tags["domain"] == "food_drink"
        assert "Wines of three cultivars" in (node.description or "")
    assert len(nodes.get_all_asset_keys()) == len(STAGES)


RELATED = """  growers:
    source: {file: data/growers.csv}
    key: grower
    description: Who grew it.
  "bottles sold":
    source: {file: data/bottles.csv}
    parents: [{column: grower, table: growers}]
generator:"""


def test_each_table_of_several_is_an_asset_after_the_release(project: Path) -> None:
    edit_dataset(project, "generator:", RELATED)
    definitions = graph(project)
    nodes = definitions.resolve_asset_graph()
    release = dg.AssetKey(["wine", "release"])
    tables = {
        key.path[-1]: nodes.get(key) for key in nodes.get_all_asset_keys() if len(key.path) == 3
    }
    assert set(tables) == {"wines", "growers", "bottles_sold"}
    growers = dg.AssetKey(["wine", "tables", "growers"])
    assert tables["bottles_sold"].parent_keys == {release, growers}
    assert tables["growers"].parent_keys == {release}
    assert tables["growers"].metadata["dagster/table_name"] == "wine.growers"
    assert "Who grew it." in (tables["growers"].description or "")
    assert all(node.group_name == "wine" and node.kinds for node in tables.values())
    job = definitions.resolve_job_def("wine_job")
    assert len(job.nodes) == len(STAGES)  # still one step each


def test_only_owners_that_dagster_knows_are_shown(project: Path) -> None:
    node = graph(project).resolve_asset_graph().get(dg.AssetKey(["wine", "raw"]))
    assert node.owners == ["cellar@example.com", "team:sommeliers"]


def test_tags_are_in_letters_that_dagster_takes(project: Path) -> None:
    edit_dataset(project, "domain: food & drink", "domain: food & drink\ntags: [red wine, <b>, q1]")
    node = graph(project).resolve_asset_graph().get(dg.AssetKey(["wine", "raw"]))
    assert {tag: node.tags[tag] for tag in ("red_wine", "b", "q1", "domain")} == {
        "red_wine": "", "b": "", "q1": "", "domain": "food_drink"
    }  # fmt: skip


def test_an_edited_dataset_file_changes_the_code_version(project: Path) -> None:
    def version() -> str | None:
        return graph(project).resolve_asset_graph().get(dg.AssetKey(["wine", "raw"])).code_version

    before = version()
    edit_dataset(project, "rows: 120", "rows: 121")
    assert version() != before


def test_critical_checks_block_and_warnings_do_not(project: Path) -> None:
    nodes = graph(project).resolve_asset_graph()
    blocking = {
        (key.asset_key.path[-1], key.name): nodes.get(key).blocking
        for key in nodes.asset_check_keys
    }
    expected = {
        (stage, name): severity == "critical"
        for stage, checks in STAGE_CHECKS.items()
        for name, severity in checks
    }
    assert blocking == expected


def test_pools_and_retries(project: Path) -> None:
    ops = {
        asset.key.path[-1]: asset.op
        for asset in graph(project).assets or []
        if isinstance(asset, dg.AssetsDefinition)
    }
    assert {name: op.pool for name, op in ops.items() if op.pool} == {
        "model": "gpu",
        "release": "warehouse",
    }
    assert {name for name, op in ops.items() if op.retry_policy} == {"raw", "release"}


def test_job_schedule_and_sensor(project: Path) -> None:
    definitions = graph(project)
    assert definitions.resolve_job_def("wine_job").tags["dataset"] == "wine"
    schedule = definitions.resolve_schedule_def("wine_schedule")
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    sensor = definitions.resolve_sensor_def("wine_source_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


def test_a_packaged_sample_needs_no_sensor(project: Path) -> None:
    edit_dataset(project, "source: {file: data/wine.csv}", "source: {sample: datasets/iris}")
    assert not graph(project).sensors


def test_a_bad_schedule_names_the_dataset_and_the_remedy(project: Path) -> None:
    edit_dataset(project, '"0 3 * * *"', '"every night"')
    with pytest.raises(InputError, match=r"dataset wine: schedule: 'every night' .*'0 3 \* \* \*'"):
        graph(project)


def test_a_broken_dataset_file_stops_the_loading_by_name(project: Path) -> None:
    (project / "datasets" / "beer.yaml").write_text(DATASET.replace("tables:", "tabels:"))
    with pytest.raises(InputError, match=r"beer\.yaml"):
        defs()


def test_all_datasets_share_the_resources(project: Path) -> None:
    text = (project / "datasets" / "wine.yaml").read_text(encoding="utf-8")
    (project / "datasets" / "beer.yaml").write_text(text.replace("name: wine", "name: beer"))
    definitions = defs()
    groups = {key.path[0] for key in definitions.resolve_all_asset_keys()}
    assert groups == {"beer", "wine"}
    assert set(definitions.resources or {}) == {"lake", "warehouse", "compute", "reporter"}


@pytest.mark.parametrize(("name", "expected"), [("", "multiprocess"), ("in_process", "in_process")])
def test_the_executor_is_a_setting(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_EXECUTOR", name)
    assert executor_from_env().name == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in-process", "did you mean 'in_process'"),
        ("ray", r"pip install 'aigc-pipeline\[ray\]'"),
        ("k8s", r"pip install 'aigc-pipeline\[k8s\]'"),
    ],
)
def test_an_executor_that_is_not_there_says_what_to_do(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_EXECUTOR", name)
    with pytest.raises(InputError, match=message):
        executor_from_env()


def test_resources_read_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("AIGC_THREADS", "3")
    assert LakeResource().open().home == tmp_path / "elsewhere"
    assert LakeResource(home=str(tmp_path)).open().home == tmp_path
    assert WarehouseResource(lake=LakeResource()).path == tmp_path / "elsewhere/warehouse.duckdb"
    assert ComputeResource(accelerator="cpu").settings().threads == 3
    monkeypatch.setenv("AIGC_THREADS", "many")
    with pytest.raises(InputError, match=r"AIGC_THREADS='many' is no whole number above 0"):
        ComputeResource().settings()


def tick(project: Path, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    """One look of the source sensor."""
    sensor = graph(project).resolve_sensor_def("wine_source_sensor")
    result = sensor(dg.build_sensor_context(cursor=cursor))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def age(path: Path, seconds: float = 60) -> None:
    """Set a file's time into the past."""
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_the_sensor_runs_on_new_content_only(project: Path) -> None:
    source = project / "data" / "wine.csv"
    assert "changed just now" in str(tick(project))
    age(source)
    first = tick(project)
    assert isinstance(first, dg.SensorResult)
    assert first.run_requests
    assert "no source file changed" in str(tick(project, first.cursor))

    age(source, 30)  # touched, but the same bytes: the same run key starts nothing
    touched = tick(project, first.cursor)
    assert isinstance(touched, dg.SensorResult)
    assert touched.run_requests
    assert touched.run_requests[0].run_key == first.run_requests[0].run_key

    source.write_text(
        source.read_text(encoding="utf-8").replace("barolo", "chianti"), encoding="utf-8"
    )
    age(source)
    changed = tick(project, touched.cursor)
    assert isinstance(changed, dg.SensorResult)
    assert changed.run_requests
    assert changed.run_requests[0].run_key != first.run_requests[0].run_key


def test_the_sensor_waits_for_a_missing_file(project: Path) -> None:
    (project / "data" / "wine.csv").unlink()
    assert "no source file yet for wines" in str(tick(project))
