"""The sixth stage: scores and gates."""

import dagster as dg
from pydantic import Field

from aigc_pipeline.spec import DatasetSpec
from assets.stage import MOST, Events, run_stage, stage_asset
from resources import LakeResource, Reporter


class EvaluationConfig(dg.Config):
    """What one run may set of its evaluation; whatever is left out comes from the dataset file."""

    seed: int | None = Field(
        default=None,
        ge=0,
        le=MOST,
        description="Seed of the judging models; by default synthesis.seed",
    )


def evaluation_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset that judges a dataset's synthetic tables by the holdout."""

    @stage_asset(spec, "evaluation", kinds={"scikitlearn", "altair"})
    def evaluation(
        context: dg.AssetExecutionContext,
        config: EvaluationConfig,
        lake: dg.ResourceParam[LakeResource],
        reporter: dg.ResourceParam[Reporter],
    ) -> Events:
        """The synthetic tables' scores for fidelity, utility and privacy, held to the gates."""
        from aigc_pipeline.stages import evaluate

        yield from run_stage(
            context,
            reporter,
            spec,
            lambda progress: evaluate(lake.open(), spec, seed=config.seed, progress=progress),
        )

    return evaluation
