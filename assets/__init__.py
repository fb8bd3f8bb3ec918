"""The Dagster graph: one file a stage, each asset a few lines around one library call."""

from assets.dataset import build_dataset

__all__ = ["build_dataset"]
