"""Every bad input: a clear error, its exit code, and the last release untouched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter, project_after, put_back
from small_project import edit_dataset, fingerprint


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, wine: pl.DataFrame) -> Path:
    """A project with one release."""
    return project_after(tmp_path_factory.mktemp("bad"), wine, ["run", "wine"])


@pytest.fixture
def project(released: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    enter(monkeypatch, released)
    yield from put_back(released)


def published(root: Path) -> dict[str, bytes]:
    """All that a consumer may rely on: the warehouse and the releases."""
    files = fingerprint(root / "lake" / "wine" / "release")
    return {**files, "warehouse": (root / "lake" / "warehouse.duckdb").read_bytes()}


def spec(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: edit_dataset(root, old, new)


def csv(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "data" / "wine.csv"
        change(pl.read_csv(path)).write_csv(path)

    return edit


def text(change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "data" / "wine.csv"
        path.write_bytes(change(path.read_text("utf-8")).encode(encoding))

    return edit


def in_table(lines: str) -> Callable[[Path], None]:
    return spec("    target: cultivar\n", f"    target: cultivar\n{lines}\n")


def ragged(content: str) -> str:
    lines = content.splitlines()
    return "\n".join([*lines[:7], lines[7] + ",1,2", *lines[8:]])


INFINITE = pl.when(pl.int_range(pl.len()) < 2).then(float("inf")).otherwise("hue").alias("hue")

BAD = {
    "missing file": (spec("data/wine.csv", "data/wines.csv"), "wines.csv"),
    "unknown column in columns": (
        in_table("    columns: {alcohl: {type: number}}"),
        r"wine.yaml:\d+: tables.wines.columns.alcohl.*did you mean 'alcohol'",
    ),
    "unknown column in expect": (
        spec("column: alcohol", "column: alcohl"),
        r"wine.yaml:\d+: tables.wines.expect.0.*did you mean 'alcohol'",
    ),
    "unknown column in derive": (
        in_table("    derive: {double: alcohl * 2}"),
        r"wine.yaml:\d+: tables.wines.derive.double.*did you mean 'alcohol'",
    ),
    "unknown column in where": (
        spec("{cultivar: barolo}", "{cultivr: barolo}"),
        r"wine.yaml:\d+: synthesis.scenarios.barolos.where.cultivr.*did you mean 'cultivar'",
    ),
    "unknown field": (
        spec("    target: cultivar", "    tagret: cultivar"),
        r"wine.yaml:\d+: tables.wines.tagret.*did you mean 'target'",
    ),
    "ragged rows": (text(ragged), r"wine.csv.*line 8"),
    "wrong encoding": (
        text(lambda s: s.replace("barolo", "baröló"), "latin-1"),
        r"wine.csv.*utf-8",
    ),
    "an empty table": (text(lambda s: s.splitlines()[0] + "\n"), r"wine.*no rows|wine.*0 rows"),
    "one row": (csv(lambda df: df[:1]), r"only one row, at least 20"),
    "one column": (csv(lambda df: df.select("hue")), r"column"),
    "infinities": (
        csv(lambda df: df.with_columns(INFINITE)),
        r"infinite numbers in column 'hue' in 2 of 178 rows",
    ),
    "duplicate column names": (text(lambda s: s.replace("hue", "alcohol", 1)), r"'alcohol'"),
    "names that differ by case": (text(lambda s: s.replace("hue", "Alcohol", 1)), r"'Alcohol'"),
    "a column gone since the last run": (csv(lambda df: df.drop("cultivar")), r"cultivar"),
    "a key that repeats": (in_table("    key: hue"), r"hue.*(unique|repeat|more than once)"),
    "a scenario never met": (spec("{cultivar: barolo}", "{cultivar: riesling}"), r"barolos"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_exit_code_2_and_leaves_the_release_alone(project: Path, case: str) -> None:
    change, message = BAD[case]
    before = published(project)
    change(project)
    done = aigc("run", "wine")
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert re.search(message, done.err, re.DOTALL | re.IGNORECASE), done.err
    assert published(project) == before


@pytest.mark.parametrize("name", ["../wine", "/etc/passwd", "wine/../wine", "wine.yaml"])
def test_a_dataset_name_with_a_path_is_refused(project: Path, name: str) -> None:
    before = published(project)
    done = aigc("run", name)
    assert done.code == 2 and "Traceback" not in done.err
    assert published(project) == before


def test_a_dataset_file_cannot_name_a_path(project: Path) -> None:
    edit_dataset(project, "name: wine", "name: ../wine")
    done = aigc("plan", "wine")
    assert done.code == 2 and "cannot name a folder" in done.err


ODD = {
    "a column all null": pl.lit(None, dtype=pl.String).alias("nothing"),
    "a constant column": pl.lit("same").alias("constant"),
    "a column all unique": (pl.int_range(pl.len()) * 7.25 + 0.125).alias("unique"),
    "a name with quotes and SQL": pl.col("hue").alias('it\'s "a"; DROP TABLE wines --'),
    "a name in other letters": pl.col("hue").alias("色相 и цвет"),
}


def test_odd_columns_are_no_error(project: Path) -> None:
    csv(lambda df: df.with_columns(*ODD.values()))(project)
    done = aigc("run", "wine")
    assert done.code == 0, done.err
    rows = aigc("query", "SELECT * FROM wine.wines", "--json").json
    first = rows["rows"][0] if isinstance(rows, dict) else rows[0]
    assert [e.meta.output_name() for e in ODD.values()] == list(first)[-len(ODD) :]
    assert first["nothing"] is None and first["constant"] == "same"
    aigc("rollback", "wine")


def test_a_gate_that_cannot_be_met_is_exit_code_3(project: Path) -> None:
    before = published(project)
    edit_dataset(project, "null_rate_error: {max: 0.5}", "detection_auc: {max: 0.0}")
    done = aigc("run", "wine")
    assert done.code == 3 and "detection_auc" in done.err and "the last release stays" in done.err
    assert published(project) == before
