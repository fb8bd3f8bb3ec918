"""The lake: versions appear whole or not at all, and every change to them is noticed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake, Version


def write(lake: Lake, text: str, **kwargs) -> Version:
    with lake.writing("shop", "raw", **kwargs) as draft:
        (draft.path / "part").mkdir()
        (draft.path / "part" / "a.txt").write_text(text)
        draft.meta["note"] = text
    assert draft.version is not None
    return draft.version


def test_a_version_is_listed_current_and_verified(lake: Lake) -> None:
    first = write(lake, "one")
    second = write(lake, "two")
    assert [v.id for v in lake.versions("shop", "raw")] == [first.id, second.id]
    assert first.id.startswith("v00001-") and second.id.startswith("v00002-")
    assert lake.current("shop", "raw") == second
    assert second.meta == {"note": "two"}
    assert second.file("part/a.txt").read_text() == "two"
    second.verify()


def test_inputs_are_bound_by_hash(lake: Lake) -> None:
    raw = write(lake, "one")
    with lake.writing("shop", "validated", inputs={"raw": raw}) as draft:
        draft.write_json("x.json", [1])
    assert draft.version is not None
    assert draft.version.manifest["inputs"]["raw"] == {"version": raw.id, "sha256": raw.sha256}


def test_an_error_leaves_nothing_behind(lake: Lake) -> None:
    first = write(lake, "one")
    with pytest.raises(RuntimeError), lake.writing("shop", "raw") as draft:
        (draft.path / "half.txt").write_text("half")
        raise RuntimeError("stopped midway")
    assert lake.current("shop", "raw") == first
    assert sorted(p.name for p in lake.stage_dir("shop", "raw").iterdir()) == ["CURRENT", first.id]


@pytest.mark.parametrize("change", ["edit", "delete", "manifest", "white space", "checksum"])
def test_a_changed_file_is_noticed(lake: Lake, change: str) -> None:
    version = write(lake, "one")
    file = version.path / "part" / "a.txt"
    if change == "edit":
        file.write_text("One")
    elif change == "delete":
        file.unlink()
    elif change == "checksum":
        (version.path / "manifest.sha256").unlink()
    else:
        with (version.path / "manifest.json").open("a") as manifest:
            manifest.write("{" if change == "manifest" else "\n")
    again = lake.current("shop", "raw")
    with pytest.raises(ArtefactError, match=str(again.path)):
        again.verify()


def test_an_artefact_of_another_format_is_refused(lake: Lake) -> None:
    version = write(lake, "one")
    file = version.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(ArtefactError, match=r"format 99.*run the stage again"):
        _ = lake.current("shop", "raw").manifest


def test_files_are_private(lake: Lake) -> None:
    version = write(lake, "one")
    modes = {oct(p.stat().st_mode & 0o777) for p in version.path.rglob("*")}
    assert modes == {"0o600", "0o700"}
    assert oct(lake.home.stat().st_mode & 0o777) == "0o700"


@pytest.mark.parametrize("name", ["../shop", "/etc", "shop/../x", "Shop", "", "a b", "x__y"])
def test_a_dataset_name_never_becomes_a_path(lake: Lake, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a folder"):
        lake.stage_dir(name, "raw")
    assert not lake.home.exists()


def test_missing_stage_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(ArtefactError, match="there is no model yet; run that stage first"):
        lake.current("shop", "model")
    assert lake.find_current("shop", "model") is None


@pytest.mark.parametrize(
    "name",
    [f"{os.uname().nodename}-{os.getpid()}-0", "other-host-1-0"],
    ids=["this process", "another host"],
)
def test_drafts_of_dead_processes_are_swept_and_others_kept(lake: Lake, name: str) -> None:
    """A process id may be in use again, and a host of a cluster gone for ever."""
    first = write(lake, "one")
    gone = lake.stage_dir("shop", "raw") / f".draft-{name}"
    gone.mkdir()
    with lake.writing("shop", "raw") as living:
        (living.path / "a.txt").write_text("half")
        second = write(lake, "two")
        assert not gone.exists() and living.path.exists()
    assert lake.versions("shop", "raw") == [first, second, living.version]


def test_a_disk_that_refuses_leaves_the_last_version(lake: Lake) -> None:
    first = write(lake, "one")

    def no_big_files() -> None:  # writing past the limit fails with "File too large"
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    script = textwrap.dedent(
        f"""
        from aigc_pipeline.lake import Lake
        with Lake({str(lake.home)!r}).writing("shop", "raw") as draft:
            (draft.path / "big.bin").write_bytes(b"x" * 100_000)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=no_big_files
    )
    assert done.returncode == 1 and "File too large" in done.stderr
    assert [v.id for v in lake.versions("shop", "raw")] == [first.id]
    assert not list(lake.stage_dir("shop", "raw").glob(".draft-*"))


def test_home_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "elsewhere"))
    assert Lake.from_env().warehouse == tmp_path / "elsewhere" / "warehouse.duckdb"
    monkeypatch.delenv("AIGC_HOME")
    monkeypatch.chdir(tmp_path)
    assert Lake.from_env().home == tmp_path / "lake"
