"""`aigc diff`: what differs between two releases of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aigc_pipeline.drift import TableDrift
    from aigc_pipeline.warehouse.diff import ReleaseDiff

FURTHEST = 10  # columns of a table that are shown though they did not move


def diff(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    before: Annotated[
        str | None, typer.Argument(help="A release.  By default the one before the other.")
    ] = None,
    after: Annotated[
        str | None, typer.Argument(help="A release.  By default the one in force.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it, unmoved columns too, as JSON.")
    ] = False,
) -> None:
    """Compare two releases: columns and types, rows, scores, and how far distributions moved.

    A distance is the share of rows that would have to change their value, 0 to 1, beside what
    chance alone would show. The real rows behind the releases are compared too, as long as the lake
    has them; nothing is told of them but distances and shares of missing values.

    Examples:
      aigc diff loans
      aigc diff loans v00003-0f3a9c1d
      aigc diff loans v00003-0f3a9c1d v00007-5be2d8a1 --json
    """
    from aigc_pipeline import warehouse
    from aigc_pipeline.commands import show
    from aigc_pipeline.lake import Lake

    found = warehouse.diff(Lake.from_env(), dataset, before, after)
    if as_json:
        show.print_json(found.to_json())
    else:
        _show(found)


def _show(found: ReleaseDiff) -> None:
    from aigc_pipeline.commands import show

    show.say(f"{found.dataset}: from release {found.before} to {found.after}")
    if found.schema_:
        show.table(
            ["table", "column", "before", "after"],
            [[c.table, c.column or "(all)", c.before, c.after] for c in found.schema_],
            title="Schema",
        )
    else:
        show.say("\nSchema: the same tables, columns and types")
    show.table(
        ["table", "before", "after", "difference"],
        [[r.table, r.before, r.after, _less(r.after, r.before)] for r in found.rows],
        title="Rows",
    )
    changed = [s for s in found.scores if s.before != s.after]
    if changed:
        show.table(
            ["table", "score", "before", "after", "difference", "best"],
            [
                [s.table, s.score, s.before, s.after, _less(s.after, s.before), _best(s.better)]
                for s in changed
            ],
            title="Scores",
        )
    else:
        show.say("\nScores: the same")
    _show_drift("Synthetic rows", found.drift)
    if found.source_drift is None:
        show.say(f"\nReal rows: not compared, {found.no_source}")
    elif not found.source_drift:
        show.say("\nReal rows: the same run's")
    else:
        _show_drift("Real rows", found.source_drift)


def _show_drift(title: str, drifts: Mapping[str, TableDrift]) -> None:
    from aigc_pipeline.commands import show

    rows = []
    for name, drift in drifts.items():
        ranked = sorted(drift.columns, key=lambda c: -(c.distance or 0.0))
        shown = drift.moved + [c for c in ranked if not (c.shifted or c.nulls_shifted)][:FURTHEST]
        rows += [
            [
                "moved" if c.shifted or c.nulls_shifted else "",
                name,
                c.column,
                c.distance,
                c.chance,
                f"{c.null_rate_before:.1%}",
                f"{c.null_rate_after:.1%}",
            ]
            for c in shown
        ]
    columns = ["", "table", "column", "distance", "by chance", "missing before", "missing after"]
    show.table(columns, rows, title=f"{title}: distributions, furthest first")


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _best(better: str) -> str:
    return {"low": "low", "high": "high", "half": "0.5"}[better]
