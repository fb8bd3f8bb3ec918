"""Clients, tried for real: each page's own code, and the same five answers from all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients_kit import (
    BI,
    HERE,
    blocks,
    node_with,
    plain,
    publish_cd_shop,
    python_with,
    run,
    run_python,
)
from server_kit import serving

from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import query

V14 = ("duckdb==1.4.4",)
V15 = ("duckdb==1.5.6", "duckdb-cli==1.5.6", "duckdb-sqlalchemy==1.5.6.5")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The CD shop's warehouse; its parent is where the pages' code runs."""
    return publish_cd_shop(tmp_path_factory.mktemp("bi"))


@pytest.fixture(scope="module")
def folder(lake: Lake) -> Path:
    return lake.home.parent


@pytest.fixture(scope="module")
def expected(lake: Lake) -> list[Any]:
    """The answers, from the library's own `query`."""
    queries = (BI / "queries.sql").read_text().split(";")
    found = [plain(query(lake, sql, limit=None).frame.rows()) for sql in queries]
    assert len(found) == 5 and all(found)
    # By hand, so that all cannot be wrong together.
    assert found[0] == [[120.0, 360.0, "1997-01-01", "1997-06-20"]]
    assert found[4][0] == [1118.0, "syn-0038'\"ü", "1997-04-21", 29.5]
    return found


@pytest.fixture(scope="module")
def url(lake: Lake) -> Iterator[str]:
    with serving(lake, "--workers", "1") as url:
        os.environ["AIGC_URL"] = url
        yield url
        del os.environ["AIGC_URL"]


def test_python(folder: Path, expected: list[Any]) -> None:
    [code] = blocks("python.md", "python")
    assert plain(run_python(HERE, code, folder, "answers")[0]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("packages", [V14, V15], ids=["1.4.4", "1.5.6"])
def test_older_python(folder: Path, expected: list[Any], packages: tuple[str, ...]) -> None:
    [code] = blocks("python.md", "python")
    found = run_python(python_with(*packages), code, folder, "answers", "duckdb.__version__")
    assert plain(found[0]) == expected and f"duckdb=={found[1]}" == packages[0]


def test_data_frames(folder: Path, expected: list[Any]) -> None:
    [code] = blocks("dataframes.md", "python")
    polars, pandas = run_python(HERE, code, folder, "answers", "pandas_answers")
    assert plain(polars) == expected and plain(pandas) == expected


def test_adbc(folder: Path, expected: list[Any]) -> None:
    [code] = blocks("adbc.md", "python")
    assert plain(run_python(HERE, code, folder, "answers")[0]) == expected


@pytest.mark.parametrize("engine", ["duckdb", "polars", "pyarrow"])
def test_parquet(folder: Path, expected: list[Any], engine: str) -> None:
    [code] = [block for block in blocks("parquet.md", "python") if f"import {engine}" in block]
    assert plain(run_python(HERE, code, folder, "answers")[0]) == expected


def test_http(folder: Path, expected: list[Any], url: str) -> None:
    plain_code, arrow_code = blocks("http.md", "python")
    assert plain(run_python(HERE, plain_code, folder, "answers")[0]) == expected
    assert plain(run_python(HERE, arrow_code, folder, "answers")[0]) == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(folder: Path, url: str) -> None:
    [command] = blocks("http.md", "sh")
    answer = json.loads(run(["sh", "-c", command], folder, AIGC_URL=url, PATH=os.environ["PATH"]))
    assert [column["name"] for column in answer["columns"]][:2] == ["order_id", "customer_id"]
    assert len(answer["rows"]) == 3


@pytest.mark.slow
def test_command_line(folder: Path, expected: list[Any]) -> None:
    [command] = blocks("duckdb-cli.md", "sh")
    path = f"{python_with(*V15).parent}:{os.environ['PATH']}"
    printed = run(["sh", "-c", command], folder, PATH=path, HOME=str(folder))
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed.rstrip()):
        rows, end = decoder.raw_decode(printed[at:].lstrip())
        at += len(printed[at:]) - len(printed[at:].lstrip()) + end
        found.append(rows)
    assert plain(found) == expected


@pytest.mark.slow
def test_sqlalchemy_and_its_reflection(folder: Path, expected: list[Any]) -> None:
    code = "\n".join(blocks("sqlalchemy.md", "python"))
    names = ("answers", "tables", "sorted(marts)", "columns", "orders.c.keys()")
    answers, tables, marts, columns, keys = run_python(python_with(*V15), code, folder, *names)
    assert plain(answers) == expected
    assert tables == ["customers", "orders"] and "monthly_revenue" in marts
    assert keys == ["order_id", "customer_id", "date", "number_of_cds", "dollar_value"]
    assert list(columns) == keys and all("ynthetic" in text for text in columns.values())


@pytest.mark.slow
def test_node(folder: Path, expected: list[Any]) -> None:
    [code] = blocks("node.md", "js")
    home = node_with("@duckdb/node-api@1.5.6-r.1")
    script = home / "page.mjs"
    script.write_text(code + "\nconsole.log(JSON.stringify(answers));\n")
    assert plain(json.loads(run(["node", script], folder))) == expected


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    index = (BI / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#]+)\)", index))
    assert {page.name for page in BI.glob("*.md")} - {"README.md"} == linked - {"queries.sql"}
    for page in BI.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
            assert (BI / link).exists(), f"{page.name}: {link}"
