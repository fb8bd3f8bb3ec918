"""The benchmark's picture: how well each engine hides from a detector, over its training time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aigc_pipeline.tabular import FAMILIES

COLOURS = {
    "autoregressive": "#1f5fbf",
    "diffusion": "#7a3fb0",
    "vae": "#0f8f7a",
    "gan": "#c77700",
    "mostlyai": "#8aa9d6",
    "tvae": "#8fcabf",
    "ctgan": "#e6c27f",
}  # a peer has a lighter shade of its namesake's


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG or SVG of detection AUC over training seconds, a panel a table.

    runs: `asdict` of summarised runs. Points of one engine are joined in order of quality.
    """
    import altair as alt

    points = [
        {
            "table": run["table"],
            "engine": run["engine"],
            "quality": run["quality"] if run["engine"] in FAMILIES else "",
            "seconds": run["figures"]["fit_seconds"],
            "auc": run["figures"]["detection_auc"],
        }
        for run in runs
        if run["figures"].get("fit_seconds") and run["figures"].get("detection_auc") is not None
    ]
    fresh = {r["table"]: r["figures"] for r in runs if r["engine"] == "fresh real rows"}
    engines = [name for name in COLOURS if any(p["engine"] == name for p in points)]
    x = alt.X("seconds:Q", title="training, seconds", axis=alt.Axis(tickCount=4)).scale(
        type="log", nice=False, padding=24
    )
    y = alt.Y("auc:Q", title="detection AUC").scale(domain=[0.45, 1.0])
    colour = alt.Color("engine:N", title=None, sort=engines).scale(
        domain=engines, range=[COLOURS[name] for name in engines]
    )
    panels = []
    for table in dict.fromkeys(p["table"] for p in points):
        base = alt.Chart(alt.Data(values=[p for p in points if p["table"] == table]))
        base = base.encode(x=x, y=y, color=colour)
        line = base.mark_line(strokeWidth=1.5)
        dots = base.mark_point(filled=True, size=80, opacity=1)
        names = base.mark_text(dy=-11, fontSize=10).encode(text="quality:N")
        real = alt.Chart(alt.Data(values=[{"auc": fresh[table].get("detection_auc") or 0.5}]))
        rule = real.mark_rule(strokeDash=[4, 4], color="#666").encode(y=y)
        said = real.mark_text(align="left", dx=4, dy=9, fontSize=10, color="#666").encode(
            x=alt.value(0), y=y, text=alt.value("fresh real rows")
        )
        panels.append(
            alt.layer(rule, said, line, dots, names).properties(title=table, width=380, height=260)
        )
    chart = (
        alt.concat(*panels, columns=2)
        .configure(background="white")
        .configure_view(stroke=None)
        .configure_axis(gridColor="#eee", domainColor="#bbb", tickColor="#bbb", titleFontWeight=400)
    )
    chart.save(path, scale_factor=2)
