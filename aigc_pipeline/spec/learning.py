"""How a table is learned: the model, its effort, and what is kept from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aigc_pipeline.spec.base import Model, Seconds


class GeneratorSpec(Model):
    """Which model learns the tables, and how much effort it may spend."""

    family: Literal["autoregressive"] = "autoregressive"
    quality: Literal["draft", "standard", "high"] = Field(
        "standard", description="The one dial for effort"
    )
    time_limit: Seconds | None = Field(
        None, description="Wall-clock limit on training, e.g. 60s; by default the quality's own"
    )


class PrivacySpec(Model):
    """What is kept from the model."""

    min_subjects: int = Field(
        5, ge=1, description="Values and extremes of fewer subjects are not learned; 1 turns it off"
    )
    subject: str | None = Field(
        None, description="Column that names the subject; each row is its own by default"
    )
