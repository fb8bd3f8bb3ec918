"""What a stage noted, by the names Dagster knows: the UI then shows counts, columns and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.stages import StageResult


def result_metadata(spec: DatasetSpec, stage: str, result: StageResult) -> dict[str, Any]:
    """Dagster metadata of a stage's result. Scores become floats, which the UI charts over runs.

    What the stage shows (tables, pictures) is Markdown there too.

    rows -> dagster/row_count (summed over tables), schema -> dagster/column_schema, and on the
    release the warehouse's name of the table. Nested numbers become `table.score`, with the table
    left out where the dataset has but one.
    """
    metadata: dict[str, Any] = {}
    if result.version is not None:
        metadata["version"] = result.version.id
        metadata["path"] = dg.MetadataValue.path(str(result.version.path))
    for key, value in result.metadata.items():
        if key == "rows":
            rows = list(value.values()) if isinstance(value, Mapping) else [value]
            metadata["dagster/row_count"] = int(sum(rows))
            if len(rows) > 1:
                metadata.update(_flat("rows", value))
        elif key == "schema":
            metadata["dagster/column_schema"] = column_schema(value)
        elif (
            isinstance(value, Mapping)
            and len(spec.tables) == 1
            and value.keys() >= spec.tables.keys()
        ):  # scores of all tables together, of queries say, have names of their own
            for only in value.values():
                metadata.update(_flat("" if isinstance(only, Mapping) else key, only))
        else:
            metadata.update(_flat(key, value))
    metadata.update({name: dg.MetadataValue.md(text) for name, text in result.shown.items()})
    if stage == "release":
        metadata["dagster/table_name"] = ", ".join(f"{spec.name}.{table}" for table in spec.tables)
    return metadata


def column_schema(schemas: Mapping[str, TableSchema]) -> dg.TableSchema:
    """The columns of all tables, as `table.column` where there are several tables."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name if len(schemas) == 1 else f"{table}.{column.name}",
                type=column.dtype,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=column.key),
                tags={"kind": str(column.kind)},
            )
            for table, schema in schemas.items()
            for column in schema.columns
        ]
    )


def _flat(key: str, value: Any) -> dict[str, Any]:
    """One entry of plain metadata, or one for each leaf of a mapping."""
    if isinstance(value, Mapping):
        return {
            name: leaf
            for part, inner in value.items()
            for name, leaf in _flat(f"{key}.{part}" if key else str(part), inner).items()
        }
    if isinstance(value, Path):
        return {key: dg.MetadataValue.path(str(value))}
    if isinstance(value, float) and not math.isfinite(value):
        return {key: str(value)}
    if value is None or isinstance(value, dg.MetadataValue | bool | int | float | str):
        return {} if value is None else {key: value}
    return {key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)}
