"""What differs between two releases of a dataset: schema, rows, scores, distributions, source."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from aigc_pipeline.drift import TableDrift, compare_tables
from aigc_pipeline.errors import ArtefactError, InputError, did_you_mean
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.schema import SchemaChange, TableSchema, schema_changes
from aigc_pipeline.warehouse.record import (
    BASELINE,
    Release,
    ReleasedTable,
    find_input,
    released_datasets,
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsChange(_Model):
    """Rows of a table in the warehouse; None where a release does not have it."""

    table: str  # schema.table
    before: int | None
    after: int | None


class ScoreChange(_Model):
    """A score in both releases. better: low, high or half (best at 0.5)."""

    table: str
    score: str
    before: float | None
    after: float | None
    better: str


class ReleaseDiff(_Model):
    """What differs from release `before` to release `after`.

    schema_: tables and columns of the baseline that came, went or changed their type. rows: of all
    tables. scores: of all. drift: by table, how far its synthetic rows moved. source_drift: the
    same of the real rows behind them; None, and `no_source` says why, where the lake has these no
    more. Of either side, nothing but distances and shares is shown.
    """

    dataset: str
    before: str
    after: str
    schema_: list[SchemaChange]
    rows: list[RowsChange]
    scores: list[ScoreChange]
    drift: dict[str, TableDrift]
    source_drift: dict[str, TableDrift] | None
    no_source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data; the schema's changes are under `schema`, each also in words."""
        told = self.model_dump(mode="json")
        changes = told.pop("schema_")
        for change, said in zip(changes, self.schema_, strict=True):
            change["words"] = said.describe()
        return {**told, "schema": changes}


def diff(
    lake: Lake, dataset: str, before: str | None = None, after: str | None = None
) -> ReleaseDiff:
    """Compare two releases, by default the one in force with the one before it.

    Raises InputError for an unknown dataset or release, or where there is none before, and
    ArtefactError for a damaged one.
    """
    known = released_datasets(lake)
    if dataset not in known:
        raise InputError(f"dataset {dataset!r} has no release: {did_you_mean(dataset, known)}")
    kept = lake.versions(dataset, "release")
    second = lake.current(dataset, "release") if after is None else _find(kept, after)
    first = _before(kept, second) if before is None else _find(kept, before)
    old, new = Release(first), Release(second)
    sources, reason = _sources(lake, old, new)
    return ReleaseDiff(
        dataset=dataset,
        before=old.id,
        after=new.id,
        schema_=schema_changes(old.schemas, new.schemas),
        rows=_rows(old, new),
        scores=_scores(old, new),
        drift=_drift(old, new),
        source_drift=sources,
        no_source=reason,
    )


def _find(kept: list[Version], version_id: str) -> Version:
    for version in kept:
        if version.id == version_id:
            return version
    hint = did_you_mean(version_id, (v.id for v in kept))
    raise InputError(f"{kept[0].dataset} has no release {version_id!r}: {hint}")


def _before(kept: list[Version], version: Version) -> Version:
    at = [v.id for v in kept].index(version.id)
    if not at:
        raise InputError(
            f"{version.dataset}: there is no release before {version.id} to compare it with"
        )
    return kept[at - 1]


def _rows(old: Release, new: Release) -> list[RowsChange]:
    places = list(dict.fromkeys([*new.notes.rows, *old.notes.rows]))
    return [
        RowsChange(table=p, before=old.notes.rows.get(p), after=new.notes.rows.get(p))
        for p in places
    ]


def _scores(old: Release, new: Release) -> list[ScoreChange]:
    was, now = old.scores, new.scores
    names = list(dict.fromkeys((t, s) for side in (now, was) for t in side for s in side[t]))
    changes = []
    for table, score in names:
        first, second = (side.get(table, {}).get(score, {}) for side in (was, now))
        changes.append(
            ScoreChange(
                table=table,
                score=score,
                before=first.get("value"),
                after=second.get("value"),
                better=(second or first)["better"],
            )
        )
    return changes


def _drift(old: Release, new: Release) -> dict[str, TableDrift]:
    """By table, how far the synthetic rows of the baseline moved; its rows are read one by one."""
    was = {t.table: t for t in old.notes.tables if t.scenario == BASELINE}
    return {
        table.table: compare_tables(
            _read(old.version, was[table.table]),
            _read(new.version, table),
            (old.schemas[table.table], new.schemas[table.table]),
        )
        for table in new.notes.tables
        if table.scenario == BASELINE and table.table in was
    }


def _read(version: Version, table: ReleasedTable) -> pl.DataFrame:
    return pl.concat(read_parquet(version.file(name)) for name in table.shards)


def _sources(
    lake: Lake, old: Release, new: Release
) -> tuple[dict[str, TableDrift] | None, str | None]:
    """By table, how far the real rows moved; or None, and why it cannot be said."""
    sides = [_validated(lake, release.version) for release in (old, new)]
    for side, release in zip(sides, (old, new), strict=True):
        if side is None:
            return None, f"the lake no longer has the source of {release.id}"
    first, second = sides
    assert first is not None and second is not None
    if first.id == second.id:
        return {}, None
    try:
        return {
            name: compare_tables(
                read_validated(first, name),
                read_validated(second, name),
                (_schema(first, name), _schema(second, name)),
            )
            for name in new.schemas
            if all(f"{name}/schema.json" in side.files() for side in (first, second))
        }, None
    except ArtefactError:
        return None, "the source of one of them was damaged since"


def _validated(lake: Lake, release: Version) -> Version | None:
    evaluation = find_input(lake, release, "evaluation")
    return evaluation and find_input(lake, evaluation, "validated")


def read_validated(validated: Version, table: str) -> pl.DataFrame:
    """All real rows that a run accepted of a table; those of a kept one are whole on both sides."""
    files = validated.manifest["files"]
    parts = {files[n]["sha256"]: n for n in validated.files(f"{table}/") if n.endswith(".parquet")}
    return pl.concat(read_parquet(validated.file(name)) for name in parts.values())


def _schema(validated: Version, table: str) -> TableSchema:
    return TableSchema.model_validate(validated.read_json(f"{table}/schema.json"))
