"""`aigc doctor`: is everything here that a run needs?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from aigc_pipeline.errors import AigcError

PACKAGES = ("dagster", "duckdb", "polars", "pyarrow", "torch", "great-expectations", "scikit-learn")
LOW_DISK = 2 * 1024**3  # bytes


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the machine: Python, packages, training device, lake, disk, dataset files, warehouse.

    Exit code 1 when something is wrong; each finding says what would put it right.

    Examples:
      aigc doctor
      aigc doctor --json
    """
    from aigc_pipeline.commands import show

    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "device": _device,
        "lake": _lake,
        "disk": _disk,
        "datasets": _datasets,
        "warehouse": _warehouse,
    }
    findings = [_examine(name, check) for name, check in checks.items()]
    if as_json:
        show.print_json([dict(zip(("check", "ok", "finding"), f, strict=True)) for f in findings])
    else:
        show.table(
            ["", "check", "finding"],
            [["✓" if ok else "✗", name, finding] for name, ok, finding in findings],
        )
    if not all(ok for _, ok, _ in findings):
        raise typer.Exit(1)


def _examine(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    """A check's finding; what it raises is the finding, too."""
    try:
        return name, True, check()
    except (AigcError, OSError, ImportError) as error:
        return name, False, str(error)


def _python() -> str:
    where = "virtual environment" if sys.prefix != sys.base_prefix else "system"
    return f"{platform.python_version()} ({where}) on {platform.system()} {platform.machine()}"


def _packages() -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise AigcError(f"missing: {', '.join(missing)}; pip install aigc-pipeline puts them in")
    return ", ".join(found)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return f"{torch.cuda.device_count()} x {', '.join(sorted(names))}"
    return f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def _lake() -> str:
    from aigc_pipeline.lake import Lake

    home = Lake.from_env().home
    place = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=place) as handle:
            handle.write(b"x")
            os.fsync(handle.fileno())
    except OSError as error:
        raise AigcError(
            f"{place} cannot be written ({error.strerror}); set AIGC_HOME to a folder that can"
        ) from error
    return f"{home} can be written" if home.is_dir() else f"{home} will be made by the first run"


def _disk() -> str:
    from aigc_pipeline.lake import Lake

    free = shutil.disk_usage(_existing(Lake.from_env().home)).free
    text = f"{free / 1024**3:,.1f} GB free"
    if free < LOW_DISK:
        raise AigcError(f"{text}: less than 2 GB; remove old versions or move AIGC_HOME")
    return text


def _datasets() -> str:
    from aigc_pipeline.dataset_file import load_datasets
    from aigc_pipeline.project import Project

    folder = Project.from_env().datasets
    if not folder.is_dir():
        raise AigcError(
            f"{folder} is no folder; `aigc init FILE` makes it, AIGC_DATASETS names another"
        )
    return ", ".join(spec.name for spec in load_datasets(folder)) or f"none in {folder} yet"


def _warehouse() -> str:
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.warehouse import check_warehouse, query

    lake = Lake.from_env()
    if not lake.warehouse.exists():
        return "none yet; the first release makes it"
    tables = check_warehouse(lake)
    found = query(lake, "select count(*) as n from catalog.datasets").frame.item()
    return f"{lake.warehouse} is whole; datasets: {found}, tables: {tables}"


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that exists; AigcError where that is a file."""
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise AigcError(f"{path} is a file; set AIGC_HOME to a folder")
    return path
