"""anonymeter's attacks on the rows that we make of the benchmark's tables.

    python -m benchmarks.attacks [TABLE ...] [--quality …] [--attacks …]

`AIGC_BENCH_PEERS` names the Python that has anonymeter; README.md in this folder says how to make
one. `peer_attacks.py` is what it runs, and attacks other files as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from rich.console import Console

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import infer_schema
from benchmarks import peer_attacks
from benchmarks.engines import python_of_peers, run_family
from benchmarks.tables import Bench, load_tables


def attack_table(bench: Bench, quality: str, attacks: int, seed: int) -> str:
    """The attacks on one table, as Markdown. Raises InputError where anonymeter cannot be run."""
    made, _ = run_family(bench, "autoregressive", quality, seed)
    names = [column.name for column in infer_schema(bench.train, bench.name, bench.spec).judged]
    with TemporaryDirectory() as folder:
        paths = []
        parts: dict[str, pl.DataFrame] = {
            "train": bench.train,
            "control": bench.test,
            "synthetic": made,
        }
        for name, frame in parts.items():
            paths.append(str(Path(folder, f"{name}.parquet")))
            frame.select(names).write_parquet(paths[-1])
        return attack_files(paths, attacks, seed)


def attack_files(paths: Sequence[str], attacks: int, seed: int) -> str:
    """The attacks on training, control and synthetic files, made by the peers' interpreter."""
    python = python_of_peers()
    script = str(Path(peer_attacks.__file__))
    command = [python, script, *paths, "--attacks", str(attacks), "--seed", str(seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"AIGC_BENCH_PEERS names no Python that can be run ({error})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(
            f"{python}: {last}; AIGC_BENCH_PEERS must name a Python that has anonymeter (see"
            " benchmarks/README.md)"
        )
    sys.stderr.write(done.stderr)  # such as that it found too few predicates
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="all there are by default")
    parser.add_argument("--quality", default="standard", help="draft, standard or high")
    parser.add_argument("--attacks", type=int, default=2_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        for bench in load_tables(options.tables):
            found = attack_table(bench, options.quality, options.attacks, options.seed)
            print(f"{bench.name}\n\n{found}", flush=True)
    except InputError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
