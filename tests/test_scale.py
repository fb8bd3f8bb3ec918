"""Large tables, and what memory they take: each in a process of its own, whose peak is known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

START = """
import json, sys
from pathlib import Path
import numpy as np, polars as pl
from aigc_pipeline.parquet import stream_parquet
from aigc_pipeline.spec import ColumnSpec, GeneratorSpec, Kind, PrivacySpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

rng = np.random.default_rng(0)
DRAFT, SOURCE = GeneratorSpec(quality="draft"), Source(file="x")

def tell(**facts):
    # Not ru_maxrss: a process inherits that from the one that started it.
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps({"gigabytes": kilobytes / 2**20, **facts}))
"""

MERCHANTS = """
rows, values = 500_000, 300_000
share = 1 / np.arange(1, values + 1)
some = rng.choice(values, rows - values, p=share / share.sum())
code = rng.permutation(np.concatenate([some, np.arange(values)]))
home = code * 7919 % 97 % 8
region = np.where(rng.random(rows) < 0.9, home, rng.integers(0, 8, rows))
df = pl.DataFrame({"code": code, "region": region}).select(
    pl.format("M-{}", "code").alias("merchant"),
    pl.format("region {}", "region").alias("region"),
    pl.Series("amount", np.exp(rng.normal(3 + home * 0.2, 1)).round(2)),
    pl.Series("hour", rng.integers(0, 24, rows)),
)
table = TableSpec(source=SOURCE, columns={"merchant": ColumnSpec(type=Kind.CATEGORY)})
model = fit_table(df, table, generator=DRAFT, privacy=PrivacySpec(min_subjects=1))
made = model.sample(100_000)
number = np.arange(500)  # the most frequent ones
frequent = pl.DataFrame({"code": number, "home": number * 7919 % 97 % 8}).select(
    pl.format("M-{}", "code").alias("merchant"), pl.format("region {}", "home").alias("home")
)
kept = made.join(frequent, on="merchant")
tell(
    largest=max(model.codec.sizes),
    distinct=made["merchant"].n_unique(),
    known=made["merchant"].is_in(df["merchant"].unique().implode()).mean(),
    at_home=(kept["region"] == kept["home"]).mean(),
)
"""

WIDE = """
rows = 1_000_000
hidden = rng.normal(size=(4, rows)).astype(np.float32)
columns = {}
for i in range(15):
    levels = (2, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 20, 30, 40, 50)[i]
    mixed = hidden[i % 4] * 0.8 + rng.normal(size=rows) * 0.6
    code = np.searchsorted(np.quantile(mixed[:50_000], np.arange(1, levels) / levels), mixed)
    columns[f"category {i}"] = pl.Series([f"level {j}" for j in range(levels)])[code]
for i in range(20):
    mixed = hidden[i % 4] * 0.7 + hidden[(i + 1) % 4] * 0.3 + rng.normal(size=rows) * 0.5
    made = (np.exp(6 + mixed).round(2), (50 + 10 * mixed).round(), mixed.clip(0).round(1), mixed)
    missing = rng.random(rows) < (0.1 if i % 4 == 3 else 0)
    columns[f"number {i}"] = pl.Series(np.where(missing, np.nan, made[i % 4]), nan_to_null=True)
opened = np.datetime64("2019-01-01") + rng.integers(0, 1500, rows)
columns["opened"] = pl.Series(opened)
columns["closed"] = pl.Series(opened + rng.integers(1, 400, rows))
columns["seen"] = pl.Series(opened.astype("datetime64[us]") + 10**6 * rng.integers(0, 10**7, rows))
columns["month"] = columns["opened"].dt.strftime("%Y-%m")
columns["total"] = columns["number 0"] + columns["number 4"]
df = pl.DataFrame(columns)
model = fit_table(df, TableSpec(source=SOURCE, target="category 0"), generator=DRAFT)
made = model.sample(5_000)
tell(shape=df.shape, steps=model.card["history"]["steps"], same=made.schema == df.schema)
"""

STREAM = """
model = TableModel.load(sys.argv[1])
rows = stream_parquet(model.sample_batches(int(sys.argv[2])), sys.argv[3])
tell(rows=rows)
"""


def run(script: str, *arguments: object) -> dict[str, Any]:
    """What a script tells, run in a fresh process."""
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_category_of_300_000_values_fits_in_4_gigabytes() -> None:
    told = run(MERCHANTS)
    assert told["gigabytes"] < 4
    assert told["largest"] < 1_000  # tokens: a softmax over all values would not do
    assert told["distinct"] > 50_000 and told["known"] == 1
    assert told["at_home"] > 0.75  # 0.91 in the data, 0.125 by chance


def test_a_million_rows_of_40_columns_fit_in_6_gigabytes() -> None:
    told = run(WIDE)
    assert told["shape"] == [1_000_000, 40] and told["same"]
    assert told["gigabytes"] < 6


def test_memory_does_not_grow_with_the_rows_sampled(tmp_path: Path) -> None:
    from aigc_pipeline.sources import read_table
    from aigc_pipeline.spec import GeneratorSpec, Source, TableSpec
    from aigc_pipeline.tabular import fit_table

    table = TableSpec(source=Source(sample="modeldata/wa_churn"))
    df = read_table(table.source, Path("."), name="churn")
    fit_table(df, table, generator=GeneratorSpec(quality="draft")).save(tmp_path / "m")
    few, many = (
        run(STREAM, tmp_path / "m", rows, tmp_path / f"{rows}.parquet")
        for rows in (100_000, 400_000)
    )
    assert (few["rows"], many["rows"]) == (100_000, 400_000)
    assert many["gigabytes"] < few["gigabytes"] + 0.15 < 2
