"""The machine a model trains on, as a Dagster resource."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from aigc_pipeline.errors import InputError

if TYPE_CHECKING:
    from aigc_pipeline.generators.training import Compute


class ComputeResource(dg.ConfigurableResource):
    """CPU or GPU, threads and devices for training."""

    accelerator: str | None = Field(
        default=None, description="auto, cpu or cuda; by default $AIGC_ACCELERATOR, else auto"
    )
    threads: int | None = Field(
        default=None, description="CPU threads; by default $AIGC_THREADS, else all the cores"
    )
    devices: int | None = Field(
        default=None, description="How many devices to train on; by default $AIGC_DEVICES, else 1"
    )

    def settings(self) -> Compute:
        """The settings that the training takes. Raises InputError on a number that is none."""
        from aigc_pipeline.generators.training import Compute

        return Compute(
            accelerator=self.accelerator or os.environ.get("AIGC_ACCELERATOR") or "auto",
            threads=self.threads or _positive("AIGC_THREADS"),
            devices=self.devices or _positive("AIGC_DEVICES") or 1,
        )


def _positive(variable: str) -> int | None:
    """A whole number above zero from the environment, or None where it is unset."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{variable}={text!r} is no whole number above 0: set e.g. {variable}=2")
    return int(text)
