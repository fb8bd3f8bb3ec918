"""The project: the folder that the dataset files, and the paths inside them, belong to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """Where the dataset files are. Relative source paths start at the folder above them."""

    datasets: Path

    @classmethod
    def from_env(cls) -> Project:
        """The project of `$AIGC_DATASETS`, by default `./datasets`."""
        return cls(Path(os.environ.get("AIGC_DATASETS") or "datasets").expanduser().resolve())

    @property
    def root(self) -> Path:
        """The folder that relative source paths start at."""
        return self.datasets.parent
