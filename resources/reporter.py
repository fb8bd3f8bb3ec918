"""Where a run tells how far it is: the run's log, or whatever the caller puts in its place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import dagster as dg

if TYPE_CHECKING:
    from aigc_pipeline.generators.training import Progress
    from aigc_pipeline.stages import StageResult


class Reporter(Protocol):
    """What a stage tells of itself. `aigc run` puts its live display in this place."""

    def started(self, stage: str, log: dg.DagsterLogManager) -> Progress:
        """A stage begins; the returned function takes a message and the share done, 0 to 1."""

    def finished(self, stage: str, result: StageResult) -> None:
        """A stage returned its result; its critical checks may still have failed."""


@dataclass(frozen=True)
class LogReporter:
    """Progress as lines of the run's log, one every few seconds: the UI keeps each of them."""

    every: float = 5.0  # seconds

    def started(self, stage: str, log: dg.DagsterLogManager) -> Progress:
        """A function that logs the first message, then at most one every `every` seconds."""
        last = -self.every

        def progress(message: str, done: float | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < self.every and (done is None or done < 1):
                return
            last = now
            log.info(message if done is None else f"{message} ({done:.0%})")

        return progress

    def finished(self, stage: str, result: StageResult) -> None:
        """Nothing to add: the materialisation's metadata says it all."""
