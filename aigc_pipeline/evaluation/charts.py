"""The report's charts: small ones as places for the template, the large one drawn by Altair as SVG.

Colours are CSS variables, so that one picture serves a light and a dark page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape
from typing import Any

from markupsafe import Markup

from aigc_pipeline.evaluation.result import ColumnScore, Evaluation
from aigc_pipeline.pages import Messages, percent
from aigc_pipeline.spec import Kind

WIDTH, HEIGHT = 280, 84  # of a histogram, in its own units
HEATMAP_COLUMNS = 60  # at most; those with the largest errors
DOT_COLUMNS = 30
STEPS = (0.01, 0.02, 0.05, 0.10, 0.20)  # where the heatmap's colours change

# Altair wants colours; each of these stands for a CSS variable and is replaced in the SVG.
INK, GRID, EMPTY = "#010101", "#010102", "#010103"
HEAT = [f"#02020{i}" for i in range(6)]
VARIABLES = {
    INK: "--muted",
    GRID: "--line",
    EMPTY: "--empty",
    **{colour: f"--heat-{i}" for i, colour in enumerate(HEAT)},
}


@dataclass(frozen=True)
class Histogram:
    """Paths of real bars and of the synthetic outline, and the labels below them."""

    real: str
    synthetic: str
    ticks: list[str]


def histogram(column: ColumnScore) -> Histogram | None:
    """The overlay of a number's real and synthetic shares; None for a column of categories."""
    shown = column.distribution
    if shown is None or not shown.edges:
        return None
    top = max(*shown.real, *shown.synthetic, 1e-9)
    bins = len(shown.real)
    at = [round(WIDTH * i / bins, 1) for i in range(bins + 1)]

    def height(share: float) -> float:
        return round(HEIGHT - (HEIGHT - 4) * share / top, 1)

    bars = "".join(
        f"M{at[i] + 0.5:.1f},{HEIGHT}V{height(share)}H{at[i + 1] - 0.5:.1f}V{HEIGHT}Z"
        for i, share in enumerate(shown.real)
        if share > 0
    )
    steps = "".join(f"V{height(share)}H{at[i + 1]}" for i, share in enumerate(shown.synthetic))
    low, high = shown.edges[0], shown.edges[-1]
    if column.kind == Kind.INTEGER and low % 1:  # integers lie in the middle of their bins
        low, high = low + 0.5, high - 0.5
    ticks = [low, (low + high) / 2, high] if high > low else [low]
    outline = f"M0,{HEIGHT}{steps}V{HEIGHT}"
    return Histogram(bars, outline, [tick(value, column.kind) for value in ticks])


def tick(value: float, kind: Kind | None) -> str:
    """A number short enough for an axis, or a day."""
    if kind == Kind.DATETIME:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)).strftime("%Y-%m-%d")
    for size, letter in ((1e12, "T"), (1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            text = f"{value / (1e3 if letter == 'k' else size):.4g} {letter}"
            break
    else:
        text = f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def heat_labels(text: Messages) -> list[str]:
    """What the heatmap's colours stand for."""
    shares = [f"{100 * step:.0f} %" for step in STEPS]
    return [
        text("pairs.below", share=shares[0]),
        *(text("pairs.to", share=share) for share in shares[1:]),
        text("pairs.more"),
    ]


def heatmap(evaluation: Evaluation, text: Messages) -> Markup | None:
    """Trend error of every pair of columns as one picture; None for fewer than two columns."""
    import altair as alt

    names = [c.column for c in evaluation.columns]
    if len(names) < 2:
        return None
    errors = {pair.columns: pair.trend_error for pair in evaluation.pairs}
    if len(names) > HEATMAP_COLUMNS:
        worst: dict[str, float] = dict.fromkeys(names, 0.0)
        for pair, error in errors.items():
            for name in pair:
                worst[name] += error or 0.0
        kept = set(sorted(names, key=lambda name: -worst[name])[:HEATMAP_COLUMNS])
        names = [name for name in names if name in kept]
    place = {name: i for i, name in enumerate(names)}
    cells = []
    for (first, second), error in errors.items():
        if first in place and second in place:
            low, high = sorted((first, second), key=place.__getitem__)
            cells.append({"x": low, "y": high, "level": _level(error)})
    step = max(14, min(36, 900 // len(names)))
    axis = partial(alt.Axis, labelLimit=190, labelFontSize=min(12, max(9, step - 5)))
    chart = (
        alt.Chart(alt.Data(values=cells))
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("x:N", sort=names[:-1], title=None, axis=axis(labelAngle=-90)),
            y=alt.Y("y:N", sort=names[1:], title=None, axis=axis()),
            color=alt.Color(
                "level:O",
                scale=alt.Scale(domain=list(range(-1, 6)), range=[EMPTY, *HEAT]),
                legend=None,
            ),
        )
        .properties(width=alt.Step(step), height=alt.Step(step))
    )
    return _draw(chart, text("pairs.picture", count=len(cells)))


def _level(error: float | None) -> int:
    return -1 if error is None else sum(error >= step for step in STEPS)


def dots(evaluation: Evaluation) -> tuple[list[dict[str, str | None]], list[str]]:
    """Shape errors by column beside fresh real rows', worst first, as places on one scale.

    Returns rows of `column`, `error`, `fresh` and their `at`, `fresh_at` in percent of the scale,
    and the scale's labels.
    """
    columns = [c for c in evaluation.columns if c.shape_error is not None]
    columns = sorted(columns, key=lambda c: -(c.shape_error or 0.0))[:DOT_COLUMNS]
    largest = max([max(c.shape_error or 0.0, c.reference or 0.0) for c in columns], default=0.0)
    top = next((t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if largest <= t), 1.0)

    def place(error: float | None) -> str | None:
        return None if error is None else f"{100 * error / top:.2f}"

    rows = [
        {
            "column": c.column,
            "error": percent(c.shape_error or 0.0),
            "at": place(c.shape_error),
            "fresh": None if c.reference is None else percent(c.reference),
            "fresh_at": place(c.reference),
        }
        for c in columns
    ]
    return rows, ["0", f"{50 * top:g} %", f"{100 * top:g} %"]


def _draw(chart: Any, label: str) -> Markup:
    """An Altair chart as an SVG that takes the page's colours."""
    import vl_convert

    chart = (
        # Room for labels where the browser's font is wider than the one they were measured in.
        chart.configure(
            background="transparent", font="system-ui, sans-serif", aria=False, padding=20
        )
        .configure_view(stroke=None)
        .configure_axis(labelColor=INK, domainColor=GRID, tickColor=GRID)
    )
    svg = vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])
    for colour, variable in VARIABLES.items():
        svg = svg.replace(f'"{colour}"', f'"var({variable})"')
    opening, inside = svg.split(">", 1)
    # The picture is one image with one text: its parts have no roles of their own.
    inside = re.sub(r"<[^>]*>", lambda tag: re.sub(r' (role|aria-\w+)="[^"]*"', "", tag[0]), inside)
    size = dict(re.findall(r'(width|viewBox)="([^"]*)"', opening))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size["viewBox"]}" role="img"'
        f' aria-label="{escape(label)}" style="width:{float(size["width"]):.0f}px">'
    )
    # Vega escapes all texts; nothing else in its SVG comes from the data.
    return Markup(head + inside)
