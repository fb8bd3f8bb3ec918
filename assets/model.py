"""The fourth stage: training."""

from typing import Literal

import dagster as dg
from pydantic import Field

from aigc_pipeline.spec import DatasetSpec
from assets.stage import MOST, Events, run_stage, stage_asset
from resources import ComputeResource, LakeResource, Reporter


class TrainConfig(dg.Config):
    """What one run may set of its training; whatever is left out comes from the dataset file."""

    seed: int | None = Field(
        default=None, ge=0, le=MOST, description="Seed of the training; by default synthesis.seed"
    )
    quality: Literal["dataset file", "draft", "standard", "high"] = Field(
        default="dataset file", description="Effort: draft trains for seconds, high for minutes"
    )


def model_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that trains a dataset's generators, one run at a time on the GPU's pool."""

    @stage_asset(spec, "model", kinds={"pytorch"}, pool="gpu")
    def model(
        context: dg.AssetExecutionContext,
        config: TrainConfig,
        lake: dg.ResourceParam[LakeResource],
        compute: ComputeResource,
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The generators that learned the training rows: weights, settings and a model card."""
        from aigc_pipeline.stages import train

        quality = None if config.quality == "dataset file" else config.quality
        yield from run_stage(
            context,
            reporter,
            spec,
            lambda progress: train(
                lake.open(),
                spec,
                seed=config.seed,
                quality=quality,
                compute=compute.settings(),
                progress=progress,
            ),
        )

    return model
