"""A plain chart of an answer's first two columns: bars, or a line over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BARS = 30  # at most; more cannot be told apart
POINTS = 200
WIDTH, HEIGHT = 640.0, 220.0
_ORDERED = ("DATE", "TIMESTAMP", "TIME")
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "REAL")


@dataclass(frozen=True)
class Bar:
    """A labelled bar; start and share of the width in percent."""

    label: str
    value: float
    start: float
    share: float


@dataclass(frozen=True)
class Chart:
    """Bars, or a line as points of an SVG of WIDTH x HEIGHT; `title` says what is drawn."""

    title: str
    bars: list[Bar]
    points: str
    first: str
    last: str
    low: float
    high: float


def draw(columns: list[dict[str, str]], rows: list[list[Any]]) -> Chart | None:
    """The chart of an answer, or None where its first two columns do not make one."""
    if len(columns) < 2 or len(rows) < 2 or len(rows) > POINTS:
        return None
    (name, kind), (measure, unit) = ((c["name"], c["type"]) for c in columns[:2])
    if not unit.startswith(_NUMBERS) and not unit.startswith(("U", "HUGE", "BIG", "SMALL", "TINY")):
        return None
    try:
        pairs = [(str(row[0]), float(row[1])) for row in rows if row[1] is not None]
    except (TypeError, ValueError):
        return None
    if len(pairs) < 2 or any(value != value or abs(value) == float("inf") for _, value in pairs):
        return None
    low, high = min(0.0, *(v for _, v in pairs)), max(0.0, *(v for _, v in pairs))
    if high == low:
        return None
    span, title = high - low, f"{measure} by {name}"
    points, bars = "", []
    if kind.startswith(_ORDERED):
        step = WIDTH / (len(pairs) - 1)
        places = ((i * step, HEIGHT * (high - v) / span) for i, (_, v) in enumerate(pairs))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    elif len(pairs) <= BARS:
        bars = [
            Bar(label, v, 100 * (min(v, 0.0) - low) / span, 100 * abs(v) / span)
            for label, v in pairs
        ]
    else:
        return None
    return Chart(title, bars, points, pairs[0][0], pairs[-1][0], low, high)
