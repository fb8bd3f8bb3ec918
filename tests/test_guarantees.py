"""docs/guarantees.md: written from what tests note, across processes, and true to the suites."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from guarantees import Tried, render

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guarantees.md"

SUITE = """
import pytest

@pytest.mark.parametrize("turn", [1, 2])
def test_a_break(tried, turn):
    line = tried("Faults", "broken | twice")
    line.happened("whole")
    if turn == 2:
        line.happened("refused", 2)

def test_another(tried, request):
    tried("Attacks", "knocked").happened("no answer")
    assert not request.config.rootpath.joinpath("fail").exists()
"""


def run(folder: Path) -> int:
    """The suite of a folder in two processes."""
    command = [sys.executable, "-m", "pytest", "-n2", "-p", "guarantees", "--guarantees", "page.md"]
    path = {"PYTHONPATH": str(ROOT / "tests"), "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=path, capture_output=True, timeout=120)
    return done.returncode


def test_a_run_replaces_the_lines_of_its_files_and_a_failed_one_nothing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    page = tmp_path / "page.md"
    page.write_text(
        render([Tried("Faults", "old", "test_suite.py::t"), Tried("Other", "kept", "y.py::t")])
    )
    assert run(tmp_path) == 0
    text = page.read_text()
    assert (
        "| broken \\| twice | 4 | 2 x whole; 2 x refused | [`test_a_break`](../test_suite.py) |"
        in text
    )
    assert "| in all | 4 | | |" in text
    assert "| knocked | 1 | no answer |" in text and "| kept |" in text and "| old |" not in text
    assert re.findall("^## (.+)", text, re.MULTILINE) == ["Attacks", "Faults", "Other"]
    (tmp_path / "fail").touch()
    assert run(tmp_path) == 1
    assert page.read_text() == text


def test_rendering_twice_changes_nothing() -> None:
    found = [Tried("Faults", "a", "x.py::t", Counter(whole=3))]
    assert render(found, render(found)) == render(found)


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"\[`(\w+)`\]\(\.\./([\w/.]+)\)", PAGE.read_text(encoding="utf-8"))
    assert named
    for function, file in named:
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), (function, file)
