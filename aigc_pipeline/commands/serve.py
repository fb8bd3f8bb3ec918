"""`aigc serve`: the warehouse over HTTP."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback takes a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            help="What callers must show.  Better in $AIGC_TOKEN: no process list has it."
        ),
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows of an answer.")] = 10_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds a query may take.")] = 30.0,
    memory: Annotated[int, typer.Option(min=64, help="MiB a query may take.")] = 512,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Queries at a time.")] = 2,
) -> None:
    """Serve the warehouse over HTTP, read-only, for tools that cannot open a file.

    POST /query with the SQL as text, or GET /query?sql=…, answers in JSON, or as an Arrow stream
    if the Accept header asks for it. A browser finds pages at / that show datasets, tables,
    columns, scores and a box to ask. A new release is served from the next query on.

    Examples:
      aigc serve
      curl 127.0.0.1:8080/query -H "content-type: text/plain" -d "from loans.loans limit 3"
      AIGC_TOKEN=$(openssl rand -hex 32) aigc serve --host 0.0.0.0
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.server import Limits, ServerSettings
    from aigc_pipeline.server.run import run

    settings = ServerSettings(
        host=host,
        port=port,
        token=token or os.environ.get("AIGC_TOKEN") or None,
        limits=Limits(seconds=timeout, rows=max_rows, memory=memory * 2**20, workers=workers),
    )
    run(Lake.from_env(), settings, started=lambda url: show.note(f"serving the warehouse on {url}"))
