"""What changed since the run before, and since the last release: schema and distributions."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from aigc_pipeline.drift import TableDrift, describe
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.schema import TableSchema, schema_changes
from aigc_pipeline.stages.result import Check, check
from aigc_pipeline.warehouse.diff import read_validated
from aigc_pipeline.warehouse.record import Release

Earlier = tuple[pl.DataFrame, TableSchema]


def earlier_rows(lake: Lake, dataset: str, table: str) -> Earlier | None:
    """All rows of a table that the last run accepted, and their schema; None where there are none,
    or no more."""
    try:
        version = lake.find_current(dataset, "validated")
        if version is None or f"{table}/schema.json" not in version.files():
            return None
        schema = TableSchema.model_validate(version.read_json(f"{table}/schema.json"))
        return read_validated(version, table), schema
    except ArtefactError:  # damaged since: there is nothing to compare with, and no need to stop
        return None


def released_schemas(lake: Lake, dataset: str) -> tuple[str, dict[str, TableSchema]] | None:
    """Id and schemas of the release in force; None where there is none, or it is damaged."""
    try:
        version = lake.find_current(dataset, "release")
        return None if version is None else (version.id, Release(version).schemas)
    except ArtefactError:
        return None


def schema_check(lake: Lake, dataset: str, schemas: Mapping[str, TableSchema]) -> Check:
    """Which columns a release of these tables would add, lose or change."""
    name = "schema_as_released"
    released = released_schemas(lake, dataset)
    if released is None:
        return check("validated", name, True, "there is no release to differ from")
    changes = [change.describe() for change in schema_changes(released[1], schemas)]
    if not changes:
        return check("validated", name, True, f"the tables and columns of release {released[0]}")
    message = f"readers will find other columns than in release {released[0]}: {'; '.join(changes)}"
    return check("validated", name, False, message, changes=len(changes))


def drift_check(drifts: Mapping[str, TableDrift]) -> Check:
    """Which columns of the source moved since the run before."""
    moved = describe(drifts)
    message = "; ".join(moved) or (
        "no column moved since the last run" if drifts else "there is no earlier run to compare"
    )
    return check("validated", "source_drift", not moved, message, moved=len(moved))


def read_drift(validated: Version) -> dict[str, TableDrift]:
    """By table, how far the source of a run moved since the run before."""
    stored = validated.read_json("drift.json") if "drift.json" in validated.files() else {}
    return {name: TableDrift.model_validate(each) for name, each in stored.items()}
