"""A disk that fails, fills up or may not be written: nothing half-done, and the error says why."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from faults_kit import BROKEN, HEAVY, Ended, Prepared, Worker, spread
from guarantees import times


def check_told(ended: Ended, code: int) -> None:
    """The stage failed, and said what the disk said; or it did not need the call that failed."""
    assert ended.code == 0, ended.log
    if ended.version is None:
        assert {"AigcError", "OSError"} & set(ended.told["kinds"]), ended.told["trace"]
        # DuckDB does not say why an fsync failed.
        reasons = (os.strerror(code), "fsync failed")
        assert any(reason in ended.error for reason in reasons), ended.told["trace"]


@pytest.mark.parametrize("stage", BROKEN)
def test_the_nth_change_fails(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    line = tried("Faults", f"`{stage}`: the N-th write, fsync or rename fails")
    for at in spread(prepared.calls[stage], times(4, 10_000)):
        lake = prepared.take(tmp_path / str(at), stage)
        code = (errno.ENOSPC, errno.EIO)[at % 2]
        ended = worker.stage(lake, stage, fault={"mode": "once", "at": at, "errno": code})
        check_told(ended, code)
        prepared.check_recovery(worker, lake, stage)
        line.happened(
            "said so; last release whole, next run right"
            if ended.version is None
            else "could do without, and was right"
        )


@pytest.mark.parametrize("stage", BROKEN)
def test_the_disk_is_full(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """Unlike one failed write, a full disk fails cleaning up and putting back, too."""
    line = tried("Faults", f"`{stage}`: the disk is full from the N-th change on")
    for at in spread(prepared.calls[stage], times(2, 12 if stage in HEAVY else 10_000)):
        lake = prepared.take(tmp_path / str(at), stage)
        fault = {"mode": "ever since", "at": at, "errno": errno.ENOSPC}
        ended = worker.stage(lake, stage, fault=fault)
        check_told(ended, errno.ENOSPC)
        prepared.check_recovery(worker, lake, stage)
        line.happened("said so; last release whole, next run right once there was space")


@pytest.mark.parametrize("stage", [s for s in BROKEN if s not in HEAVY])
def test_a_small_disk_is_full(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """A true file system with so many bytes left, and no library in between."""
    line = tried("Faults", f"`{stage}`: a true disk of 32 MB is full")
    for spare in (0, 4_096, 20_000, 100_000, 1_000_000)[: times(1, 5)]:
        lake = prepared.take(tmp_path / str(spare), stage)
        order = {"stage": stage, "root": str(lake.home.parent), "spare": spare}
        ended = worker.start("fill", lake, **order).wait()
        if "unavailable" in ended.told:
            pytest.skip(f"this system does not let a test mount a disk: {ended.told}")
        told = ended.told
        assert told.get("version"), ended
        last, after = (
            [list(row) for row in f.rows()] for f in (prepared.last, prepared.after[stage])
        )
        assert told["then"] in (last, after) and told["at last"] == after
        assert told["left"] == []
        if told["failed"] is None:
            line.happened("had enough, and was right")
        else:
            assert os.strerror(errno.ENOSPC) in told["failed"], told
            line.happened("said so; last release whole, next run right once there was space")


@pytest.mark.parametrize("stage", BROKEN)
def test_the_folder_may_not_be_written(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    line = tried("Faults", f"`{stage}`: its folder is read-only")
    lake = prepared.take(tmp_path / "project", stage)
    folder = lake.home if stage == "warehouse" else lake.stage_dir("wine", stage)
    folder.chmod(0o500)
    ended = worker.stage(lake, stage, as_user=True)
    folder.chmod(0o700)
    assert ended.version is None
    check_told(ended, errno.EACCES)
    prepared.check_recovery(worker, lake, stage)
    line.happened("said so; last release whole, next run right")


@pytest.mark.parametrize("stage", BROKEN)
def test_out_of_memory(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """Python, Arrow and DuckDB raise; Polars and torch may end the process, or wait for ever."""
    line = tried("Faults", f"`{stage}` runs out of memory")
    for turn in range(times(1, 6)):
        lake = prepared.take(tmp_path / str(turn), stage)
        spare = (1, 3, 10, 20, 40, 80)[turn] * 2**20
        ended = worker.stage(lake, stage, memory=spare, patience=60)
        prepared.check_recovery(worker, lake, stage)
        if ended.version is not None:
            line.happened("had enough, and was right")
        elif ended.code == -signal.SIGKILL:
            line.happened("hung, was killed; last release whole, next run right")
        else:
            line.happened("last release whole, next run right")
