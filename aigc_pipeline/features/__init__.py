"""Codecs: typed columns <-> model tokens."""

from aigc_pipeline.features.table import TableCodec

__all__ = ["TableCodec"]
