"""Children take free places of parents that have what they were made to share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_pipeline.relations.matching import match, scale_places


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    total=st.integers(0, 200),
    seed=st.integers(0, 9),
)
def test_places_add_up_and_keep_their_proportions(places, total, seed) -> None:
    asked = np.array(places)
    room = scale_places(asked, total, rng(seed))
    assert room.sum() == total
    assert (room >= 0).all()
    if asked.sum():
        assert (np.abs(room - asked * total / asked.sum()) < 1 + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), children=st.integers(1, 120), parents=st.integers(1, 30))
def test_every_child_gets_a_parent_and_no_place_is_given_twice(seed, children, parents) -> None:
    random = rng(seed)
    wanted = random.integers(0, 4, (children, 2))
    offered = random.integers(0, 4, (parents, 2))
    places = random.integers(0, 8, parents)
    row = match(wanted, offered, places, rng(seed))
    assert ((row >= 0) & (row < parents)).all()
    exact = places * children / max(places.sum(), 1)
    if places.sum():
        assert (np.bincount(row, minlength=parents) <= np.floor(exact) + 1).all()


def test_where_there_is_room_all_features_agree() -> None:
    offered = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    wanted = np.repeat(offered, 5, axis=0)
    row = match(wanted, offered, np.full(4, 5), rng())
    assert np.array_equal(offered[row], wanted)


def test_the_last_feature_is_given_up_first() -> None:
    offered = np.array([[0, 0], [1, 1]])
    wanted = np.array([[0, 1], [1, 0]])
    row = match(wanted, offered, np.ones(2, dtype=int), rng())
    assert np.array_equal(offered[row, 0], wanted[:, 0])


def test_a_firm_feature_is_never_given_up() -> None:
    offered = np.array([[0], [1]])
    wanted = np.array([[0], [0], [0], [2]])
    row = match(wanted, offered, np.array([1, 3]), rng(), firm=1)
    assert row.tolist() == [0, 0, 0, -1]


def test_nobody_to_refer_to() -> None:
    assert match(np.zeros((3, 1)), np.zeros((0, 1)), np.zeros(0), rng()).tolist() == [-1] * 3


def test_parents_without_any_counted_child_share_alike() -> None:
    assert scale_places(np.zeros(4), 8, rng()).tolist() == pytest.approx([2, 2, 2, 2])
