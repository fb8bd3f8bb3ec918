"""The library's front door: parameters, fit, sample, impute, save and load, in any frame."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import aigc_pipeline
from aigc_pipeline import Synthesizer
from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import Between, TableSpec

COLUMNS = ("alcohol", "malic_acid", "hue", "proline", "cultivar")


@pytest.fixture(scope="module")
def wines(wine: pl.DataFrame) -> pl.DataFrame:
    return wine.select(COLUMNS).with_row_index("bottle").cast({"bottle": pl.Int64})


@pytest.fixture(scope="module")
def fitted(wines: pl.DataFrame) -> Synthesizer:
    return Synthesizer(quality="draft", seed=3).fit(wines, {"key": "bottle"})


def test_it_samples_what_it_is_asked_for(fitted: Synthesizer, wines: pl.DataFrame) -> None:
    rows = fitted.sample(50)
    assert rows.schema == wines.schema and rows["bottle"].n_unique() == 50
    assert rows.equals(fitted.sample(50, seed=3)) and not rows.equals(fitted.sample(50, seed=4))
    strong = fitted.sample(40, where={"alcohol": Between(min=13), "cultivar": "barolo"})
    assert strong["alcohol"].min() >= 13 and set(strong["cultivar"]) == {"barolo"}
    even = fitted.sample(60, balance={"cultivar": {"barolo": 0.5, "barbera": 0.5}})
    assert even["cultivar"].value_counts()["count"].to_list() == [30, 30]
    each = fitted.sample(conditions=pl.DataFrame({"cultivar": ["barbera", "barolo"]}))
    assert each["cultivar"].to_list() == ["barbera", "barolo"]


def test_it_is_the_table_s_model(fitted: Synthesizer, wines: pl.DataFrame) -> None:
    model = fitted.model_
    assert fitted.schema_ == model.schema and fitted.card_ is model.card
    assert fitted.card_["seed"] == 3 and fitted.card_["quality"] == "draft"
    assert fitted.log_prob(wines).equals(model.log_prob(wines))
    assert fitted.find_outliers(wines, 5).equals(model.find_outliers(wines, 5))


def test_it_fills_missing_cells(fitted: Synthesizer, wines: pl.DataFrame) -> None:
    sparse = wines.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 > 0).then("cultivar").alias("cultivar")
    )
    filled = fitted.impute(sparse)
    assert filled.null_count().sum_horizontal().item() == 0
    assert filled.drop("cultivar").equals(wines.drop("cultivar"))
    assert (filled["cultivar"] == wines["cultivar"]).mean() > 0.8


def test_save_and_load(fitted: Synthesizer, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    loaded = Synthesizer.load(tmp_path / "m")
    assert loaded.get_params() == fitted.get_params()
    assert loaded.sample(30).equals(fitted.sample(30))


def test_pandas_in_pandas_out(wines: pl.DataFrame) -> None:
    frame = wines.to_pandas().astype({"cultivar": "category"})
    rows = Synthesizer(quality="draft").fit(frame, {"key": "bottle"})
    made = rows.sample(20, conditions=pd.DataFrame({"cultivar": ["barolo"] * 20}))
    assert isinstance(made, pd.DataFrame) and list(made.columns) == list(frame.columns)
    assert set(made["cultivar"]) == {"barolo"}
    assert isinstance(rows.log_prob(frame), pd.Series)
    holes = frame.assign(hue=frame["hue"].where(frame.index % 4 > 0))
    filled = rows.impute(holes)
    assert isinstance(filled, pd.DataFrame) and filled["hue"].notna().all()
    assert isinstance(rows.impute(wines), pl.DataFrame)


def test_parameters_are_those_of_scikit_learn_s_habits(fitted: Synthesizer) -> None:
    from sklearn.base import clone

    assert repr(Synthesizer(family="vae", seed=1)) == "Synthesizer(family='vae', seed=1)"
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params() and not hasattr(fresh, "model_")
    assert fresh.set_params(quality="high").quality == "high"
    with pytest.raises(InputError, match="no parameter 'qualty'; did you mean 'quality'"):
        fresh.set_params(qualty="high")


@pytest.mark.parametrize("ask", ["sample", "save", "log_prob", "impute", "card_", "schema_"])
def test_it_must_be_fitted_first(ask: str, wines: pl.DataFrame) -> None:
    blank = Synthesizer()
    with pytest.raises(ValueError, match="not fitted yet; call fit or load first"):
        value = getattr(blank, ask)
        value(10 if ask == "sample" else wines)


@pytest.mark.parametrize(
    ("parameters", "table", "spec", "message"),
    [
        ({"quality": "best"}, None, None, "quality: Input should be 'draft'"),
        ({"min_subjects": 0}, None, None, "min_subjects: .*greater than or equal to 1"),
        ({"epsilon": -1.0}, None, None, r"dp\.epsilon: .*greater than 0"),
        ({"family": "vae", "epsilon": 1.0}, None, None, "cannot be trained with differential"),
        ({"outliers": 0.1, "epsilon": 1.0}, None, None, "outliers does not go with"),
        ({}, [[1, 2]], None, "a Polars or pandas frame is needed, not list"),
        ({}, None, {"kee": "bottle"}, "kee: Extra inputs are not permitted"),
        ({}, None, TableSpec(source={"file": "x"}, key="botle"), "did you mean 'bottle'"),
    ],
)
def test_wrong_parameters_are_refused(wines, parameters, table, spec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Synthesizer(**parameters).fit(wines if table is None else table, spec)


def test_importing_the_package_is_cheap() -> None:
    code = "import aigc_pipeline, sys; print('torch' in sys.modules, 'polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'Synthesiser'"):
        _ = aigc_pipeline.Synthesiser
