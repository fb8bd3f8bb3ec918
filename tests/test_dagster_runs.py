"""Runs of the Dagster graph on a small real table: what they record, and how they fail."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from small_project import COLUMNS, edit_dataset, fingerprint, make_project

from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.definitions import compose
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import STAGES, Lake
from aigc_pipeline.stages import StageResult
from aigc_pipeline.warehouse import query
from assets.stage import Events, run_stage, stage_asset
from resources import LogReporter

ROOT = Path(__file__).parent.parent
CONFIG = {"synthetic": {"rows": 90, "seed": 5}, "model": {"seed": 5}}
SECRET = "a grower nobody else has"  # one row's value: nothing Dagster keeps may contain it


class Run:
    """A finished run of the project's job, with all that Dagster kept of it."""

    def __init__(self, project: Path, config: dict[str, Any] | None = None) -> None:
        spec = find_dataset("wine", project / "datasets")
        job = compose([spec], project, LogReporter(every=0)).resolve_job_def("wine_job")
        ops = {f"wine__{stage}": {"config": values} for stage, values in (config or {}).items()}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={
                    "ops": ops,
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
            self.log = [entry.to_json() for entry in instance.all_logs(result.run_id)]
            self.messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
        self.success = result.success
        self.events = result.all_events
        self.made = {
            e.asset_key.path[-1]: e.materialization
            for e in self.events
            if e.is_step_materialization and e.asset_key is not None
        }
        self.checks = {
            e.asset_check_evaluation_data.check_name: e.asset_check_evaluation_data
            for e in self.events
            if e.event_type_value == "ASSET_CHECK_EVALUATION"
        }
        self.failures = {
            (e.step_key or "").removeprefix("wine__"): e.step_failure_data.error.message
            for e in self.events
            if e.is_step_failure and e.step_failure_data.error is not None
        }

    def metadata(self, stage: str) -> dict[str, Any]:
        """A stage's metadata as plain values."""
        return {key: value.value for key, value in self.made[stage].metadata.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def project(home: Path, wine: pl.DataFrame) -> Path:
    """A project with one released run; its table has a value that only one row has."""
    rare = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit(SECRET)).otherwise(pl.col("cultivar"))
    return make_project(home / "project", wine.with_columns(rare.alias("cultivar")))


@pytest.fixture(scope="module", autouse=True)
def environment(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_HOME", str(home / "lake"))
        patch.setenv("AIGC_DATASETS", str(home / "project" / "datasets"))
        yield


@pytest.fixture(scope="module")
def released(project: Path) -> Run:
    return Run(project, CONFIG)


def test_a_run_makes_every_stage_and_passes_its_critical_checks(released: Run) -> None:
    assert released.failures == {}
    assert tuple(released.made) == STAGES
    failed = [c.check_name for c in released.checks.values() if not c.passed]
    assert not [name for name in failed if released.checks[name].blocking]


def test_run_config_sets_rows_and_seed(released: Run, home: Path) -> None:
    lake = Lake(home / "lake")
    assert released.metadata("synthetic")["dagster/row_count"] == 90
    assert query(lake, "select count(*) from wine.wines").frame.item() == 90
    assert lake.current("wine", "synthetic").meta["seed"] == 5


def test_metadata_has_dagsters_own_names(released: Run) -> None:
    raw, release = released.metadata("raw"), released.metadata("release")
    assert raw["dagster/row_count"] == 178
    columns = released.metadata("validated")["dagster/column_schema"].columns
    assert [column.name for column in columns] == COLUMNS
    assert release["dagster/table_name"] == "wine.wines"
    for stage in STAGES:
        assert Path(released.metadata(stage)["path"]).is_dir()


def test_scores_are_floats_that_the_ui_can_chart(released: Run) -> None:
    metadata = released.metadata("evaluation")
    for name in ("shape_error", "trend_error", "detection_auc", "null_rate_error"):
        assert isinstance(metadata[name], float), name
    assert r"| wines | detection\_auc |" in metadata["scores"]
    assert Path(metadata["report"]).is_file()


def test_stages_show_pictures_and_tables(released: Run) -> None:
    for stage, name in (("model", "loss"), ("evaluation", "worst_columns")):
        assert "](data:image/svg+xml;base64," in released.metadata(stage)[name]
    assert released.metadata("validated")["rules_broken"] == "Every rule holds."
    assert released.metadata("validated")["missing"] == "No value is missing."
    assert "| barolos | wines | 30 |" in released.metadata("synthetic")["made"]


def test_a_release_leads_to_its_pages_and_keeps_its_scores(released: Run) -> None:
    metadata = released.metadata("release")
    for page in ("report", "dictionary", "contract"):
        assert Path(metadata[page]).is_file()
    assert metadata["detection_auc"] == released.metadata("evaluation")["detection_auc"]


def test_nothing_real_is_kept_by_dagster(released: Run, project: Path) -> None:
    assert SECRET in (project / "data" / "wine.csv").read_text(encoding="utf-8")
    assert not [entry for entry in released.log if SECRET in entry]


def test_progress_reaches_the_log(released: Run) -> None:
    assert any("training" in message and "%" in message for message in released.messages)


def test_a_data_version_is_the_content(released: Run, home: Path) -> None:
    tags = released.made["raw"].tags or {}
    current = Lake(home / "lake").current("wine", "raw").id
    assert tags["dagster/data_version"] == current.rpartition("-")[2]


@pytest.fixture
def changed(project: Path) -> Iterator[Path]:
    """The released project; its files are put back afterwards."""
    kept = fingerprint(project)
    yield project
    for name, content in kept.items():
        (project / name).write_bytes(content)


def test_a_missed_gate_stops_before_the_release(released: Run, changed: Path, home: Path) -> None:
    assert released.success
    kept = fingerprint(home / "lake" / "wine" / "release")
    warehouse = (home / "lake" / "warehouse.duckdb").read_bytes()
    edit_dataset(changed, "null_rate_error: {max: 0.5}", "detection_auc: {max: 0.01}")
    run = Run(changed)
    assert not run.success
    assert "release" not in run.made
    assert "evaluation" in run.made  # the evidence is kept
    assert not run.checks["gates"].passed
    assert run.checks["gates"].severity == dg.AssetCheckSeverity.ERROR
    assert "detection_auc" in run.failures["evaluation"]
    assert fingerprint(home / "lake" / "wine" / "release") == kept
    assert (home / "lake" / "warehouse.duckdb").read_bytes() == warehouse


def test_a_broken_contract_stops_before_training(released: Run, changed: Path, home: Path) -> None:
    assert released.success
    before = Lake(home / "lake").current("wine", "validated").id
    edit_dataset(changed, "max_value: 20", "max_value: 14")
    run = Run(changed)
    assert not run.success
    assert tuple(run.made) == ("raw",)
    assert not run.checks["contract"].passed
    assert "expect_column_values_to_be_between" in run.failures["validated"]
    assert "alcohol" in run.failures["validated"]
    assert Lake(home / "lake").current("wine", "validated").id == before


def test_bad_input_is_not_tried_again(released: Run, changed: Path, home: Path) -> None:
    assert released.success
    lake = fingerprint(home / "lake")
    edit_dataset(changed, "data/wine.csv", "data/wien.csv")
    run = Run(changed)
    assert "did you mean 'wine.csv'?" in run.failures["raw"]
    assert "STEP_UP_FOR_RETRY" not in {e.event_type_value for e in run.events}
    assert fingerprint(home / "lake") == lake


def test_a_config_that_is_none_is_refused(project: Path) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="quality"):
        Run(project, {"model": {"quality": "best"}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="row"):
        Run(project, {"synthetic": {"row": 5}})


def run_call(
    project: Path, call: Callable[[Any], StageResult], retries: int = 0
) -> dg.ExecuteInProcessResult:
    """A run of one asset around `call`."""
    spec = find_dataset("wine", project / "datasets")

    @stage_asset(spec, "features", kinds={"polars"}, retry_policy=dg.RetryPolicy(retries, delay=0))
    def features(context: dg.AssetExecutionContext) -> Events:
        """One stage."""
        yield from run_stage(context, LogReporter(), spec, call)

    return dg.materialize(
        [features],
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def failing(*errors: Exception) -> Callable[[Any], StageResult]:
    """A call that raises these errors one after the other, and then returns a result."""
    left = list(errors)

    def call(progress: Any) -> StageResult:
        if left:
            raise left.pop(0)
        return StageResult(None, {})

    return call


def failure(result: dg.ExecuteInProcessResult) -> str:
    """All that Dagster kept of a failed step: messages and traces, causes included."""
    (event,) = (e for e in result.all_events if e.is_step_failure)
    assert event.step_failure_data.error is not None
    return event.step_failure_data.error.to_string()


def tries(result: dg.ExecuteInProcessResult) -> int:
    kinds = [event.event_type_value for event in result.all_events]
    return 1 + kinds.count("STEP_UP_FOR_RETRY")


def test_a_passing_fault_is_tried_again(project: Path) -> None:
    result = run_call(project, failing(OSError(errno.EIO, "input/output error")), retries=2)
    assert tries(result) == 2


@pytest.mark.parametrize(
    "error",
    [
        InputError("wines: no such file"),
        OSError(errno.ENOSPC, "no space left on device", "lake"),
        PermissionError(errno.EACCES, "permission denied", "lake"),
        ValueError("unforeseen"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(project: Path, error: Exception) -> None:
    result = run_call(project, failing(error), retries=2)
    assert not result.success
    assert tries(result) == 1


def test_an_unforeseen_errors_message_stays_out_of_the_log(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGC_DEBUG", raising=False)
    text = failure(run_call(project, failing(ValueError(f"cannot parse {SECRET}"))))
    assert SECRET not in text
    assert "unexpected ValueError in call (test_dagster_runs.py:" in text
    monkeypatch.setenv("AIGC_DEBUG", "1")
    assert SECRET in failure(run_call(project, failing(ValueError(f"cannot parse {SECRET}"))))


def test_the_cause_of_an_error_stays_out_of_the_log(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(progress: Any) -> StageResult:
        try:
            int(SECRET)
        except ValueError as error:
            raise InputError("wines.hue: a value is no number") from error
        raise AssertionError

    monkeypatch.delenv("AIGC_DEBUG", raising=False)
    text = failure(run_call(project, call))
    assert "wines.hue: a value is no number" in text
    assert SECRET not in text


@pytest.mark.slow
def test_a_run_of_a_process_a_step_lands_the_same_release(released: Run, home: Path) -> None:
    assert released.success
    instance = home / "instance"
    instance.mkdir()
    shutil.copy(ROOT / "dagster.yaml", instance)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(instance),
        "PYTHONPATH": str(ROOT),
        "AIGC_EXECUTOR": "multiprocess",
    }
    config = home / "config.yaml"  # JSON is YAML
    ops = {f"wine__{stage}": {"config": values} for stage, values in CONFIG.items()}
    config.write_text(json.dumps({"ops": ops}), encoding="utf-8")
    command = ["job", "execute", "-m", "aigc_pipeline.definitions", "-j", "wine_job"]
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), *command, "--config", config],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    versions = Lake(home / "lake").versions("wine", "synthetic")
    first, last = (version.manifest["files"] for version in (versions[0], versions[-1]))
    assert len(versions) > 1
    assert last == first  # the same seed makes the same bytes, whatever runs the steps
    released_from = Lake(home / "lake").current("wine", "release").manifest["inputs"]["synthetic"]
    assert released_from["version"] == versions[-1].id


def test_each_table_of_several_is_materialised_with_the_release(
    tmp_path: Path, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "lake"))
    root = make_project(tmp_path / "project", wine)
    wine.select("ash", "hue").write_csv(root / "data" / "samples.csv")
    edit_dataset(root, "generator:", "  samples:\n    source: {file: data/samples.csv}\ngenerator:")
    (root / "datasets" / "wine" / "marts").mkdir(parents=True)
    (root / "datasets" / "wine" / "marts" / "strong.sql").write_text(
        "-- title: Strong wines\nSELECT cultivar, count(*) AS wines FROM wines GROUP BY ALL"
    )
    run = Run(root, CONFIG)
    assert run.failures == {}
    assert set(run.made) == {*STAGES, "wines", "samples"}
    found = run.metadata("samples")
    assert found["dagster/row_count"] == 90
    assert found["dagster/table_name"] == "wine.samples"
    assert [c.name for c in found["dagster/column_schema"].columns] == ["ash", "hue"]
    [source] = found["dagster/column_lineage"].deps_by_column["hue"]
    assert source.asset_key == dg.AssetKey(["wine", "raw"]) and source.column_name == "samples.hue"
    rows = query(Lake(tmp_path / "lake"), "SELECT sum(wines) FROM wine_marts.strong").frame
    assert rows.item() == 90
    scores = "SELECT score FROM catalog.scores WHERE table_name = '(queries)' ORDER BY 1"
    assert query(Lake(tmp_path / "lake"), scores).frame["score"].to_list() == [
        "query_error",
        "query_error_ratio",
    ]
