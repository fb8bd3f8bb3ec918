"""What rows keep to under their owner: columns copied from it, numbers in a key, ends of time."""

from __future__ import annotations

import numpy as np
import polars as pl

from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.history import GROUP
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import TableSpec


def inherited_columns(
    child: pl.DataFrame,
    parent: pl.DataFrame,
    row: np.ndarray,
    schema: TableSchema,
    spec: TableSpec,
    owner: Relation,
) -> list[str]:
    """Columns that equal the owner's of the same name wherever there is an owner.

    row: the owner's row of each child row, int64 [rows], -1 where there is none. schema, spec: of
    the child.
    """
    here = np.flatnonzero(row >= 0)
    skipped = {*owner.columns, *spec.keys, spec.order_by}
    found = []
    for column in schema.columns:
        if column.name in skipped or column.derived is not None or not len(here):
            continue
        if column.name not in parent.columns:
            continue
        mine, theirs = child[column.name], parent[column.name]
        if mine.dtype == theirs.dtype and mine[here].equals(theirs[row[here]], null_equal=True):
            found.append(column.name)
    return found


def numbered_part(df: pl.DataFrame, groups: np.ndarray, spec: TableSpec) -> tuple[str, int] | None:
    """A part of the key that counts an owner's rows: the column, and where it starts.

    df: rows by owner and in order; groups: their owners, int64 [rows].
    """
    parts = [c for c in spec.keys if c not in spec.references]
    if len(spec.keys) < 2 or len(parts) != 1 or not df.schema[parts[0]].is_integer():
        return None
    ranks = pl.DataFrame({GROUP: groups}).select(pl.int_range(pl.len()).over(GROUP)).to_series()
    starts = (df[parts[0]] - ranks).unique()
    return (parts[0], int(starts[0])) if len(starts) == 1 and starts[0] in (0, 1) else None


def bound_of(graph: Graph, table: str) -> str | None:
    """The owner's column that a table's order must not pass, by one of its rules."""
    spec, owner = graph.tables[table], graph.owner_of(table)
    for rule in spec.constraints:
        low, high = rule.less_equal or rule.less_than or ("", "")
        if owner is not None and low == spec.order_by and high.startswith(f"{owner.parent}."):
            return high
    return None


def end_of_time(
    df: pl.DataFrame, column: ColumnSchema, entities: np.ndarray, min_subjects: int
) -> float:
    """Where a table's time ends: few entities go beyond, and none is made to.

    entities: of each row, int64 [rows].
    """
    values = df.select(canonical_expr(column)).to_series().to_numpy()
    last = (
        pl.DataFrame({"entity": entities, "value": values}).group_by("entity").agg(pl.max("value"))
    )
    latest = last["value"].sort(descending=True)
    return float(latest[min(min_subjects, len(latest)) - 1])
