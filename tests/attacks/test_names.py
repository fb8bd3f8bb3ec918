"""Hostile names and texts: paths, SQL, YAML that is more than data, script in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aigc_pipeline.dataset_file import find_dataset, load_dataset
from aigc_pipeline.definitions import compose
from aigc_pipeline.errors import AigcError, ArtefactError, InputError
from aigc_pipeline.lake import Lake
from resources import LogReporter

SQL = ["x'; DROP TABLE t; --", 'x"; DROP TABLE t; --', "x) OR 1=1", "catalog", "x__y", "X", "é"]
PATHS = ["..", ".", "../x", "/etc/passwd", "x/y", "x\\y", "a\x00b", "~root", "C:x", "-rf", ""]


def load(folder: Path, **fields: Any) -> str | None:
    """The refusal of a dataset file; None where it was read."""
    path = folder / "x.yaml"
    data = {"name": "x", "tables": {"t": {"source": {"file": "a.csv"}}}, **fields}
    path.write_text(json.dumps(data))
    try:
        load_dataset(path)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [*SQL, *PATHS])
def test_hostile_names(name: str, tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "SQL and paths in names of datasets, tables, scenarios and releases")
    scenario = {name: {"where": {"a": 1}, "rows": 5}}
    assert load(tmp_path, name=name) and load(tmp_path, synthesis={"scenarios": scenario})
    line.happened("refused", 2)
    if name in PATHS and name not in ("~root", "-rf"):  # which are file names like any other
        assert load(tmp_path, tables={name: {"source": {"file": "a.csv"}}})
        line.happened("refused")
    lake = Lake(tmp_path / "lake")
    with pytest.raises((AigcError, ValueError)):
        lake.stage_dir(name, "raw")
    with pytest.raises(AigcError):
        lake.version("x", "raw", name)
    with pytest.raises(InputError):
        find_dataset(name, tmp_path)
    assert not lake.home.exists()
    line.happened("refused", 3)


def test_a_manifest_that_names_files_elsewhere(lake: Lake, tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "a manifest that was tampered with to name files elsewhere")
    (tmp_path / "secret").write_text("x")
    with lake.writing("x", "raw") as draft:
        draft.write_json("a.json", 1)
    version = lake.current("x", "raw")
    for name in ("../../../../secret", "/etc/passwd", "a/../../x"):
        manifest = json.loads((version.path / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": "0", "bytes": 1}
        (version.path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ArtefactError):
            lake.current("x", "raw").file(name)
        line.happened("refused")


def test_a_mart_outside_its_dataset(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "a mart's file that is elsewhere, by path or symbolic link")
    folder = tmp_path / "datasets"
    (folder / "x" / "marts").mkdir(parents=True)
    secret = tmp_path / "secret.sql"
    secret.write_text("SELECT canary")
    for file in ("../secret.sql", str(secret)):
        message = load(folder, marts={"m": {"file": file}})
        assert message and "is not below" in message and "canary" not in message
        line.happened("refused, nothing of it shown")
    (folder / "x" / "marts" / "m.sql").symlink_to(secret)
    message = load(folder)
    assert message and "is not below" in message and "canary" not in message
    line.happened("refused, nothing of it shown")


def test_yaml_that_is_more_than_data(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "YAML bombs and tags")
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    for text in (
        "\n".join(bomb),
        "a: &a [*a]",
        "[" * 20_000,
        "x: " + "{a: " * 5_000,
        "!!python/object/apply:os.system ['touch /tmp/canary']",
        "name: !!python/name:os.system",
        "name: !include /etc/passwd",
        "name: !!binary aGk=\ntables: {}",
        "x: " + "y" * 2**20,
    ):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(InputError):
            load_dataset(tmp_path / "x.yaml")
        line.happened("refused")


def test_script_in_what_the_ui_shows(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "script in texts that Dagster's UI shows as Markdown")
    script = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) ![x](http://x/y.png) \\<b>"
    assert load(tmp_path, title=script, description=script) is None
    spec = load_dataset(tmp_path / "x.yaml")
    graph = compose([spec], tmp_path, LogReporter(every=0)).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        description = graph.get(key).description or ""
        for mark in ("<", "["):
            before = description.split(mark)[:-1]
            odd = [(len(part) - len(part.rstrip("\\"))) % 2 for part in before]
            assert all(odd), description
        line.happened("shown as text")
