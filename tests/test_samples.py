"""Prepared samples: real related tables out of packages, and the datasets that use them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import InputError
from aigc_pipeline.relations import (
    check_owner_columns,
    drop_orphans,
    graph_of,
    inspect_relations,
    split_tables,
)
from aigc_pipeline.sources import content_hash, derive_agreement, infer_schema, read_table
from aigc_pipeline.sources.prepared import PREPARED
from aigc_pipeline.spec import DatasetSpec, Source
from aigc_pipeline.stages.prepare import check_scenarios

ROOT = Path(__file__).parents[1]


def read(sample: str) -> pl.DataFrame:
    return read_table(Source(sample=sample), ROOT, min_rows=1)


@pytest.mark.parametrize(
    ("sample", "rows", "columns"),
    [
        ("nycflights13/airlines", 16, 2),
        ("nycflights13/airports", 1458, 8),
        ("nycflights13/planes", 3322, 9),
        ("nycflights13/weather", 26115, 15),
        ("nycflights13/flights", 336776, 19),
        ("lifetimes/cdnow_master", 69659, 4),
        ("lifetimes/cdnow_customers", 23570, 2),
        ("lifetimes/cdnow_orders", 69659, 5),
        ("survival/pbcseq_patients", 312, 8),
        ("survival/pbcseq_visits", 1945, 15),
    ],
)
def test_every_prepared_sample(sample: str, rows: int, columns: int) -> None:
    df = read(sample)
    assert df.shape == (rows, columns) and sample in PREPARED
    assert not any(df[name].dtype == pl.Null for name in df.columns)


def test_dates_are_dates() -> None:
    assert read("lifetimes/cdnow_orders").schema["date"] == pl.Date
    assert read("lifetimes/cdnow_master").schema["date"] == pl.String  # as in the file
    assert read("nycflights13/weather").schema["time_hour"] == pl.Datetime("us")


def test_a_hash_tells_samples_apart() -> None:
    hashes = {content_hash(Source(sample=sample), ROOT) for sample in PREPARED}
    assert len(hashes) == len(PREPARED)


def test_wrong_names_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for sample, hint in {
        "nycflights13/flight": "nycflights13 has no 'flight'; did you mean 'flights'?",
        "nycflights/flights": "did you mean 'nycflights13'?",
        "survival/pbcseq_visit": "did you mean 'pbcseq_visits'?",
    }.items():
        with pytest.raises(InputError) as caught:
            read(sample)
        assert hint in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'aigc-pipeline\[examples\]'"):
        read("lifetimes/cdnow_orders")


def load(name: str) -> tuple[DatasetSpec, dict[str, pl.DataFrame]]:
    spec = load_dataset(ROOT / "datasets" / f"{name}.yaml")
    sources = {n: t.source for n, t in spec.tables.items()}
    return spec, {n: read_table(s, ROOT, name=n, min_rows=1) for n, s in sources.items()}


@pytest.mark.parametrize("name", ["shop", "trial", "flights"])
def test_the_shipped_related_datasets(name: str) -> None:
    spec, frames = load(name)
    graph = graph_of(spec)
    schemas = {n: infer_schema(frames[n], n, t, kept=spec.kept) for n, t in spec.tables.items()}
    check_owner_columns(schemas, graph)
    check_scenarios(spec, schemas, graph)
    frames = drop_orphans(frames, graph)
    facts = {f.relation.name: f for f in inspect_relations(frames, graph)}
    train, holdout = split_tables(frames, graph, spec)
    for table, said in spec.tables.items():
        assert said.description and set(said.columns) == set(schemas[table].names)
        assert all(column.description for column in schemas[table].columns)
        assert len(train[table]) > len(holdout[table]) > 0 or said.keep
        for column, (same, of) in derive_agreement(frames[table], said).items():
            assert of - same == (717 if column == "arr_time" else 0)
    if name == "flights":
        counts = {name.partition(" -> ")[2]: (f.nulls, f.orphans) for name, f in facts.items()}
        assert counts["planes"] == (2512, 50094) and counts["weather"] == (0, 1556)
        assert facts["flights.dest -> airports"].orphans == 7602
    if name == "trial":
        both = frames["visits"].join(frames["patients"], on="id")
        assert (both["day"] < both["futime"]).all() and (both["trt"] == both["trt_right"]).all()
