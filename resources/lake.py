"""The lake as a Dagster resource."""

from __future__ import annotations

from dataclasses import dataclass

from aigc_pipeline.lake import Lake


@dataclass(frozen=True)
class LakeResource:
    """The folder that holds every artefact and the warehouse.

    home: its path; by default $AIGC_HOME, else ./lake. A plain object, so that no run's config can
    say where real rows are written: whoever may launch runs need not be who owns the machine.
    """

    home: str | None = None

    def open(self) -> Lake:
        """The lake itself. Nothing is created until a stage writes."""
        return Lake(self.home) if self.home else Lake.from_env()
