"""How a table is learned: the model, its effort, and what is kept from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aigc_pipeline.spec.base import Model, Seconds

MIN_SUBJECTS = 6  # what five people share is still kept from the model


class GeneratorSpec(Model):
    """Which model learns the tables, and how much effort it may spend."""

    family: Literal["autoregressive", "diffusion", "vae", "gan", "auto"] = Field(
        "autoregressive", description="Kind of model; auto tries them and keeps the best"
    )
    quality: Literal["draft", "standard", "high"] = Field(
        "standard", description="The one dial for effort"
    )
    time_limit: Seconds | None = Field(
        None, description="Wall-clock limit on training, e.g. 60s; by default the quality's own"
    )
    outliers: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="Share of rows, those least likely under a first draft, left out of training",
    )


class DpSpec(Model):
    """Differential privacy of a table's model: how little one row (one subject) may change it."""

    epsilon: float = Field(
        gt=0, le=100, description="Budget of each table's training: lower is more private"
    )
    delta: float | None = Field(
        None, gt=0, lt=1, description="Chance of a larger change; 1 / rows^1.1 by default"
    )
    budget: float | None = Field(
        None,
        gt=0,
        description="Most epsilon that all trainings on one source may spend together; no limit by"
        " default",
    )

    @model_validator(mode="after")
    def _one_training_fits(self) -> DpSpec:
        if self.budget is not None and self.budget < self.epsilon:
            raise ValueError(f"budget {self.budget:g} is less than one training's epsilon")
        return self


class PrivacySpec(Model):
    """What is kept from the model."""

    min_subjects: int = Field(
        MIN_SUBJECTS,
        ge=1,
        description="Values and extremes of fewer subjects are not learned; 1 turns it off",
    )
    subject: str | None = Field(
        None, description="Column that names the subject; each row is its own by default"
    )
    dp: DpSpec | None = Field(
        None, description="Differential privacy, e.g. {epsilon: 3}; without it there is none"
    )
