"""The lake as a Dagster resource."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from aigc_pipeline.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """The folder that holds every artefact and the warehouse."""

    home: str | None = Field(
        default=None, description="Folder of the lake; by default $AIGC_HOME, else ./lake"
    )

    def open(self) -> Lake:
        """The lake itself. Nothing is created until a stage writes."""
        return Lake(self.home) if self.home else Lake.from_env()
