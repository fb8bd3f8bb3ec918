"""`aigc query`, `aigc releases`, `aigc rollback`: the published side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

MOST_MEMORY = 8 * 2**30  # of a query: DuckDB's own limit does not count what one function makes
GRACE = 5.0  # seconds that a query has to stop in
# The scores that `aigc releases` shows: all are better when low.
SHOWN = ("shape_error", "detection_auc", "utility_gap", "copied_rows")


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement in DuckDB's SQL.")],
    limit: Annotated[int, typer.Option(min=1, help="Rows to show at most.")] = 1000,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which the query is given up.")
    ] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
) -> None:
    """Ask the warehouse a question in SQL, read-only.

    A dataset's tables are in the schema of its name, its scenarios in DATASET__SCENARIO. The
    schema `catalog` tells of datasets, columns, releases, scores and checks.

    Examples:
      aigc query "select count(*) from loans.loans"
      aigc query "select grade, avg(interest_rate) from loans.loans group by grade order by 1"
      aigc query "from catalog.scores" --json
    """
    from aigc_pipeline import warehouse
    from aigc_pipeline.commands import show
    from aigc_pipeline.held import held_memory, held_time
    from aigc_pipeline.lake import Lake

    late = f"error: the query took longer than {timeout:g} seconds and heeded no sign to stop"
    with held_memory(MOST_MEMORY), held_time(timeout + GRACE, late):
        result = warehouse.query(Lake.from_env(), sql, limit=limit, seconds=timeout)
    if as_json:
        show.print_json(result.frame.rows(named=True))
    else:
        show.frame(result.frame)
    if result.note:
        show.note(result.note)


def releases(
    dataset: Annotated[
        str | None, typer.Argument(help="Name of a dataset.  By default all of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the approved releases that the lake keeps; the one in force is marked.

    Examples:
      aigc releases
      aigc releases loans --json
    """
    from aigc_pipeline import warehouse
    from aigc_pipeline.commands import show
    from aigc_pipeline.lake import Lake

    found = warehouse.releases(Lake.from_env(), dataset)
    if as_json:
        show.print_json([asdict(release) for release in found])
        return
    if not found:
        show.note("there is no release yet: aigc run DATASET makes one")
        return
    names = list(dict.fromkeys(s for r in found for t in r.scores.values() for s in t))
    shown = [name for name in SHOWN if name in names]
    private = ["epsilon", "of its source"] if any(r.dp for r in found) else []
    show.table(
        [
            "",
            "dataset",
            "release",
            "made (UTC)",
            "seed",
            "rows",
            "scenarios",
            *shown,
            *private,
            "problem",
        ],
        [
            [
                "▸" if r.is_current else "",
                r.dataset,
                r.id,
                r.created_at.strftime("%Y-%m-%d %H:%M") if r.created_at else None,
                str(r.seed) if r.seed is not None else None,
                sum(r.rows.values()),
                ", ".join(r.scenarios),
                *(_worst([table.get(name) for table in r.scores.values()]) for name in shown),
                *(_most(r.dp, key) for key in ("epsilon", "total") if private),
                r.problem or "",
            ]
            for r in found
        ],
    )


def rollback(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    to: Annotated[
        str | None, typer.Option(help="Release to go back to.  By default the one before.")
    ] = None,
) -> None:
    """Put an earlier release of a dataset back in force, and rebuild the warehouse with it.

    Nothing is deleted: a later release can be put back with --to.

    Examples:
      aigc rollback loans
      aigc rollback loans --to v00003-0f3a9c1d
    """
    from aigc_pipeline import warehouse
    from aigc_pipeline.commands import show
    from aigc_pipeline.lake import Lake

    version = warehouse.rollback(Lake.from_env(), dataset, to)
    show.say(f"{dataset}: release {version.id} is in force again, and the warehouse is rebuilt")


def _most(spent: dict[str, dict[str, float | None]], key: str) -> float | None:
    """The highest of the tables' epsilons."""
    return _worst([table.get(key) for table in spent.values()])


def _worst(values: list[float | None]) -> float | None:
    """The highest of the tables' scores: all that are shown are better when low."""
    known = [value for value in values if value is not None]
    return max(known, default=None)
