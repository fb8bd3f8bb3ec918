"""The engines: a family of ours or a peer, each fitted and sampled in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import GeneratorSpec
from aigc_pipeline.tabular import fit_table
from benchmarks import peers
from benchmarks.tables import Bench

# Each family's namesake: the peer of the same kind.
PEERS = {"autoregressive": "mostlyai", "vae": "tvae", "gan": "ctgan"}
Made = tuple[pl.DataFrame, dict[str, float]]  # rows; seconds, rows a second, MB


def run_family(bench: Bench, family: str, quality: str, seed: int) -> Made:
    """As many rows as the table has, made by a family of ours, and what that took."""
    spec = GeneratorSpec(family=family, quality=quality)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_fit_and_sample, bench, spec, seed).result()


def _fit_and_sample(bench: Bench, generator: GeneratorSpec, seed: int) -> Made:
    began = time.perf_counter()
    model = fit_table(bench.train, bench.spec, name=bench.name, generator=generator, seed=seed)
    fitted = time.perf_counter()
    rows = model.sample(len(bench.train), seed=seed)
    sampled = time.perf_counter()
    return rows, {
        "fit_seconds": fitted - began,
        "rows_per_second": len(rows) / (sampled - fitted),
        "peak_mb": peers.peak_mb(),
    }


def installed_peers() -> dict[str, str]:
    """Version of each peer that `$AIGC_BENCH_PEERS`, or else this interpreter, has.

    Raises InputError where that is no Python.
    """
    try:
        return json.loads(_peers())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"AIGC_BENCH_PEERS names no Python that can be run ({error})") from error


def run_peer(
    bench: Bench, schema: TableSchema, peer: str, seed: int, seconds: float | None
) -> Made:
    """As many rows as the table has, made by a peer, and what that took.

    seconds: for training with its preparations; None lets the peer stop by itself. Raises
    RuntimeError with the peer's last words where it fails.
    """
    numbers = {c.name for c in schema.judged if c.is_numeric and c.format is None}
    names = [c.name for c in schema.judged]
    with TemporaryDirectory() as folder:
        train, made = Path(folder, "train.csv"), Path(folder, "made.csv")
        bench.train.select(names).write_csv(train)
        categories = [name for name in names if name not in numbers]
        job = peers.Job(peer, str(train), str(made), categories, len(bench.train), seed, seconds)
        figures = json.loads(_peers(json.dumps(asdict(job))).splitlines()[-1])
        rows = pl.read_csv(made, infer_schema=False)
    return rows.select(_as_in(bench.train, c) for c in schema.judged), figures


def _as_in(train: pl.DataFrame, column: ColumnSchema) -> pl.Expr:
    """A column of texts in the source's type."""
    expr, dtype = pl.col(column.name), train.schema[column.name]
    if dtype == pl.Boolean:
        return expr.str.to_lowercase() == "true"
    if dtype.is_integer():
        return expr.cast(pl.Float64).round().cast(dtype)
    return expr.cast(dtype)


def python_of_peers() -> str:
    """The interpreter that has the peers: `$AIGC_BENCH_PEERS`, or else this one."""
    return os.environ.get("AIGC_BENCH_PEERS", sys.executable)


def _peers(*arguments: str) -> str:
    python = python_of_peers()
    command = [python, str(Path(peers.__file__)), *arguments]
    # Their networks are small: a second thread makes them slower, several times on a busy machine.
    env = {"OMP_NUM_THREADS": "1", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{python}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return done.stdout
