"""The `aigc` command before a first run: help, errors, dataset files, plans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter
from small_project import edit_dataset, fingerprint, make_project

from aigc_pipeline.cli import app
from aigc_pipeline.dataset_file import json_schema, load_dataset
from aigc_pipeline.schema import ColumnSchema, TableSchema, schema_changes
from aigc_pipeline.spec import Kind

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "polars", "pyarrow", "duckdb", "dagster", "great_expectations", "pandas")
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    enter(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project as the working folder; nothing has been run yet."""
    home = make_project(tmp_path / "project", wine)
    enter(monkeypatch, home)
    return home


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from aigc_pipeline.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        f"    print(*{{name for name in {HEAVY} if name in sys.modules}}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "\n"
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_has_examples(name: str) -> None:
    done = aigc(name, "--help")
    assert done.code == 0
    assert "Examples:" in done.out
    assert f"aigc {name}" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["rum", "wine"],
        ["run", "wine", "--rows", "0"],
        ["run", "wine", "--quality", "best"],
        ["sample", "m", "--rows", "many", "--output", "s.csv"],
    ],
)
def test_wrong_usage_is_exit_code_2(empty: Path, arguments: list[str]) -> None:
    done = aigc(*arguments)
    assert done.code == 2
    assert not list(empty.iterdir())


def test_an_error_is_one_block_and_debug_adds_the_traceback(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = aigc("sample", "nowhere", "--rows", 5, "--output", "s.csv")
    assert (done.code, done.out) == (2, "")
    assert done.err == "aigc: nowhere: there is no such model folder; `aigc fit` writes one\n"
    monkeypatch.setenv("AIGC_DEBUG", "1")
    assert "Traceback" in aigc("sample", "nowhere", "--rows", 5, "--output", "s.csv").err


def test_init_writes_a_file_that_runs_as_it_is(project: Path) -> None:
    (project / "data" / "more wine.csv").write_bytes((project / "data" / "wine.csv").read_bytes())
    done = aigc("init", "data/more wine.csv", "--name", "more")
    assert done.code == 0, done.err
    spec = load_dataset(project / "datasets" / "more.yaml")
    assert spec.name == "more"
    assert aigc("plan", "more").code == 0


def test_tables_that_refer_to_each_other(project: Path) -> None:
    wine = pl.read_csv(project / "data" / "wine.csv")
    wine.with_row_index("wine_id").write_csv(project / "data" / "wines.csv")
    tastings = pl.DataFrame({"wine_id": [i % 200 for i in range(500)], "points": [*range(500)]})
    tastings.write_csv(project / "data" / "tastings.csv")
    done = aigc("init", "data/wines.csv", "data/tastings.csv", "--name", "cellar")
    assert done.code == 0, done.err
    done = aigc("plan", "cellar", "--json")
    assert done.code == 0 and done.json["relations"] == [
        {"relation": "tastings.wine_id -> wines", "rows": 500, "nulls": 0, "orphans": 44,
         "parents": 178, "parent_rows": 178, "most": 3},
    ]  # fmt: skip
    assert "tastings.wine_id -> wines" in aigc("plan", "cellar").out
    path = project / "datasets" / "cellar.yaml"
    path.write_text(path.read_text().replace("orphans: reproduce", "orphans: refuse"))
    done = aigc("plan", "cellar")
    assert done.code == 2 and "cellar.yaml:" in done.err and "44 of 500 rows refer" in done.err


def test_init_does_not_replace_a_dataset_file(project: Path) -> None:
    before = fingerprint(project / "datasets")
    done = aigc("init", "data/wine.csv", "--name", "wine")
    assert done.code == 2
    assert "--force" in done.err
    assert fingerprint(project / "datasets") == before
    assert aigc("init", "data/wine.csv", "--name", "wine", "--force").code == 0
    assert fingerprint(project / "datasets") != before


def test_init_prints_to_stdout_when_asked(project: Path) -> None:
    before = fingerprint(project / "datasets")
    done = aigc("init", "data/wine.csv", "--name", "other", "--stdout")
    assert "name: other" in done.out
    assert fingerprint(project / "datasets") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data/wien.csv"], "did you mean 'wine.csv'?"),
        (["data/wine.csv", "--name", "../up"], "cannot name a folder"),
    ],
)
def test_init_refuses_what_cannot_be(project: Path, arguments: list[str], message: str) -> None:
    before = fingerprint(project / "datasets")
    done = aigc("init", *arguments)
    assert done.code == 2
    assert message in done.err
    assert fingerprint(project / "datasets") == before


def test_schema_is_the_one_of_dataset_files(empty: Path) -> None:
    assert aigc("schema").json == json_schema()
    assert aigc("schema", "--output", "s.json").code == 0
    assert json.loads((empty / "s.json").read_text()) == json_schema()
    assert aigc("schema", "--output", "no/s.json").code == 2


def test_plan_tells_what_a_first_run_would_do(empty: Path, wine: pl.DataFrame) -> None:
    root = make_project(empty / "p", wine)
    os.chdir(root)
    done = aigc("plan", "wine")
    assert done.code == 0
    for part in (
        "178",
        "no release yet",
        "quality draft",
        "barolos 30",
        "null_rate_error at most 0.5",
    ):
        assert part in done.out
    assert not (root / "lake").exists()


def test_plan_says_when_a_source_cannot_be_read(project: Path) -> None:
    (project / "data" / "wine.csv").unlink()
    lake = fingerprint(project / "lake")
    done = aigc("plan", "wine")
    assert done.code == 2
    assert "cannot be read" in done.out
    assert "there is no such file" in done.err
    assert fingerprint(project / "lake") == lake


def test_a_password_in_a_source_is_never_shown(project: Path) -> None:
    url = "postgresql://reader:hunter2@127.0.0.1:1/shop"
    edit_dataset(project, "{file: data/wine.csv}", f"{{sql: '{url}', table: wines}}")
    done = aigc("plan", "wine")
    assert done.code == 2
    assert "postgresql table wines" in done.out
    assert "hunter2" not in done.out + done.err


def test_schemas_are_compared_by_meaning_and_storage() -> None:
    def schema(**columns: tuple[Kind, str]) -> TableSchema:
        return TableSchema(
            name="t",
            columns=[
                ColumnSchema(name=name, kind=kind, dtype=dtype, nullable=False)
                for name, (kind, dtype) in columns.items()
            ],
        )

    number, text = (Kind.NUMBER, "Float64"), (Kind.CATEGORY, "String")
    same = schema_changes({"t": schema(a=number, b=text)}, {"t": schema(b=text, a=number)})
    assert same == []
    before = {"t": schema(a=number, b=text), "u": schema(a=text)}
    after = {"t": schema(a=text, c=text), "v": schema(a=text)}
    assert [change.describe() for change in schema_changes(before, after)] == [
        "t: column 'a' was number (Float64), is category (String)",
        "t: column 'c' is new, category (String)",
        "t: column 'b' is gone, it was category (String)",
        "table 'v' is new",
        "table 'u' is gone",
    ]
