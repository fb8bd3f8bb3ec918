"""`aigc dashboard`: dashboards as code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset in the warehouse.")],
    to: Annotated[Path, typer.Option(help="Folder to write; made where it is missing.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that others wrote or changed.")
    ] = False,
) -> None:
    """Write an Evidence project that shows a dataset: a page for each mart, and its scores.

    Made from the catalogue alone, so that it can be made again at any time. It reads the warehouse
    where it is: after a release, `npm run sources` brings the new rows.

    Examples:
      aigc dashboard shop --to dashboards/shop
      cd dashboards/shop && npm install && npm run sources && npm run dev
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.warehouse.dashboard import write_dashboard

    written = write_dashboard(Lake.from_env(), dataset, to, force=force)
    show.say(
        f"{to}: {len(written)} files; start it with `npm install`, `npm run sources`, `npm run dev`"
    )
