"""What the evaluation tests start from: schemas, splits, bad synthetic tables, odd columns."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind

Parts = tuple[pl.DataFrame, pl.DataFrame]


def schema_of(df: pl.DataFrame, **changes: dict) -> TableSchema:
    """A schema by dtype; `changes` are fields of columns."""
    columns = []
    for name, dtype in df.schema.items():
        kind = Kind.CATEGORY if dtype == pl.String else Kind.NUMBER
        kind = Kind.DATETIME if dtype == pl.Date else Kind.BOOLEAN if dtype == pl.Boolean else kind
        fields = {"kind": kind, "dtype": str(dtype), "nullable": True, **changes.get(name, {})}
        columns.append(ColumnSchema(name=name, **fields))
    return TableSchema(name="table", columns=columns)


def halves(df: pl.DataFrame, seed: int = 0) -> Parts:
    """Two random halves of a table."""
    order = np.random.default_rng(seed).permutation(df.height)
    return df[order[: df.height // 2]], df[order[df.height // 2 :]]


def independent(df: pl.DataFrame) -> pl.DataFrame:
    """The same columns with nothing between them: every column shuffled by itself."""
    return df.select(pl.col(c).shuffle(seed=i) for i, c in enumerate(df.columns))


def cellar_of(wine: pl.DataFrame) -> pl.DataFrame:
    """Wines with missing numbers and categories, a boolean, a date and a constant."""
    return wine.with_row_index("i").with_columns(
        pl.when(pl.col("i") % 7 == 0).then(None).otherwise(pl.col("ash")).alias("ash"),
        pl.when(pl.col("i") % 5 == 0).then(None).otherwise(pl.col("cultivar")).alias("cultivar"),
        (pl.col("alcohol") > 13).alias("strong"),
        pl.lit(1.0).alias("constant"),
        pl.col("i").map_elements(lambda i: date(2020, 1, 1) + timedelta(days=i * i), pl.Date)
        .alias("bottled"),
    ).drop("i")  # fmt: skip
