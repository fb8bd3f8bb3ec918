"""Sampling from a fitted model: batches of rows, rows under conditions, missing cells."""

from aigc_pipeline.synthesis.imputer import impute, table_cells
from aigc_pipeline.synthesis.sampler import Sampler

__all__ = ["Sampler", "impute", "table_cells"]
