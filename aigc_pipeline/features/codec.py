"""The codec interface: one column (or a fixed combination of columns) as tokens, and back.

Every column is modelled as a categorical variable over `size` tokens. A codec says what each token
means, draws a value for it, and tells the network how alike tokens are (`basis`, `smoothing`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Condition

_REGISTRY: dict[str, type[Codec]] = {}


class Codec(ABC):
    """Maps the values of `columns` to integer tokens in [0, size) and draws values back."""

    type_name: str
    columns: list[str]
    size: int
    marginal: np.ndarray  # [size], the training share of each token, sums to 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "type_name" in cls.__dict__:
            _REGISTRY[cls.type_name] = cls

    @abstractmethod
    def encode(self, df: pl.DataFrame) -> np.ndarray:
        """Tokens of each row, int32 [rows]."""

    @abstractmethod
    def decode(
        self, tokens: np.ndarray, rng: np.random.Generator, row: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Values for tokens [rows], as a frame of `columns` in their source dtypes.

        row: the columns of the same rows that were decoded before.
        """

    @abstractmethod
    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        """Which tokens may give a value that meets the condition, bool [size]."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All fitted state as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_json(cls, state: dict[str, Any]) -> Codec:
        """The codec `to_json` described."""

    def parts(self) -> list[Codec]:
        """The codecs of all its tokens, in the model's order: itself, for most."""
        return [self]

    def basis(self) -> np.ndarray | None:
        """Fixed features of each token, float32 [size, features]; None without an order."""
        return None

    def smoothing(self) -> np.ndarray | None:
        """Training target of each token, float32 [size, size], rows sum to 1; None for one-hot."""
        return None

    def emitted(self) -> np.ndarray:
        """Which tokens may be sampled at all, bool [size]."""
        return np.ones(self.size, dtype=bool)


class Part(Codec):
    """Tokens that say more of a value than its main codec's own.

    They stand before these, and the main codec decodes and stores them. name: what its `decode`
    calls them.
    """

    name: str

    def __init__(self, main: Codec, marginal: np.ndarray) -> None:
        self.main = main
        self.columns = main.columns
        self.marginal = marginal
        self.size = len(marginal)

    @abstractmethod
    def allows(self) -> np.ndarray:
        """Which of the main codec's tokens go with which of these, bool [size, main size]."""

    def decode(
        self, tokens: np.ndarray, rng: np.random.Generator, row: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        raise TypeError("a part is decoded by its main codec")

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        return np.ones(self.size, dtype=bool)

    def to_json(self) -> dict[str, Any]:
        raise TypeError("a part is stored with its main codec")

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Codec:
        raise TypeError("a part is stored with its main codec")


def codec_from_json(state: dict[str, Any]) -> Codec:
    """The codec a JSON state describes, of whatever type."""
    return _REGISTRY[state["type"]].from_json(state)


@dataclass(frozen=True)
class Subjects:
    """Who each row is about, and how many different ones a value needs to be learned.

    codes: int64 [rows], or None where each row is a subject of its own.
    """

    minimum: int
    codes: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Subjects:
        """The same for a selection of rows."""
        return Subjects(self.minimum, None if self.codes is None else self.codes[rows])

    def support(self, groups: np.ndarray, count: int) -> np.ndarray:
        """Different subjects in each of `count` groups; `groups` is int [rows]."""
        if self.codes is None:
            return np.bincount(groups, minlength=count)
        subjects = int(self.codes.max(initial=0)) + 1
        pairs = np.unique(groups.astype(np.int64) * subjects + self.codes)
        return np.bincount(pairs // subjects, minlength=count)
