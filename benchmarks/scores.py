"""The benchmark's scores: an engine's, fresh real rows', shuffled columns', and their speed."""

from __future__ import annotations

import time

import polars as pl

from aigc_pipeline.evaluation import evaluate
from aigc_pipeline.schema import TableSchema, canonical
from benchmarks.tables import Bench

SCORES = ("shape_error", "trend_error", "detection_auc", "utility_gap", "dcr_share")
Scores = dict[str, float | None]  # None: not evaluated


def score(bench: Bench, rows: pl.DataFrame, schema: TableSchema) -> tuple[Scores, Scores]:
    """Scores of synthetic rows, and those that fresh real rows get in their place."""
    found = evaluate(bench.train, bench.test, rows, schema, target=bench.spec.target).scores
    values = {name: found[name].value for name in SCORES}
    return values, {name: found[name].reference for name in SCORES}


def shuffle_columns(df: pl.DataFrame) -> pl.DataFrame:
    """The table with each column shuffled by itself: true marginals, no dependence."""
    return df.select(pl.col(name).shuffle(seed=i) for i, name in enumerate(df.columns))


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
