"""The `aigc` command run inside the tests' own process, and what came of it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_project import fingerprint, make_project

from aigc_pipeline.cli import main


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, parsed."""
        return json.loads(self.out)


def aigc(*arguments: object) -> Done:
    """Run one command; neither of its streams is a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
    code = left.value.code
    assert code is None or isinstance(code, int)
    return Done(code or 0, out.getvalue(), err.getvalue())


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder the working folder, with the environment as it is on a fresh machine."""
    patch.chdir(folder)
    for name in ("AIGC_HOME", "AIGC_DATASETS", "AIGC_DEBUG", "AIGC_EXECUTOR"):
        patch.delenv(name, raising=False)


def project_after(folder: Path, wine: pl.DataFrame, *commands: Sequence[object]) -> Path:
    """A project in which some commands were run."""
    home = make_project(folder / "project", wine)
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, home)
        for command in commands:
            done = aigc(*command)
            assert done.code == 0, done.err
    return home


def put_back(home: Path) -> Iterator[Path]:
    """Yield a project; afterwards its source and its dataset files are as they were."""
    kept = {name: fingerprint(home / name) for name in ("data", "datasets")}
    yield home
    for folder, files in kept.items():
        for path in (home / folder).iterdir():
            path.unlink()
        for name, content in files.items():
            (home / folder / name).write_bytes(content)
