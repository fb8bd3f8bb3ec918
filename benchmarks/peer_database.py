"""The peer for two tables: mostlyai-engine, by the interpreter that has it.

    python benchmarks/peer_database.py JOB    # fits, samples, prints seconds and MB

A model of the parents, then one of the children's sequences with the parent's row as context: the
engine's own way. Nothing of this project is imported. JOB is the JSON of a `Job`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """Two tables as CSV files in a folder, and where their synthetic rows go."""

    folder: str  # parents.csv, children.csv
    made: str
    key: str  # of the parents
    reference: str  # the children's column that holds it
    order: str  # the children's column of time
    dates: list[str]
    rows: int  # parents to make
    seed: int
    seconds: float | None  # of training, for both models together; None: as long as it likes


def run(job: Job) -> dict[str, float]:
    """Fit both models, write both tables, and say what that took."""
    import pandas as pd
    from mostlyai import engine

    folder, made = Path(job.folder), Path(job.made)
    texts: Any = {job.key: str, job.reference: str}
    parents, children = (
        pd.read_csv(folder / f"{name}.csv", dtype=texts) for name in ("parents", "children")
    )
    for frame in (parents, children):
        for column in set(job.dates) & set(frame):
            frame[column] = pd.to_datetime(frame[column])
    children = children.sort_values([job.reference, job.order], kind="stable")
    engine.set_random_state(job.seed)
    began = time.perf_counter()
    flat, sequence = made / "flat", made / "sequence"
    engine.split(parents, tgt_primary_key=job.key, workspace_dir=flat)
    _fit(engine, flat, job.seconds and job.seconds * 0.2)
    engine.split(
        children,
        ctx_data=parents,
        ctx_primary_key=job.key,
        tgt_context_key=job.reference,
        workspace_dir=sequence,
    )
    _fit(engine, sequence, job.seconds and job.seconds * 0.8)
    fitted = time.perf_counter()
    engine.generate(sample_size=job.rows, workspace_dir=flat)
    rows = pd.read_parquet(flat / "SyntheticData")
    engine.generate(ctx_data=rows, workspace_dir=sequence)
    sampled = time.perf_counter()
    rows.to_csv(made / "parents.csv", index=False)
    pd.read_parquet(sequence / "SyntheticData").to_csv(made / "children.csv", index=False)
    # Its trainings may run in processes of their own: theirs count too.
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "fit_seconds": fitted - began,
        "sample_seconds": sampled - fitted,
        "peak_mb": peak / (1024**2 if sys.platform == "darwin" else 1024),
    }


def _fit(engine: Any, workspace: Path, seconds: float | None) -> None:
    engine.analyze(workspace_dir=workspace)
    engine.encode(workspace_dir=workspace)
    limit = {} if seconds is None else {"max_training_time": seconds / 60}
    engine.train(workspace_dir=workspace, **limit)


if __name__ == "__main__":
    print(json.dumps(run(Job(**json.loads(sys.argv[1])))))
