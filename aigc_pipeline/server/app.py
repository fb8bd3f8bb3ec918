"""The application: `/query` for programs, pages for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aigc_pipeline.lake import Lake
from aigc_pipeline.server.answers import ARROW, JSON
from aigc_pipeline.server.browse import page_routes, refused_page
from aigc_pipeline.server.guard import Guard
from aigc_pipeline.server.pool import Pool, Refused
from aigc_pipeline.server.settings import ServerSettings

SLOW = 10.0  # seconds for a request's body to arrive
_ALL = ("*/*", "application/*", "")


def create_app(lake: Lake, settings: ServerSettings) -> Starlette:
    """The server's ASGI application on a lake's warehouse."""
    pool = Pool(lake, settings.limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await pool.start()
        try:
            yield
        finally:
            await pool.close()

    async def query(request: Request) -> Response:
        media = _media(request)
        sql, rows = await _asked(request, settings.limits.sql)
        answer = await pool.ask(sql, media=media, rows=rows)
        told = {"x-rows": str(answer.rows), "x-truncated": str(answer.truncated).lower()}
        return Response(answer.body, media_type=media, headers=told)

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            status, message = error.status, error.message
        elif isinstance(error, HTTPException):
            status, message = error.status_code, error.detail
        else:
            status, message = 500, "the request could not be answered"
        if request.url.path == "/query":
            return JSONResponse({"error": message}, status)
        return refused_page(status, message)

    return Starlette(
        routes=[Route("/query", query, methods=["GET", "POST"]), *page_routes(pool)],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={Refused: refused, HTTPException: refused, Exception: refused},
        lifespan=lifespan,
    )


def _media(request: Request) -> str:
    """JSON or Arrow, whichever the Accept header names first."""
    accepted = request.headers.get("accept", "").split(",")
    for part in accepted:
        media = part.split(";")[0].strip().lower()
        if media in (ARROW, JSON):
            return media
    if any(part.split(";")[0].strip() in _ALL for part in accepted):
        return JSON
    raise Refused(406, f"answers come as {JSON} or {ARROW}")


async def _asked(request: Request, most: int) -> tuple[str, int | None]:
    """The SQL of a request and, where it says so, how many rows it wants."""
    if request.method != "POST":
        sql: object = request.query_params.get("sql")
        rows: object = request.query_params.get("rows")
        if isinstance(rows, str):
            rows = int(rows) if rows.isascii() and rows.isdigit() and len(rows) < 12 else 0
    else:
        body = await _body(request, 8 * most)
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        try:
            if kind == JSON:
                given = json.loads(body)
                known = isinstance(given, dict) and set(given) <= {"sql", "rows"}
                sql, rows = (given.get("sql"), given.get("rows")) if known else (None, None)
            elif kind in ("text/plain", "text/sql", "application/sql"):
                sql, rows = body.decode(), None
            else:
                raise Refused(415, f"send the query as text/plain, or as {JSON}")
        except (ValueError, RecursionError):
            raise Refused(400, "the body is neither JSON nor text in UTF-8") from None
    if not isinstance(sql, str):
        raise Refused(400, 'say what to ask: {"sql": "SELECT …"}, or ?sql=SELECT…')
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        raise Refused(400, "rows: a whole number from 1")
    if any("\ud800" <= letter <= "\udfff" for letter in sql):
        raise Refused(400, "the query is not text in UTF-8")
    return sql, rows


async def _body(request: Request, most: int) -> bytes:
    """A body, unless it is too long or too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(SLOW):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise Refused(413, f"the body is longer than {most} bytes")
    except TimeoutError:
        raise Refused(408, "the body took too long to arrive") from None
    return bytes(body)
