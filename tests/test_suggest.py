"""`aigc init`: the dataset file suggested for a table loads again and means the same."""

from __future__ import annotations

import functools
import http.server
import sqlite3
import threading
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import InputError
from aigc_pipeline.relations import graph_of, inspect_relations
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema, read_table, suggest_dataset
from aigc_pipeline.sources.suggest import dataset_name
from aigc_pipeline.spec import DatasetSpec, Kind, TableSpec, check_name

N = 60


def people() -> pl.DataFrame:
    """One column of every kind, each value easy to find should it slip into the text."""
    i = pl.Series("customer_id", range(70_001, 70_001 + N))
    start = date(1971, 3, 1)
    return pl.DataFrame([i]).with_columns(
        height=pl.col("customer_id") / 7,
        children=pl.col("customer_id") % 4,
        town=pl.Series(["Timbuktu", "Ouagadougou", None] * (N // 3)),
        born=pl.Series([start + timedelta(days=31 * k) for k in range(N)]).dt.to_string("%d/%m/%Y"),
        note=pl.format("a secret note on customer {}", "customer_id"),
        member=pl.col("customer_id") % 3 == 0,
        empty=pl.lit(None, dtype=pl.String),
        churn=pl.Series(["Yes", "No"] * (N // 2)),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, which is the working folder too."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(text: str, project: Path) -> tuple[DatasetSpec, TableSchema]:
    """Load a suggested text and infer its schema, which must be as without its types."""
    path = project / "datasets" / "suggested.yaml"
    path.write_text(text, encoding="utf-8")
    spec = load_dataset(path)
    ((name, table),) = spec.tables.items()
    df = read_table(table.source, project, name=name)
    schema = infer_schema(df, name, table)
    bare = infer_schema(df, name, TableSpec(source=table.source, key=table.key))
    assert schema == bare
    assert list(table.columns) == df.columns
    return spec, schema


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "xlsx"])
def test_a_suggestion_loads_and_means_the_same(project: Path, suffix: str) -> None:
    path = Path("data") / f"Kunden & Co.{suffix}"
    df = people()
    if suffix == "csv":
        df.write_csv(path)
    elif suffix == "parquet":
        df.write_parquet(path)
    elif suffix == "jsonl":
        df.write_ndjson(path)
    else:
        df.write_excel(path, autofilter=False)
    text = suggest_dataset(str(path))
    spec, schema = check(text, project)
    assert spec.name == "kunden_co" and list(spec.tables) == ["Kunden & Co"]
    assert {c.name: c.kind for c in schema.columns} == {
        "customer_id": Kind.ID, "height": Kind.NUMBER, "children": Kind.INTEGER,
        "town": Kind.CATEGORY, "born": Kind.DATETIME, "note": Kind.TEXT, "member": Kind.BOOLEAN,
        "empty": Kind.CATEGORY, "churn": Kind.CATEGORY,
    }  # fmt: skip
    assert spec.tables["Kunden & Co"].key == "customer_id"
    assert "# target: churn" in text and "# 2 distinct values, missing in 20 rows" in text
    assert spec.gates["copied_rows"].max == "holdout" and "# schedule:" in text


@pytest.mark.parametrize(("rows", "limit"), [(2_499, None), (2_500, 0.6), (10_000, 0.55)])
def test_membership_is_gated_where_the_rows_can_show_it(
    project: Path, rows: int, limit: float | None
) -> None:
    df = pl.DataFrame({"x": [i % 37 for i in range(rows)]})
    df.with_columns(y=pl.col("x") % 5).write_csv("data/t.csv")
    text = suggest_dataset("data/t.csv")
    (project / "datasets" / "t.yaml").write_text(text, encoding="utf-8")
    gate = load_dataset(project / "datasets" / "t.yaml").gates.get("membership_auc")
    assert (gate and gate.max) == limit
    assert "# membership_auc" not in text if limit else "needs 2,500 rows" in text


def test_no_value_is_written(project: Path) -> None:
    df = people()
    df.write_csv("data/people.csv")
    text = suggest_dataset("data/people.csv")
    values = {str(v) for name in df.columns for v in df[name] if len(str(v)) > 4}
    assert values and not [v for v in values if v in text.replace("true", "").replace("false", "")]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
            lambda name: name.strip() and name != "*" and not (name[0] == "^" and name[-1] == "$")
        ),
        min_size=2, max_size=6, unique_by=str.lower,
    )
)  # fmt: skip
def test_hostile_column_names(project: Path, names: list[str]) -> None:
    df = pl.DataFrame({name: [f"v{i % 4}" for i in range(25)] for name in names})
    df.write_parquet("data/t.parquet")
    check(suggest_dataset("data/t.parquet"), project)


def test_a_csv_is_sniffed(project: Path) -> None:
    lines = ["größe;menge;stadt", *(f"{i},5;{'NA' if i % 5 else i};Köln" for i in range(30))]
    Path("data/x.csv").write_bytes("\n".join(lines).encode("cp1252"))
    text = suggest_dataset("data/x.csv", name="lager", tables=["Bestand"])
    spec, schema = check(text, project)
    source = spec.tables["Bestand"].source
    assert spec.name == "lager" and "check that accents come out right" in text
    assert (source.delimiter, source.encoding) == (";", "cp1252")
    assert source.null_values == ["", "NA"] and schema["menge"].kind == Kind.INTEGER


def test_a_pattern_of_files(project: Path) -> None:
    for year in (2023, 2024):
        people().write_csv(f"data/sales-{year}.csv", separator="|")
    spec, _ = check(suggest_dataset("data/sales-*.csv"), project)
    assert spec.name == "sales" and spec.synthesis.rows == 2 * N


def test_a_database_table(project: Path) -> None:
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute('CREATE TABLE "Order Lines" ("a""b" INTEGER, "größe; --" TEXT)')
        connection.executemany(
            'INSERT INTO "Order Lines" VALUES (?, ?)', [(i, "x") for i in range(25)]
        )
        connection.commit()
    spec, _ = check(suggest_dataset("sqlite:///shop.db"), project)
    assert spec.name == "order_lines"
    source = spec.tables["Order Lines"].source
    assert (source.sql, source.table) == ("sqlite:///shop.db", "Order Lines")
    with pytest.raises(InputError, match="no table 'orders'"):
        suggest_dataset("sqlite:///shop.db", tables=["orders"])


def shop() -> dict[str, pl.DataFrame]:
    """Customers in a few regions, their orders, and the lines of these."""
    i = pl.Series("order_id", range(900))
    start = date(2024, 1, 1)
    return {
        "regions": pl.DataFrame({"code": ["N", "S", "W"], "label": ["north", "south", "west"]}),
        "customers": people().with_columns(region=pl.Series(["N", "S", "W"] * (N // 3))),
        "orders": pl.DataFrame([i]).with_columns(
            customer_id=pl.when(pl.col("order_id") % 9 > 0).then(70_001 + pl.col("order_id") % 66),
            placed=pl.lit(start) + pl.duration(days=pl.col("order_id")),
        ),
        "order_lines": pl.DataFrame({"order": [*range(900), *range(900)]}).with_columns(
            code=pl.Series(["a", "b"] * 900), amount=pl.col("order") % 7
        ),
    }


def related(text: str, project: Path) -> DatasetSpec:
    """Load a suggested dataset of several tables; its relations hold in the data."""
    path = project / "datasets" / "suggested.yaml"
    path.write_text(text, encoding="utf-8")
    spec = load_dataset(path)
    frames = {
        name: read_table(t.source, project, name=name, min_rows=1)
        for name, t in spec.tables.items()
    }
    for name, table in spec.tables.items():
        infer_schema(frames[name], name, table, kept=spec.kept)
    inspect_relations(frames, graph_of(spec))
    return spec


def test_several_files_get_keys_and_parents(project: Path) -> None:
    for name, df in shop().items():
        df.write_csv(f"data/{name}.csv")
    spec = related(suggest_dataset([f"data/{n}.csv" for n in reversed(shop())]), project)
    tables = spec.tables
    assert spec.name == "data"  # after their folder
    keys = {name: table.key for name, table in tables.items()}
    assert keys == {
        "regions": "code", "customers": "customer_id", "orders": "order_id", "order_lines": None
    }  # fmt: skip
    (owner,) = tables["orders"].parents
    assert (owner.column, owner.table) == ("customer_id", "customers")
    assert owner.optional and owner.orphans == "reproduce"  # six customers of 66 are not there
    assert tables["orders"].order_by == "placed"
    assert [p.table for p in tables["order_lines"].parents] == ["orders"]
    (region,) = tables["customers"].parents  # a column may be called like the table
    assert (region.column, region.table) == ("region", "regions") and tables["regions"].keep


def test_a_lookup_table_is_kept_and_its_key_is_learned(project: Path) -> None:
    rows = shop()
    rows["customers"] = rows["customers"].rename({"region": "code"})
    for name in ("regions", "customers"):
        rows[name].write_parquet(f"data/{name}.parquet")
    text = suggest_dataset(["data/customers.parquet", "data/regions.parquet"], name="mall")
    spec = related(text, project)
    assert spec.name == "mall" and spec.kept == {"regions"}
    assert spec.tables["regions"].key == "code"
    assert [p.table for p in spec.tables["customers"].parents] == ["regions"]
    assert spec.tables["customers"].columns["code"].type == Kind.CATEGORY
    with pytest.raises(InputError, match="two tables would be called 'regions'"):
        suggest_dataset(["data/regions.parquet", "data/regions.parquet"])
    with pytest.raises(InputError, match="2 more than there are files"):
        suggest_dataset("data/customers.parquet", tables=["a", "b", "c"])


def test_a_database_comes_with_all_its_tables(project: Path) -> None:
    rows = shop()
    with closing(sqlite3.connect("mall.db")) as connection:
        for name in ("customers", "orders"):
            columns = rows[name].columns
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            texts = rows[name].with_columns(pl.selectors.temporal().cast(pl.String)).rows()
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", texts)
        connection.commit()
    spec = related(suggest_dataset("sqlite:///mall.db"), project)
    assert spec.name == "mall" and list(spec.tables) == ["customers", "orders"]
    assert [p.table for p in spec.tables["orders"].parents] == ["customers"]
    one = related(suggest_dataset("sqlite:///mall.db", tables=["orders"]), project)
    assert list(one.tables) == ["orders"] and one.synthesis.rows == 900


def test_a_url_gets_its_checksum(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_ALLOWED_HOSTS", "127.0.0.1")
    people().write_csv("data/people.csv")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(project))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/data/people.csv"
        text = suggest_dataset(url)
        spec, _ = check(text, project)
        server.shutdown()
    assert spec.tables["people"].source.sha256 is not None and spec.name == "people"


def test_what_cannot_be_suggested(project: Path) -> None:
    people().head(3).write_csv("data/small.csv")
    for source, message in (
        ("data/small.csv", "only 3 rows"),
        ("data/smal.csv", "did you mean 'small.csv'"),
        ("data", "a folder"),
        ("ftp://host/x.csv", "ftp:// is not read"),
        ("sqlite:///none.db", "no such database file"),
        ("postgresql://bob:hush@127.0.0.1:1/db", "cannot be read"),
    ):
        with pytest.raises(InputError) as caught:
            suggest_dataset(source)
        assert message in str(caught.value) and "hush" not in str(caught.value)
    with pytest.raises(InputError, match=r"name: '\.\./x' cannot name"):
        suggest_dataset("data/small.csv", name="../x")
    assert not list((project / "datasets").iterdir())


@pytest.mark.parametrize(
    "text",
    ["Kunden & Co", "2024 sales", "größe", "", "catalog", "a__b", "x_marts", "é" * 80, "A" * 80],
)
def test_any_text_makes_a_dataset_name(text: str) -> None:
    assert check_name(dataset_name(text))
