"""A parent's profile: its own columns and what the rows below it amount to.

The features are those that deep feature synthesis begins with (Kanter & Veeramachaneni 2015, "Deep
feature synthesis: towards automating data science endeavors"): counts, means, spreads and sums of
numbers, how many values a category takes and how large the most frequent one's part is. Of ordered
rows also the first and last values, the time they span, and the gaps between them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from aigc_pipeline.evaluation.relational.layout import Layout
from aigc_pipeline.evaluation.relational.worlds import Base
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind

AT, TIME = "(at)", "(time)"

Feature = tuple[ColumnSchema, pl.Expr]


def profile(
    base: Base, table: str, rows: np.ndarray, values: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """One line for each of some rows of a table that owns others, Float64 and String columns.

    values: the base's tables, `plain` or `protected`. What a row has no children for is null.
    """
    layout = base.layout
    lines = pl.DataFrame({AT: np.arange(len(rows))})
    if values[table].width:
        lines = lines.hstack(values[table][rows])
    place = np.full(base.rows[table], -1)
    place[rows] = np.arange(len(rows))
    for child in layout.descendants(table):
        up = base.up(child, table)
        at = np.where(up >= 0, place[np.maximum(up, 0)], -1) if len(place) else up
        some = np.flatnonzero(at >= 0)
        frame = pl.DataFrame({AT: at[some]})
        if values[child].width:
            frame = frame.hstack(values[child][some])
        if child in base.order:
            frame = frame.with_columns(pl.Series(TIME, base.order[child][some]).fill_nan(None))
            frame = frame.sort(AT, TIME, nulls_last=True, maintain_order=True)
        expressions = [expression.alias(c.name) for c, expression in _features(child, layout)]
        lines = lines.join(
            frame.group_by(AT).agg(expressions), on=AT, how="left", maintain_order="left"
        ).with_columns(pl.col(f"{child}: rows").fill_null(0.0))
    return lines.drop(AT)


def profile_schema(table: str, layout: Layout) -> TableSchema:
    """The schema of a table's profiles."""
    own = [c.model_copy(update={"nullable": True}) for c in layout.schemas[table].columns]
    more = [c for child in layout.descendants(table) for c, _ in _features(child, layout)]
    return TableSchema(name=table, columns=own + more)


def _features(table: str, layout: Layout) -> list[Feature]:
    """What is said of the rows of a table that belong to one parent."""
    time = layout.order_column(table)
    found = [_feature(f"{table}: rows", pl.len().cast(pl.Float64))]
    if time is not None:
        name = f"{table}.{time.name}"
        gaps = pl.col(TIME).diff()
        found += [
            _feature(f"{name}: first", pl.col(TIME).first()),
            _feature(f"{name}: last", pl.col(TIME).max()),
            _feature(f"{name}: span", pl.col(TIME).max() - pl.col(TIME).min()),
            _feature(f"{name}: mean gap", gaps.mean()),
            _feature(f"{name}: spread of gaps", gaps.std()),
        ]
    for column in layout.schemas[table].columns:
        if time is not None and column.name == time.name:
            continue
        name, value = f"{table}.{column.name}", pl.col(column.name)
        kind = Kind.NUMBER if column.is_numeric else Kind.CATEGORY
        if column.is_numeric:
            found += [
                _feature(f"{name}: mean", value.mean()),
                _feature(f"{name}: spread", value.std()),
                _feature(f"{name}: least", value.min()),
                _feature(f"{name}: most", value.max()),
            ]
            if column.kind != Kind.DATETIME:
                found.append(_feature(f"{name}: sum", value.sum()))
        else:
            found += [
                _feature(f"{name}: values", value.drop_nulls().n_unique().cast(pl.Float64)),
                _feature(f"{name}: part of the most frequent", _most(value)),
            ]
        if time is not None:
            found += [
                _feature(f"{name}: first", value.first(), kind),
                _feature(f"{name}: last", value.last(), kind),
            ]
    return found


def _most(value: pl.Expr) -> pl.Expr:
    return value.unique_counts().max().cast(pl.Float64) / pl.len()


def _feature(name: str, expression: pl.Expr, kind: Kind = Kind.NUMBER) -> Feature:
    return ColumnSchema(name=name, kind=kind, dtype="", nullable=True), expression
