"""Clients of other versions and languages in environments of their own, and code from pages."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import venv
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import polars as pl
import pytest
from warehouse_kit import column, make

from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.lake import Lake
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, Kind
from aigc_pipeline.warehouse import create_release, publish

ROOT = Path(__file__).parents[1]
BI = ROOT / "docs" / "bi"
INSTALL_TIME = 300  # seconds


def cd_shop() -> DatasetSpec:
    """The shipped dataset `shop` with its marts, without what would take a model to meet."""
    spec = find_dataset("shop", ROOT / "datasets")
    return spec.model_copy(
        update={"gates": {}, "synthesis": spec.synthesis.model_copy(update={"scenarios": {}})}
    )


def cd_rows() -> dict[str, pl.DataFrame]:
    """Rows for its tables; values are sums of powers of two, so that every engine adds alike."""
    buyers = 40
    days = [date(1997, 1, 1) + timedelta(days=i % 9 * 10) for i in range(buyers)]
    names = [f"syn-{i:04d}'\"ü" for i in range(buyers)]
    customers = pl.DataFrame({"customer_id": names, "first_purchase": days})
    rows = range(3 * buyers)
    orders = pl.DataFrame(
        {
            "order_id": [1000 + i for i in rows],
            "customer_id": [names[i % buyers] for i in rows],
            "date": [days[i % buyers] + timedelta(days=45 * (i // buyers)) for i in rows],
            "number_of_cds": [1 + i % 5 for i in rows],
            "dollar_value": [None if i % 17 == 0 else i * 0.25 for i in rows],
        }
    )
    return {"customers": customers, "orders": orders}


def publish_cd_shop(folder: Path) -> Lake:
    """A lake with the shop's release in its warehouse, and the pages' queries beside it."""
    number, whole = (Kind.NUMBER, "Float64"), (Kind.INTEGER, "Int64")
    kinds = {
        "customers": {
            "customer_id": (Kind.ID, "String"),
            "first_purchase": (Kind.DATETIME, "Date"),
        },
        "orders": {
            "order_id": (Kind.ID, "Int64"),
            "customer_id": (Kind.ID, "String"),
            "date": (Kind.DATETIME, "Date"),
            "number_of_cds": whole,
            "dollar_value": number,
        },
    }
    schemas = {
        name: TableSchema(name=name, columns=[column(c, *kind) for c, kind in columns.items()])
        for name, columns in kinds.items()
    }
    lake, spec = Lake(folder / "lake"), cd_shop()
    made = make(lake, spec, tables=cd_rows(), schemas=schemas)
    create_release(lake, spec, **vars(made))
    publish(lake)
    (folder / "docs").mkdir()
    (folder / "docs" / "bi").symlink_to(BI)
    return lake


def blocks(page: str, language: str) -> list[str]:
    """The pieces of code of a language on a page of docs/bi."""
    text = (BI / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(command: list[str | Path], folder: Path, given: str = "", **env: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        env=env or None,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def run_python(python: Path | str, code: str, folder: Path, *names: str) -> list[Any]:
    """What some names hold after a piece of code has run in a process of its own."""
    show = f"\nimport json; print(json.dumps([{', '.join(names)}], default=str))"
    return json.loads(run([python, "-c", code + show], folder))


def plain(value: Any) -> Any:
    """An answer with numbers as floats, dates as text, and one sort of missing value."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return [plain(item) for item in value.values()]
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, str):
        value = re.sub(r"^(\d{4}-\d\d-\d\d)[ T]00:00:00(\.0+)?$", r"\1", value)
        if not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return float(value)


@cache
def python_with(*packages: str) -> Path:
    """The Python of an environment with these packages; made once. Skips where none are served."""
    folder = Path(mkdtemp(prefix="aigc-client-"))
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    quiet = ["--quiet", "--disable-pip-version-check"]
    _install([str(python), "-m", "pip", "install", *quiet, *packages], folder)
    return python


@cache
def node_with(package: str) -> Path:
    """A folder in which Node finds the package; made once. Skips where it is not served."""
    folder = Path(mkdtemp(prefix="aigc-client-"))
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    _install(["npm", "install", *quiet, package], folder)
    return folder


def _install(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIME
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{command[0]}: {type(error).__name__}")
    if done.returncode:
        pytest.skip(f"{command[-1]} cannot be installed: {done.stderr.strip()[-300:]}")


HERE = Path(sys.executable)
