"""What came before a row: read off real rows, and kept while rows are made, is the same."""

from __future__ import annotations

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from aigc_pipeline.relations.history import History, gaps_of, history_of
from aigc_pipeline.relations.plan import POSITION, hidden
from aigc_pipeline.spec import Kind

AMOUNT = hidden("amount", Kind.NUMBER, "Float64")


def rows() -> tuple[pl.DataFrame, np.ndarray]:
    groups = np.array([0, 0, 0, 2, 2, 5])
    amounts = [1.0, None, 4.0, 2.0, 6.0, 7.0]
    return pl.DataFrame({"kind": list("abcabc"), "amount": amounts}), groups


def test_the_row_before_and_the_mean_so_far() -> None:
    frame, groups = rows()
    told = history_of(frame, groups, ["kind"], [AMOUNT])
    assert told["(position)"].to_list() == [0, 1, 2, 0, 1, 0]
    assert told["(rows)"].to_list() == [3, 3, 3, 2, 2, 1]
    assert told["(left)"].to_list() == [3, 2, 1, 2, 1, 1]
    assert told["previous kind"].to_list() == [None, "a", "b", None, "a", None]
    assert told["mean amount"].to_list() == [None, 1.0, 1.0, None, 2.0, None]


def test_step_by_step_it_is_the_same() -> None:
    frame, groups = rows()
    told = history_of(frame, groups, ["kind", "amount"], [AMOUNT])
    columns = ["previous kind", "previous amount", "mean amount"]
    history = History(6, ["kind", "amount"], [AMOUNT])
    for step in range(3):
        here = pl.Series(told[POSITION] == step)
        owners = groups[here.to_numpy()]
        made = history.of(owners, dict(frame.schema))
        assert_frame_equal(made.select(columns), told.filter(here).select(columns))
        history.add(owners, frame.filter(here))


def test_gaps_start_anew_with_every_owner() -> None:
    gaps = gaps_of(np.array([1.0, 4.0, 9.0, 2.0, 2.0]), np.array([0, 0, 0, 1, 1]))
    assert np.array_equal(gaps, [np.nan, 3.0, 5.0, np.nan, 0.0], equal_nan=True)
