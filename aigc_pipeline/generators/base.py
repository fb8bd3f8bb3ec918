"""The interface all generator families share: tokens in, tokens out, given a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.training import Compute, History, Progress, silent


@dataclass(frozen=True)
class Draw:
    """Sampled rows. tokens: int32 [rows, columns]; log_weight: float64 [rows], at most 0.

    A row's weight is the probability, along its path, of what was asked for (allowed or given
    tokens): accepting rows in proportion to it gives the exact conditional distribution.
    """

    tokens: np.ndarray
    log_weight: np.ndarray


class Generator(ABC):
    """Models a row's tokens, given an optional context: float32 [rows, features].

    The context is where conditions, a parent's row, earlier rows of a sequence or an embedding of
    a text or image come in: one seam for conditional, relational, sequential and multimodal data.

    conditional: whether `sample` draws under `given` tokens. Where not, rows are drawn as they come
    and weighted 0 or -inf by whether they happen to have them.
    """

    family: ClassVar[str]
    conditional: ClassVar[bool] = True

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
        checkpoint: Path | None = None,
        progress: Progress = silent,
        groups: np.ndarray | None = None,
    ) -> History:
        """Learn from int32 tokens [rows, columns]; returns what happened.

        checkpoint: a file to save the state of training to now and then, and to go on from where
        it exists; the same data, settings and seed then give the same weights.
        groups: int64 [rows]; rows of a group are held out together. Rows that are told of each
        other, like a patient's visits, would otherwise hide that a model overfits.
        """

    @abstractmethod
    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        """Draw rows under conditions; the same seed gives the same rows.

        allowed: by column position, the tokens that may be drawn in any row, bool [size].
        given: the tokens each row must have, int32 [rows, columns], -1 where they are free.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) to a folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, codec: TableCodec) -> Generator:
        """Read what `save` wrote. Raises ArtefactError for damage or another format."""

    def cell_log_prob(self, tokens: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Log-likelihood of each cell given those before it in nats, float64 [rows, columns].

        Raises InputError in a family without a likelihood.
        """
        raise InputError(
            f"a {self.family} model has no likelihood of a row; use family: autoregressive"
        )

    def log_prob(self, tokens: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Log-likelihood of each row in nats, float64 [rows]; raises as `cell_log_prob` does."""
        return self.cell_log_prob(tokens, context).sum(1)
