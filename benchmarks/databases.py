"""Two related tables, ours beside mostlyai-engine in the same run: quality, seconds, memory.

    python -m benchmarks.databases [--seconds S] [--seed N] [--quality Q] [--json FILE]

The tables are the shop's: 23,570 customers and their 69,659 dated orders. README.md says what the
peer is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from aigc_pipeline.database import DatabaseSynthesizer
from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.evaluation import evaluate_relations
from aigc_pipeline.project import Project
from aigc_pipeline.relations import Graph, split_tables
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import apply_derive, infer_schema, read_table
from aigc_pipeline.spec import DatasetSpec, GeneratorSpec
from benchmarks import peer_database
from benchmarks.engines import python_of_peers
from benchmarks.peers import peak_mb

Frames = dict[str, pl.DataFrame]
PARENTS, CHILDREN = "customers", "orders"
SHOWN = ("parent_detection_auc", "cardinality_error", "gap_error", "span_error",
         "autocorrelation_error", "join_trend_error", "copied_entities")  # fmt: skip


def run_ours(
    spec: DatasetSpec, train: Frames, rows: int, quality: str, seed: int
) -> tuple[Frames, dict[str, float]]:
    """Both tables as our models make them, and what that took: in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_fit_and_sample, spec, train, rows, quality, seed).result()


def _fit_and_sample(
    spec: DatasetSpec, train: Frames, rows: int, quality: str, seed: int
) -> tuple[Frames, dict[str, float]]:
    generator = GeneratorSpec(quality=quality)  # type: ignore[arg-type]
    began = time.perf_counter()
    model = DatabaseSynthesizer(spec.tables, generator=generator, seed=seed).fit(train)
    fitted = time.perf_counter()
    made = model.sample({PARENTS: rows}, seed=seed)
    sampled = time.perf_counter()
    figures = {"fit_seconds": fitted - began, "sample_seconds": sampled - fitted}
    return made, {**figures, "peak_mb": peak_mb()}  # type: ignore[return-value]


def run_peer(
    spec: DatasetSpec, train: Frames, rows: int, seed: int, seconds: float | None
) -> tuple[Frames, dict[str, float]]:
    """Both tables as the peer makes them, with keys of ours, and what that took.

    Raises RuntimeError with the peer's last words where it fails.
    """
    child = spec.tables[CHILDREN]
    (reference,), (key,) = child.parents[0].columns, spec.tables[PARENTS].keys
    own_keys = [name for name in child.keys if name not in child.references]
    dates = [
        name
        for frame in train.values()
        for name, dtype in frame.schema.items()
        if dtype.is_temporal()
    ]
    with TemporaryDirectory() as folder:
        given, made = Path(folder, "given"), Path(folder, "made")
        given.mkdir(), made.mkdir()
        train[PARENTS].write_csv(given / "parents.csv")
        train[CHILDREN].drop(own_keys).write_csv(given / "children.csv")
        job = peer_database.Job(
            str(given), str(made), key, reference, child.order_by or "", dates, rows, seed, seconds
        )
        command = [python_of_peers(), str(Path(peer_database.__file__)), json.dumps(asdict(job))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
        figures = json.loads(done.stdout.splitlines()[-1])
        parents, children = (
            pl.read_csv(made / f"{name}.csv", infer_schema=False)
            for name in ("parents", "children")
        )
    for name in own_keys:
        fresh = pl.Series(name, range(10**9, 10**9 + len(children)))
        children = children.with_columns(fresh.cast(train[CHILDREN].schema[name]))
    return {
        PARENTS: parents.select(_as_in(train[PARENTS], c) for c in train[PARENTS].columns),
        CHILDREN: children.select(_as_in(train[CHILDREN], c) for c in train[CHILDREN].columns),
    }, figures


def _as_in(frame: pl.DataFrame, column: str) -> pl.Expr:
    """A column of texts in the source's type."""
    dtype = frame.schema[column]
    if dtype == pl.Date:
        return pl.col(column).str.head(10).str.to_date(strict=False)
    if dtype.is_integer():
        return pl.col(column).cast(pl.Float64, strict=False).round().cast(dtype)
    return pl.col(column).cast(dtype, strict=False)


def main(arguments: list[str] | None = None) -> int:
    """Run both and show them side by side. Exit code 1 where the peer failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quality", default="standard", choices=["draft", "standard", "high"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="the peer may train; as long as it likes")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    options = parser.parse_args(arguments)
    project = Project.from_env()
    spec = find_dataset("shop", project.datasets)
    graph = Graph(spec.tables)
    frames, schemas = {}, {}
    for name, table in spec.tables.items():
        raw = read_table(table.source, project.root, name=name)
        schemas[name] = infer_schema(raw, name, table)
        frames[name] = apply_derive(raw, table)
    train, holdout = split_tables(frames, graph, spec)
    rows = len(train[PARENTS])
    found: dict[str, dict[str, float]] = {}
    made, took = run_ours(spec, train, rows, options.quality, options.seed)
    found[f"ours {options.quality}"] = took | _scores(train, holdout, made, schemas, graph, spec)
    failed = None
    if options.peer:
        try:
            made, took = run_peer(spec, train, rows, options.seed, options.seconds)
            found["mostlyai"] = took | _scores(train, holdout, made, schemas, graph, spec)
        except (RuntimeError, OSError) as error:
            failed = str(error)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    Console(width=150).print(_table(found))
    if failed:
        Console(stderr=True).print(f"mostlyai: {failed}", style="red", markup=False)
    return int(failed is not None)


def _scores(
    train: Frames,
    holdout: Frames,
    made: Frames,
    schemas: dict[str, TableSchema],
    graph: Graph,
    spec: DatasetSpec,
) -> dict[str, float]:
    judged = evaluate_relations(train, holdout, made, schemas, graph, spec.tables)
    scores = {name: judged.scores[name] for name in SHOWN}
    return {name: score.value for name, score in scores.items() if score.value is not None}


def _table(found: dict[str, dict[str, float]]) -> Table:
    """One line a figure, one column an engine, and our figure over the peer's."""
    shown = Table("", *found, "ratio" if len(found) > 1 else "", box=box.MARKDOWN)
    for name in ("fit_seconds", "sample_seconds", "peak_mb", *SHOWN):
        values = [figures.get(name) for figures in found.values()]
        cells = ["" if value is None else f"{value:,.4g}" for value in values]
        first, *others = values
        other = others[0] if others else None
        shown.add_row(name, *cells, f"x {first / other:.2g}" if first and other else "")
    return shown


if __name__ == "__main__":
    sys.exit(main())
