"""`aigc dashboard`: an Evidence project whose every query works, and whose texts stay texts."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from clients_kit import node_with, run
from ruamel.yaml import YAML
from server_kit import MARTS, published
from typer.testing import CliRunner
from warehouse_kit import release, shop, state

from aigc_pipeline.cli import app
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish
from aigc_pipeline.warehouse.dashboard import write_dashboard
from aigc_pipeline.warehouse.duck import identifier

HARD = {
    "title": "</script>{alert(1)}<img src=x> [a](b) `c` **d**",
    "description": "1. ```sql x\nDROP\n``` {#if 1}",
    "sql": 'SELECT amount AS "A ""quoted"" {name}", amount,'
    " INTERVAL 1 DAY AS span, [1] AS list, day FROM orders",
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return published(tmp_path, rows=12)


def queries(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Page -> its (name, SQL) pairs."""
    return {
        page.relative_to(folder / "pages").as_posix(): re.findall(
            r"^```sql (\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
        )
        for page in sorted((folder / "pages").rglob("*.md"))
    }


def answers(lake: Lake, folder: Path, dataset: str = "shop") -> dict[str, list[tuple[Any, ...]]]:
    """Rows of every page's queries, asked as Evidence does: of what the sources gave."""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{lake.warehouse}' AS warehouse (READ_ONLY)")
        connection.execute(f"CREATE SCHEMA {identifier(dataset)}")
        for source in sorted((folder / "sources" / dataset).glob("*.sql")):
            connection.execute("USE warehouse")
            rows = connection.sql(source.read_text()).to_arrow_table()
            connection.execute("USE memory")
            connection.register("rows", rows)
            place = identifier(dataset, source.stem)
            connection.execute(f"CREATE TABLE {place} AS FROM rows")
        connection.execute("DETACH warehouse")
        return {
            f"{page}:{name}": connection.sql(sql).fetchall()
            for page, found in queries(folder).items()
            for name, sql in found
        }


def test_every_mart_has_a_page_whose_queries_work(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "dashboard"
    write_dashboard(lake, "shop", folder)
    found = answers(lake, folder)
    marts = {f"marts/{name}.md" for name in ("by_city", "by_day", "scenario_comparison")}
    assert set(queries(folder)) == {"index.md", "scores.md"} | marts
    assert len(found["marts/by_day.md:rows"]) == 12 and len(found["marts/by_city.md:rows"]) == 3
    assert {row[1] for row in found["scores.md:current"]} == {"detection_auc", "utility_gap"}
    assert len(found["scores.md:detection_auc"]) == 2
    by_day = (folder / "pages/marts/by_day.md").read_text()
    assert "<LineChart data={rows} x=day y=orders/>" in by_day
    assert (
        "<BarChart data={rows} x=city y=orders/>" in (folder / "pages/marts/by_city.md").read_text()
    )
    assert json.loads((folder / "package.json").read_text())["dependencies"].keys() == {
        "@evidence-dev/core-components",
        "@evidence-dev/duckdb",
        "@evidence-dev/evidence",
        "typescript",
    }
    read = YAML(typ="safe")
    assert (
        "@evidence-dev/duckdb"
        in read.load(folder / "evidence.config.yaml")["plugins"]["datasources"]
    )
    connection = read.load(folder / "sources/shop/connection.yaml")
    assert connection["name"] == "shop" and connection["type"] == "duckdb"
    here = folder / "sources/shop" / connection["options"]["filename"]
    assert here.resolve() == lake.warehouse.resolve()


def test_texts_stay_texts(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    release(lake, shop(title=HARD["title"], marts={"hard": HARD}))
    publish(lake)
    folder = tmp_path / "dashboard"
    write_dashboard(lake, "shop", folder)
    page = (folder / "pages/marts/hard.md").read_text()
    heading, said = page.split("\n\n")[:2]
    assert html.unescape(heading) == f"# {HARD['title']}"
    assert html.unescape(said) == " ".join(HARD["description"].split())
    for text in (heading[2:], said, (folder / "pages/index.md").read_text().split("\n")[0][2:]):
        assert not set(text) - {"&", "#", ";"} & set("<>{}[]()`*_|\\!=\"'")
    assert "x=column_1 y=amount" in page
    rows = answers(lake, folder)["marts/hard.md:rows"]
    assert rows[1][2:4] == ("1 day", "[1]")


def test_what_others_wrote_is_kept(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "dashboard"
    write_dashboard(lake, "shop", folder)
    first = state(folder)
    write_dashboard(lake, "shop", folder)
    assert state(folder) == first
    page = folder / "pages/index.md"
    page.write_text("# Mine\n")
    (folder / "pages/own.md").write_text("# Also mine\n")
    before = state(folder)
    with pytest.raises(InputError, match=r"index\.md: was not written .*--force"):
        write_dashboard(lake, "shop", folder)
    assert state(folder) == before
    write_dashboard(lake, "shop", folder, force=True)
    assert {name: found for name, found in state(folder).items() if name != "pages/own.md"} == first
    assert (folder / "pages/own.md").exists()


def test_the_page_of_a_mart_that_is_gone_goes_too(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "dashboard"
    write_dashboard(lake, "shop", folder)
    release(lake, shop(marts={"by_day": MARTS["by_day"]}), 2)
    publish(lake)
    write_dashboard(lake, "shop", folder)
    marts = {f"marts/{name}.md" for name in ("by_day", "scenario_comparison")}
    assert set(queries(folder)) == {"index.md", "scores.md"} | marts
    assert not (folder / "sources/shop/mart_by_city.sql").exists()


def test_the_command(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_HOME", str(lake.home))
    folder = tmp_path / "dashboard"
    done = CliRunner().invoke(app, ["dashboard", "shop", "--to", str(folder)])
    assert done.exit_code == 0 and (folder / "pages/index.md").exists()
    done = CliRunner().invoke(app, ["dashboard", "shopp", "--to", str(tmp_path / "other")])
    assert isinstance(done.exception, InputError) and "did you mean 'shop'?" in str(done.exception)
    assert not (tmp_path / "other").exists()


CONNECTOR = """
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
const { getRunner } = createRequire(import.meta.url)("@evidence-dev/duckdb/index.cjs");
const [folder, filename] = process.argv.slice(2);
const runner = await getRunner({ filename }, folder);
const counts = {};
for (const name of readdirSync(folder).filter(name => name.endsWith(".sql")).sort()) {
  const found = await runner(readFileSync(`${folder}/${name}`, "utf8"), `${folder}/${name}`, 1000);
  let rows = 0;
  for await (const batch of found.rows()) rows += batch.length;
  counts[name] = [rows, found.columnTypes.map(column => column.name)];
}
console.log(JSON.stringify(counts));
"""


@pytest.mark.slow
def test_evidence_s_own_connector_reads_every_source(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "dashboard"
    write_dashboard(lake, "shop", folder)
    home = node_with("@evidence-dev/duckdb@2.0.1")
    script = home / "sources.mjs"
    script.write_text(CONNECTOR)
    source = folder / "sources/shop"
    filename = YAML(typ="safe").load(source / "connection.yaml")["options"]["filename"]
    found = json.loads(run(["node", script, source, filename], tmp_path).splitlines()[-1])
    assert found["mart_by_day.sql"] == [12, ["day", "orders"]]
    assert found["mart_by_city.sql"] == [3, ["city", "orders", "amount"]]
    assert found["scores.sql"][0] == 4 and found["tables.sql"][0] == 4
