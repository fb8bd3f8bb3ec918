"""The interface all generator families share: tokens in, tokens out, given a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.training import Compute, History, Progress, silent


@dataclass(frozen=True)
class Draw:
    """Sampled rows. tokens: int32 [rows, columns]; weight: float64 [rows] in [0, 1].

    A row's weight is the probability of the allowed tokens along its path: accepting rows in
    proportion to it gives the exact conditional distribution.
    """

    tokens: np.ndarray
    weight: np.ndarray


class Generator(ABC):
    """Models a row's tokens, given an optional context: float32 [rows, features].

    The context is where conditions, a parent's row, earlier rows of a sequence or an embedding of
    a text or image come in: one seam for conditional, relational, sequential and multimodal data.
    """

    family: ClassVar[str]

    @abstractmethod
    def fit(
        self,
        codec: TableCodec,
        tokens: np.ndarray,
        *,
        context: np.ndarray | None = None,
        quality: str = "standard",
        time_limit: float | None = None,
        seed: int = 0,
        compute: Compute | None = None,
        progress: Progress = silent,
    ) -> History:
        """Learn from int32 tokens [rows, columns]; returns what happened."""

    @abstractmethod
    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        """Draw rows whose tokens lie in `allowed` (by column position, bool [size])."""

    @abstractmethod
    def log_prob(self, tokens: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Log-likelihood of each row in nats, float64 [rows]."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) to a folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, codec: TableCodec) -> Generator:
        """Read what `save` wrote. Raises ArtefactError for damage or another format."""
