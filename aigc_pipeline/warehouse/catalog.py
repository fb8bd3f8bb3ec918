"""The warehouse's `catalog` schema: which synthetic tables there are, how good, made from what.

Built from the releases alone, so the same releases give the same catalogue. Scores and checks
cover every release kept, so a BI tool can chart them over time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse.catalog_overview import OVERVIEW, SQL
from aigc_pipeline.warehouse.catalog_tables import SCHEMA, TABLES, CatalogTable
from aigc_pipeline.warehouse.dictionary import how_made
from aigc_pipeline.warehouse.duck import comment_on, create_table, identifier, run
from aigc_pipeline.warehouse.marts import places
from aigc_pipeline.warehouse.record import BASELINE, Release, ReleasedTable, schema_name

Row = dict[str, Any]
MADE = {"fresh": "generated afresh", "kept": "kept as it is"} | {
    how: how for how in ("learned", "faked", "computed")
}


def build(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    current: list[Release],
    gone: Collection[str] = (),
) -> None:
    """Create and fill the catalogue in the database in use, which has the tables already.

    gone: ids of releases to leave out, for they are about to be deleted.
    """
    run(connection, f"CREATE SCHEMA {identifier(SCHEMA)}")
    rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
    for release in current:
        rows["datasets"].append(_dataset(release))
        rows["scenarios"] += _scenarios(release)
        rows["tables"] += [_table(release, table) for table in release.notes.tables]
        rows["columns"] += [
            row for table in release.notes.tables for row in _columns(connection, release, table)
        ]
        rows["relations"] += _relations(release)
        rows["marts"] += _marts(release)
        for version in lake.versions(release.dataset, "release"):
            if version.id in gone:
                continue
            for name, more in _history(lake, Release(version), version.id == release.id).items():
                rows[name] += more
    for table in TABLES:
        _write(connection, table, rows[table.name])
    run(connection, f"CREATE VIEW {identifier(SCHEMA, OVERVIEW.name)} AS {SQL}")
    _describe(connection, "VIEW", OVERVIEW)


def names() -> set[tuple[str, str]]:
    """Schema and name of every table and view of the catalogue."""
    return {(SCHEMA, table.name) for table in (*TABLES, OVERVIEW)}


def _write(connection: duckdb.DuckDBPyConnection, table: CatalogTable, rows: Iterable[Row]) -> None:
    place = (SCHEMA, table.name)
    create_table(connection, place, [(column, kind) for column, (kind, _) in table.columns.items()])
    values = {column: [row.get(column) for row in rows] for column in table.columns}
    frame = pl.DataFrame(
        values, schema={c: _POLARS[kind] for c, (kind, _) in table.columns.items()}
    )
    connection.register("rows", frame.to_arrow())
    run(connection, f"INSERT INTO {identifier(*place)} SELECT * FROM rows")
    connection.unregister("rows")
    _describe(connection, "TABLE", table)


def _describe(connection: duckdb.DuckDBPyConnection, what: str, table: CatalogTable) -> None:
    place = (SCHEMA, table.name)
    comment_on(connection, what, place, f"Synthetic data catalogue. {table.description}")
    for column, (_, description) in table.columns.items():
        comment_on(
            connection, "COLUMN", (*place, column), f"Synthetic data catalogue. {description}"
        )


_POLARS: dict[str, Any] = {
    "VARCHAR": pl.String,
    "BIGINT": pl.Int64,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
    "TIMESTAMP": pl.Datetime("us"),
}


def _naive(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=None)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _dataset(release: Release) -> Row:
    notes = release.notes
    return {
        "dataset": release.dataset,
        "title": notes.title,
        "description": notes.description,
        "domain": notes.domain,
        "owners": ", ".join(notes.owners) or None,
        "release": release.id,
        "released_at": _naive(release.created_at),
        "tables": sum(table.scenario == BASELINE for table in notes.tables),
        "rows": release.baseline_rows,
    }


def _scenarios(release: Release) -> list[Row]:
    return [
        {
            "dataset": release.dataset,
            "scenario": name,
            "schema_name": schema_name(release.dataset, name),
            "description": scenario.description,
            "conditions": _json(scenario.where),
            "shares": _json(scenario.balance),
            "ad_hoc": scenario.ad_hoc,
            "rows": sum(table.rows for table in release.notes.tables if table.scenario == name),
        }
        for name, scenario in sorted(release.notes.scenarios.items())
    ]


def _table(release: Release, table: ReleasedTable) -> Row:
    about = release.notes.about.get(table.table)
    dp = release.notes.model.dp.get(table.table)
    return {
        "dataset": release.dataset,
        "scenario": table.scenario,
        "schema_name": table.schema_name,
        "table_name": table.table,
        "description": about and about.description,
        "primary_key": about and about.key,
        "target": about and about.target,
        "columns": len(table.columns),
        "rows": table.rows,
        "epsilon": dp and dp.epsilon,
        "delta": dp and dp.delta,
        "epsilon_of_source": dp and dp.total,
        "release": release.id,
    }


def _columns(
    connection: duckdb.DuckDBPyConnection, release: Release, table: ReleasedTable
) -> Iterable[Row]:
    # A kept table has no evaluation.
    judged = release.evaluations.get(table.table) if table.scenario == BASELINE else None
    errors = {c["column"]: c for c in judged["columns"]} if judged else {}
    types = dict(table.columns)
    for position, column in enumerate(release.schemas[table.table].columns, 1):
        # A column at a time, so that memory holds the distinct values of one.
        name = identifier(column.name)
        counted = f"SELECT count({name}), count(DISTINCT {name}) FROM {identifier(*table.name)}"
        [(present, distinct)] = run(connection, counted)
        yield {
            "dataset": release.dataset,
            "schema_name": table.schema_name,
            "table_name": table.table,
            "position": position,
            "column_name": column.name,
            "kind": column.kind.value,
            "data_type": types[column.name],
            "nullable": column.nullable,
            "null_rate": (table.rows - present) / table.rows if table.rows else None,
            "distinct_values": distinct,
            "description": column.description,
            "made": MADE[how_made(column)],
            "shape_error": errors.get(column.name, {}).get("shape_error"),
            "shape_reference": errors.get(column.name, {}).get("reference"),
        }


def _relations(release: Release) -> list[Row]:
    return [
        {
            "dataset": release.dataset,
            "child": relation.child,
            "columns": ", ".join(relation.columns),
            "parent": relation.parent,
            "key": ", ".join(relation.key),
            "optional": relation.optional,
        }
        for relation in release.notes.relations
    ]


def _marts(release: Release) -> list[Row]:
    return [
        {
            "dataset": release.dataset,
            "schema_name": schema,
            "name": name,
            "title": mart.title,
            "description": mart.description,
            "sql": mart.sql,
            "kind": mart.kind,
            "columns": ", ".join(column for column, _ in mart.columns),
        }
        for (schema, name), mart in places(release).items()
    ]


def _history(lake: Lake, release: Release, is_current: bool) -> dict[str, list[Row]]:
    """A kept release's facts, scores, checks and lineage; of a damaged one only what is wrong."""
    who = {"dataset": release.dataset, "release": release.id}
    try:
        return {
            "releases": [who | {"is_current": is_current} | _facts(release)],
            "scores": [who | {"is_current": is_current} | row for row in _scores(release)],
            "checks": [who | row for row in (*_gates(release), *_rules(release), *_drift(release))],
            "lineage": [who | edge for edge in release.lineage],
        }
    except ArtefactError as error:
        if is_current:
            raise
        problem = str(error).replace(f"{lake.home}/", "")
        return {"releases": [who | {"is_current": False, "problem": problem}]}


def _facts(release: Release) -> Row:
    notes, manifest = release.notes, release.version.manifest
    return {
        "created_at": _naive(release.created_at),
        "code_version": manifest["code_version"],
        "seed": notes.seed,
        "based_on": notes.based_on,
        "rows": release.baseline_rows,
        "model_family": notes.model.family,
        "model_quality": notes.model.quality,
        "trained_at": _naive(notes.model.trained_at),
        "privacy": _json(notes.privacy),
        "spec_sha256": manifest["spec_sha256"],
    }


def _scores(release: Release) -> Iterable[Row]:
    for table, scores in release.scores.items():
        for name, score in scores.items():
            fields = ("value", "error", "reference", "better", "description", "why_not")
            row = {field: score.get(field) for field in fields}
            yield row | {
                "released_at": _naive(release.created_at),
                "table_name": table,
                "score": name,
            }


def _gates(release: Release) -> Iterable[Row]:
    for gate in release.gates:
        yield {
            "table_name": gate["table"],
            "check_type": "gate",
            "name": gate["score"],
            "severity": "critical",
            "passed": gate["passed"],
            "value": gate["value"],
            "accepted": gate["limit"],
        }


def _rules(release: Release) -> Iterable[Row]:
    for table, rules in sorted(release.validation.items()):
        for rule in rules:
            yield {
                "table_name": table,
                "check_type": "validation",
                "name": rule["rule"],
                "column_name": rule["column"],
                "severity": rule["severity"],
                "passed": rule["success"],
                "rows_seen": rule["rows_seen"],
                "failed_rows": rule["failed_rows"],
            }


def _drift(release: Release) -> Iterable[Row]:
    for table, drift in sorted(release.drift.items()):
        for column in drift.columns:
            yield {
                "table_name": table,
                "check_type": "drift",
                "name": "source_drift",
                "column_name": column.column,
                "severity": "warning",
                "passed": not (column.shifted or column.nulls_shifted),
                "value": column.distance,
                "rows_seen": drift.rows_after,
            }
