"""The positive control: a model that knows its training rows by heart, through a whole run.

`aigc init` writes the dataset file, so what refuses is what a user gets without asking for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import aigc, enter
from small_project import fingerprint

from aigc_pipeline.lake import Lake
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import Source
from aigc_pipeline.tabular import TableModel, train_model

COLUMNS = [
    "state", "annual_income", "debt_to_income", "total_credit_limit", "homeownership", "term",
    "loan_purpose", "loan_amount", "interest_rate", "earliest_credit_line",
]  # fmt: skip
ROWS = 2_500  # the fewest for which init writes the gate
TIMES = 20
FEW_ROWS = {  # a draft of so few rows is not faithful, which is not what is tried
    "quality: standard": "quality: draft",
    "shape_error: {max: 0.03}": "shape_error: {max: 0.2}",
    "detection_auc: {max: 0.65}": "detection_auc: {max: 0.9}",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with some borrowers and the dataset file that `aigc init` suggests for them."""
    enter(monkeypatch, tmp_path)
    (tmp_path / "data").mkdir()
    source = Source(sample="openintro/loans_full_schema")
    df = read_table(source, tmp_path, name="loans").select(COLUMNS)
    df.sample(ROWS, shuffle=True, seed=0).write_csv("data/borrowers.csv")
    assert aigc("init", "data/borrowers.csv").code == 0
    path = Path("datasets/borrowers.yaml")
    text = path.read_text(encoding="utf-8")
    for old, new in FEW_ROWS.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return tmp_path


def by_heart(codec: Any, tokens: np.ndarray, *arguments: Any, **settings: Any) -> TableModel:
    """Trains on every row many times over, so what early stopping looks at was trained on too."""
    return train_model(codec, np.tile(tokens, (TIMES, 1)), *arguments, **settings)


def test_an_overfitted_model_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    line = tried("Privacy", "an overfitted model as positive control, through a whole `aigc run`")
    lake = Lake("lake")
    sound = aigc("run", "borrowers", "--json")
    assert sound.code == 0, sound.err
    before = fingerprint(lake.home / "borrowers" / "release"), lake.warehouse.read_bytes()

    monkeypatch.setattr("aigc_pipeline.stages.learn.train_model", by_heart)
    refused = aigc("run", "borrowers", "--json")
    assert refused.code == 3 and refused.json["release"] is None
    missed = [gate["score"] for gate in refused.json["gates"] if not gate["passed"]]
    assert "membership_auc" in missed and "membership_auc" in refused.err
    assert "the last release stays" in refused.err
    after = fingerprint(lake.home / "borrowers" / "release"), lake.warehouse.read_bytes()
    assert after == before
    line.happened("refused by the gate that `aigc init` writes; the release before it stays")
