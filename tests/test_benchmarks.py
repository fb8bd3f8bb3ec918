"""The benchmark: its tables, a run side by side with a peer, and what it shows of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import polars as pl
import pytest

from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import Kind

ROOT = Path(__file__).parents[1]

# Stand-ins for packages that are no dependencies of the project: a peer that gives its training
# rows back, and what fills missing numbers for it. What the benchmark does around them is real.
TVAE = """
def tqdm(epochs, disable):
    return epochs

class TVAE:
    def __init__(self, epochs=300):
        self.epochs = epochs

    def fit(self, frame, discrete_columns):
        assert not frame.isna().any().any() and discrete_columns == ["cultivar"]
        for epoch in tqdm(range(self.epochs), disable=True):
            self.frame = frame

    def sample(self, rows):
        return self.frame.sample(rows, replace=True, random_state=0, ignore_index=True)
"""
FORMATTER = """
class FloatFormatter:
    def __init__(self, **settings):
        pass

    def fit_transform(self, frame, column):
        self.column = column
        return frame.fillna({column: -1.0})

    def reverse_transform(self, frame):
        return frame.assign(**{self.column: frame[self.column].where(frame[self.column] >= 0)})
"""
FILES = {
    "ctgan/synthesizers/tvae.py": TVAE,
    "ctgan-0.dist-info/METADATA": "Name: ctgan\nVersion: 0\n",
    "rdt/transformers/numerical.py": FORMATTER,
}


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.delenv("AIGC_BENCH_DIR", raising=False)
    import benchmarks.run
    import benchmarks.tables

    return benchmarks


@pytest.fixture
def folder(tmp_path: Path, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tables with one in it, whose category is kept as an integer."""
    codes = {"barolo": 1, "grignolino": 2, "barbera": 3}
    table = wine.select("alcohol", "hue", pl.col("cultivar").replace_strict(codes))
    table = table.with_columns(hue=pl.when(pl.col("hue") < 1.1).then(pl.col("hue")))
    table = table.sample(fraction=1, shuffle=True, seed=0)
    place = tmp_path / "tables" / "wine"
    place.mkdir(parents=True)
    table[:140].write_csv(place / "train.csv")
    table[140:].write_csv(place / "test.csv")
    meta = {"target": "cultivar", "cat": ["cultivar"]}
    (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    monkeypatch.setenv("AIGC_BENCH_DIR", str(place.parent))
    return place


def openml(data: pl.DataFrame, target: str) -> SimpleNamespace:
    """What scikit-learn returns for a data set."""
    frame = data.to_pandas().astype({target: "category"})
    return SimpleNamespace(frame=frame, target_names=[target])


def test_tables_are_downloaded(
    benchmarks: Any, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(data_id: int, **_: Any) -> SimpleNamespace:
        asked.append(data_id)
        return openml(wine, "cultivar")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    benches = benchmarks.tables.load_tables([])
    assert asked == list(benchmarks.tables.OPENML.values())
    bench = benches[0]
    assert bench.spec.target == "cultivar"
    assert bench.spec.columns["cultivar"].type == Kind.CATEGORY
    assert bench.train["cultivar"].dtype == pl.String
    both = pl.concat([bench.train, bench.test])
    assert both.sort(wine.columns).equals(wine.sort(wine.columns))


def test_without_a_network_the_error_says_what_to_do(
    benchmarks: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(**_: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(InputError, match=r"'adult'.*no route to host.*AIGC_BENCH_DIR.*loans"):
        benchmarks.tables.load_tables(["adult"])
    with pytest.raises(InputError, match="no benchmark table 'titanic'; there are loans"):
        benchmarks.tables.load_tables(["titanic"])
    assert benchmarks.run.main(["adult"]) == 2
    assert "AIGC_BENCH_DIR" in capsys.readouterr().err
    monkeypatch.setenv("AIGC_BENCH_PEERS", "no-such-python")
    assert benchmarks.run.main(["loans"]) == 2
    assert "AIGC_BENCH_PEERS" in capsys.readouterr().err


def test_a_folder_of_tables(benchmarks: Any, folder: Path) -> None:
    (bench,) = benchmarks.tables.load_tables([])
    assert (bench.name, len(bench.train), len(bench.test)) == ("wine", 140, 38)
    assert bench.spec.columns["cultivar"].type == Kind.CATEGORY


def test_side_by_side(
    benchmarks: Any,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A peer gets the seconds it is given, and its figures stand beside ours as ratios."""
    package = tmp_path / "peer"
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.setenv("AIGC_BENCH_PEERS", sys.executable)
    arguments = ["wine", "--families", "vae", "--quality", "draft", "--seconds", "0.2"]
    files = ["--json", str(tmp_path / "runs.json"), "--plot", str(tmp_path / "plot.svg")]
    assert benchmarks.run.main([*arguments, *files]) == 0
    found = json.loads((tmp_path / "runs.json").read_text())
    assert found["peers"] == {"tvae": "0", "ctgan": "0"}
    runs = {run["engine"]: run["figures"] for run in found["runs"]}
    assert list(runs) == ["fresh real rows", "shuffled columns", "vae", "tvae"]
    assert 0.2 <= runs["tvae"]["fit_seconds"] < 60
    assert runs["tvae"]["shape_error"] < runs["shuffled columns"]["trend_error"]
    assert all(runs[name]["peak_mb"] > 50 for name in ("vae", "tvae"))
    shown = capsys.readouterr().out
    assert "| vae draft / tvae" in shown and "| shuffled columns" in shown
    picture = (tmp_path / "plot.svg").read_text()
    assert picture.startswith("<svg") and "tvae" in picture


def test_ratios_and_medians(benchmarks: Any) -> None:
    run, summarise = benchmarks.run.Run, benchmarks.run.summarise
    runs = [
        run(
            "t", "vae", "draft", seed, {"fit_seconds": fit, "detection_auc": 0.6, "dcr_share": None}
        )
        for seed, fit in enumerate((3.0, 1.0, 8.0))
    ]
    runs.append(run("t", "vae", "draft", 3, failed="RuntimeError: no memory"))
    (ours,) = summarise(runs)
    assert ours.figures == {"fit_seconds": 3.0, "detection_auc": 0.6}
    peer = run("t", "tvae", "draft", None, {"fit_seconds": 6.0, "detection_auc": 0.9})
    assert benchmarks.run.ratios(ours, peer) == pytest.approx(
        {"fit_seconds": 0.5, "detection_auc": 0.25}
    )
