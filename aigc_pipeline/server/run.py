"""Running the application until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.server.app import create_app
from aigc_pipeline.server.settings import ServerSettings

CONNECTIONS = 1000  # at a time; more are told to come back


def run(lake: Lake, settings: ServerSettings, *, started: Callable[[str], None]) -> None:
    """Serve until interrupted or terminated; `started` is given the URL once it answers.

    Raises InputError where the address cannot be had.
    """
    import uvicorn

    from aigc_pipeline.server.connection import Connection

    config = uvicorn.Config(
        create_app(lake, settings),
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
        lifespan="on",
        log_level="warning",
        access_log=False,  # a query may hold what nobody else should read
        server_header=False,
        proxy_headers=False,
        ws="none",
        h11_max_incomplete_event_size=64 * 1024,
        http=Connection,
    )
    server = uvicorn.Server(config)
    with _listening(settings) as listening:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(server, listening, started))
    if not server.started:
        raise InputError("the server did not start; what went wrong is told above")


async def _serve(server: object, listening: socket.socket, started: Callable[[str], None]) -> None:
    import uvicorn

    assert isinstance(server, uvicorn.Server)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        host, port = listening.getsockname()[:2]
        started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    await serving


def _listening(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=512, reuse_port=False
        )
    except OSError as error:
        raise InputError(
            f"{settings.host}:{settings.port}: cannot listen there ({error.strerror or error});"
            " give another --host or --port"
        ) from error
