"""Values that come once under an owner are not made twice."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.relations.plan import hidden
from aigc_pipeline.relations.repeats import Repeats, repeat_rates
from aigc_pipeline.spec import Kind

PRODUCT = hidden("product", Kind.CATEGORY, "String")


def products(rows: int, seed: int, words: int = 30) -> pl.Series:
    codes = np.random.default_rng(seed).integers(0, words, rows)
    return pl.Series("product", [f"p{code}" for code in codes])


def test_rates_are_counted_by_position() -> None:
    groups = np.repeat(np.arange(20), 3)
    values = [f"p{i // 3}" if i % 3 != 1 else f"q{i // 3}" for i in range(60)]
    rates = repeat_rates(pl.DataFrame({"product": values}), groups, [PRODUCT])
    assert rates["product"][:3] == [0.0, 0.0, 1.0]


def test_columns_of_few_values_and_single_rows_are_passed_over() -> None:
    few = pl.DataFrame({"product": ["a", "b"] * 30})
    assert repeat_rates(few, np.repeat(np.arange(20), 3), [PRODUCT]) == {}
    alone = pl.DataFrame({"product": products(60, 0)})
    assert repeat_rates(alone, np.arange(60), [PRODUCT]) == {}


def test_missing_values_are_no_repeats() -> None:
    groups = np.repeat(np.arange(20), 2)
    values = [f"p{i}" if i % 4 == 0 else None for i in range(40)]
    rates = repeat_rates(pl.DataFrame({"product": values}), groups, [PRODUCT])
    assert rates["product"][1] == 0.0


@pytest.mark.parametrize("wanted", [0.0, 0.05])
def test_repeats_become_as_rare_as_in_the_data(wanted: float) -> None:
    owners, first = np.arange(4000), products(4000, 1, words=4)
    repeats = Repeats({"product": [0.0, wanted]})
    repeats.add(owners, pl.DataFrame([first]))
    rng, todo, again = np.random.default_rng(2), owners, []
    for draw in range(12):  # rows that are not kept are drawn anew, as in sampling
        rows = pl.DataFrame([products(len(todo), 10 + draw, words=4)])
        good = repeats.accept(todo, rows, 1, rng)
        again += (rows["product"] == first[todo]).filter(pl.Series(good)).to_list()
        todo = todo[~good]
    assert abs(np.mean(again) - wanted) < 0.02


def test_what_repeats_less_than_the_data_is_left_alone() -> None:
    repeats = Repeats({"product": [0.0, 0.9]})
    repeats.add(np.arange(100), pl.DataFrame({"product": ["a"] * 100}))
    rows = pl.DataFrame({"product": ["a", "b"] * 50})
    assert repeats.accept(np.arange(100), rows, 1, np.random.default_rng(0)).all()
