"""The last stage: publishing."""

import dagster as dg

from aigc_pipeline.spec import DatasetSpec
from assets.stage import IO_RETRIES, Events, run_stage, stage_asset
from resources import LakeResource, Reporter


def release_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that publishes a dataset, one at a time on the warehouse's pool."""

    @stage_asset(
        spec,
        "release",
        kinds={"duckdb", "parquet"},
        pool="warehouse",
        retry_policy=IO_RETRIES,
    )
    def release(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The approved synthetic tables in the DuckDB warehouse that BI opens."""
        from aigc_pipeline import stages

        yield from run_stage(context, reporter, spec, lambda _: stages.release(lake.open(), spec))

    return release
