"""Packages are newer than the advisories against them, and the affected ones are not there."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# CVE-2026-41490: SQL in dynamic partition keys.
AFFECTED = [
    "dagster-duckdb", "dagster-duckdb-pandas", "dagster-duckdb-polars", "dagster-snowflake",
    "dagster-snowflake-pandas", "dagster-snowflake-polars", "dagster-gcp", "dagster-deltalake",
]  # fmt: skip
ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \| ([\w-]+) \|", re.MULTILINE)
LEAST = ROW.findall((ROOT / "docs" / "security-versions.md").read_text(encoding="utf-8"))
PINS = {
    name.lower().replace("_", "-"): pin
    for name, pin in re.findall(
        r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
}


def parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize(("package", "least", "advisory"), LEAST)
def test_a_package_is_newer_than_its_advisory(
    package: str, least: str, advisory: str, tried: Any
) -> None:
    line = tried("Attacks", "known advisories against the packages that are used")
    assert parts(PINS[package]) >= parts(least), f"constraints.txt: {advisory}"
    assert parts(version(package)) >= parts(least), f"installed: {advisory}"
    line.happened("pinned and installed above it")


def test_the_table_names_what_must_be_in_it() -> None:
    """The newest version that a known advisory asks for, by package."""
    for package, least in {"pyarrow": "23.0.1", "torch": "2.6.0", "dagster": "1.13.1"}.items():
        documented = max(parts(known) for name, known, _ in LEAST if name == package)
        assert documented >= parts(least), package
    advisories = {advisory for _, _, advisory in LEAST}
    assert {"CVE-2026-25087", "CVE-2025-32434", "CVE-2026-41490"} <= advisories


def test_the_affected_io_managers_are_not_used(tried: Any) -> None:
    line = tried("Attacks", "known advisories against the packages that are used")
    for package in AFFECTED:
        assert package not in PINS
        with pytest.raises(PackageNotFoundError):
            version(package)
    for path in [*ROOT.glob("assets/*.py"), *ROOT.glob("aigc_pipeline/**/*.py")]:
        assert not re.search("partitions?_def|DynamicPartitions|io_manager", path.read_text()), path
    line.happened("not installed, and nothing has partitions")
