"""`aigc fit`, `aigc sample` and `aigc evaluate` on plain files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter, project_after, put_back
from hypothesis import given, settings
from hypothesis import strategies as st
from small_project import fingerprint

from aigc_pipeline.commands.conditions import parse_where
from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import Between


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, wine: pl.DataFrame) -> Path:
    """A folder with a table and the model that `aigc fit` made of it."""
    options = ["--quality", "draft", "--target", "cultivar"]
    fit = ["fit", "data/wine.csv", "--model", "m", *options]
    return project_after(tmp_path_factory.mktemp("cli"), wine, fit)


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That project as the working folder; what a test edits is put back afterwards."""
    enter(monkeypatch, home)
    yield from put_back(home)


def test_sample_writes_the_source_s_columns(project: Path, tmp_path: Path) -> None:
    real = pl.read_csv(project / "data" / "wine.csv")
    done = aigc("sample", "m", "--rows", 40, "--output", tmp_path / "s.csv")
    assert done.code == 0, done.err
    made = pl.read_csv(tmp_path / "s.csv")
    assert made.schema == real.schema
    assert made.height == 40
    aigc("sample", "m", "-n", 40, "-o", tmp_path / "s.parquet")
    assert pl.read_parquet(tmp_path / "s.parquet").equals(made)


def test_the_seed_decides_the_bytes(project: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        aigc("sample", "m", "-n", 30, "-o", tmp_path / f"{name}.parquet", "--seed", seed)
    a, b, c = (tmp_path.joinpath(f"{name}.parquet").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_where_holds_in_every_row(project: Path, tmp_path: Path) -> None:
    conditions = ["alcohol>=13", "cultivar=barolo", "cultivar=barbera"]
    options = [option for text in conditions for option in ("--where", text)]
    done = aigc("sample", "m", "-n", 25, "-o", tmp_path / "s.csv", *options)
    assert done.code == 0, done.err
    made = pl.read_csv(tmp_path / "s.csv")
    assert made.height == 25
    assert made["alcohol"].min() >= 13  # type: ignore[operator]
    assert set(made["cultivar"]) <= {"barolo", "barbera"}


def test_shares_and_rows_of_conditions(project: Path, tmp_path: Path) -> None:
    options = ["--balance", "cultivar:barolo=0.5", "--balance", "cultivar:barbera=0.3"]
    done = aigc("sample", "m", "-n", 40, "-o", tmp_path / "even.csv", *options)
    assert done.code == 0, done.err
    counts = dict(pl.read_csv(tmp_path / "even.csv")["cultivar"].value_counts().iter_rows())
    assert counts == {"barolo": 20, "barbera": 12, "grignolino": 8}
    (tmp_path / "asked.csv").write_text("cultivar\nbarolo\nbarbera\n")
    done = aigc("sample", "m", "-o", tmp_path / "s.csv", "--conditions", tmp_path / "asked.csv")
    assert done.code == 0, done.err
    assert pl.read_csv(tmp_path / "s.csv")["cultivar"].to_list() == ["barolo", "barbera"]


def test_impute_fills_a_file(project: Path, tmp_path: Path) -> None:
    real = pl.read_csv(project / "data" / "wine.csv")
    gone = pl.int_range(pl.len()) % 4 == 0
    sparse = real.with_columns(pl.when(~gone).then("hue").alias("hue"))
    sparse.write_csv(tmp_path / "sparse.csv")
    done = aigc("impute", "m", tmp_path / "sparse.csv", "--output", tmp_path / "filled.csv")
    assert done.code == 0, done.err
    assert "filled 45 of 45 missing cells" in done.out
    filled = pl.read_csv(tmp_path / "filled.csv")
    assert filled.filter(~gone).equals(real.filter(~gone)) and filled["hue"].null_count() == 0
    done = aigc("impute", "m", tmp_path / "sparse.csv", "-o", "f.csv", "--column", "hew")
    assert done.code == 2
    assert "hew: there is no such column; did you mean 'hue'?" in done.err


def test_outliers_lists_odd_rows(project: Path, tmp_path: Path) -> None:
    real = pl.read_csv(project / "data" / "wine.csv")
    wrong = pl.when(pl.int_range(pl.len()) == 9).then(99_000).otherwise("proline")
    real.with_columns(wrong.alias("proline")).write_csv(tmp_path / "noisy.csv")
    done = aigc("outliers", "m", tmp_path / "noisy.csv", "--rows", 3, "--json")
    assert done.code == 0, done.err
    assert [len(done.json), done.json[0]["row"]] == [3, 10]
    assert done.json[0]["columns"].startswith("proline")
    done = aigc("outliers", "m", tmp_path / "noisy.csv", "-n", 2, "-o", tmp_path / "odd.csv")
    assert done.code == 0, done.err
    odd = pl.read_csv(tmp_path / "odd.csv")
    assert odd["proline"][0] == 99_000 and odd.columns[:2] == ["outlier_row", "outlier_log_prob"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--balance", "cultivar=0.5"], "write COLUMN:VALUE=SHARE"),
        (["--balance", "cultivar:barolo=1.5"], "add up to 1 at most"),
        (["--where", "alcool>=13"], "did you mean 'alcohol'?"),
        (["--where", "alcohol"], "write COLUMN=VALUE"),
        (["--where", "hue=1", "--where", "hue>=1"], "both a value and a range"),
        (["--where", "hue>=dark"], "--where: the ends of a range are numbers or dates"),
    ],
)
def test_a_wrong_condition_leaves_an_older_file_alone(
    project: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    output = tmp_path / "s.csv"
    output.write_text("kept")
    done = aigc("sample", "m", "-n", 5, "-o", output, *options)
    assert done.code == 2
    assert message in done.err
    assert fingerprint(tmp_path) == {"s.csv": b"kept"}


@pytest.mark.parametrize(
    ("output", "message"),
    [("s.xlsx", "write .csv or .parquet"), ("no/s.csv", "there is no folder no"), (".csv", "")],
)
def test_a_wrong_output_is_refused(project: Path, output: str, message: str) -> None:
    done = aigc("sample", "m", "-n", 5, "-o", output)
    assert done.code == 2
    assert message in done.err


def test_a_folder_that_is_no_model_is_refused(project: Path) -> None:
    done = aigc("sample", "data", "-n", 5, "-o", "s.csv")
    assert done.code == 1
    assert "no model can be read here" in done.err
    before = fingerprint(project / "data")
    done = aigc("fit", "data/wine.csv", "--model", "data")
    assert done.code == 2
    assert "holds other files" in done.err
    assert fingerprint(project / "data") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time-limit", "soon"], "--time-limit: 'soon' is no duration"),
        (["--type", "hue=colour"], "write COLUMN=KIND"),
        (["--type", "hew=number"], "did you mean 'hue'?"),
        (["--target", "cultivator"], "did you mean 'cultivar'?"),
        (["--delimiter", ";;"], "give one character"),
    ],
)
def test_fit_refuses_wrong_options_before_it_trains(
    project: Path, options: list[str], message: str
) -> None:
    done = aigc("fit", "data/wine.csv", "--model", "m2", *options)
    assert done.code == 2
    assert message in done.err
    assert not (project / "m2").exists()


def test_evaluate_scores_files_and_writes_a_report(project: Path, tmp_path: Path) -> None:
    synthetic, report = tmp_path / "s.csv", tmp_path / "report.html"
    aigc("sample", "m", "-n", 178, "-o", synthetic)
    options = ["--target", "cultivar", "--output", report, "--locale", "zh", "--json"]
    done = aigc("evaluate", "data/wine.csv", synthetic, *options)
    assert done.code == 0, done.err
    scores = {score["score"]: score["value"] for score in done.json}
    assert 0 <= scores["shape_error"] < 0.5
    assert 0 <= scores["detection_auc"] <= 1
    assert '<html lang="zh">' in report.read_text(encoding="utf-8")
    assert aigc("evaluate", "a.csv", synthetic, "--locale", "klingon").code == 2


def test_evaluate_looks_at_the_model_too(project: Path, tmp_path: Path) -> None:
    synthetic, report = tmp_path / "s.csv", tmp_path / "report.html"
    aigc("sample", "m", "-n", 178, "-o", synthetic)
    options = ["--holdout", "data/wine.csv", "--model", "m", "--output", report, "--json"]
    done = aigc("evaluate", "data/wine.csv", synthetic, *options)
    assert done.code == 0, done.err
    scores = {score["score"]: score["value"] for score in done.json}
    assert abs(scores["membership_model_auc"] - 0.5) < 0.15  # members are told from themselves
    assert "hidden from it on 178 rows" in report.read_text(encoding="utf-8")
    done = aigc("evaluate", "data/wine.csv", synthetic, "--model", "data")
    assert done.code != 0 and "no model can be read here" in done.err


def test_evaluate_refuses_a_table_of_other_columns(project: Path, tmp_path: Path) -> None:
    real = pl.read_csv(project / "data" / "wine.csv")
    real.drop("hue").write_csv(tmp_path / "less.csv")
    real.with_columns(pl.lit("deep red").alias("hue")).write_csv(tmp_path / "text.csv")
    done = aigc("evaluate", "data/wine.csv", tmp_path / "less.csv")
    assert done.code == 2
    assert "there is no column 'hue'" in done.err
    done = aigc("evaluate", "data/wine.csv", tmp_path / "text.csv")
    assert done.code == 2
    assert "column 'hue' is String, in the real table it is Float64" in done.err
    assert "deep red" not in done.err


def test_conditions_from_text() -> None:
    assert parse_where(["a=1", "b=x", "b=036", "c=null", "d>=2.5", "d<=2026-01-31"]) == {
        "a": 1,
        "b": ["x", "036"],
        "c": None,
        "d": Between(min=2.5, max="2026-01-31"),  # type: ignore[arg-type]
    }


names = st.text("abcü \"'", min_size=1, max_size=5).filter(lambda text: text == text.strip())


@settings(max_examples=50)
@given(column=names, value=st.text("ab=<>\n 1.", max_size=6))
def test_any_text_can_be_a_value(column: str, value: str) -> None:
    ((name, condition),) = parse_where([f"{column}={value}"]).items()
    assert name == column
    assert str(condition) == value.strip()


def test_a_text_without_an_operator_is_no_condition() -> None:
    with pytest.raises(InputError, match="is no condition"):
        parse_where(["alcohol"])
