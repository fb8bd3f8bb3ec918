"""Several releases of one source: what they spend adds up, and what they do not tell together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.lake import Lake
from aigc_pipeline.privacy.ledger import note_training, place_of, read_ledger
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import DatasetSpec, DpSpec, Kind, Source, TableSpec
from aigc_pipeline.stages import featurize, ingest, train, validate


def spec(name: str, file: str, **dp: float) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": name,
            "tables": {"t": {"source": {"file": file}}},
            "generator": {"quality": "draft", "time_limit": "1s"},
            "privacy": {"dp": dp},
        }
    )


def learn(lake: Lake, spec: DatasetSpec, folder: Path) -> None:
    ingest(lake, spec, folder)
    validate(lake, spec)
    featurize(lake, spec)
    train(lake, spec)


def test_epsilon_adds_up_over_datasets_of_one_source(tmp_path: Path, tried: Any) -> None:
    line = tried("Privacy", "trainings beyond the epsilon that a source may spend")
    lake = Lake(tmp_path / "lake")
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"x": rng.integers(0, 5, 200), "c": ["red", "green"] * 100})
    for name in ("a.csv", "copy.csv"):
        table.write_csv(tmp_path / name)
    learn(lake, spec("first", "a.csv", epsilon=2, budget=4), tmp_path)
    # Another dataset, another spelling, and a copy: still the same people.
    learn(lake, spec("second", "./copy.csv", epsilon=2, budget=4), tmp_path)
    model = lake.current("second", "model")
    total, one = (model.meta["dp"]["t"][key] for key in ("total", "epsilon"))
    assert 0 < one <= 2 < total <= 4
    assert model.read_json("t/card.json")["dp"]["epsilon_of_source"] == total
    line.happened("allowed within the budget, and added up", 2)
    before = lake.ledger.read_bytes()
    with pytest.raises(InputError, match=r"budget is 4: .* have spent \d(\.\d+)?, and another"):
        learn(lake, spec("third", "a.csv", epsilon=2, budget=4), tmp_path)
    assert lake.find_current("third", "model") is None and lake.ledger.read_bytes() == before
    line.happened("refused before training")
    with pytest.raises(ValueError, match="less than one training"):
        DpSpec(epsilon=3, budget=2)
    lake.ledger.write_text("{}")
    with pytest.raises(ArtefactError, match="ledger of epsilon cannot be read"):
        learn(lake, spec("first", "a.csv", epsilon=2, budget=4), tmp_path)
    line.happened("refused where the ledger cannot be read")
    assert lake.ledger.read_text() == "{}"


def test_a_source_is_known_by_place_and_by_content(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.home.mkdir()

    def note(place: str, content: str) -> float:
        dp = DpSpec(epsilon=1)
        return note_training(
            lake, dp, dataset="d", table="t", place=place, content=content, epsilon=1, delta=1e-5
        )

    assert [note("p", "1"), note("p", "2"), note("q", "2"), note("r", "3")] == [1, 2, 2, 1]
    assert len(read_ledger(lake)) == 4 and lake.ledger.stat().st_mode & 0o077 == 0
    urls = ["postgresql://u:p@h/d?x=1", "postgresql://v@h/d"]
    assert len({place_of(Source(sql=url, table="t")) for url in urls}) == 1
    assert place_of(Source(sql=urls[0], table="t")) != place_of(Source(sql=urls[0], table="s"))


def test_the_difference_of_two_releases(tried: Any) -> None:
    """What two models' codecs say, one learned with a person and one without.

    All that is the person's alone is in neither. A value that exactly `min_subjects` people have is
    in one only: then the difference tells, and only differential privacy hides it.
    """
    line = tried(
        "Privacy", "two releases, with and without one person: what their difference tells"
    )
    rng = np.random.default_rng(3)
    rows = 300
    job = rng.choice(["clerk", "cook", "nurse"], rows).astype(object)
    job[:6] = "pilot"  # six people: exactly min_subjects
    job[6] = "astronaut"
    salary = np.round(rng.lognormal(10, 0.5, rows), 2)
    salary[7] = 9e7
    df = pl.DataFrame({"job": pl.Series(job.tolist()), "salary": salary})
    schema = TableSchema(
        name="t",
        columns=[
            ColumnSchema(name="job", kind=Kind.CATEGORY, dtype="String", nullable=False),
            ColumnSchema(name="salary", kind=Kind.NUMBER, dtype="Float64", nullable=False),
        ],
    )
    table = TableSpec(source=Source(file="a.csv"))

    def told(frame: pl.DataFrame) -> tuple[set[str], float, float]:
        """The values and the range that a release can show."""
        codec = TableCodec.fit(frame, schema, table)
        values, made = set(), []
        for seed in range(3):
            decoded = codec.decode(codec.encode(frame), np.random.default_rng(seed))
            values |= set(decoded["job"].unique())
            made.append(decoded["salary"])
        numbers = pl.concat(made)
        return values, float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]

    whole = told(df)
    for person in (6, 7, *range(10, 40)):
        without = told(df.filter(pl.Series(np.arange(rows) != person)))
        # That somebody has a rare value shows, as (other); whose it is and what, does not.
        assert without[0] | {OTHER} == whole[0] and "astronaut" not in whole[0]
        assert without[2] < 1e6 and whole[2] < 1e6
        line.happened("the same values, and no extreme, in both")
    without = told(df.filter(pl.Series(np.arange(rows) != 0)))
    assert whole[0] - without[0] == {"pilot"}
    line.happened("a value of exactly min_subjects people vanishes: not hidden without dp")
