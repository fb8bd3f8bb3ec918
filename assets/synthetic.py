"""The fifth stage: sampling."""

import dagster as dg
from pydantic import Field

from aigc_pipeline.spec import DatasetSpec
from assets.stage import MOST, Events, run_stage, stage_asset
from resources import LakeResource, Reporter


class SynthesisConfig(dg.Config):
    """What one run may set of its sampling; whatever is left out comes from the dataset file."""

    rows: int | None = Field(
        default=None, ge=1, le=MOST, description="Rows of each table; by default synthesis.rows"
    )
    seed: int | None = Field(
        default=None, ge=0, le=MOST, description="Seed of the sampling; by default synthesis.seed"
    )


def synthetic_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that samples a dataset's tables, plain and under each scenario."""

    @stage_asset(spec, "synthetic", kinds={"pytorch", "parquet"})
    def synthetic(
        context: dg.AssetExecutionContext,
        config: SynthesisConfig,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The synthetic tables, one set plain and one for each scenario, in Parquet shards."""
        from aigc_pipeline.stages import synthesize

        yield from run_stage(
            context,
            reporter,
            spec,
            lambda progress: synthesize(
                lake.open(), spec, rows=config.rows, seed=config.seed, progress=progress
            ),
        )

    return synthetic
