"""`aigc scenario`: a what-if from the released model, published, compared, replaced and dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter, project_after, put_back
from ruamel.yaml import YAML
from small_project import edit_dataset

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.spec import Scenario
from aigc_pipeline.stages import add_scenario
from aigc_pipeline.warehouse import publish, query


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, wine: pl.DataFrame) -> Path:
    """A project with one release."""
    return project_after(tmp_path_factory.mktemp("scenario"), wine, ["run", "wine"])


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That project as the working folder; afterwards its first release is in force again."""
    enter(monkeypatch, home)
    yield from put_back(home)
    lake = Lake(home / "lake")
    first, *later = lake.versions("wine", "release")
    lake.point(first)
    for version in later:
        lake.remove(version)
    publish(lake)


def ask(sql: str) -> list[tuple]:
    return query(Lake("lake"), sql, limit=None).frame.rows()


def files(project: Path) -> dict[str, str]:
    """The files of the release in force, and of the warehouse."""
    lake = Lake(project / "lake")
    return {"warehouse": sha256_file(lake.warehouse), "release": lake.current("wine", "release").id}


def test_a_scenario_is_published_from_the_released_model(project: Path) -> None:
    before = Lake("lake").current("wine", "release")
    baseline = ask("FROM wine.wines")
    models = len(Lake("lake").versions("wine", "model"))
    where = ["--where", "cultivar in (barbera, grignolino)", "--where", "alcohol>=12.5"]
    done = aigc("scenario", "wine", "mild", *where, "-n", 40, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert told["based_on"] == before.id and told["rows"] == {"wine__mild.wines": 40}
    found = ask("SELECT count(*), min(alcohol) FROM wine__mild.wines")
    assert found[0][0] == 40 and found[0][1] >= 12.5
    kinds = {kind for (kind,) in ask("SELECT DISTINCT cultivar FROM wine__mild.wines")}
    assert kinds <= {"barbera", "grignolino"}
    assert ask("FROM wine.wines") == baseline and ask("SELECT count(*) FROM wine__barolos.wines")
    assert len(Lake("lake").versions("wine", "model")) == models
    # The catalogue knows it, where it comes from and how long it lasts.
    noted = "SELECT scenario, ad_hoc, rows FROM catalog.scenarios ORDER BY scenario"
    assert ask(noted) == [("barolos", False, 30), ("mild", True, 40)]
    based = "SELECT based_on FROM catalog.releases WHERE is_current"
    assert ask(based) == [(before.id,)]
    release = Lake("lake").current("wine", "release")
    inputs = release.manifest["inputs"]
    assert inputs["release"] == {"version": before.id, "sha256": before.sha256}
    assert inputs["evaluation"] == before.manifest["inputs"]["evaluation"]
    assert inputs["model"]["version"] == Lake("lake").versions("wine", "model")[-1].id
    # The line that is printed keeps it: the same conditions, read back.
    kept = YAML(typ="safe").load(told["keep"])
    assert Scenario.model_validate(kept["mild"]) == Scenario.model_validate(
        {
            "where": {"cultivar": ["barbera", "grignolino"], "alcohol": {"min": 12.5}},
            "rows": 40,
        }
    )
    line = "scenarios:\n    " + told["keep"]
    edit_dataset(project, "scenarios:", line)
    rows = ask("FROM wine__mild.wines")
    assert aigc("scenario", "wine", "mild").code == 0  # now from the dataset file
    assert ask("FROM wine__mild.wines") == rows  # the same seed, the same rows
    assert ask(noted)[1] == ("mild", False, 40)


def test_the_comparison_is_computed_from_the_tables_it_compares(project: Path) -> None:
    assert aigc("scenario", "wine", "strong", "--where", "alcohol>=13.5", "-n", 50).code == 0
    mart = "FROM wine_marts.scenario_comparison WHERE scenario = 'strong'"
    rows = {row[2:5]: row[5:] for row in ask(f"{mart} AND table_name = 'wines'")}
    base, strong = ask("FROM wine.wines"), ask("FROM wine__strong.wines")
    assert rows["", "rows", ""] == (120.0, 50.0, -70.0)
    mean = [sum(row[0] for row in side) / len(side) for side in (base, strong)]
    assert rows["alcohol", "mean", ""] == pytest.approx((*mean, mean[1] - mean[0]))
    for kind in ("barolo", "barbera", "grignolino"):
        shares = [sum(row[-1] == kind for row in side) / len(side) for side in (base, strong)]
        assert rows["cultivar", "share", kind] == pytest.approx((*shares, shares[1] - shares[0]))
    barolos = ask("SELECT count(*) FROM wine_marts.scenario_comparison WHERE scenario = 'barolos'")
    assert barolos[0][0] > 20
    [described] = ask("SELECT title, kind FROM catalog.marts WHERE name = 'scenario_comparison'")
    assert described == ("Scenarios beside the baseline", "table")


def test_a_scenario_is_replaced_rolled_back_and_dropped(project: Path) -> None:
    first = Lake("lake").current("wine", "release").id
    shares = ["--balance", "cultivar:barolo=0.5", "--balance", "cultivar:barbera=0.25"]
    assert aigc("scenario", "wine", "even", *shares, "-n", 40).code == 0
    made = dict(ask("SELECT cultivar, count(*) FROM wine__even.wines GROUP BY 1"))
    assert made == {"barolo": 20, "barbera": 10, "grignolino": 10}
    assert aigc("scenario", "wine", "even", "--where", "cultivar=barolo", "-n", 7).code == 0
    assert ask("SELECT DISTINCT cultivar, count(*) FROM wine__even.wines GROUP BY 1") == [
        ("barolo", 7)
    ]
    assert aigc("rollback", "wine").code == 0
    assert ask("SELECT count(*) FROM wine__even.wines") == [(40,)]
    assert aigc("scenario", "wine", "even", "--drop").code == 0
    with pytest.raises(InputError, match="does not exist"):
        ask("FROM wine__even.wines")
    assert ask("SELECT count(*) FROM wine__barolos.wines") == [(30,)]
    shown = aigc("releases", "wine")
    assert shown.code == 0 and "barolos, even" in shown.out
    assert aigc("rollback", "wine", "--to", first).code == 0
    assert aigc("scenario", "wine", "even", "--drop").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--where", "cultivar=nebbiolo"], "no value that was learned meets the condition"),
        (["x", "--where", "cultivr=barolo"], "did you mean 'cultivar'"),
        (["x", "--where", "alcohol>=14", "--where", "alcohol=13"], "both a value and a range"),
        (["x", "--balance", "cultivar:barolo=1.5"], "balance.cultivar.barolo: "),
        (
            ["x", "--balance", "cultivar:barolo=0.7", "--balance", "cultivar:barbera=0.7"],
            "balance.cultivar: give shares that add up to 1 at most",
        ),
        (["x"], "has no scenario 'x'; give its conditions"),
        (["x", "-n", 5], "--rows and --description go with conditions"),
        (["barolos", "--where", "hue>=1"], "has a scenario 'barolos' with conditions of its own"),
        (["baseline", "--where", "hue>=1"], "stands for the rows under no condition"),
        (["a__b", "--where", "hue>=1"], "cannot name a folder"),
        (["x", "--drop"], "has no scenario 'x'; it has: barolos"),
        (["x", "--drop", "-n", 5], "--drop goes with no other option"),
    ],
)
def test_what_cannot_be_made_changes_nothing(project: Path, arguments, message: str) -> None:
    before = files(project)
    done = aigc("scenario", "wine", *arguments)
    assert done.code == 2 and message in done.err, done.err
    assert files(project) == before
    assert not list((project / "lake" / "wine" / "release").glob(".draft-*"))


def test_a_dataset_without_a_release(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_HOME", "other")
    done = aigc("scenario", "wine", "x", "--where", "hue>=1")
    assert done.code == 2 and "run `aigc run wine` first" in done.err


def test_the_release_and_the_model_must_be_those_that_were_approved(project: Path) -> None:
    from aigc_pipeline.dataset_file import find_dataset

    lake, spec = Lake("lake"), find_dataset("wine", project / "datasets")
    wanted = Scenario.model_validate({"where": {"cultivar": "barolo"}, "rows": 5})
    weights = lake.current("wine", "model").path / "wines" / "weights.safetensors"
    report = lake.current("wine", "release").path / "report.html"
    for file in (weights, report):
        whole, before = file.read_bytes(), files(project)
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ArtefactError, match=f"{file.name}: its bytes changed"):
            add_scenario(lake, spec, "x", wanted)
        file.write_bytes(whole)
        assert files(project) == before
