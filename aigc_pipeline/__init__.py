"""Learn how business tables came to be, and publish synthetic ones to a DuckDB warehouse."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_CLASSES = {"Synthesizer": "synthesizer", "DatabaseSynthesizer": "database"}


def __getattr__(name: str) -> Any:
    if name in _CLASSES:  # they bring torch along, which most imports can do without
        return getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
