"""A process that has imported everything and forks for each trial; run as a script.

A trial costs the work it does, not the seconds that torch and Great Expectations take to import.
It reads lines `{"job": …, "out": …, …}` from stdin and forks; the child runs the job, writes what
came of it to `out`, and its pid is answered on stdout. `{"wait": pid}` answers how it ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import resource
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import great_expectations  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401
import torch  # noqa: F401
from faults_kit import answers, leftovers

from aigc_pipeline import DatabaseSynthesizer, Synthesizer, stages
from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.generators import autoregressive, checkpoint  # noqa: F401
from aigc_pipeline.lake import Lake
from aigc_pipeline.stages import judge, learn, prepare
from aigc_pipeline.validation import runner  # noqa: F401
from aigc_pipeline.warehouse import publish, rollback
from aigc_pipeline.warehouse.lock import exclusive

MODES = {"once": 1, "ever since": 2, "kill": 3}
CAPABILITIES = 1 << 1 | 1 << 2 | 1 << 3  # those by which root passes over file permissions
PRIVATE = 1 << 18 | 1 << 14  # mounts stay within this process's own tree
NEW_MOUNTS, NEW_USER = 1 << 17, 1 << 28
# What a disk can do to an evaluation does not depend on how many queries it asks.
judge.evaluate_queries = functools.partial(judge.evaluate_queries, queries=3, rounds=1)


def run_stage(lake: Lake, root: Path, stage: str, seed: int | None) -> str:
    """One stage of the project's dataset; returns the id of the version it wrote."""
    spec = find_dataset("wine", root / "datasets")
    calls = {
        "raw": lambda: prepare.ingest(lake, spec, root),
        "validated": lambda: prepare.validate(lake, spec),
        "features": lambda: prepare.featurize(lake, spec),
        "model": lambda: learn.train(lake, spec),
        "synthetic": lambda: learn.synthesize(lake, spec, seed=seed),
        "evaluation": lambda: stages.evaluate(lake, spec),
        "release": lambda: stages.release(lake, spec),
        "warehouse": lambda: publish(lake),
        "rollback": lambda: rollback(lake, "wine"),
    }
    done = calls[stage]()
    return done.version.id if isinstance(done, stages.StageResult) else str(done)


def hold(lake: Lake, ready: str) -> None:
    """Take the publishers' lock and keep it until killed."""
    with exclusive(lake):
        Path(ready).touch()
        while True:
            os.read(0, 1)


def write(lake: Lake, ready: str) -> None:
    """Begin a raw version and stay in the middle of it until killed."""
    with lake.writing("wine", "raw") as draft:
        (draft.path / "half.parquet").write_bytes(b"real rows")
        Path(ready).touch()
        while True:
            os.read(0, 1)


def save(folder: Path, kind: str) -> str:
    """Save the model "new" of a folder over the model "m" beside it."""
    {"table": Synthesizer, "database": DatabaseSynthesizer}[kind].load(folder / "new").save(
        folder / "m"
    )
    return "saved"


def fill_disk(lake: Lake, root: Path, stage: str, spare: int) -> dict[str, Any]:
    """Move the lake to a small disk of its own, fill that up, run a stage, make space, run again.

    Only this process sees that disk. Where the system does not let it mount one, `unavailable`
    says why.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    aside = lake.home.with_name("aside")
    shutil.copytree(lake.home, aside)
    own = NEW_MOUNTS if os.geteuid() == 0 else NEW_MOUNTS | NEW_USER
    if (
        libc.unshare(own)
        or libc.mount(None, b"/", None, PRIVATE, None)
        or libc.mount(b"none", str(lake.home).encode(), b"tmpfs", 0, b"size=32m")
    ):
        return {"unavailable": os.strerror(ctypes.get_errno())}
    shutil.copytree(aside, lake.home, dirs_exist_ok=True)
    room = os.statvfs(lake.home)
    filler = lake.home / "filler"
    filler.write_bytes(b"x" * max(room.f_bavail * room.f_bsize - spare, 0))
    told: dict[str, Any] = {"failed": None}
    try:
        run_stage(lake, root, stage, None)
    except Exception as error:
        told["failed"] = str(error)
    told["then"] = answers(lake).rows()
    filler.unlink()
    told["version"] = run_stage(lake, root, stage, None)
    return {**told, "at last": answers(lake).rows(), "left": leftovers(lake)}


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Do a job on a disk, in a memory or by a clock that are as the order says."""
    disk = ctypes.CDLL(None)
    lake = Lake(order["home"])
    if back := order.get("clock_back"):
        disk.clock_set_back(ctypes.c_long(back))
    if order.get("as_user"):
        drop_capabilities()
    if (spare := order.get("memory")) is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
    if fault := order.get("fault"):
        mode, error = MODES.get(fault["mode"], 9), fault.get("errno", 0)  # 9: only count
        disk.disk_arm(str(lake.home).encode(), mode, ctypes.c_long(fault.get("at", 0)), error)
    checkpoint.SECONDS = order.get("save_every", 0.3)  # so that short trainings save, too
    told: dict[str, Any] = {}
    try:
        if order["job"] == "stage":
            told["version"] = run_stage(
                lake, Path(order["root"]), order["stage"], order.get("seed")
            )
        elif order["job"] == "save":
            told["version"] = save(lake.home, order["kind"])
        elif order["job"] == "fill":
            told |= fill_disk(lake, Path(order["root"]), order["stage"], order["spare"])
        else:
            {"hold": hold, "write": write}[order["job"]](lake, order["ready"])
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        told |= {"kinds": kinds, "message": str(error), "trace": traceback.format_exc()}
    finally:
        told["calls"] = disk.disk_disarm() if fault else 0
    return told


def drop_capabilities() -> None:
    """Make file permissions hold for root, too."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    assert libc.capget(header, data) == 0
    for word in (0, 1):  # effective and permitted
        data[word] &= ~CAPABILITIES
    assert libc.capset(header, data) == 0


def fork(order: dict[str, Any]) -> int:
    """A child at work on an order."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        log = os.open(order["out"] + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        silent, _ = os.pipe()
        os.dup2(silent, 0)
        with contextlib.suppress(MemoryError):
            told = work(order)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            Path(order["out"]).write_text(json.dumps(told))
            code = 0
    finally:
        os._exit(code)


def serve() -> None:
    """Answer orders until stdin closes."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            print(fork(order), flush=True)


if __name__ == "__main__":
    print("ready", flush=True)
    serve()
