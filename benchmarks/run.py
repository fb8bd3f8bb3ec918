"""Fidelity, speed and memory on real tables, each figure beside a peer measured in the same run.

    python benchmarks/run.py [--quality draft|standard|high] [TABLE ...]

Tables come from the folder `$AIGC_BENCH_DIR` (one sub-folder a table with train.csv, test.csv and a
meta.json that names `target` and categorical columns `cat`), else from the packaged samples.
The peers: fresh real rows (the best a generator can do), columns shuffled independently (the least
it must beat), and sdmetrics for the speed of the fidelity scores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from aigc_pipeline.evaluation import evaluate
from aigc_pipeline.schema import TableSchema, canonical
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import ColumnSpec, GeneratorSpec, Kind, Source, TableSpec
from aigc_pipeline.tabular import fit_table

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
    """The tables asked for, or all there are."""
    folder = os.environ.get("AIGC_BENCH_DIR")
    if folder is None:
        return [_sample(name) for name in names or SAMPLES]
    found = sorted(p.parent for p in Path(folder).glob("*/meta.json"))
    return [_folder(path) for path in found if not names or path.name in names]


def _sample(name: str) -> Bench:
    sample, target = SAMPLES[name]
    spec = TableSpec(source=Source(sample=sample), target=target)
    df = read_table(spec.source, Path(), name=name).sample(fraction=1, shuffle=True, seed=0)
    split = len(df) * 8 // 10
    return Bench(name, df[:split], df[split:], spec)


def _folder(path: Path) -> Bench:
    meta = json.loads((path / "meta.json").read_text())
    source = Source(file=str(path / "train.csv"))
    columns = {name: ColumnSpec(type=Kind.CATEGORY) for name in meta["cat"]}
    spec = TableSpec(source=source, target=meta["target"], columns=columns)
    train = read_table(source, path, name=path.name)
    test = read_table(Source(file=str(path / "test.csv")), path, name=path.name)
    return Bench(path.name, train, test.cast(dict(train.schema)), spec)


def measure(bench: Bench, quality: str) -> dict[str, float]:
    """Fit, sample and score one table; seconds, rows a second, MB and scores."""
    began = time.perf_counter()
    generator = GeneratorSpec(quality=quality)  # type: ignore[arg-type]
    model = fit_table(bench.train, bench.spec, name=bench.name, generator=generator)
    fit = time.perf_counter() - began
    began = time.perf_counter()
    rows = model.sample(len(bench.train))
    speed = len(rows) / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = enumerate(bench.train.columns)
    shuffled = bench.train.select(pl.col(name).shuffle(seed=i) for i, name in columns)
    target = bench.spec.target
    ours = evaluate(bench.train, bench.test, rows, model.schema, target=target).scores
    naive = evaluate(bench.train, bench.test, shuffled, model.schema, target=target).scores
    figures = {"fit s": fit, "rows/s": speed, "peak MB": peak}
    for name in ("shape_error", "trend_error", "detection_auc", "utility_gap", "dcr_share"):
        figures[name] = _value(ours[name].value)
        figures[f"  {name}: fresh"] = _value(ours[name].reference)
        figures[f"  {name}: shuffled"] = _value(naive[name].value)
    figures["fidelity speed-up"] = fidelity_speed(bench, rows, model.schema)
    return figures


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


def fidelity_speed(bench: Bench, rows: pl.DataFrame, schema: TableSchema) -> float:
    """How many times faster our shape and trend scores are than sdmetrics', on the same rows."""
    import pandas as pd
    from sdmetrics.reports import SingleTableQualityReport

    from aigc_pipeline.evaluation import fidelity
    from aigc_pipeline.evaluation.tables import Coder, plain_values

    began = time.perf_counter()
    plain = [plain_values(df, schema) for df in (bench.train, bench.test, rows)]
    coder = Coder(plain[0], schema, min_subjects=5)
    train, test, synthetic = (coder.encode(df) for df in plain)
    fidelity.compare(train, test, synthetic, coder, schema)
    ours = time.perf_counter() - began
    kinds = {c.name: "numerical" if c.is_numeric else "categorical" for c in schema.judged}
    metadata = {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}
    frames = [
        pd.DataFrame(canonical(df, schema).to_dict(as_series=False)) for df in (bench.train, rows)
    ]
    report = SingleTableQualityReport()
    report.num_rows_subsample = None
    began = time.perf_counter()
    report.generate(*frames, metadata, verbose=False)
    return (time.perf_counter() - began) / ours


def main() -> None:
    """Measure every table and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    parser.add_argument("--quality", choices=["draft", "standard", "high"], default="standard")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    # A process a table, so that each has a peak memory of its own.
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        for bench in load_tables(arguments.tables):
            Console(stderr=True).print(f"{bench.name} …")
            results[bench.name] = processes.submit(measure, bench, arguments.quality).result()
    shown = Table(title=f"quality {arguments.quality}, {os.cpu_count()} cores")
    shown.add_column("figure")
    for name in results:
        shown.add_column(name, justify="right")
    for figure in next(iter(results.values())):
        shown.add_row(figure, *(f"{r[figure]:,.4g}" for r in results.values()))
    Console().print(shown)


if __name__ == "__main__":
    main()
