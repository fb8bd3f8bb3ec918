"""Marts in the warehouse: planned at the release, built from its manifest alone, held to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb

from aigc_pipeline.dataset_file import pointing_into
from aigc_pipeline.errors import ArtefactError, FieldError
from aigc_pipeline.marts import create_mart, marts_schema, read_marts
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse import comparison
from aigc_pipeline.warehouse.duck import (
    comment_on,
    connect,
    create_table,
    first_line,
    identifier,
    lock_down,
    run,
)
from aigc_pipeline.warehouse.record import BASELINE, MartNotes, Release, ReleasedTable


def plan_marts(
    spec: DatasetSpec, tables: list[ReleasedTable], schemas: Mapping[str, TableSchema]
) -> list[MartNotes]:
    """What a release notes of its marts, tried out on empty tables of the release's own types.

    The comparison of scenarios comes last. Raises InputError for a mart that does not work.
    """
    planned: list[MartNotes] = []
    with pointing_into(spec):
        comparison.check_name(spec)
        marts = read_marts(spec)
        if not marts:
            return comparison.plan_comparison(spec.name, tables, schemas)
        with connect() as connection:
            for schema in (spec.name, marts_schema(spec.name)):
                run(connection, f"CREATE SCHEMA {identifier(schema)}")
            for table in tables:
                if table.scenario == BASELINE:
                    create_table(connection, table.name, table.columns)
            lock_down(connection)
            for mart in marts:
                place = (marts_schema(spec.name), mart.name)
                try:
                    columns = create_mart(connection, place, mart.kind, mart.statement)
                except duckdb.Error as error:
                    text = f"does not work on the synthetic tables ({first_line(error)})"
                    raise FieldError([(("marts", mart.name), text)]) from None
                planned.append(
                    MartNotes(
                        name=mart.name,
                        title=mart.title,
                        description=mart.description,
                        kind=mart.kind,
                        sql=mart.sql,
                        statement=mart.statement,
                        columns=columns,
                    )
                )
    return planned + comparison.plan_comparison(spec.name, tables, schemas)


def places(release: Release) -> dict[tuple[str, str], MartNotes]:
    """A release's marts by schema and name, each after those it reads."""
    return {(marts_schema(release.dataset), mart.name): mart for mart in release.notes.marts}


def build(connection: duckdb.DuckDBPyConnection, release: Release) -> None:
    """Create and describe a release's marts in the database in use, which has its tables.

    Raises ArtefactError for a query that fails.
    """
    marts = places(release)
    if marts:
        run(connection, f"CREATE SCHEMA {identifier(marts_schema(release.dataset))}")
    # Sums of fractions depend on their order: on one thread a rebuilt table is the same to a bit.
    run(connection, "SET threads = 1")
    for place, mart in marts.items():
        try:
            create_mart(connection, place, mart.kind, mart.statement)
        except duckdb.Error as error:
            raise ArtefactError(_failed(release, mart, error)) from error
        about = ". ".join(text.strip(" .") for text in (mart.title, mart.description) if text)
        told = f"Synthetic. {about or mart.name}. Mart of {release.dataset}; release {release.id}"
        comment_on(connection, mart.kind.upper(), place, told)
        for column, _ in mart.columns:
            told = f"Synthetic. {column} of the mart {mart.name}; release {release.id}"
            comment_on(connection, "COLUMN", (*place, column), told)
    run(connection, "RESET threads")


def problems(
    connection: duckdb.DuckDBPyConnection,
    release: Release,
    found: Mapping[tuple[str, str], list[tuple[str, str]]],
) -> Iterator[str]:
    """What is wrong with a release's marts in a finished file; every view is computed once.

    found: by schema and table, the columns and types the file has.
    """
    for place, mart in places(release).items():
        expected = [(name, str(duckdb.sqltype(kind))) for name, kind in mart.columns]
        if found.get(place) != expected:
            yield f"{'.'.join(place)} has other columns than its release"
            continue
        try:  # a view that breaks on some row would only do so before BI's eyes
            run(connection, f"SELECT count(COLUMNS(*)) FROM {identifier(*place)}")
        except duckdb.Error as error:
            yield _failed(release, mart, error)


def _failed(release: Release, mart: MartNotes, error: duckdb.Error) -> str:
    """A failure in words: of the value a cast stumbled over, nothing."""
    kind = first_line(error).partition(":")[0]
    return (
        f"the mart {mart.name!r} of {release.dataset} fails on the rows of release {release.id}"
        f" ({kind}); correct its SQL, then run {release.dataset} again"
    )
