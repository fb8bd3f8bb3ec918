"""The seven stages as plain functions: each reads the lake, calls the library, writes a version.

Two more functions add a scenario to the release in force, and drop one from it.

The functions are imported when first used: torch, scikit-learn and Great Expectations come with
them, and whoever only wants to know what a stage returns should not wait for that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aigc_pipeline.stages.result import STAGE_CHECKS, Check, StageResult

if TYPE_CHECKING:
    from aigc_pipeline.stages.judge import evaluate, release
    from aigc_pipeline.stages.learn import synthesize, train
    from aigc_pipeline.stages.prepare import featurize, ingest, validate
    from aigc_pipeline.stages.scenario import add_scenario, drop_scenario

__all__ = [
    "STAGE_CHECKS",
    "Check",
    "StageResult",
    "add_scenario",
    "drop_scenario",
    "evaluate",
    "featurize",
    "ingest",
    "release",
    "synthesize",
    "train",
    "validate",
]

_MODULES = {
    "ingest": "prepare",
    "validate": "prepare",
    "featurize": "prepare",
    "train": "learn",
    "synthesize": "learn",
    "evaluate": "judge",
    "release": "judge",
    "add_scenario": "scenario",
    "drop_scenario": "scenario",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
