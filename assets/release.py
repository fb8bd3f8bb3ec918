"""The last stage: publishing."""

import dagster as dg

from aigc_pipeline.relations import Graph
from aigc_pipeline.spec import DatasetSpec
from assets.stage import IO_RETRIES, Events, run_stage, stage_asset
from assets.tables import table_keys, table_results, table_specs
from resources import LakeResource, Reporter


def release_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that publishes a dataset, one at a time on the warehouse's pool.

    Of a dataset of several tables, each is an asset of its own too, made in the same step.
    """

    # A single table is the release itself.
    keys = table_keys(spec) if len(spec.tables) > 1 or Graph(spec.tables).is_related else {}

    @stage_asset(
        spec,
        "release",
        kinds={"duckdb", "parquet"},
        pool="warehouse",
        retry_policy=IO_RETRIES,
        also=lambda own: table_specs(spec, keys, own),
    )
    def release(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The approved synthetic tables in the DuckDB warehouse that BI opens."""
        from aigc_pipeline import stages

        yield from run_stage(
            context,
            reporter,
            spec,
            lambda _: stages.release(lake.open(), spec),
            also=lambda result: table_results(spec, keys, result),
        )

    return release
