"""What a stage shows of itself: small tables and pictures as Markdown, for Dagster's pages.

Shares, counts, losses and scores only, never a value of a real row. A picture is an SVG within a
`data:` address, on a light ground of its own, since it cannot know the page's colours.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from aigc_pipeline.pages import markdown, percent
from aigc_pipeline.validation import ValidationReport

SHOWN = 12  # bars of a picture, rows of a table
WIDTH, BAR = 560, 22
NAME, FIGURE = 190, 70  # room for a bar's name and figure
INK, MUTED, LINE = "#16202e", "#566173", "#dde2ea"
FIRST, SECOND = "#1559c7", "#8d9aae"


def missing_values(rates: Mapping[str, float]) -> dict[str, str]:
    """A picture of the columns with missing values, most first; `rates` are shares by column."""
    most = sorted(((n, r) for n, r in rates.items() if r > 0), key=lambda item: -item[1])
    if not most:
        return {"missing": "No value is missing."}
    bars = [(name, [rate], percent(rate)) for name, rate in most[:SHOWN]]
    left_out = len(most) - len(bars)
    more = f" (and {left_out} more columns)" if left_out else ""
    return {"missing": _picture("Missing values" + more, _bars(bars, top=1.0))}


def broken_rules(reports: Mapping[str, ValidationReport]) -> dict[str, str]:
    """A table of the rules that rows break, and how many."""
    broken = [
        (table, result.rule, result.column or "", result.severity.value, result.failed_rows)
        for table, report in reports.items()
        for result in report.failed()
    ]
    if not broken:
        return {"rules_broken": "Every rule holds."}
    head = ("table", "rule", "column", "severity", "rows that break it")
    return {"rules_broken": table(head, broken[: 2 * SHOWN])}


def losses(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, str]:
    """A picture of each table's held-out loss by step: `curves` are `looks` of a training."""
    return {
        f"loss_{name}" if len(curves) > 1 else "loss": _picture(
            f"Held-out loss of {name} by step", _curve(looks)
        )
        for name, looks in curves.items()
        if len(looks) > 1
    }


def worst_columns(evaluations: Mapping[str, Any]) -> dict[str, str]:
    """A picture of the columns that are furthest off, beside fresh real rows; `evaluations` is
    Evaluations by table as plain data."""
    several = len(evaluations) > 1
    found = [
        (f"{table}.{c['column']}" if several else c["column"], c["shape_error"], c["reference"])
        for table, evaluation in evaluations.items()
        for c in evaluation["columns"]
        if c["shape_error"] is not None
    ]
    worst = sorted(found, key=lambda item: -item[1])[:SHOWN]
    if not worst:
        return {}
    top = max(max(error, fresh or 0.0) for _, error, fresh in worst) or 1.0
    bars = [(name, [error, fresh or 0.0], percent(error)) for name, error, fresh in worst]
    title = "Shape error of the columns furthest off (grey: fresh real rows)"
    return {"worst_columns": _picture(title, _bars(bars, top))}


def scores(
    found: Mapping[str, Mapping[str, Any]], gates: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """A table of every score beside that of fresh real rows, with the gates on it; all as plain
    data, `found` by table and name."""
    verdicts = {
        (g["table"], g["score"]): f"{'✓' if g['passed'] else '✗'} {g['limit']}" for g in gates
    }
    rows = [
        (
            name,
            score,
            _digits(told["value"]),
            _digits(told["reference"]),
            verdicts.get((name, score)),
        )
        for name, all_of in found.items()
        for score, told in all_of.items()
    ]
    return {"scores": table(("table", "score", "synthetic", "fresh real rows", "gate"), rows)}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None is an empty cell."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = ("" if cell is None else markdown(cell) for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _picture(title: str, drawn: tuple[int, str]) -> str:
    """Parts of an SVG, below their title, as a Markdown image."""
    height, parts = drawn
    height += 34
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>'
        f'<text x="12" y="20" fill="{INK}" font-weight="600">{escape(_short(title, 84))}</text>'
        f'<g transform="translate(0,30)">{parts}</g></svg>'
    )
    address = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return f"![{markdown(_short(title, 84))}]({address})"


def _bars(rows: Sequence[tuple[str, Sequence[float], str]], top: float) -> tuple[int, str]:
    """Name, lengths and figure of each row; the second length is drawn thin and grey below."""
    room = WIDTH - NAME - FIGURE - 24
    parts = []
    for i, (name, values, figure) in enumerate(rows):
        y = i * BAR
        parts.append(
            f'<text x="{NAME}" y="{y + 14}" text-anchor="end" fill="{INK}">'
            f"{escape(_short(name, 28))}</text>"
        )
        for j, value in enumerate(values):
            at, thick, colour = (y + 3, 9, FIRST) if j == 0 else (y + 14, 3, SECOND)
            width = max(1.0, room * min(value / top, 1.0))
            parts.append(
                f'<rect x="{NAME + 10}" y="{at}" width="{width:.1f}" height="{thick}"'
                f' rx="1.5" fill="{colour}"/>'
            )
        parts.append(
            f'<text x="{WIDTH - 12}" y="{y + 14}" text-anchor="end" fill="{MUTED}">{figure}</text>'
        )
    return BAR * len(rows), "".join(parts)


def _curve(looks: Sequence[Mapping[str, float]]) -> tuple[int, str]:
    """Held-out losses over steps as a line; its lowest point is marked."""
    left, right, height = 56, WIDTH - 16, 150
    steps, values = [look["step"] for look in looks], [look["held_out"] for look in looks]
    low, high = min(values), max(values)
    spread, length = (high - low) or 1.0, (steps[-1] - steps[0]) or 1

    def at(step: float, value: float) -> tuple[float, float]:
        x = left + (right - left) * (step - steps[0]) / length
        return x, 8 + (height - 16) * (high - value) / spread

    points = " ".join("{:.1f},{:.1f}".format(*at(*p)) for p in zip(steps, values, strict=True))
    best = values.index(low)
    x, y = at(steps[best], low)
    parts = [
        f'<path d="M{left},0V{height}H{right}" fill="none" stroke="{LINE}"/>',
        f'<polyline points="{points}" fill="none" stroke="{FIRST}" stroke-width="2"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{FIRST}"/>',
        f'<text x="{left - 6}" y="14" text-anchor="end" fill="{MUTED}">{high:.4g}</text>',
        f'<text x="{left - 6}" y="{height - 4}" text-anchor="end" fill="{MUTED}">{low:.4g}</text>',
        f'<text x="{left}" y="{height + 16}" fill="{MUTED}">{steps[0]:,.0f}</text>',
        f'<text x="{right}" y="{height + 16}" text-anchor="end" fill="{MUTED}">'
        f"{steps[-1]:,.0f}</text>",
    ]
    return height + 24, "".join(parts)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _short(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
