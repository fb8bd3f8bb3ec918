"""A table's schema: kinds inferred from the data where the dataset file is silent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.sources.derive import apply_derive, decimals_of, derived_columns
from aigc_pipeline.sources.identifiers import refusal
from aigc_pipeline.sources.overrides import column_kind
from aigc_pipeline.sources.references import Problem, check_references, check_roles
from aigc_pipeline.spec import ColumnSpec, Kind, TableSpec


def infer_schema(
    df: pl.DataFrame, name: str, table: TableSpec, *, kept: Collection[str] = ()
) -> TableSchema:
    """The schema of table `name` from its rows before anything is derived.

    Columns come in the source's order; derived ones that the source lacks come last. Kinds the
    dataset file gives are checked against the values. A column that holds a parent's key is an id,
    unless the parent is kept as it is: then its values are there to be learned.

    kept: the dataset's tables that are kept as they are.

    Raises FieldError (an InputError) with all that is wrong: unknown columns, types that do not
    fit, a key that is missing or repeated, a target that never varies, rules that do not suit
    their columns.
    """
    at: FieldPath = ("tables", name)
    check_references(df.columns, table, at)
    frame = apply_derive(df, table, at=at)
    problems: list[Problem] = []
    columns = []
    for column_name in frame.columns:
        try:
            role = _Role.of(column_name, name, table, kept)
            columns.append(_column(df, frame[column_name], table, role, at))
        except FieldError as error:
            problems += error.problems
    problems += _key_problems(frame, table, at) + _target_problems(frame, table, at)
    if problems:
        raise FieldError(problems)
    schema = TableSchema(name=name, columns=columns, key=list(table.keys))
    check_roles(schema, table, at)
    return schema


@dataclass(frozen=True)
class _Role:
    """What a column is for: key: the whole key of its table. parent: the table whose key it holds.

    opaque: that key is made afresh, so it says nothing. kept: it is released as it is.
    """

    key: bool
    parent: str | None
    opaque: bool
    kept: bool

    @classmethod
    def of(cls, column: str, name: str, table: TableSpec, kept: Collection[str]) -> _Role:
        parents = [p.table for p in table.parents if column in p.columns]
        made = [parent for parent in parents if parent not in kept]
        return cls(
            key=table.keys == (column,),
            parent=next(iter(made or parents), None),
            opaque=bool(made) and not table.keep,
            kept=table.keep,
        )


def _column(
    df: pl.DataFrame, column: pl.Series, table: TableSpec, role: _Role, at: FieldPath
) -> ColumnSchema:
    spec = table.columns.get(column.name, ColumnSpec())
    derived = derived_columns(table).get(column.name)
    field: FieldPath = (*at, "columns", column.name)
    silent = spec.type is None and spec.format is None and spec.pii is None
    if role.opaque:
        if spec.pii is not None or spec.format is not None or spec.type not in (None, Kind.ID):
            text = (
                f"{column.name!r} holds the key of {role.parent!r}, which is made afresh; leave out"
                " its type, format and pii"
            )
            raise FieldError([(field, text)])
        kind, format = Kind.ID, None
    else:
        if role.key and silent and not role.kept and role.parent is None:
            spec, field = spec.model_copy(update={"type": Kind.ID}), (*at, "key")
        kind, format = column_kind(column, spec, field)
        if silent and not role.key and role.parent is None and derived is None:
            if (why := refusal(column, kind)) is not None:
                raise FieldError([(field, why)])
        if kind == Kind.ID and silent and (role.kept or role.parent is not None):
            kind = Kind.CATEGORY  # it tells rows apart, but it is given, and learned as any other
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
        key=role.key,
        parent=role.parent,
        kept=role.kept,
        description=spec.description,
    )


def _key_problems(frame: pl.DataFrame, table: TableSpec, at: FieldPath) -> list[Problem]:
    """A key with gaps or repeats, by the number of rows; of a composite key, any part may lack."""
    if not table.keys:
        return []
    key = frame.select(table.keys)
    faults = []
    given = key.drop_nulls()
    if gaps := len(key) - len(given):
        faults.append(f"is missing in {gaps} rows")
    if repeats := len(given) - given.n_unique():
        faults.append(f"repeats an earlier value in {repeats} rows")
    if not faults:
        return []
    shown = " + ".join(map(repr, table.keys))
    text = f"{shown} {' and '.join(faults)} of {len(key)}; a key is unique and never missing"
    return [((*at, "key"), text)]


def _target_problems(frame: pl.DataFrame, table: TableSpec, at: FieldPath) -> list[Problem]:
    if table.target is None or frame[table.target].drop_nulls().n_unique() > 1:
        return []
    text = f"{table.target!r} never varies, so there is nothing to predict; choose another column"
    return [((*at, "target"), text)]
