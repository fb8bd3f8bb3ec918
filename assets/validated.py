"""The second stage: the dataset's contract."""

import dagster as dg

from aigc_pipeline.spec import DatasetSpec
from assets.stage import Events, run_stage, stage_asset
from resources import LakeResource, Reporter


def validated_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that holds a dataset to its contract."""

    @stage_asset(spec, "validated", kinds={"greatexpectations", "polars", "parquet"})
    def validated(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The tables that keep the contract of the dataset file, with the holdout split off."""
        from aigc_pipeline.stages import validate

        yield from run_stage(context, reporter, spec, lambda _: validate(lake.open(), spec))

    return validated
