"""Runs beside each other and after each other: nothing is mixed, doubled or swept by mistake."""

from __future__ import annotations

import itertools
import random
import signal
import time
from pathlib import Path

import pytest
from faults_kit import BROKEN, HEAVY, Prepared, Worker, answers, hashes, leftovers, wait_for
from guarantees import times

from aigc_pipeline.generators import checkpoint
from aigc_pipeline.lake import STAGES
from aigc_pipeline.warehouse import publish, releases

DAY = 86_400  # seconds


def test_two_publishers_at_once(worker: Worker, prepared: Prepared, tmp_path: Path, tried) -> None:
    """A release, a rollback and two rebuilds: each finds the lake as another left it."""
    line = tried("Faults", "four publishers at once: a release, a rollback, two rebuilds")
    first = prepared.after["warehouse"]
    for turn in range(times(1, 20)):
        lake = prepared.take(tmp_path / str(turn), "release")
        stages = ["release", "rollback", "warehouse", "warehouse"]
        random.Random(turn).shuffle(stages)
        root = str(lake.home.parent)
        trials = [worker.start("stage", lake, stage=stage, root=root) for stage in stages]
        for trial in trials:
            ended = trial.wait()
            assert ended.version, ended
        # Rolled back from the second to the first, or from the third to the second.
        found, current = answers(lake), lake.current("wine", "release")
        expected = {"v00001": first, "v00002": prepared.last, "v00003": prepared.after["release"]}
        assert found.equals(expected[current.id[:6]])
        assert len(lake.versions("wine", "release")) == 3
        prepared.check(lake, "warehouse" if found.equals(first) else "release")
        assert leftovers(lake) == []
        line.happened("one after the other; the warehouse is of the release in force")


def test_two_runs_of_one_stage_at_once(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried
) -> None:
    line = tried("Faults", "two runs of one stage at once")
    stages = [stage for stage in STAGES if stage not in HEAVY]
    for stage in stages * times(1, 4):
        lake = prepared.take(tmp_path / f"{stage}-{worker.count}", stage)
        root, before = str(lake.home.parent), len(lake.versions("wine", stage))
        trials = [worker.start("stage", lake, stage=stage, root=root) for _ in range(2)]
        ended = [trial.wait() for trial in trials]
        assert all(each.version for each in ended), ended
        made = lake.versions("wine", stage)[before:]
        assert len(made) == len({each.version for each in ended})
        assert len(made) == (1 if stage == "release" else 2)
        assert hashes(lake, stage) == prepared.made[stage]
        prepared.check(lake, stage)
        assert leftovers(lake) == []
        line.happened("each writes its own version, of the same bytes; a release is made once")


def test_a_lock_holder_is_killed(worker: Worker, prepared: Prepared, tmp_path: Path, tried) -> None:
    line = tried("Faults", "the holder of the publishers' lock killed (-9)")
    lake = prepared.take(tmp_path / "project", "raw")
    for turn in range(times(3, 20)):
        ready = tmp_path / f"ready-{turn}"
        holder = worker.start("hold", lake, ready=str(ready))
        wait_for(tmp_path, ready.name)
        with pytest.raises(Exception, match=r"another run has been publishing for more than 0\.05"):
            publish(lake, timeout=0.05)
        holder.signal(signal.SIGKILL)
        assert holder.wait().code == -signal.SIGKILL
        publish(lake, timeout=5)
        assert answers(lake).equals(prepared.last)
        line.happened("the lock is free at once")


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried
) -> None:
    line = tried("Faults", "a run begins beside drafts of dead and of living runs")
    for turn in range(times(1, 20)):
        lake = prepared.take(tmp_path / str(turn), "raw")
        trials = [
            worker.start("write", lake, ready=str(tmp_path / f"ready-{turn}-{i}")) for i in (0, 1)
        ]
        for i in (0, 1):
            wait_for(tmp_path, f"ready-{turn}-{i}")
        folder = lake.stage_dir("wine", "raw")
        drafts = {p for p in folder.iterdir() if p.name.startswith(".draft-")}
        assert len(drafts) == 2
        dead, living = trials
        dead.signal(signal.SIGKILL)
        assert dead.wait().code == -signal.SIGKILL
        # A killed pod's, on a host that is no more.
        (folder / ".draft-gone-1-00000000").mkdir()
        assert worker.stage(lake, "raw").version
        [left] = [p for p in folder.iterdir() if p.name.startswith(".draft-")]
        assert left in drafts and (left / "half.parquet").read_bytes() == b"real rows"
        living.signal(signal.SIGKILL)
        living.wait()
        prepared.check_next(worker, lake, "raw")
        line.happened("the dead's are swept, the living's stay")


@pytest.mark.parametrize("stage", BROKEN)
def test_the_same_work_again(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """What a retry or a backfill does."""
    line = tried("Faults", "the same work again (a retry, a backfill)")
    lake = prepared.take(tmp_path / "project", stage)
    for _ in range(times(1, 4)):
        prepared.check_next(worker, lake, stage)
        line.happened("same bytes, no row twice")
    if stage == "release":
        assert len(lake.versions("wine", "release")) == 3  # the one made above, once


@pytest.mark.parametrize("stage", BROKEN)
def test_the_clock_goes_back(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """Which version is in force is a matter of pointers and numbers, not of times."""
    line = tried("Faults", "the clock goes back by ten years between two runs")
    lake = prepared.take(tmp_path / "project", stage)
    before = [] if stage == "warehouse" else lake.versions("wine", stage)
    ended = worker.stage(lake, stage, clock_back=3650 * DAY)
    assert ended.version, ended
    assert answers(lake).equals(prepared.after[stage])
    if stage != "warehouse":
        [new] = [v for v in lake.versions("wine", stage) if v not in before]
        assert new == lake.current("wine", stage) == lake.versions("wine", stage)[-1]
        made = time.strptime(new.manifest["created_at"][:10], "%Y-%m-%d")
        assert made < time.gmtime(time.time() - 3000 * DAY)
        assert hashes(lake, stage) == prepared.made[stage]
    if stage == "release":
        assert [info.is_current for info in releases(lake)] == [False, False, True]
    prepared.check(lake, stage)
    line.happened("the newest version is in force, as by any clock")


@pytest.mark.parametrize("change", ["package", "format"])
def test_a_checkpoint_of_an_older_version(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, monkeypatch, change: str
) -> None:
    line = tried("Faults", "a killed training's checkpoint is of an older version")
    lake = prepared.take(tmp_path / "project", "model")
    at = lake.checkpoint("wine", "wines")
    ended = worker.stage(lake, "model", save_every=0, fault={"mode": "kill", "at": 40})
    assert ended.code == -signal.SIGKILL and at.exists()
    key, state = read_checkpoint(at)
    if change == "package":
        key = key[::-1]  # it is a hash of, among others, the package's version
        assert checkpoint.fingerprint() != fingerprint_of_version(monkeypatch, "0.0.1")
    else:
        monkeypatch.setattr(checkpoint, "FORMAT", "0")
    checkpoint.Checkpoint(at, key).save(*state)
    prepared.check(lake, "model")
    prepared.check_next(worker, lake, "model")
    line.happened("passed over; trained afresh to the same weights")


def read_checkpoint(at: Path) -> tuple[str, tuple]:
    """A checkpoint's key, and its tensors and values."""
    from safetensors import safe_open

    with safe_open(at, framework="pt") as file:
        key = file.metadata()["key"]
    state = checkpoint.Checkpoint(at, key).load()
    assert state is not None
    return key, state


def fingerprint_of_version(patch: pytest.MonkeyPatch, version: str) -> str:
    """The fingerprint that another version of the package would give."""
    with patch.context() as other:
        other.setattr(checkpoint, "__version__", version)
        return checkpoint.fingerprint()


def test_a_lake_of_another_format(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried
) -> None:
    """Versions as the package wrote them before manifests had a checksum."""
    line = tried("Faults", "a stage's input is of an older format")
    lake = prepared.take(tmp_path / "project", "raw")
    for stage, reader in itertools.pairwise(STAGES):
        manifest = lake.current("wine", stage).path / "manifest.json"
        whole = manifest.read_bytes()
        manifest.write_bytes(whole.replace(b'"format": 2', b'"format": 1'))
        ended = worker.stage(lake, reader)
        assert "written in format 1" in ended.error and "run the stage again" in ended.error
        manifest.write_bytes(whole)
        line.happened("refused by name, never misread")
    assert answers(lake).equals(prepared.last)
