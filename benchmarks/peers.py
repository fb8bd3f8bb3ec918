"""The peers: one is fitted to a CSV file and sampled, by the interpreter that has it.

    python benchmarks/peers.py          # prints the version of each peer that is installed
    python benchmarks/peers.py JOB      # fits, samples, prints seconds, rows a second and MB

Nothing of this project is imported, so that the peers can live in an environment of their own. JOB
is the JSON of a `Job`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = {"mostlyai": "mostlyai-engine", "tvae": "ctgan", "ctgan": "ctgan"}
Sample = Callable[[int], Any]  # rows wanted -> DataFrame


@dataclass(frozen=True)
class Job:
    """What to fit and how long, and where the rows go."""

    peer: str
    train: str  # CSV
    made: str  # CSV
    categories: list[str]
    rows: int
    seed: int
    seconds: float | None  # training with its preparations; None: as long as the peer likes


def installed() -> dict[str, str]:
    """Version of each peer that this interpreter has."""
    found = {}
    for peer, distribution in DISTRIBUTIONS.items():
        try:
            found[peer] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_mb() -> float:
    """Most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run(job: Job) -> dict[str, float]:
    """Fit a peer, write its rows, and say what that took."""
    import numpy as np
    import pandas as pd
    import torch

    texts: Any = dict.fromkeys(job.categories, str)
    frame = pd.read_csv(job.train, dtype=texts, keep_default_na=False)
    numbers = [name for name in frame if name not in texts]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)  # an empty text is missing
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
    fit = fit_mostlyai if job.peer == "mostlyai" else fit_ctgan
    began = time.perf_counter()
    sample = fit(job, frame, numbers)
    fitted = time.perf_counter()
    rows = sample(job.rows)
    sampled = time.perf_counter()
    rows[list(frame)].to_csv(job.made, index=False)
    return {
        "fit_seconds": fitted - began,
        "rows_per_second": job.rows / (sampled - fitted),
        "peak_mb": peak_mb(),
    }


def fit_mostlyai(job: Job, frame: Any, numbers: list[str]) -> Sample:
    """TabularARGN of mostlyai-engine, which stops by its own validation loss."""
    from mostlyai.engine import TabularARGN

    limit = {} if job.seconds is None else {"max_training_time": job.seconds / 60}
    kinds = dict.fromkeys(job.categories, "TABULAR_CATEGORICAL")
    model = TabularARGN(tgt_encoding_types=kinds, random_state=job.seed, **limit)
    model.fit(frame)
    return lambda rows: model.sample(rows, rare_category_replacement_method="SAMPLE")


def fit_ctgan(job: Job, frame: Any, numbers: list[str]) -> Sample:
    """TVAE or CTGAN of ctgan, stopped after the epoch in which its seconds end.

    Neither knows of missing numbers, decimals or ranges: rdt's formatters see to these, as they do
    where the two are used within SDV.
    """
    from rdt.transformers.numerical import FloatFormatter

    end = time.perf_counter() + (job.seconds or float("inf"))
    formatters = {}
    for name in numbers:
        formatters[name] = FloatFormatter(
            missing_value_generation="from_column",
            learn_rounding_scheme=True,
            enforce_min_max_values=True,
        )
        frame = formatters[name].fit_transform(frame, column=name)
    module: Any = import_module(f"ctgan.synthesizers.{job.peer}")
    module.tqdm = lambda epochs, **_: _until(end, epochs)  # what its fit loops over
    epochs = {} if job.seconds is None else {"epochs": 10**9}
    model = getattr(module, job.peer.upper())(**epochs)
    model.fit(frame, job.categories)

    def sample(rows: int) -> Any:
        made = model.sample(rows)
        for formatter in formatters.values():
            made = formatter.reverse_transform(made)
        return made

    return sample


def _until(end: float, epochs: Iterable[int]) -> Iterator[int]:
    for epoch in epochs:
        yield epoch
        if time.perf_counter() >= end:
            return


if __name__ == "__main__":
    print(json.dumps(run(Job(**json.loads(sys.argv[1]))) if sys.argv[1:] else installed()))
