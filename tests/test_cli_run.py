"""`aigc run`, and what it leaves: plans, releases, the warehouse, the doctor, the display."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter, project_after, put_back
from small_project import DATASET, edit_dataset, fingerprint

from aigc_pipeline.commands.live import LiveDisplay
from aigc_pipeline.lake import Lake
from aigc_pipeline.stages import Check, StageResult


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, wine: pl.DataFrame) -> Path:
    """A project with two releases."""
    commands = [["run", "wine", "--rows", rows] for rows in (90, 91)]
    return project_after(tmp_path_factory.mktemp("cli"), wine, *commands)


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That project as the working folder; what a test edits is put back afterwards."""
    enter(monkeypatch, home)
    yield from put_back(home)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    enter(monkeypatch, tmp_path)
    return tmp_path


def test_run_ends_with_scores_gates_paths_and_an_answer(project: Path) -> None:
    done = aigc("run", "wine", "--seed", "4", "--json")
    assert done.code == 0, done.err
    outcome = done.json
    assert {"shape_error", "detection_auc"} <= {score["score"] for score in outcome["scores"]}
    assert all(gate["passed"] for gate in outcome["gates"])
    for path in outcome["paths"].values():
        assert Path(path).exists()
    assert sum(row["n"] for row in outcome["example"]["rows"]) == 120
    assert aigc("query", outcome["example"]["sql"], "--json").json == outcome["example"]["rows"]
    for stage in outcome["seconds"]:
        assert stage in done.err


def test_run_prints_all_of_it_for_people(project: Path) -> None:
    done = aigc("run", "wine")
    assert done.code == 0, done.err
    for part in (
        "Italian wines: release v",
        "fresh real rows",
        "Gates",
        "report.html",
        "aigc query",
    ):
        assert part in done.out
    assert "dagster" not in (done.out + done.err).lower()


def test_a_missed_gate_is_exit_code_3_and_changes_nothing(project: Path) -> None:
    lake = Lake("lake")
    releases = fingerprint(lake.home / "wine" / "release")
    warehouse = lake.warehouse.read_bytes()
    edit_dataset(project, "null_rate_error: {max: 0.5}", "detection_auc: {max: 0.01}")
    done = aigc("run", "wine")
    assert done.code == 3
    assert "✗" in done.out
    assert "detection_auc" in done.err
    assert "the last release stays" in done.err
    assert "Traceback" not in done.err
    assert fingerprint(lake.home / "wine" / "release") == releases
    assert lake.warehouse.read_bytes() == warehouse
    refused = aigc("run", "wine", "--json")
    assert (refused.code, refused.json["release"]) == (3, None)


def test_a_broken_contract_is_exit_code_2_before_training(project: Path) -> None:
    edit_dataset(project, "max_value: 20", "max_value: 14")
    before = Lake("lake").current("wine", "model").id
    done = aigc("run", "wine")
    assert done.code == 2
    assert "expect_column_values_to_be_between" in done.err
    assert "of 178 rows" in done.err
    assert Lake("lake").current("wine", "model").id == before


@pytest.mark.parametrize(
    ("name", "message"), [("wein", "did you mean 'wine'?"), ("../wine", "../wine")]
)
def test_an_unknown_dataset_is_exit_code_2(project: Path, name: str, message: str) -> None:
    lake = fingerprint(project / "lake")
    done = aigc("run", name)
    assert done.code == 2
    assert message in done.err
    assert fingerprint(project / "lake") == lake


def test_a_lake_that_cannot_be_written_is_exit_code_1(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_HOME", str(project / "data" / "wine.csv" / "lake"))
    done = aigc("run", "wine")
    assert done.code == 1
    assert "wine.csv" in done.err
    assert "Traceback" not in done.err


def test_plan_tells_which_columns_changed(project: Path) -> None:
    known = aigc("plan", "wine", "--json").json["schema"]
    assert known["changes"] == [] and known["release"].startswith("v0000")
    path = project / "data" / "wine.csv"
    table = pl.read_csv(path)
    changed = table.rename({"hue": "tint"}).with_columns(pl.col("proline").cast(pl.String) + " mg")
    changed.write_csv(path)
    done = aigc("plan", "wine", "--json")
    assert done.code == 0
    changes = {c["column"]: (c["before"], c["after"]) for c in done.json["schema"]["changes"]}
    assert changes == {
        "proline": ("integer (Float64)", "category (String)"),
        "tint": (None, "number (Float64)"),
        "hue": ("number (Float64)", None),
    }
    shown = aigc("plan", "wine").out
    assert "what changes for readers" in shown and "tint" in shown


def test_query_shows_a_table_or_json(project: Path) -> None:
    sql = "select 2018 as year, 1.5 as x, null as nothing"
    assert aigc("query", sql, "--json").json == [{"year": 2018, "x": 1.5, "nothing": None}]
    shown = aigc("query", sql).out
    assert "2018" in shown
    assert "null" in shown
    some = aigc("query", "from wine.wines", "--limit", 3)
    assert "the first 3 rows; more exist" in some.err


def test_a_query_that_cannot_be_answered_is_exit_code_2(project: Path) -> None:
    done = aigc("query", "select * from wine.wine")
    assert done.code == 2
    assert "wine.wines" in done.err
    assert aigc("query", "drop table wine.wines").code == 2


def test_rollback_puts_the_release_before_back(project: Path) -> None:
    listed = aigc("releases", "wine", "--json").json
    current = [release["id"] for release in listed if release["is_current"]]
    assert current == [listed[-1]["id"]]
    assert aigc("rollback", "wine", "--to", listed[0]["id"]).code == 0
    assert aigc("query", "select count(*) as n from wine.wines", "--json").json == [{"n": 90}]
    assert "▸" in aigc("releases").out
    assert aigc("rollback", "wine").code == 2  # none before the first
    assert aigc("rollback", "wine", "--to", listed[-1]["id"]).code == 0


def test_an_empty_lake_has_no_releases(empty: Path) -> None:
    done = aigc("releases")
    assert (done.code, done.out) == (0, "")
    assert "there is no release yet" in done.err
    assert aigc("rollback", "wine").code == 2
    assert aigc("query", "select 1").code == 2
    assert not list(empty.iterdir())


def test_doctor_finds_nothing_wrong_here(project: Path) -> None:
    done = aigc("doctor", "--json")
    assert done.code == 0, done.out
    findings = {f["check"]: f["finding"] for f in done.json}
    assert "dagster 1.13" in findings["packages"]
    assert "is whole" in findings["warehouse"]
    assert findings["datasets"] == "wine"


def test_doctor_names_what_is_wrong(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "datasets" / "beer.yaml").write_text(DATASET.replace("tables:", "tabels:"))
    (project / "lake" / "warehouse.duckdb").rename(project / "kept.duckdb")
    (project / "lake" / "warehouse.duckdb").write_bytes(b"no database")
    try:
        done = aigc("doctor")
    finally:
        (project / "kept.duckdb").replace(project / "lake" / "warehouse.duckdb")
    assert done.code == 1
    assert "beer.yaml" in done.out
    assert "cannot be opened" in done.out
    monkeypatch.setenv("AIGC_HOME", str(project / "data" / "wine.csv" / "lake"))
    assert {f["check"]: f["ok"] for f in aigc("doctor", "--json").json}["lake"] is False


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_live_display_marks_what_is_done_and_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    warning = Check("schema_unchanged", False, "warning", "column 'a' is gone")
    with pytest.raises(RuntimeError), LiveDisplay() as display:
        display.started("raw", None)("reading", 0.5)
        display.finished("raw", StageResult(None, {"rows": {"t": 1200}}, [warning]))
        display.started("validated", None)
        raise RuntimeError
    last = screen.getvalue()[-4000:]
    assert "✓ raw" in last
    assert "1,200 rows" in last
    assert "✗ validated" in last
    assert "warning: column 'a' is gone" in last
