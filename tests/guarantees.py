"""What the fault and attack suites tried, how often, and what happened: docs/guarantees.md.

A test asks for the fixture `tried`, names what it does, and notes each outcome once it has been
asserted. `pytest tests/faults tests/attacks --guarantees docs/guarantees.md` then replaces the
lines of all test files that were run; a run in which a test failed writes nothing.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HEAD = """\
# Guarantees, and the test behind each

Every line is one kind of fault or attack: what was tried, how often, and what happened, counted by
the tests themselves. `make stress` runs them and writes this page; CI runs the same tests, fewer
times each. [`SECURITY.md`](../SECURITY.md) says what is promised.

*Last release whole*: every version in the lake still has its checksums, and a reader gets, row for
row, the last release or the one that was being published. *Next run right*: it succeeds without any
repair, writes the bytes of an undisturbed run, and leaves nothing else behind.
"""
COLUMNS = "| what was tried | times | what happened | test |\n|---|---|---|---|\n"

STRESS = bool(os.environ.get("AIGC_STRESS"))


def times(usual: int, stress: int) -> int:
    """How often to try something: `usual`, or `stress` times where AIGC_STRESS is set."""
    return stress if STRESS else usual


@dataclass
class Tried:
    """One kind of fault or attack: how often each outcome was seen."""

    section: str
    what: str
    test: str
    outcomes: Counter[str] = field(default_factory=Counter)

    def happened(self, outcome: str, times: int = 1) -> None:
        """Count an outcome; call it after the assertions that show it."""
        self.outcomes[outcome] += times

    def to_json(self) -> dict[str, Any]:
        """As plain data, which is all that passes between the processes of a run."""
        return {**vars(self), "outcomes": dict(self.outcomes)}


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[str, str], Tried]:
    """`tried("Faults", "what is done")`: a Tried whose counts go into docs/guarantees.md.

    Tests that name the same section and words share a line.
    """
    file = request.path.relative_to(request.config.rootpath).as_posix()
    function = getattr(request.node, "originalname", request.node.name)

    def note(section: str, what: str) -> Tried:
        made = Tried(section, what, f"{file}::{function}")
        request.node.user_properties.append(("tried", made))
        return made

    return note


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Turn what was noted into plain data before the report is made of it."""
    item.user_properties[:] = [
        (name, value.to_json() if isinstance(value, Tried) else value)
        for name, value in item.user_properties
    ]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guarantees", metavar="PAGE", help="page to write what was tried to")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--guarantees") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(Path(config.getoption("--guarantees"))))


class Collector:
    """Gathers the reports of all processes, and writes the page when all tests are done."""

    def __init__(self, page: Path) -> None:
        self.page = page.resolve()
        self.found: list[Tried] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            for name, value in report.user_properties:
                if name == "tried" and isinstance(value, dict):
                    self.found.append(Tried(**{**value, "outcomes": Counter(value["outcomes"])}))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            old = self.page.read_text(encoding="utf-8") if self.page.exists() else ""
            self.page.write_text(render(self.found, old), encoding="utf-8")


def render(found: Iterable[Tried], page: str = "") -> str:
    """The page with new lines for all test files that were run; the others' stay as in `page`."""
    lines: dict[tuple[str, str], Tried] = {}
    for each in found:
        line = lines.setdefault(
            (each.section, each.what), Tried(each.section, each.what, each.test)
        )
        line.outcomes.update(each.outcomes)
    run = {line.test.partition("::")[0] for line in lines.values()}
    sections: dict[str, list[tuple[str, str]]] = {}
    for section, body in re.findall(r"^## (.+)\n\n((?:.+\n)+)", page, flags=re.MULTILINE):
        for row, path in re.findall(r"^(\|.*\]\(\.\./(.+)\) \|)$", body, flags=re.MULTILINE):
            if path not in run:
                sections.setdefault(section, []).append((path, row))
    for line in lines.values():
        path = line.test.partition("::")[0]
        sections.setdefault(line.section, []).append((path, _row(line)))
    return HEAD + "".join(_section(name, sections[name]) for name in sorted(sections))


def _section(name: str, rows: list[tuple[str, str]]) -> str:
    """A section of (test file, row)s, with the sum of all times below them."""
    total = sum(int(re.split(r"(?<!\\)\|", row)[2].replace(",", "")) for _, row in rows)
    table = "".join(f"{row}\n" for _, row in sorted(rows))
    return f"\n## {name}\n\n{COLUMNS}{table}| in all | {total:,} | | |\n"


def _row(line: Tried) -> str:
    path, _, function = line.test.partition("::")
    times = line.outcomes.total()
    happened = [
        outcome if count == times else f"{count:,} x {outcome}"
        for outcome, count in line.outcomes.most_common()
    ]
    cells = (line.what, f"{times:,}", "; ".join(happened), f"[`{function}`](../{path})")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
