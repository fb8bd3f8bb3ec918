"""`aigc serve`: the warehouse over HTTP, read-only, for tools that cannot open a file."""

from aigc_pipeline.server.settings import Limits, ServerSettings

__all__ = ["Limits", "ServerSettings"]
