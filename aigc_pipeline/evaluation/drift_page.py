"""What the report says of the source: how far its columns moved since the run before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigc_pipeline.drift import TableDrift
from aigc_pipeline.evaluation.wording import DASH
from aigc_pipeline.pages import Messages, percent

MOST = 10  # columns of a table that are shown


def moved_since(drifts: Mapping[str, TableDrift], text: Messages) -> dict[str, Any] | None:
    """What the template needs; None where there is no earlier run to compare with."""
    if not drifts:
        return None
    columns = [
        (name, column, column.shifted or column.nulls_shifted)
        for name, drift in drifts.items()
        for column in drift.columns
    ]
    columns.sort(key=lambda row: (not row[2], -(row[1].distance or 0.0)))
    moved = sum(row[2] for row in columns)
    return {
        "verdict": text("drift.some", moved=moved, count=len(columns))
        if moved
        else text("drift.none"),
        "rows": [
            {
                "column": column.column if len(drifts) == 1 else f"{name}.{column.column}",
                "moved": is_moved,
                "distance": _share(column.distance),
                "chance": _share(column.chance),
                "missing": f"{_share(column.null_rate_before)} → {_share(column.null_rate_after)}",
            }
            for name, column, is_moved in columns[: max(MOST, moved)]
        ],
        "left_out": max(len(columns) - max(MOST, moved), 0),
    }


def _share(value: float | None) -> str:
    return DASH if value is None else percent(value)
