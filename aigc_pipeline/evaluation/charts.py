"""The report's charts: small ones as paths for the template, large ones drawn by Altair as SVG.

Colours are CSS variables, so that one picture serves a light and a dark page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from markupsafe import Markup

from aigc_pipeline.evaluation.result import ColumnScore, Evaluation
from aigc_pipeline.spec import Kind

WIDTH, HEIGHT = 280, 84  # of a histogram, in its own units
HEATMAP_COLUMNS = 60  # at most; those with the largest errors
DOT_COLUMNS = 30
STEPS = (0.01, 0.02, 0.05, 0.10, 0.20)  # where the heatmap's colours change
HEAT_LABELS = ["< 1 %", "1 – 2 %", "2 – 5 %", "5 – 10 %", "10 – 20 %", "≥ 20 %"]

# Altair wants colours; each of these stands for a CSS variable and is replaced in the SVG.
INK, GRID, REAL, SYNTHETIC, EMPTY = "#010101", "#010102", "#010103", "#010104", "#010105"
HEAT = [f"#02020{i}" for i in range(6)]
VARIABLES = {
    INK: "--muted",
    GRID: "--line",
    REAL: "--real",
    SYNTHETIC: "--synthetic",
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
    ends = [shown.edges[0], shown.edges[bins // 2], shown.edges[-1]]
    return Histogram(bars, f"M0,{HEIGHT}{steps}V{HEIGHT}", [_tick(end, column.kind) for end in ends])


def _tick(value: float, kind: Kind | None) -> str:
    if kind == Kind.DATETIME:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)).strftime("%Y-%m-%d")
    if kind == Kind.INTEGER and value % 1:  # integers lie in the middle of their bins
        value += 0.5
    for size, letter in ((1e12, "T"), (1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g} {letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def heatmap(evaluation: Evaluation) -> Markup | None:
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
    names_axis = {"labelLimit": 190, "labelFontSize": min(12, max(9, step - 5))}
    chart = (
        alt.Chart(alt.Data(values=cells))
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("x:N", sort=names[:-1], title=None, axis=alt.Axis(labelAngle=-90, **names_axis)),
            y=alt.Y("y:N", sort=names[1:], title=None, axis=alt.Axis(**names_axis)),
            color=alt.Color(
                "level:O",
                scale=alt.Scale(domain=list(range(-1, 6)), range=[EMPTY, *HEAT]),
                legend=None,
            ),
        )
        .properties(width=alt.Step(step), height=alt.Step(step))
    )
    label = (
        f"Map of the trend error of {len(cells)} pairs of columns; the largest are in the table"
        " that follows"
    )
    return _draw(chart, label)


def _level(error: float | None) -> int:
    return -1 if error is None else sum(error >= step for step in STEPS)


def shape_dots(evaluation: Evaluation) -> Markup | None:
    """Shape error by column, synthetic beside fresh real rows, worst first."""
    import altair as alt

    columns = [c for c in evaluation.columns if c.shape_error is not None]
    columns = sorted(columns, key=lambda c: -(c.shape_error or 0.0))[:DOT_COLUMNS]
    if not columns:
        return None
    names = [c.column for c in columns]
    dots = [
        {"column": c.column, "who": who, "error": error}
        for c in columns
        for who, error in (("fresh real rows", c.reference), ("synthetic rows", c.shape_error))
        if error is not None
    ]
    base = alt.Chart(alt.Data(values=dots)).encode(
        y=alt.Y("column:N", sort=names, title=None, axis=alt.Axis(labelLimit=210, grid=True)),
        x=alt.X("error:Q", title="shape error", axis=alt.Axis(format=".1~%", tickCount=6)),
    )
    scale = alt.Scale(domain=["fresh real rows", "synthetic rows"], range=[REAL, SYNTHETIC])
    chart = (
        base.mark_line(color=GRID, strokeWidth=2).encode(detail="column:N")
        + base.mark_point(filled=True, size=70, opacity=1).encode(
            color=alt.Color("who:N", scale=scale, legend=None),
            shape=alt.Shape(
                "who:N",
                scale=alt.Scale(domain=scale.domain, range=["diamond", "circle"]),
                legend=None,
            ),
        )
    ).properties(width=420, height=alt.Step(20))
    return _draw(chart, f"Shape error of {len(names)} columns, largest first, beside fresh rows'")


def _draw(chart, label: str) -> Markup:  # type: ignore[no-untyped-def]
    """An Altair chart as an SVG that takes the page's colours and width."""
    import vl_convert

    chart = chart.configure(
        background="transparent",
        font="system-ui, sans-serif",
        aria=False,
    )
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=INK,
        titleColor=INK,
        domainColor=GRID,
        tickColor=GRID,
        gridColor=GRID,
        labelFontSize=12,
        titleFontSize=12,
        titleFontWeight="normal",
    )
    svg = vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])
    for colour, variable in VARIABLES.items():
        svg = svg.replace(f'"{colour}"', f'"var({variable})"')
    width = float(re.search(r'width="([\d.]+)"', svg)[1])  # type: ignore[index]
    opening = re.match(r"<svg[^>]*>", svg)
    view_box = re.search(r'viewBox="[^"]*"', opening[0])[0]  # type: ignore[index]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view_box} role="img"'
        f' aria-label="{escape(label)}" style="width:{width:.0f}px">'
    )
    # Vega escapes all texts; nothing else in its SVG comes from the data.
    return Markup(head + svg[len(opening[0]) :])  # type: ignore[index]
