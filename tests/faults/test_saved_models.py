"""A model saved over another by a process that dies, or on a disk that fails: one of them is whole.

In the folder are "new", a model, and "m", an older one that a trial saves the new one over.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from faults_kit import Ended, Worker, spread
from guarantees import times
from small_project import fingerprint

from aigc_pipeline import DatabaseSynthesizer, Synthesizer
from aigc_pipeline.durable import replacing_folder
from aigc_pipeline.lake import Lake

KINDS = ("table", "database")
TABLES = {
    "cellars": {"key": "cellar"},
    "wines": {"key": "wine", "parents": [{"column": "cellar", "table": "cellars"}]},
}


@pytest.fixture(scope="module")
def models(wine: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By kind, a folder with a new model and an older one."""
    root = tmp_path_factory.mktemp("models")
    rows = wine.select("hue", "cultivar").with_row_index("wine")
    rows = rows.with_columns(cellar=pl.col("wine").cast(pl.Int64) % 60)
    cellars = pl.DataFrame({"cellar": range(60), "place": ["Alba", "Asti", "Barolo"] * 20})
    for seed, name in enumerate(("m", "new")):
        table = Synthesizer(quality="draft", time_limit=1, seed=seed)
        table.fit(rows.drop("cellar"), {"key": "wine"}).save(root / "table" / name)
        generator = {"quality": "draft", "time_limit": "1s"}
        database = DatabaseSynthesizer(TABLES, generator=generator, seed=seed)
        database.fit({"cellars": cellars, "wines": rows}).save(root / "database" / name)
    return root


class Trials:
    """Copies of the models, and what must hold of them after a fault."""

    def __init__(self, worker: Worker, models: Path, kind: str, folder: Path) -> None:
        self.worker, self.models, self.kind, self.folder = worker, models / kind, kind, folder
        self.old, self.new = (fingerprint(self.models / name) for name in ("m", "new"))
        assert self.old != self.new
        begun = time.monotonic()
        counted = self.save(self.take("counted"), fault={"mode": "count"})
        self.seconds, self.calls = time.monotonic() - begun, counted.calls
        assert counted.version, counted

    def take(self, name: object) -> Lake:
        """A copy in which the older model is still there."""
        return Lake(shutil.copytree(self.models, self.folder / str(name)))

    def save(self, home: Lake, **order: object) -> Ended:
        """Save the new model over the older one."""
        return self.worker.start("save", home, kind=self.kind, **order).wait()

    def check(self, home: Lake) -> None:
        """One of the two is there, byte for byte; the next saving succeeds and tidies up."""
        assert fingerprint(home.home / "m") in (self.old, self.new)
        assert self.save(home).version
        assert fingerprint(home.home / "m") == self.new
        assert {path.name for path in home.home.iterdir()} == {"m", "new"}


@pytest.fixture(params=KINDS)
def trials(request: pytest.FixtureRequest, worker: Worker, models: Path, tmp_path: Path) -> Trials:
    return Trials(worker, models, request.param, tmp_path)


def test_killed_while_saving_over_a_model(trials: Trials, tried) -> None:
    line = tried("Faults", f"saving a {trials.kind}'s model over another: killed (-9)")
    for at in spread(trials.calls, times(6, 10_000)):
        home = trials.take(at)
        ended = trials.save(home, fault={"mode": "kill", "at": at})
        assert ended.code == -signal.SIGKILL
        trials.check(home)
        line.happened("the old model or the new, whole; the next saving right")
    moments = random.Random(trials.kind)
    for turn in range(times(2, 30)):
        home = trials.take(f"moment {turn}")
        trial = trials.worker.start("save", home, kind=trials.kind)
        time.sleep(moments.random() * trials.seconds)
        trial.signal(signal.SIGKILL)
        assert trial.wait().code in (-signal.SIGKILL, 0)  # 0: it was done before
        trials.check(home)
        line.happened("the old model or the new, whole; the next saving right")


def test_a_disk_that_fails_while_saving_over_a_model(trials: Trials, tried) -> None:
    line = tried("Faults", f"saving a {trials.kind}'s model over another: a write or rename fails")
    for mode in ("once", "ever since"):
        for at in spread(trials.calls, times(4, 10_000)):
            home = trials.take(f"{mode} {at}")
            ended = trials.save(home, fault={"mode": mode, "at": at, "errno": errno.ENOSPC})
            assert ended.code == 0, ended
            if ended.version is None:
                assert "No space left" in ended.error, ended
            trials.check(home)
            line.happened(
                "said so; the old model or the new, whole; the next saving right"
                if ended.version is None
                else "could do without, and was right"
            )


def test_a_file_system_that_cannot_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are left that cannot, and none is here: what the system answers is put in its place."""
    monkeypatch.setattr("aigc_pipeline.durable._exchange", lambda one, other: False)
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "m") as draft:
            (draft / "a").write_text(text)
        assert fingerprint(tmp_path) == {"m/a": text.encode()}
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "m") as draft:
        (draft / "a").write_text("half")
        _ = 1 / 0
    assert fingerprint(tmp_path) == {"m/a": b"new"}


def test_the_old_model_is_back_where_the_second_of_two_steps_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigc_pipeline.durable._exchange", lambda one, other: False)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_text("old")
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".m.draft"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"), replacing_folder(tmp_path / "m") as draft:
        (draft / "a").write_text("new")
    assert fingerprint(tmp_path) == {"m/a": b"old"}


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing_folder(tmp_path / "link") as draft:
        (draft / "a").write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a").read_text() == "new"
