"""Learn how business tables came to be, and publish synthetic ones to a DuckDB warehouse."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Synthesizer":  # it brings torch along, which most imports can do without
        return importlib.import_module(f"{__name__}.synthesizer").Synthesizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
