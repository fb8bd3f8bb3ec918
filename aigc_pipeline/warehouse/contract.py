"""A release as a data contract: the Open Data Contract Standard, v3.1.0, in YAML.

https://bitol-io.github.io/open-data-contract-standard/v3.1.0/
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse.dictionary import Entry, entries
from aigc_pipeline.warehouse.record import BASELINE, ReleasedTable, ReleaseNotes

API_VERSION = "v3.1.0"
LOGICAL = {  # DuckDB's types by the standard's; all others are strings
    "DATE": "date",
    "TIME": "time",
    "BOOLEAN": "boolean",
    "FLOAT": "number",
    "DOUBLE": "number",
}
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
LOGICAL |= {prefix + name: "integer" for name in _INTEGERS for prefix in ("", "U")}


def contract_text(
    spec: DatasetSpec,
    version: str,
    notes: ReleaseNotes,
    schemas: Mapping[str, TableSchema],
    scores: Mapping[str, Any],
) -> str:
    """The contract of a release's baseline tables; `version` is that of its rows."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 2**31
    out = io.StringIO()
    yaml.dump(_contract(spec, version, notes, schemas, scores), out)
    return out.getvalue()


def _contract(
    spec: DatasetSpec,
    version: str,
    notes: ReleaseNotes,
    schemas: Mapping[str, TableSchema],
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    tables = [table for table in notes.tables if table.scenario == BASELINE]
    places = {table.table: f"table_{i}" for i, table in enumerate(tables, 1)}
    contract = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": f"aigc-{spec.name}",
        "name": notes.title or spec.name,
        "version": version,
        "status": "active",
        "domain": notes.domain,
        "dataProduct": spec.name,
        "tags": ["synthetic", *spec.tags],
        "description": _given(
            {
                "purpose": notes.description,
                "usage": "BI on synthetic rows: queries written for the real tables run unchanged.",
                "limitations": "Rare values and extremes are left out; no row is a real one.",
            }
        ),
        "servers": [
            {
                "id": "warehouse",
                "server": "warehouse",
                "type": "duckdb",
                "database": "warehouse.duckdb",
                "schema": spec.name,
            }
        ],
        "team": {
            "name": notes.owners[0],
            "members": [{"username": owner, "role": "owner"} for owner in notes.owners],
        }
        if notes.owners
        else None,
        "schema": [
            _table(table, notes, schemas, scores["evaluations"].get(table.table), places)
            for table in tables
        ],
        "slaProperties": _schedule(spec),
        "customProperties": _custom(
            synthetic=True,
            seed=notes.seed,
            modelFamily=notes.model.family,
            modelQuality=notes.model.quality,
            minSubjects=notes.privacy.get("min_subjects"),
            epsilon={table: dp.epsilon for table, dp in notes.model.dp.items()} or None,
        ),
    }
    return _given(contract)


def _table(
    table: ReleasedTable,
    notes: ReleaseNotes,
    schemas: Mapping[str, TableSchema],
    evaluation: Mapping[str, Any] | None,
    places: Mapping[str, str],
) -> dict[str, Any]:
    schema, about = schemas[table.table], notes.about.get(table.table)
    keys = schema.key or [column.name for column in schema.columns if column.key]

    def place(of: str, column: str) -> str:
        return f"schema/{places[of]}/properties/column_{schemas[of].names.index(column) + 1}"

    relations = []
    for relation in notes.relations:
        if relation.child == table.table:
            ends = (
                [place(relation.child, column) for column in relation.columns],
                [place(relation.parent, column) for column in relation.key],
            )
            single = len(relation.columns) == 1
            first, second = (end[0] if single else end for end in ends)
            relations.append({"type": "foreignKey", "from": first, "to": second})
    return _given(
        {
            "id": places[table.table],
            "name": table.table,
            "physicalName": f"{table.schema_name}.{table.table}",
            "physicalType": "table",
            "logicalType": "object",
            "description": about and about.description,
            "properties": [
                _column(entry, number, keys)
                for number, entry in enumerate(entries(table, schema, evaluation), 1)
            ],
            "relationships": relations,
            "quality": [{"type": "library", "metric": "rowCount", "mustBe": table.rows}],
            "customProperties": _custom(
                **{
                    name: score["value"]
                    for name, score in (evaluation["scores"] if evaluation else {}).items()
                    if score["value"] is not None
                }
            ),
        }
    )


def _column(entry: Entry, number: int, keys: list[str]) -> dict[str, Any]:
    column = entry.schema
    is_key = column.name in keys
    return _given(
        {
            "id": f"column_{number}",
            "name": column.name,
            "physicalType": entry.data_type,
            "logicalType": _logical(entry.data_type),
            "description": column.description,
            "required": not column.nullable,
            "unique": True if keys == [column.name] else None,
            "primaryKey": True if is_key else None,
            "primaryKeyPosition": keys.index(column.name) + 1 if is_key else None,
            "transformLogic": column.derived,
            "examples": [label for label, _ in entry.values],
            "customProperties": _custom(
                kind=column.kind.value, made=entry.made, shapeError=entry.shape_error
            ),
        }
    )


def _logical(data_type: str) -> str:
    if data_type.startswith("TIMESTAMP"):
        return "timestamp"
    if data_type.startswith("DECIMAL"):
        return "number"
    return LOGICAL.get(data_type, "string")


def _schedule(spec: DatasetSpec) -> list[dict[str, str]]:
    if spec.schedule is None:
        return []
    return [
        {"property": "frequency", "value": "cron", "scheduler": "cron", "schedule": spec.schedule}
    ]


def _custom(**values: Any) -> list[dict[str, Any]]:
    return [{"property": key, "value": value} for key, value in values.items() if value is not None]


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {key: value for key, value in fields.items() if value not in (None, [], {})}
