"""What a release says of itself to people and tools: overview, dictionary, data contract."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
from browser_kit import Browser
from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from test_report import Page
from warehouse_kit import COLUMN, TABLE, release, rows_of, shop

from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.pages import markdown
from aigc_pipeline.pages.messages import catalogue
from aigc_pipeline.spec import LOCALES, MIN_SUBJECTS
from aigc_pipeline.warehouse import publish

HOSTILE = "</script><img src=x onerror=alert(1)>|`*_[x](y)_*`\n# =1+1"


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Version]:
    """A published release whose title and descriptions are hostile."""
    lake = Lake(tmp_path_factory.mktemp("shops") / "lake")
    spec = shop(title=HOSTILE, description=HOSTILE, tags=["sales", HOSTILE], schedule="0 3 * * *")
    version = release(lake, spec)
    publish(lake)
    return lake, version


def test_every_language_has_the_same_messages() -> None:
    english = catalogue("en")
    for locale in LOCALES:
        texts = catalogue(locale)
        assert texts.keys() == english.keys()
        for key, text in texts.items():  # and the same places for values
            assert (text or key == "page.gap") and _places(text) == _places(english[key]), key


def _places(text: str) -> set[str]:
    from string import Formatter

    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_one_query_tells_all_of_a_column(shops: tuple[Lake, Version], tmp_path: Path) -> None:
    lake, version = shops
    asked = (
        "SELECT made, shape_error, release, trained_at IS NOT NULL, model_quality, privacy, seed,"
        " detection_auc, gates, gates_passed FROM {}catalog.overview"
        " WHERE schema_name = '{}' AND table_name = 'orders' AND column_name = 'amount'"
    )
    [row] = rows_of(lake, asked.format("", "shop"))
    assert row[:5] == ("learned", 0.01, version.id, True, "high")
    assert json.loads(row[5])["min_subjects"] == MIN_SUBJECTS
    assert row[6:] == (7, 0.55, 1, 1)
    [scenario] = rows_of(lake, asked.format("", "shop__crisis"))
    assert scenario[7:] == (None, None, None)  # only the baseline was judged
    [(columns, rows)] = rows_of(
        lake, "SELECT (SELECT count(*) FROM catalog.columns), count(*) FROM catalog.overview"
    )
    assert columns == rows == 16
    with duckdb.connect() as client:  # under another name, as a BI tool may attach it
        client.execute(f"ATTACH '{lake.warehouse}' AS bi (READ_ONLY)")
        assert client.execute(asked.format("bi.", "shop")).fetchone() == row


def test_the_pages_queries_work(shops: tuple[Lake, Version]) -> None:
    lake, version = shops
    page = (Path(__file__).parent.parent / "docs" / "catalog.md").read_text(encoding="utf-8")
    overview, footers = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    asked = overview.replace("'loans'", "'shop'", 1).replace("'loans'", "'orders'")
    assert [row[0] for row in rows_of(lake, asked)][:2] == ["order_id", "city"]
    shard = version.file(version.files("data/shop/orders/")[0])
    with duckdb.connect() as client:
        assert client.execute(footers.replace("part-00000.parquet", str(shard))).fetchall()


def test_the_dictionary_tells_every_column(shops: tuple[Lake, Version]) -> None:
    _, version = shops
    html = version.file("dictionary.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    for words in ("orders", TABLE, COLUMN, "Where it's sent", "generated afresh", HOSTILE[:30]):
        assert " ".join(words.split()) in page.text(), words
    assert "shop__crisis" in page.text() and "Small orders only." in page.text()
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "link"}
    assert not any(name.startswith("on") for _, found in page.tags for name in found)


def test_the_markdown_dictionary_holds_no_markup_of_the_datas(shops: tuple[Lake, Version]) -> None:
    _, version = shops
    text = version.file("dictionary.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {
        *("h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong")
    }
    shown = page.text()
    assert " ".join(HOSTILE.split()) in shown and COLUMN in shown and TABLE in shown
    assert [tag for tag, _ in page.tags].count("table") == 2  # no cell ended early
    assert [tag for tag, _ in page.tags].count("td") == 8 * 7


@pytest.mark.parametrize("text", [HOSTILE, "a\\", "1. x", "- x", "<b>", "&amp;", "~~x~~", "x|y"])
def test_markdown_shows_text_as_it_is(text: str) -> None:
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .render(f"|a|\n|---|\n| {markdown(text)} |\n")
    )
    page = Page(html)
    assert page.text("td") == " ".join(text.split())


def test_the_contract_meets_the_standards_own_schema(shops: tuple[Lake, Version]) -> None:
    _, version = shops
    contract: dict[str, Any] = YAML(typ="safe").load(version.file("contract.odcs.yaml").read_text())
    standard = files("open_data_contract_standard").joinpath("schema.json").read_text()
    jsonschema.validate(contract, json.loads(standard))
    assert contract["version"] == version.manifest["inputs"]["synthetic"]["version"]
    assert contract["tags"] == ["synthetic", "sales", HOSTILE] and contract["name"] == HOSTILE
    [items, orders] = contract["schema"]
    assert (items["name"], orders["name"]) == (TABLE, "orders")
    columns = {column["name"]: column for column in orders["properties"]}
    assert columns["order_id"]["primaryKey"] and columns["order_id"]["required"]
    assert columns["day"]["logicalType"] == "date" and columns["amount"]["logicalType"] == "number"
    assert [column["name"] for column in items["properties"]][1] == COLUMN
    with pytest.raises(jsonschema.ValidationError):  # the schema does look at it
        jsonschema.validate(contract | {"schema": [{"id": "nameless"}]}, json.loads(standard))


def test_relations_are_references_in_the_contract(lake: Lake) -> None:
    source = {"file": "shop.csv"}
    tables = {
        "orders": {"source": source, "key": "order_id"},
        TABLE: {"source": source, "parents": [{"column": "order_id", "table": "orders"}]},
    }
    version = release(lake, shop(tables=tables))
    contract = YAML(typ="safe").load(version.file("contract.odcs.yaml").read_text())
    standard = files("open_data_contract_standard").joinpath("schema.json").read_text()
    jsonschema.validate(contract, json.loads(standard))
    assert contract["schema"][0]["relationships"] == [
        {
            "type": "foreignKey",
            "from": "schema/table_1/properties/column_1",
            "to": "schema/table_2/properties/column_1",
        }
    ]


@pytest.mark.parametrize("width", [1280, 400])
def test_a_dictionary_of_hostile_names_in_a_browser(
    browser: Browser, shops: tuple[Lake, Version], width: int
) -> None:
    page = browser.open(shops[1].file("dictionary.html"), width, dark=width == 400)
    assert page.errors + page.external + page.overflowing() + page.violations() == []
    page.close()
