"""Secrets in URLs, variables and the environment: in nothing that a run writes or raises."""

from __future__ import annotations

import stat
from typing import Any

from canaries_kit import find
from conftest import SECRETS, Attacked


def test_secrets_are_written_nowhere(attacked: Attacked, tried: Any) -> None:
    line = tried(
        "Attacks", "secrets in a URL, a variable, the environment; every byte of lake and Dagster"
    )
    places = attacked.everything()
    assert find({"control": "canaries"}, places)  # the search finds what is there
    assert len(attacked.failed) == 1 and "127.0.0.1:1" in attacked.failed[0]
    everywhere = [*places, ("errors and tracebacks", "\n".join(attacked.failed).encode())]
    assert find(SECRETS, everywhere) == {}
    line.happened("in no file, log, traceback or database, after a good and a failed run", 3)


def test_only_the_owner_reads_the_lake(attacked: Attacked, tried: Any) -> None:
    line = tried("Attacks", "files that others on the machine may read")
    for path in [attacked.lake.home, *attacked.lake.home.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        names = ("warehouse.duckdb", ".warehouse.lock", "CURRENT")
        if path.name in names:  # synthetic only, or no more than a version's name
            continue
        assert mode & 0o077 == 0, f"{path} is {mode:o}"
        line.happened("0600 in 0700 folders")
