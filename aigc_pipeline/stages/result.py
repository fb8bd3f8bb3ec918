"""What a stage returns: the version it wrote, facts about it, and its checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from aigc_pipeline.lake import Version

STAGE_CHECKS: dict[str, list[tuple[str, str]]] = {
    "raw": [("schema_unchanged", "warning")],
    "validated": [
        ("contract", "critical"),
        ("contract_warnings", "warning"),
        ("references_hold", "warning"),
        ("schema_as_released", "warning"),
        ("source_drift", "warning"),
        ("derived_columns_agree", "warning"),
    ],
    "features": [],
    "model": [("trained_to_convergence", "warning")],
    "synthetic": [("schema_kept", "critical"), ("constraints_hold", "critical")],
    "evaluation": [("gates", "critical")],
    "release": [("warehouse_answers", "critical")],
}


@dataclass(frozen=True)
class Check:
    """One check's outcome. A failed critical one stops the run."""

    name: str
    passed: bool
    severity: Literal["critical", "warning"]
    message: str
    metadata: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """A stage's outcome; `version` is None where a failed check kept it from writing.

    shown: tables and pictures of it as Markdown, by name.
    """

    version: Version | None
    metadata: dict[str, Any]
    checks: list[Check] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)


def check(
    stage: str, name: str, passed: bool, message: str, **metadata: float | int | str
) -> Check:
    """A check with the severity that STAGE_CHECKS gives it."""
    severity = dict(STAGE_CHECKS[stage])[name]
    return Check(name, passed, severity, message, metadata)  # type: ignore[arg-type]
