"""The pages of `aigc serve` in a browser: both widths, light and dark, hostile values included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import polars as pl
import pytest
import requests
from browser_kit import Browser, Page
from server_kit import MARTS, serving
from warehouse_kit import COLUMN, TABLE, column, make, shop

from aigc_pipeline.lake import Lake
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.server.chart import draw
from aigc_pipeline.spec import Kind
from aigc_pipeline.warehouse import create_release, publish

SCRIPT = "</script><img src=x onerror=\"document.title='taken'\"><b>bold</b>"
HOSTILE = [
    SCRIPT,
    '=HYPERLINK("http://evil.example","x")',
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u202c שלום",
    "x" * 10_000,
    "<svg onload=alert(1)>&lt;b&gt;",
    None,
]
DARK = {1280: False, 400: True}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a shop like any other, and one whose every text would like to be an element."""
    lake = Lake(tmp_path_factory.mktemp("pages") / "lake")
    create_release(lake, shop(marts=MARTS), **vars(make(lake, shop(marts=MARTS), rows=60)))
    column_name = f"{'c' * 9_000} {SCRIPT}"
    source = {"source": {"file": "odd.csv"}, "description": SCRIPT}
    odd = shop("odd", title=SCRIPT, description="d" * 5_000, domain=SCRIPT, owners=[SCRIPT],
               tables={"odd": source}, synthesis={}, gates={})  # fmt: skip
    text = column("text", Kind.CATEGORY, "String", description=SCRIPT)
    columns = [text, column(column_name, Kind.NUMBER, "Float64")]
    frame = pl.DataFrame({"text": HOSTILE, column_name: [float(i) for i in range(len(HOSTILE))]})
    schemas = {"odd": TableSchema(name="odd", columns=columns)}
    create_release(lake, odd, **vars(make(lake, odd, tables={"odd": frame}, schemas=schemas)))
    publish(lake)
    with serving(lake, "--workers", "1") as url:
        yield url


BARS = "SELECT city, count(*) AS orders FROM shop.orders GROUP BY city ORDER BY orders DESC"
PAGES = {
    "home": "/",
    "dataset": "/dataset?name=shop",
    "hostile dataset": "/dataset?name=odd",
    "table": "/table?schema=shop&name=orders",
    "hostile table": "/table?schema=odd&name=odd",
    "hostile name": f"/table?schema=shop&name={quote(TABLE)}",
    "mart": "/table?schema=shop_marts&name=by_city",
    "box": "/ask",
    "bars": f"/ask?sql={quote(BARS)}",
    "line": f"/ask?sql={quote('FROM shop_marts.by_day')}",
    "hostile answer": f"/ask?sql={quote('FROM odd.odd')}",
    "wrong": f"/ask?sql={quote(SCRIPT)}",
}


@pytest.mark.parametrize("width", [1280, 400])
def test_pages_are_sound(browser: Browser, url: str, width: int) -> None:
    for name, path in PAGES.items():
        page = browser.open(url + path, width, dark=DARK[width])
        found = page.errors, page.external, page.overflowing(), page.violations()
        assert found == ([], [], [], []), f"{name}: {found}"
        elements = (
            "document.querySelectorAll('script, main img, main b, main style, iframe').length"
        )
        assert page.evaluate(elements) == 0, name
        assert page.evaluate("document.title").endswith("· synthetic data"), name
        page.close()


def test_values_are_shown_as_they_are(browser: Browser, url: str) -> None:
    page = browser.open(url + PAGES["hostile answer"])
    cells = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(r => r.cells[0].innerText)"
    )
    assert cells[0] == SCRIPT and cells[1] == HOSTILE[1] and cells[2] == HOSTILE[2]
    assert cells[3] == HOSTILE[3] and cells[5] == HOSTILE[5] and cells[6] == "missing"
    assert cells[4].startswith("x" * 500) and len(cells[4]) < 600  # `/query` has it whole
    whole = requests.get(f"{url}/query", params={"sql": "FROM odd.odd"}, timeout=60).json()
    assert [row[0] for row in whole["rows"]] == HOSTILE
    page.close()


def test_a_person_asks_with_the_keyboard_alone(browser: Browser, url: str) -> None:
    page = browser.open(url)
    seen = []
    for _ in range(4):
        page.press("Tab")
        seen.append(page.evaluate("document.activeElement.innerText"))
    assert seen == ["Skip to the content", "Synthetic data", "Datasets", "Ask"]
    page.press("Enter")
    page.wait_for("location.pathname === '/ask' && document.readyState === 'complete'")
    _focus(page, "TEXTAREA")
    page.call("Input.insertText", text=BARS)
    _focus(page, "BUTTON")
    page.press("Enter")
    page.wait_for("location.search.length > 0 && document.querySelector('figure') !== null")
    assert "orders by city" in page.text() and "São Paulo" in page.text()
    assert page.evaluate("document.querySelectorAll('.bars rect').length") == 3
    assert page.errors == []
    page.close()


def _focus(page: Page, tag: str) -> None:
    for _ in range(10):
        page.press("Tab")
        if page.evaluate("document.activeElement.tagName") == tag:
            return
    raise AssertionError(f"{tag} cannot be reached by the keyboard")


def test_from_the_list_to_a_table_and_its_answer(browser: Browser, url: str) -> None:
    page = browser.open(url)
    steps = ("A shop's orders", "name=shop"), ("orders", "name=orders"), ("Ask this table", "100")
    for link, ends in steps:
        links = "[...document.querySelectorAll('main a')]"
        page.evaluate(f"{links}.find(a => a.innerText === {json.dumps(link)}).click()")
        page.wait_for(f"location.href.endsWith({ends!r}) && document.readyState === 'complete'")
    assert "Bern" in page.text() and page.errors == []
    page.close()


def test_what_is_not_there(url: str) -> None:
    for path in ("/dataset?name=nothing", "/table?schema=shop&name=nothing", "/table", "/nowhere"):
        answer = requests.get(url + path, timeout=60)
        assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text
    injected = quote("x' OR '1'='1")
    assert requests.get(f"{url}/dataset?name={injected}", timeout=60).status_code == 404
    assert COLUMN not in requests.get(f"{url}/table?name={quote(TABLE)}", timeout=60).text


def test_charts_only_where_they_say_something() -> None:
    day, text, number = (
        {"name": kind.lower(), "type": kind} for kind in ("DATE", "VARCHAR", "DOUBLE")
    )
    below = draw([text, number], [["a", -1.0], ["b", 3.0], ["c", None]])
    assert below is not None and not below.points
    assert [(bar.start, bar.share) for bar in below.bars] == [(0.0, 25.0), (25.0, 75.0)]
    line = draw([day, number], [["2024-01-01", 1.0], ["2024-01-02", 2.0]])
    assert line is not None and line.points == "0.0,110.0 640.0,0.0"
    for columns, rows in (
        ([text], [["a"], ["b"]]),
        ([text, text], [["a", "b"], ["c", "d"]]),
        ([text, number], [["a", 1.0]]),
        ([text, number], [["a", 0.0], ["b", 0.0]]),
        ([text, number], [["a", "nan"], ["b", 1.0]]),
        ([text, number], [[str(i), 1.0] for i in range(31)]),
    ):
        assert draw(columns, rows) is None
