"""A project in a folder of its own: a CSV of real wines, and its dataset file."""

from __future__ import annotations

import textwrap
from pathlib import Path

import polars as pl

COLUMNS = ["alcohol", "malic_acid", "hue", "proline", "cultivar"]

DATASET = """
name: wine
title: Italian wines
description: Wines of three cultivars, one row a wine.
domain: food & drink
owners: [cellar@example.com, "team:sommeliers", somebody]
tables:
  wines:
    source: {file: data/wine.csv}
    target: cultivar
    expect:
      - {expect_column_values_to_be_between: {column: alcohol, min_value: 5, max_value: 20}}
generator: {quality: draft}
synthesis:
  rows: 120
  scenarios:
    barolos: {where: {cultivar: barolo}, rows: 30}
gates:
  null_rate_error: {max: 0.5}
schedule: "0 3 * * *"
"""


def make_project(root: Path, wine: pl.DataFrame, text: str = DATASET) -> Path:
    """Write the project's files below `root` and return it; `wine` is the fixture's table."""
    (root / "data").mkdir(parents=True)
    (root / "datasets").mkdir()
    wine.select(COLUMNS).write_csv(root / "data" / "wine.csv")
    (root / "datasets" / "wine.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def edit_dataset(root: Path, old: str, new: str) -> None:
    """Replace a part of the project's dataset file."""
    path = root / "datasets" / "wine.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def fingerprint(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
