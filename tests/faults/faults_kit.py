"""What the fault tests share: a lake to break, a process to break it in, and what must hold after.

A trial is one stage run in a process of its own, on a copy of a lake in which every stage has run:
two releases, the second in force and in the warehouse, and judged rows that a third could be of.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from guarantees import STRESS

from aigc_pipeline.lake import STAGES, Lake
from aigc_pipeline.warehouse import query

HERE = Path(__file__).parent
# Every stage that writes, and the rebuilding of the warehouse by itself.
WRITERS = (*STAGES, "warehouse")
HEAVY = ("model", "evaluation")  # they take a second, not a tenth
# Where every stage would be too dear for CI.
BROKEN = WRITERS if STRESS else tuple(stage for stage in WRITERS if stage not in HEAVY)
COLUMNS = ["hue", "cultivar"]
DATASET = """
name: wine
tables:
  wines:
    source: {file: data/wine.csv}
generator: {quality: draft}
synthesis:
  rows: 60
  scenarios:
    barolos: {where: {cultivar: barolo}, rows: 10}
gates: {null_rate_error: {max: 0.5}}
"""
ANSWERS = """
SELECT 'wine' AS what, hue::VARCHAR AS value, cultivar AS other FROM wine.wines UNION ALL
SELECT 'barolos', hue::VARCHAR, cultivar FROM wine__barolos.wines ORDER BY ALL
"""


@dataclass
class Ended:
    """How a trial ended: its exit code (negative: the signal), and what the job told before."""

    code: int
    told: dict[str, Any]
    log: str

    @property
    def version(self) -> str | None:
        """The version that was written; None where the stage failed or was killed."""
        return self.told.get("version")

    @property
    def calls(self) -> int:
        """Calls that changed the lake."""
        return self.told["calls"]

    @property
    def error(self) -> str:
        """What the stage raised."""
        return self.told.get("message", "")


@dataclass
class Worker:
    """The process that forks one child a trial; see worker.py."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        disk = self.folder / "broken_disk.so"
        source = HERE / "broken_disk.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", disk, source, "-ldl"], check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(disk),
            "OMP_NUM_THREADS": "1",  # a child has no thread but the one that forked
            "POLARS_MAX_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def _ask(self, order: dict[str, Any]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, job: str, lake: Lake, **order: Any) -> Trial:
        """Begin a job of worker.py on a lake."""
        self.count += 1
        out = self.folder / f"trial-{self.count}"
        order = {"job": job, "home": str(lake.home), "out": str(out), **order}
        return Trial(self, self._ask(order), out)

    def stage(
        self, lake: Lake, stage: str, *, patience: float | None = None, **order: Any
    ) -> Ended:
        """Run a stage to its end; patience: seconds after which it is killed."""
        trial = self.start("stage", lake, stage=stage, root=str(lake.home.parent), **order)
        if patience is None:
            return trial.wait()
        killer = threading.Timer(patience, trial.signal, [signal.SIGKILL])
        killer.start()
        try:
            return trial.wait()
        finally:
            killer.cancel()

    def close(self) -> None:
        """End the process; it has no children then."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@dataclass
class Trial:
    """A child at work."""

    worker: Worker
    pid: int
    out: Path

    def signal(self, number: int) -> None:
        """Send it a signal; it may have ended already."""
        os.kill(self.pid, number)  # not yet waited for, so the number is still its own

    def wait(self) -> Ended:
        """Wait until it ends."""
        code = self.worker._ask({"wait": self.pid})
        log = Path(f"{self.out}.log")
        told = json.loads(self.out.read_text()) if self.out.exists() and code == 0 else {}
        return Ended(code, told, log.read_text() if log.exists() else "")


def wait_for(folder: Path, pattern: str) -> None:
    """Wait until a folder has something of that name, two minutes at most."""
    for _ in range(12_000):
        if folder.is_dir() and any(folder.glob(pattern)):
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder / pattern} did not come")


def answers(lake: Lake) -> pl.DataFrame:
    """All rows that a reader finds."""
    return query(lake, ANSWERS, limit=None).frame


def leftovers(lake: Lake) -> list[str]:
    """Whatever is neither a version, nor a pointer, nor the warehouse and its lock."""
    known = {"CURRENT", "manifest.json", "warehouse.duckdb", ".warehouse.lock"}
    found = []
    for path in lake.home.rglob("*"):
        name = path.relative_to(lake.home)
        whole = any(part.startswith("v0") for part in name.parts)
        if path.is_file() and path.name not in known and not whole:
            found.append(str(name))
        if path.is_dir() and path.name.startswith("."):
            found.append(str(name))
    return sorted(found)


@dataclass(frozen=True)
class Prepared:
    """A whole lake, what readers find in it, and what an undisturbed run of each stage is like."""

    lake: Lake
    last: pl.DataFrame  # answers of the release in force
    after: dict[str, pl.DataFrame]  # by stage, answers once it has run
    calls: dict[str, int]  # that change the disk
    seconds: dict[str, float]
    made: dict[str, dict[str, str]]  # by stage, sha256 of the files it writes

    def take(self, folder: Path, stage: str) -> Lake:
        """A copy of project and lake in which a run of the stage has something to change."""
        shutil.copytree(self.lake.home.parent, folder)
        lake = Lake(folder / self.lake.home.name)
        if stage == "warehouse":
            lake.point(lake.versions("wine", "release")[0])
        return lake

    def check(self, lake: Lake, stage: str) -> None:
        """What must hold after a fault in a stage: all versions are whole, readers find a release.

        It is the last release, or the one that the stage was about to publish.
        """
        for each in STAGES:
            for version in lake.versions("wine", each):
                version.verify()
            lake.current("wine", each)
        found = answers(lake)
        assert found.equals(self.last) or found.equals(self.after[stage])

    def check_recovery(self, worker: Worker, lake: Lake, stage: str) -> None:
        """`check`, and then `check_next`."""
        self.check(lake, stage)
        self.check_next(worker, lake, stage)

    def check_next(self, worker: Worker, lake: Lake, stage: str) -> None:
        """The next run succeeds, writes what it would have written, and leaves nothing else."""
        ended = worker.stage(lake, stage)
        assert ended.code == 0 and ended.version, ended
        assert answers(lake).equals(self.after[stage])
        assert hashes(lake, stage) == self.made[stage]
        assert leftovers(lake) == []


def hashes(lake: Lake, stage: str) -> dict[str, str]:
    """The files of the version in force; those left out say how long the work took."""
    if stage == "warehouse":
        return {}
    files = lake.current("wine", stage).manifest["files"]
    return {name: f["sha256"] for name, f in files.items() if not name.endswith("card.json")}


def prepare(worker: Worker, wine: pl.DataFrame, folder: Path) -> Prepared:
    """Make the lake that is broken, and run each stage once on a copy of it."""
    root = folder / "project"
    for name in ("data", "datasets"):
        (root / name).mkdir(parents=True)
    wine.gather_every(2).select(COLUMNS).write_csv(root / "data" / "wine.csv")
    (root / "datasets" / "wine.yaml").write_text(DATASET, encoding="utf-8")
    lake = Lake(root / "lake")
    for stage in STAGES[:4]:
        assert worker.stage(lake, stage).version
    for seed in (1, 2, 3):
        for stage in STAGES[4 : 6 if seed == 3 else 7]:
            assert worker.stage(lake, stage, seed=seed).version
    last = answers(lake)
    made = Prepared(lake, last, {}, {}, {}, {})
    for stage in WRITERS:
        copy = made.take(folder / stage, stage)
        start = time.monotonic()
        ended = worker.stage(copy, stage, fault={"mode": "count"})
        made.seconds[stage] = time.monotonic() - start
        assert ended.version, ended
        made.calls[stage], made.made[stage] = ended.calls, hashes(copy, stage)
        made.after[stage] = answers(copy)
        assert made.after[stage].equals(last) == (stage not in ("release", "warehouse"))
    return made


def spread(total: int, most: int) -> list[int]:
    """The numbers from 1 to `total`, or as many as `most` of them from first to last."""
    if most >= total:
        return list(range(1, total + 1))
    return sorted({round(1 + i * (total - 1) / max(most - 1, 1)) for i in range(most)})
