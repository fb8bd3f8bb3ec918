"""The benchmark's tables: from a folder, from OpenML, or samples that packages ship."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import ColumnSpec, Kind, Source, TableSpec

OPENML = {"adult": 1590, "magic": 1120, "shoppers": 46947, "default": 46919}  # data ids
SAMPLES = {
    "loans": ("openintro/loans_full_schema", "homeownership"),
    "churn": ("modeldata/wa_churn", "churn"),
}


@dataclass(frozen=True)
class Bench:
    """One benchmark table, split into training and test rows."""

    name: str
    train: pl.DataFrame
    test: pl.DataFrame
    spec: TableSpec


def load_tables(names: list[str]) -> list[Bench]:
    """The tables asked for; without names all of `$AIGC_BENCH_DIR`, else those from OpenML.

    Raises InputError for a name that nothing goes by, or a table that cannot be downloaded.
    """
    known: dict[str, Callable[[], Bench]] = {name: partial(_sample, name) for name in SAMPLES}
    if folder := os.environ.get("AIGC_BENCH_DIR"):
        found = sorted(path.parent for path in Path(folder).glob("*/meta.json"))
        if not found:
            raise InputError(f"AIGC_BENCH_DIR ({folder}): no sub-folder has a meta.json")
        own = {path.name: partial(_folder, path) for path in found}
    else:
        own = {name: partial(_openml, name) for name in OPENML}
    known |= own
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no benchmark table {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name]() for name in names or own]


def _folder(path: Path) -> Bench:
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    source = Source(file=str(path / "train.csv"))
    columns = {name: ColumnSpec(type=Kind.CATEGORY) for name in meta["cat"]}
    spec = TableSpec(source=source, target=meta["target"], columns=columns)
    train = read_table(source, path, name=path.name)
    test = read_table(Source(file=str(path / "test.csv")), path, name=path.name)
    return Bench(path.name, train, test.cast(train.schema), spec)


def _sample(name: str) -> Bench:
    sample, target = SAMPLES[name]
    spec = TableSpec(source=Source(sample=sample), target=target)
    return _split(name, read_table(spec.source, Path(), name=name), spec)


def _openml(name: str) -> Bench:
    """A data set of openml.org with its own target; scikit-learn keeps what it downloaded."""
    from sklearn.datasets import fetch_openml

    try:
        data = fetch_openml(data_id=OPENML[name], as_frame=True, parser="auto")
    except (OSError, ValueError) as error:
        raise InputError(
            f"table {name!r}: data set {OPENML[name]} cannot be downloaded from OpenML ({error});"
            " set AIGC_BENCH_DIR to a folder of tables (see benchmarks/README.md), or name a"
            f" sample that comes with a package: {', '.join(SAMPLES)}"
        ) from error
    categories = list(data.frame.select_dtypes("category").columns)
    df = pl.from_pandas(data.frame).with_columns(pl.col(categories).cast(pl.String))
    spec = TableSpec(
        source=Source(file=f"{name}.csv"),
        target=data.target_names[0],
        columns={column: ColumnSpec(type=Kind.CATEGORY) for column in categories},
    )
    return _split(name, df, spec)


def _split(name: str, df: pl.DataFrame, spec: TableSpec) -> Bench:
    """Four fifths of the rows to train on, the rest to test."""
    df = df.sample(fraction=1, shuffle=True, seed=0)
    rows = len(df) * 8 // 10
    return Bench(name, df[:rows], df[rows:], spec)
