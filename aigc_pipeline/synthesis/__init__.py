"""Batch sampling from a fitted model."""

from aigc_pipeline.synthesis.sampler import Sampler

__all__ = ["Sampler"]
