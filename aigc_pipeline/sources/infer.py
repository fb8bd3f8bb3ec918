"""A table's schema: kinds inferred from the data where the dataset file is silent."""

from __future__ import annotations

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.sources.derive import apply_derive, decimals_of, derived_columns
from aigc_pipeline.sources.overrides import column_kind
from aigc_pipeline.sources.references import Problem, check_references, check_roles
from aigc_pipeline.spec import ColumnSpec, Kind, TableSpec


def infer_schema(df: pl.DataFrame, name: str, table: TableSpec) -> TableSchema:
    """The schema of table `name` from its rows before anything is derived.

    Columns come in the source's order; derived ones that the source lacks come last. Kinds the
    dataset file gives are checked against the values. Raises FieldError (an InputError) with all
    that is wrong: unknown columns, types that do not fit, a key that is missing or repeated, a
    target that never varies, rules that do not suit their columns.
    """
    at: FieldPath = ("tables", name)
    check_references(df.columns, table, at)
    frame = apply_derive(df, table, at=at)
    problems: list[Problem] = []
    columns = []
    for column_name in frame.columns:
        try:
            columns.append(_column(df, frame[column_name], table, at))
        except FieldError as error:
            problems += error.problems
    problems += _key_problems(frame, table, at) + _target_problems(frame, table, at)
    if problems:
        raise FieldError(problems)
    schema = TableSchema(name=name, columns=columns)
    check_roles(schema, table, at)
    return schema


def _column(df: pl.DataFrame, column: pl.Series, table: TableSpec, at: FieldPath) -> ColumnSchema:
    spec = table.columns.get(column.name, ColumnSpec())
    derived = derived_columns(table).get(column.name)
    key = column.name == table.key
    field: FieldPath = (*at, "columns", column.name)
    if key and spec.type is None and spec.format is None and spec.pii is None:
        spec, field = spec.model_copy(update={"type": Kind.ID}), (*at, "key")
    kind, format = column_kind(column, spec, field)
    decimals = None
    if derived is not None and column.name in df.columns and column.dtype.is_float():
        decimals = decimals_of(df[column.name])
    return ColumnSchema(
        name=column.name,
        kind=kind,
        dtype=str(column.dtype),
        nullable=column.null_count() > 0,
        format=format,
        pii=spec.pii,
        derived=derived,
        decimals=decimals,
        key=key,
        description=spec.description,
    )


def _key_problems(frame: pl.DataFrame, table: TableSpec, at: FieldPath) -> list[Problem]:
    if table.key is None:
        return []
    key = frame[table.key]
    faults = []
    if key.null_count():
        faults.append(f"is missing in {key.null_count()} rows")
    given = key.drop_nulls()
    repeats = len(given) - given.n_unique()
    if repeats:
        faults.append(f"repeats an earlier value in {repeats} rows")
    if not faults:
        return []
    text = f"{table.key!r} {' and '.join(faults)} of {len(key)}; a key is unique and never missing"
    return [((*at, "key"), text)]


def _target_problems(frame: pl.DataFrame, table: TableSpec, at: FieldPath) -> list[Problem]:
    if table.target is None or frame[table.target].drop_nulls().n_unique() > 1:
        return []
    text = f"{table.target!r} never varies, so there is nothing to predict; choose another column"
    return [((*at, "target"), text)]
