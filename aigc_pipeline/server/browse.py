"""Pages for people: what there is, how good it is, and a box to ask. No script runs in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from aigc_pipeline.duck import identifier, literal
from aigc_pipeline.server.chart import draw
from aigc_pipeline.server.pool import Pool, Refused

if TYPE_CHECKING:
    from jinja2 import Environment

Rows = list[dict[str, Any]]
SHOWN = 200  # rows of an answer on a page; `/query` gives them all
PEEK = 10  # rows that a table's page shows


def page_routes(pool: Pool) -> list[BaseRoute]:
    """Routes of the pages and their style sheet."""
    pages = Pages(pool)
    return [
        Route("/", pages.home),
        Route("/dataset", pages.dataset),
        Route("/table", pages.table),
        Route("/ask", pages.ask),
        Mount("/static", StaticFiles(packages=[("aigc_pipeline.server", "static")])),
    ]


def refused_page(status: int, message: str) -> HTMLResponse:
    """A page that says why there is no other."""
    return _render(
        "refused.html.j2", code=status, message=message, title="Not shown", status=status
    )


class Pages:
    """The pages; all they show they ask of the warehouse, as any reader would."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def home(self, request: Request) -> HTMLResponse:
        """All datasets."""
        datasets, scores = await self._together(
            "SELECT * FROM catalog.datasets ORDER BY dataset",
            "SELECT dataset, count(*) FILTER (passed) AS passed, count(*) AS gates"
            " FROM catalog.checks JOIN catalog.datasets USING (dataset, release)"
            " WHERE check_type = 'gate' GROUP BY dataset",
        )
        gates = {row["dataset"]: row for row in scores}
        return _render("home.html.j2", title="Synthetic data", datasets=datasets, gates=gates)

    async def dataset(self, request: Request) -> HTMLResponse:
        """One dataset: tables, scenarios, marts, scores, releases."""
        name = request.query_params.get("name", "")
        of = f"WHERE dataset = {literal(name)}"
        found = await self._together(
            f"FROM catalog.datasets {of}",
            f"FROM catalog.tables {of} AND scenario = 'baseline' ORDER BY table_name",
            f"FROM catalog.scenarios {of} ORDER BY scenario",
            f"SELECT t.* FROM catalog.tables t {of} AND scenario <> 'baseline' ORDER BY ALL",
            f"FROM catalog.marts {of} ORDER BY name",
            f"FROM catalog.scores {of} AND is_current ORDER BY table_name, score",
            f"FROM catalog.releases {of} ORDER BY release DESC",
            f"FROM catalog.relations {of} ORDER BY ALL",
        )
        (about, *_), tables, scenarios, variants, marts, scores, releases, relations = (
            found[0] or [{}],
            *found[1:],
        )
        if not about:
            raise Refused(404, "there is no such dataset")
        return _render(
            "dataset.html.j2",
            title=name,
            about=about,
            tables=tables,
            scenarios=scenarios,
            variants=variants,
            marts=marts,
            scores=scores,
            releases=releases,
            relations=relations,
        )

    async def table(self, request: Request) -> HTMLResponse:
        """One table or mart: its columns, what is said of them, and its first rows."""
        schema = request.query_params.get("schema", "")
        name = request.query_params.get("name", "")
        here = f"WHERE schema_name = {literal(schema)} AND table_name = {literal(name)}"
        mart = f"WHERE schema_name = {literal(schema)} AND name = {literal(name)}"
        columns, tables, marts, described = await self._together(
            f"FROM catalog.columns {here} ORDER BY position",
            f"FROM catalog.tables {here}",
            f"FROM catalog.marts {mart}",
            "SELECT column_name, data_type, comment FROM duckdb_columns()"
            f" {here} AND database_name = 'warehouse' ORDER BY column_index",
        )
        if not described:
            raise Refused(404, "there is no such table")
        sql = f"FROM {identifier(schema, name)}"
        # A mart's own query may take longer than it is given: the page is shown without its rows.
        peek, problem = await self._try(sql, PEEK)
        return _render(
            "table.html.j2",
            title=f"{schema}.{name}",
            schema=schema,
            name=name,
            columns=columns,
            described=described,
            about=next(iter(tables), None),
            mart=next(iter(marts), None),
            peek=peek,
            problem=problem,
            sql=sql,
        )

    async def ask(self, request: Request) -> HTMLResponse:
        """A box for a query, its answer as a table, and a chart where it has the shape of one."""
        sql = request.query_params.get("sql", "").strip()
        answer, problem = await self._try(sql, SHOWN) if sql else (None, None)
        return _render(
            "ask.html.j2",
            title="Ask",
            sql=sql,
            peek=answer,
            problem=problem,
            chart=answer and draw(answer["columns"], answer["rows"]),
        )

    async def _together(self, *queries: str) -> list[Rows]:
        return list(await asyncio.gather(*(self._rows(sql) for sql in queries)))

    async def _rows(self, sql: str) -> Rows:
        answer = json.loads((await self.pool.ask(sql)).body)
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["rows"]]

    async def _try(self, sql: str, rows: int) -> tuple[dict[str, Any] | None, str | None]:
        try:
            return json.loads((await self.pool.ask(sql, rows=rows)).body), None
        except Refused as error:
            return None, error.message


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aigc_pipeline.server"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"shown": _shown, "number": _number}
    environment.filters.update(filters)
    return environment


def _render(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_environment().get_template(template).render(**values), status)


def _number(value: Any, digits: int = 4) -> str:
    """A number as people read it."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    """A cell of an answer as text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return _number(value, 6) if isinstance(value, float) else str(value)
