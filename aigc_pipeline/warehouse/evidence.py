"""What is looked at before a release: are these the rows judged, and can DuckDB hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Version
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, check_name
from aigc_pipeline.warehouse.duck import connect, create_table, first_line, kept_type
from aigc_pipeline.warehouse.record import BASELINE, ReleasedTable, schema_name

if TYPE_CHECKING:
    from aigc_pipeline.evaluation import GateResult

_SHARD = re.compile(r"(?P<scenario>[^/]+)/(?P<table>[^/]+)/part-\d+\.parquet")


def judge(
    spec: DatasetSpec, synthetic: Version, evaluation: Version, schemas: Mapping[str, TableSchema]
) -> tuple[list[GateResult], dict[str, Any]]:
    """The gates' verdicts and the stored scores, once these are known to be of these very rows.

    Raises ArtefactError when the evaluation is of other rows, or either version changed since.
    """
    from aigc_pipeline.evaluation import (
        Evaluation,
        QueryFidelity,
        RelationalEvaluation,
        check_gates,
    )

    for version, stage in ((synthetic, "synthetic"), (evaluation, "evaluation")):
        if (version.dataset, version.stage) != (spec.name, stage):
            raise ArtefactError(
                f"{version.path}: this is a version of {version.dataset}/{version.stage},"
                f" not of {spec.name}/{stage}"
            )
    synthetic.verify()
    evaluation.verify()
    judged = evaluation.manifest["inputs"].get("synthetic", {})
    if judged.get("sha256") != synthetic.sha256:
        raise ArtefactError(
            f"{spec.name}: evaluation {evaluation.id} judged other rows (synthetic"
            f" {judged.get('version', 'unknown')}) than those to be released ({synthetic.id});"
            " evaluate these first"
        )
    scores = evaluation.read_json("scores.json")
    try:
        evaluations = {
            name: Evaluation.model_validate(value) for name, value in scores["evaluations"].items()
        }
        stored = scores.get("relations")
        relations = None if stored is None else RelationalEvaluation.model_validate(stored)
        asked = scores.get("queries")
        queries = None if asked is None else QueryFidelity.model_validate(asked)
    except (KeyError, AttributeError, ValueError) as error:
        raise ArtefactError(
            f"{evaluation.path / 'scores.json'}: not in the shape that this version reads;"
            f" evaluate {spec.name} again"
        ) from error
    kept = {name for name, table in spec.tables.items() if table.keep}  # real, as declared
    if missing := sorted(set(schemas) - set(evaluations) - kept):
        raise ArtefactError(
            f"{spec.name}: evaluation {evaluation.id} has no scores of {', '.join(missing)};"
            " evaluate again"
        )
    return check_gates(evaluations, spec.gates, relations, queries), scores


def read_tables(
    spec: DatasetSpec, synthetic: Version, schemas: Mapping[str, TableSchema]
) -> list[ReleasedTable]:
    """Every table of every scenario, the baseline's first, with its row count and DuckDB types.

    Only the shards' footers are read. Raises ArtefactError for a missing table, or one that cannot
    become a warehouse table under its own column names.
    """
    shards: dict[tuple[str, str], list[str]] = {}
    for name in synthetic.files():
        if (match := _SHARD.fullmatch(name)) is not None:
            shards.setdefault((match["scenario"], match["table"]), []).append(name)
    for table in schemas:
        if (BASELINE, table) not in shards:
            raise ArtefactError(
                f"{synthetic.path}: there are no rows of table {table!r}; run that stage again"
            )
    places = sorted(shards, key=lambda place: (place[0] != BASELINE, place))
    return [
        read_table(spec.name, synthetic.path, place, shards[place], schemas) for place in places
    ]


def read_table(
    dataset: str,
    folder: Path,
    place: tuple[str, str],
    shards: list[str],
    schemas: Mapping[str, TableSchema],
) -> ReleasedTable:
    """One table of a scenario, given its shards' names below a folder. Raises ArtefactError."""
    scenario, table = place
    if table not in schemas:
        known = ", ".join(sorted(schemas))
        raise ArtefactError(f"{folder}: {table!r} is no table of {dataset}: {known}")
    if scenario != BASELINE:
        try:
            check_name(scenario)
        except ValueError as error:
            raise ArtefactError(f"{folder}: {error}") from error
    schema = schema_name(dataset, scenario)
    try:
        footers = [_footer(folder / name) for name in shards]
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(
            f"{folder}: the shards of {table!r} cannot be read ({first_line(error)})"
        ) from error
    for name, (_, columns) in zip(shards, footers, strict=True):
        if not columns.equals(footers[0][1]):
            raise ArtefactError(
                f"{folder / name}: its columns or types differ from those of {shards[0]}"
            )
    return ReleasedTable(
        scenario=scenario,
        schema_name=schema,
        table=table,
        rows=sum(rows for rows, _ in footers),
        columns=_columns(folder / shards[0], footers[0][1], schemas[table]),
        shards=[f"data/{schema}/{table}/{Path(name).name}" for name in shards],
    )


def _footer(shard: Path) -> tuple[int, pa.Schema]:
    with pq.ParquetFile(shard) as file:
        return file.metadata.num_rows, file.schema_arrow


def _columns(shard: Path, found: pa.Schema, schema: TableSchema) -> list[tuple[str, str]]:
    """Names and DuckDB types, tried out here so that publishing does not fail on them."""
    if found.names != schema.names:
        odd = ", ".join(map(repr, sorted(set(found.names) ^ set(schema.names))))
        raise ArtefactError(
            f"{shard}: its columns are not those of {schema.name!r}"
            f" ({'missing or extra: ' + odd if odd else 'the order differs'}); run that stage again"
        )
    with connect() as connection:
        columns = []
        for field in found:  # one at a time: DuckDB would rename columns that differ only by case
            try:
                connection.register("shard", pa.schema([field]).empty_table())
                [kind] = connection.table("shard").types
            except (duckdb.Error, pa.ArrowException, ValueError) as error:
                raise ArtefactError(
                    f"{shard}: column {field.name!r} is of type {field.type}, which DuckDB does not"
                    " keep; give it another type in the source"
                ) from error
            columns.append((field.name, kept_type(kind)))
        try:
            create_table(connection, ("trial",), columns)
        except duckdb.Error as error:
            raise ArtefactError(
                f"{shard}: {schema.name!r} cannot become a warehouse table ({first_line(error)});"
                " rename the column in the source"
            ) from error
    return columns
