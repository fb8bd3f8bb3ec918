"""The first stage: the source as it is."""

from pathlib import Path

import dagster as dg

from aigc_pipeline.spec import DatasetSpec
from assets.stage import IO_RETRIES, Events, run_stage, stage_asset
from resources import LakeResource, Reporter


def raw_asset(spec: DatasetSpec, base_dir: Path) -> dg.AssetsDefinition:
    """The asset that reads a dataset's sources; relative paths start at `base_dir`."""

    @stage_asset(spec, "raw", kinds={"polars", "parquet"}, retry_policy=IO_RETRIES)
    def raw(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The source tables as they were read, in checksummed Parquet."""
        from aigc_pipeline.stages import ingest

        yield from run_stage(context, reporter, spec, lambda _: ingest(lake.open(), spec, base_dir))

    return raw
