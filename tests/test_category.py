"""Categories of many values: two tokens a value, and pages of values that are alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import OTHER, CategoryCodec
from aigc_pipeline.features.codec import Subjects, codec_from_json
from aigc_pipeline.features.pages import ALONE, LARGE, Page
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import MIN_SUBJECTS, Constraint, GeneratorSpec, Source, TableSpec
from aigc_pipeline.synthesis import table_cells
from aigc_pipeline.tabular import TableModel, fit_table

SPEC = TableSpec(source=Source(sample="nycflights13/flights"))


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """30,000 flights of some 3,600 aircraft, each of which flies for one carrier."""
    df = read_table(SPEC.source, Path("."), name="flights")
    return df.select("tailnum", "carrier", "origin", "month").sample(30_000, seed=1)


@pytest.fixture(scope="module")
def codec(flights: pl.DataFrame) -> TableCodec:
    schema = infer_schema(flights, "flights", SPEC)
    return TableCodec.fit(flights, schema, SPEC, min_subjects=1)


@pytest.fixture(scope="module")
def model(flights: pl.DataFrame) -> TableModel:
    return fit_table(flights, SPEC, generator=GeneratorSpec(quality="draft"))


def tail(codec: TableCodec) -> CategoryCodec:
    """The codec of the aircraft."""
    return next(
        c for c in codec.codecs if isinstance(c, CategoryCodec) and c.columns == ["tailnum"]
    )


def test_a_large_vocabulary_takes_two_small_columns_of_tokens(flights, codec) -> None:
    distinct = flights["tailnum"].n_unique()
    assert distinct > 3 * LARGE
    sizes = {
        type(c).__name__: c.size for c in codec.codecs if c.columns == ["tailnum"]
    }  # page before word
    assert list(sizes) == ["Page", "CategoryCodec"]
    assert sizes["Page"] < LARGE and sizes["CategoryCodec"] < 100
    assert sizes["Page"] * sizes["CategoryCodec"] > distinct
    for each in codec.codecs:
        assert each.marginal.sum() == pytest.approx(1) and (each.marginal > 0).all()


def test_every_value_comes_back(flights, codec) -> None:
    tokens = codec.encode(flights)
    assert (tokens >= 0).all() and (tokens < codec.sizes).all()
    rows = codec.decode(tokens, np.random.default_rng(0)).select(flights.columns)
    assert rows.equals(flights, null_equal=True)


def test_the_codec_is_stored_as_json(flights, codec) -> None:
    state = json.loads(json.dumps(codec.to_json()))
    again = TableCodec.from_json(state)
    assert (again.encode(flights) == codec.encode(flights)).all()
    assert again.to_json() == codec.to_json() and again.sizes == codec.sizes


def test_frequent_values_have_a_page_each_and_the_others_share(flights, codec) -> None:
    word = tail(codec)
    page = word.page
    assert page is not None
    assert (page.pages.words[:ALONE] == 1).all()
    assert (page.pages.words[ALONE:] > 1).all()
    # Aircraft of one carrier fly alike, so they share pages.
    rare = flights.with_columns(page=pl.Series(page.encode(flights))).filter(
        pl.col("page") >= ALONE
    )
    together = rare.group_by("page").agg(
        (pl.col("carrier") == pl.col("carrier").mode().sort().first()).mean()
    )
    overall = rare["carrier"].value_counts(normalize=True)["proportion"].max()
    assert together["carrier"].mean() > 0.8 > 2 * overall


def test_words_that_a_page_lacks_are_ruled_out(codec) -> None:
    at, word = next((i, c) for i, c in enumerate(codec.codecs) if c is tail(codec))
    allowed = codec.rules()[at][at - 1]
    assert allowed.sum() == len(word.shares)
    assert (allowed.sum(1) == word.page.pages.words).all()
    # A family without rules may still draw one: it is some value of that page.
    page, lacking = np.argwhere(~allowed).T
    values = word.page.pages.value(page, lacking)
    assert (word.page.pages.page[values] == page).all()


def test_conditions_reach_both_tokens(flights, codec) -> None:
    value = flights["tailnum"].drop_nulls()[7]
    masks = codec.allowed({"tailnum": value})
    at = codec.codecs.index(tail(codec))
    tokens = codec.encode(flights.filter(pl.col("tailnum") == value))[0]
    assert {i: np.flatnonzero(m).tolist() for i, m in masks.items()} == {
        at - 1: [tokens[at - 1]],
        at: [tokens[at]],
    }
    nobody = codec.allowed({"tailnum": "N0"})
    assert not nobody[at].any() and not nobody[at - 1].any()


def test_rare_values_are_others_on_a_page_of_their_own(flights) -> None:
    schema = infer_schema(flights, "flights", SPEC)
    codec = TableCodec.fit(flights, schema, SPEC, min_subjects=5)
    word = tail(codec)
    assert word.has_other and word.is_large
    rare = flights["tailnum"].value_counts().filter(pl.col("count") < 5)["tailnum"].drop_nulls()
    state = json.dumps(codec.to_json())
    assert not any(name in state for name in rare.to_list())
    rows = flights.filter(pl.col("tailnum").is_in(rare.to_list()))
    tokens = codec.encode(rows)
    assert len(np.unique(tokens, axis=0)) > 1 and set(
        codec.decode(tokens, np.random.default_rng(0))["tailnum"]
    ) == {OTHER}
    assert word.page.pages.words[word.page.encode(rows[:1])[0]] == 1


def test_rows_keep_what_belongs_together(flights, model) -> None:
    rows = model.sample(20_000, seed=2).filter(pl.col("tailnum") != OTHER)
    pairs = flights.select("tailnum", "carrier").unique()
    kept = len(rows.join(pairs, on=["tailnum", "carrier"], how="semi")) / len(rows)
    assert kept > 0.8
    # Values are as frequent as they were: as near as fresh rows would come.
    real = flights.sample(20_000, seed=3).filter(
        pl.col("tailnum").is_in(rows["tailnum"].unique().to_list())
    )
    shares = real["tailnum"].value_counts(normalize=True).join(
        rows["tailnum"].value_counts(normalize=True), on="tailnum", how="full", coalesce=True
    ).fill_null(0)  # fmt: skip
    assert (shares["proportion"] - shares["proportion_right"]).abs().sum() / 2 < 0.25


def test_every_row_meets_a_condition_on_a_large_category(flights, model) -> None:
    common = flights["tailnum"].drop_nulls().value_counts().sort("count", "tailnum")["tailnum"]
    for wanted in (common[-1], [common[-1], common[-400], common[-900]]):
        rows = model.sample(200, seed=5, where={"tailnum": wanted})
        names = [wanted] if isinstance(wanted, str) else wanted
        assert len(rows) == 200 and rows["tailnum"].is_in(names).all()
    given = pl.DataFrame({"tailnum": [common[-1], common[-700], common[-1200]]})
    assert model.sample(conditions=given, seed=1)["tailnum"].to_list() == given["tailnum"].to_list()


def test_a_condition_may_name_a_rare_value(flights, model) -> None:
    # One row in 6,000 has it; the model may well give it less than one in 10,000.
    counted = flights["tailnum"].drop_nulls().value_counts().filter(pl.col("count") == MIN_SUBJECTS)
    rare = counted.sort("tailnum")["tailnum"][0]
    assert (model.sample(20, seed=1, where={"tailnum": rare})["tailnum"] == rare).all()


def test_rows_do_not_depend_on_how_many_follow(model) -> None:
    some, more = (model.sample(rows, seed=3) for rows in (9_000, 20_000))
    assert some.equals(more[:9_000], null_equal=True)


def test_the_likelihood_of_a_value_is_that_of_page_and_word(flights, model) -> None:
    some = flights.head(4000)
    torn = some.with_columns(pl.col("tailnum").shuffle(seed=1))
    assert model.log_prob(some).mean() > model.log_prob(torn).mean() + 0.5
    cells = table_cells(some, model.codec)
    by_cell = model.generator.cell_log_prob(model.codec.encode(cells))
    assert np.allclose(by_cell.sum(1), model.log_prob(some).to_numpy())


def test_combinations_are_paged_too(flights) -> None:
    table = TableSpec(
        source=SPEC.source,
        constraints=[Constraint(fixed_combination=["tailnum", "carrier", "origin"])],
    )
    schema = infer_schema(flights, "flights", table)
    codec = TableCodec.fit(flights, schema, table, min_subjects=1)
    assert any(isinstance(c, Page) and len(c.columns) == 3 for c in codec.codecs)
    rows = codec.decode(codec.encode(flights), np.random.default_rng(0))
    assert rows.select(flights.columns).equals(flights, null_equal=True)


def test_rare_combinations_are_never_drawn(flights) -> None:
    """They have no text to stand for them; here they are next to none, on a page of their own."""
    table = TableSpec(
        source=SPEC.source, constraints=[Constraint(fixed_combination=["tailnum", "origin"])]
    )
    seen = flights.select("tailnum", "origin").filter(pl.len().over("tailnum", "origin") > 1)
    df = pl.concat([seen, flights.select("tailnum", "origin").head(3)])
    df = df.with_columns(pl.when(pl.int_range(pl.len()) < len(seen)).then("tailnum").otherwise(
        pl.format("once {}", pl.int_range(pl.len()))).alias("tailnum"))  # fmt: skip
    schema = infer_schema(df, "flights", table)
    codec = TableCodec.fit(df, schema, table, min_subjects=2)
    page, word = codec.codecs
    assert isinstance(page, Page) and isinstance(word, CategoryCodec) and word.has_other
    assert word.shares[-1] < np.median(word.shares) * 3
    masks = codec.allowed(None)
    assert list(masks) == [0] and (~masks[0]).sum() == 1
    pairs = np.argwhere(page.allows() & masks[0][:, None]).astype(np.int32)
    rows = codec.decode(pairs, np.random.default_rng(0))
    known = seen.unique()
    assert len(rows.join(known, on=["tailnum", "origin"], how="anti", nulls_equal=True)) == 0


def test_a_small_vocabulary_stays_one_column(flights) -> None:
    schema = infer_schema(flights, "flights", SPEC)
    carrier = CategoryCodec.fit(flights, [schema["carrier"]], Subjects(5))
    assert carrier.parts() == [carrier] and not carrier.is_large
    assert carrier.size == flights["carrier"].n_unique()
    again = codec_from_json(json.loads(json.dumps(carrier.to_json())))
    assert (again.encode(flights) == carrier.encode(flights)).all()


def test_the_same_rows_give_the_same_pages(flights, codec) -> None:
    schema = infer_schema(flights, "flights", SPEC)
    assert TableCodec.fit(flights, schema, SPEC, min_subjects=1).to_json() == codec.to_json()


def test_a_subject_counts_once(flights) -> None:
    schema = infer_schema(flights, "flights", SPEC)
    who = flights["carrier"].rank("dense").cast(pl.Int64).to_numpy()
    codec = CategoryCodec.fit(flights, [schema["tailnum"]], Subjects(2, who))
    carriers = flights.group_by("tailnum").agg(pl.col("carrier").n_unique())
    shared = carriers.filter(pl.col("carrier") > 1)["tailnum"].drop_nulls()
    assert {value for (value,) in codec.values} - {None} == set(shared)
