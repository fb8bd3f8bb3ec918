"""Runs killed, asked to stop or cancelled: the last release stays, the next run succeeds."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from faults_kit import WRITERS, Prepared, Worker, spread
from guarantees import times

HEAVY = ("model", "evaluation")  # stages that take a second, not a tenth


@pytest.mark.parametrize("stage", WRITERS)
def test_killed_at_a_random_moment(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    line = tried("Faults", f"`{stage}` killed (-9) at a random moment")
    moments = random.Random(stage)
    for turn in range(times(1 if stage in HEAVY else 3, 20)):
        lake = prepared.take(tmp_path / str(turn), stage)
        trial = worker.start("stage", lake, stage=stage, root=str(lake.home.parent))
        time.sleep(moments.random() * prepared.seconds[stage])
        trial.signal(signal.SIGKILL)
        ended = trial.wait()
        assert ended.code in (-signal.SIGKILL, 0)  # 0: it was done before
        prepared.check(lake, stage)
        prepared.check_next(worker, lake, stage)
        line.happened("last release whole, next run right")


@pytest.mark.parametrize("stage", WRITERS)
def test_killed_at_the_nth_change_to_the_disk(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, stage: str
) -> None:
    """Every state that a kill can leave the disk in; half a write is one of them."""
    line = tried("Faults", f"`{stage}` killed (-9) at its N-th change to the disk, each N")
    for at in spread(prepared.calls[stage], times(2 if stage in HEAVY else 6, 10_000)):
        lake = prepared.take(tmp_path / str(at), stage)
        ended = worker.stage(lake, stage, fault={"mode": "kill", "at": at})
        assert ended.code in (-signal.SIGKILL, 0)
        prepared.check(lake, stage)
        prepared.check_next(worker, lake, stage)
        line.happened("last release whole, next run right")


@pytest.mark.parametrize("stage", WRITERS)
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
        prepared.check(lake, stage)
        prepared.check_next(worker, lake, stage)
        line.happened("last release whole, next run right")
