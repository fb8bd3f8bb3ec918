"""Runs killed, asked to stop or cancelled: the last release stays, the next run succeeds."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from faults_kit import BROKEN, HEAVY, WRITERS, Prepared, Worker, spread, wait_for
from guarantees import STRESS, times


@pytest.mark.parametrize("stage", WRITERS)
def test_killed_at_a_random_moment(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    line = tried("Faults", f"`{stage}` killed (-9) at a random moment")
    moments = random.Random(stage)
    for turn in range(times(1 if stage in HEAVY else 2, 20)):
        lake = prepared.take(tmp_path / str(turn), stage)
        trial = worker.start("stage", lake, stage=stage, root=str(lake.home.parent))
        time.sleep(moments.random() * prepared.seconds[stage])
        trial.signal(signal.SIGKILL)
        ended = trial.wait()
        assert ended.code in (-signal.SIGKILL, 0)  # 0: it was done before
        prepared.check_recovery(worker, lake, stage)
        line.happened("last release whole, next run right")


@pytest.mark.parametrize("stage", BROKEN)
def test_killed_at_the_nth_change_to_the_disk(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """Every state that a kill can leave the disk in; half a write is one of them."""
    line = tried("Faults", f"`{stage}` killed (-9) at its N-th change to the disk")
    for at in spread(prepared.calls[stage], times(4, 12 if stage in HEAVY else 10_000)):
        lake = prepared.take(tmp_path / str(at), stage)
        ended = worker.stage(lake, stage, fault={"mode": "kill", "at": at})
        assert ended.code in (-signal.SIGKILL, 0)
        prepared.check_recovery(worker, lake, stage)
        line.happened("last release whole, next run right")


@pytest.mark.parametrize("stage", BROKEN)
def test_asked_to_stop(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    line = tried("Faults", f"`{stage}` asked to stop (SIGTERM, SIGINT) at a random moment")
    moments = random.Random(stage)
    for turn in range(times(1, 10)):
        lake = prepared.take(tmp_path / str(turn), stage)
        trial = worker.start("stage", lake, stage=stage, root=str(lake.home.parent))
        time.sleep(moments.random() * prepared.seconds[stage])
        number = (signal.SIGTERM, signal.SIGINT)[turn % 2]
        trial.signal(number)
        ended = trial.wait()
        assert ended.code in (-number, 0, 1), ended
        prepared.check_recovery(worker, lake, stage)
        line.happened("last release whole, next run right")


@pytest.mark.skipif(not STRESS, reason="a minute, for Dagster's servers: make stress")
def test_cancelled_from_the_ui(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, monkeypatch
) -> None:
    """What the button does: the run's launcher is told to terminate, while a model trains."""
    import dagster as dg
    from dagster._core.test_utils import create_run_for_test
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget

    lake = prepared.take(tmp_path / "project", "model")
    file = tmp_path / "project" / "datasets" / "wine.yaml"
    text = file.read_text()
    file.write_text(text.replace("quality: draft", "quality: high"))
    monkeypatch.setenv("AIGC_HOME", str(lake.home))
    monkeypatch.setenv("AIGC_DATASETS", str(file.parent))
    target = ModuleTarget("aigc_pipeline.definitions", None, str(Path.cwd()), "aigc")
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        WorkspaceProcessContext(instance, target) as process,
    ):
        context = process.create_request_context()
        [repository] = context.get_code_location("aigc").get_repositories().values()
        job = repository.get_full_job("wine_job")
        run = create_run_for_test(
            instance,
            job_name="wine_job",
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
        )
        instance.launch_run(run.run_id, context)
        wait_for(lake.stage_dir("wine", "model"), ".draft-*")
        assert instance.run_launcher.terminate(run.run_id)
        while not (found := instance.get_run_by_id(run.run_id)) or not found.is_finished:
            time.sleep(0.1)  # Dagster gives up after its own time
        assert found.status == dg.DagsterRunStatus.CANCELED
    assert not list(lake.stage_dir("wine", "model").glob(".draft-*"))
    prepared.check(lake, "model")
    file.write_text(text)
    prepared.check_next(worker, lake, "model")
    tried("Faults", "a run cancelled from the Dagster UI while its model trains").happened(
        "cancelled, nothing left behind; last release whole, next run right"
    )
