"""What a parent's children have in common: the planes of an airline fly for it.

A parent that is no owner is found by what it shares with a row. Its own columns are shared, and so
is the value that most of its children have in a column on which they agree.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.schema import TableSchema

AGREE = 0.2  # by how much a parent's children agree more on a value than all rows do
LEAST = 5  # children, for a parent to count
WORDS = 50  # values of a column, for parents to have a usual one


def usual_columns(child: pl.DataFrame, schema: TableSchema, row: np.ndarray) -> list[str]:
    """Columns of the child on which a parent's rows agree much more than all rows do.

    row: the parent's row of each child row, int64 [rows], -1 where there is none.
    """
    found = []
    for column in schema.columns:
        if column.is_generated or column.is_numeric or column.derived is not None:
            continue
        given = child[column.name].drop_nulls()
        if not 1 < given.n_unique() <= WORDS:
            continue
        often = _most_frequent(child[column.name], row).filter(pl.col("all") >= LEAST)
        if len(often):
            agree = often.select((pl.col("n") / pl.col("all")).mean()).item()
            overall = given.value_counts()["count"].to_numpy().max() / len(given)
            if agree - overall >= AGREE:
                found.append(column.name)
    return found


def usual_of(values: pl.Series, row: np.ndarray, parents: np.ndarray) -> pl.Series:
    """The value that most children of some parents have; null for a parent without any.

    values: of the children; row: the parent's row of each, int64 [children]. parents: rows of
    parents, int64 [n].
    """
    at = pl.DataFrame({"row": parents})
    return at.join(_most_frequent(values, row), on="row", how="left", maintain_order="left")[
        "value"
    ]


def _most_frequent(values: pl.Series, row: np.ndarray) -> pl.DataFrame:
    """By parent's row, the value most of its children have: `n` of `all`."""
    table = pl.DataFrame([pl.Series("row", row), values.alias("value")])
    table = table.filter((pl.col("row") >= 0) & pl.col("value").is_not_null())
    counts = table.group_by("row", "value").len("n").sort("row", "n", "value")
    return counts.group_by("row", maintain_order=True).agg(
        pl.col("n").sum().alias("all"), pl.last("n"), pl.last("value")
    )
