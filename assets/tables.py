"""The published tables of a dataset that has several: assets of their own, made by the release."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import dagster as dg

from aigc_pipeline.relations import Graph
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.stages import StageResult
from assets.metadata import column_schema


def table_specs(
    spec: DatasetSpec, keys: Mapping[str, dg.AssetKey], like: dg.AssetSpec
) -> list[dg.AssetSpec]:
    """The tables' assets, after the release and after their parents' tables.

    like: the release's spec; group, owners, tags, kinds and code version are taken over.
    """
    graph = Graph(spec.tables)
    return [
        like.replace_attributes(
            key=key,
            deps=[like.key, *_parents(graph, keys, name)],
            description=spec.tables[name].description or f"The synthetic table {name}.",
            metadata={"dagster/table_name": f"{spec.name}.{name}"},
        )
        for name, key in keys.items()
    ]


def table_keys(spec: DatasetSpec) -> dict[str, dg.AssetKey]:
    """The asset `[dataset, "tables", table]` of each table.

    What Dagster does not take in a name becomes an underscore.
    """
    keys: dict[str, dg.AssetKey] = {}
    for name in spec.tables:
        plain = part = re.sub(r"[^A-Za-z0-9_]", "_", name)
        number = 1
        while (key := dg.AssetKey([spec.name, "tables", part])) in keys.values():
            number += 1
            part = f"{plain}_{number}"
        keys[name] = key
    return keys


def table_results(
    spec: DatasetSpec, keys: Mapping[str, dg.AssetKey], result: StageResult
) -> Iterator[dg.MaterializeResult]:
    """What a release made of each table: rows, scores, columns, and where these come from."""
    assert result.version is not None
    graph = Graph(spec.tables)
    for name, key in keys.items():
        schema = result.metadata["schema"][name]
        # A reference holds its parent's key; everything else was learned from the source.
        lineage = {
            column: [dg.TableColumnDep(dg.AssetKey([spec.name, "raw"]), f"{name}.{column}")]
            for column in schema.names
        }
        for relation in graph.parents_of(name):
            for column, parent_column in zip(relation.columns, relation.key, strict=True):
                lineage[column] = [dg.TableColumnDep(keys[relation.parent], parent_column)]
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "dagster/row_count": result.metadata["rows"][name],
                "dagster/column_schema": column_schema({name: schema}),
                "dagster/column_lineage": dg.TableColumnLineage(lineage),
                "dagster/table_name": f"{spec.name}.{name}",
                "release": result.version.id,
                **result.metadata["scores"].get(name, {}),
            },
            data_version=dg.DataVersion(result.version.id.rpartition("-")[2]),
        )


def _parents(graph: Graph, keys: Mapping[str, dg.AssetKey], name: str) -> list[dg.AssetKey]:
    return list(dict.fromkeys(keys[r.parent] for r in graph.parents_of(name) if not r.is_self))
