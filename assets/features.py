"""The third stage: columns as the model's tokens."""

import dagster as dg

from aigc_pipeline.spec import DatasetSpec
from assets.stage import Events, run_stage, stage_asset
from resources import LakeResource, Reporter


def features_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that fits the codecs of a dataset."""

    @stage_asset(spec, "features", kinds={"polars", "numpy"})
    def features(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The codecs, fitted on the training rows, and the tokens they make of them."""
        from aigc_pipeline.stages import featurize

        yield from run_stage(context, reporter, spec, lambda _: featurize(lake.open(), spec))

    return features
