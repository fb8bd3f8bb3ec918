"""Ruled-out pairs, calibrated marginals and evenly spread draws: the steps after training."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.generators.autoregressive import quasi_random
from aigc_pipeline.generators.keeper import Keeper
from aigc_pipeline.generators.rules import find_rules, from_tensors, to_tensors
from aigc_pipeline.spec import GeneratorSpec, TableSpec
from aigc_pipeline.tabular import fit_table


def test_a_pair_that_should_occur_often_and_never_does_is_ruled_out() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 2000)
    second = np.where(first == 0, 0, rng.integers(0, 3, 2000))
    rules = find_rules(np.stack([first, second], 1), [2, 3])
    assert rules[1][0].tolist() == [[True, False, False], [True, True, True]]


def test_independent_columns_have_no_rules() -> None:
    tokens = np.random.default_rng(0).integers(0, 4, (3000, 6))
    assert find_rules(tokens, [4] * 6) == {}


def test_a_pair_too_rare_to_tell_is_allowed() -> None:
    # 10 of 1,000 rows have the token: a partner it never meets is what chance gives.
    first = np.array([1] * 10 + [0] * 990)
    second = np.array([0] * 500 + [1] * 500)
    assert find_rules(np.stack([first, second], 1), [2, 2]) == {}


def test_rules_survive_the_weights_file() -> None:
    allowed = np.array([[True, False], [True, True]])
    assert from_tensors({"nets.0.bias": np.zeros(2), **to_tensors({3: {1: allowed}})})[3][
        1
    ].tolist() == [[True, False], [True, True]]


def test_a_batch_of_uniform_numbers_is_spread_evenly_by_itself_and_in_pairs() -> None:
    uniform = quasi_random(1000, 3, np.random.default_rng(0))
    assert uniform.dtype == np.float32 and uniform.min() >= 0 and uniform.max() < 1
    for column in uniform.T:  # independent draws are off by 13
        assert abs(np.histogram(column, 50, (0, 1))[0] - 20).max() <= 3
    for one, other in combinations(uniform.T, 2):  # and by 10
        cells = np.histogram2d(one, other, 10, [(0, 1), (0, 1)])[0]
        assert abs(cells - 10).max() <= 4
    assert abs(np.corrcoef(uniform[1:, 0], uniform[:-1, 0])[0, 1]) < 0.1  # in random order


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (1, 1)])
def test_a_batch_of_uniform_numbers_has_the_shape_asked_for(rows: int, columns: int) -> None:
    assert quasi_random(rows, columns, np.random.default_rng(0)).shape == (rows, columns)


def test_sampled_marginals_are_those_of_the_training_rows() -> None:
    rng = np.random.default_rng(0)
    grade = rng.choice(["a", "b", "c", "d"], 4000, p=[0.6, 0.25, 0.1, 0.05])
    amount = rng.gamma(2, 100, 4000).round(0) + 500 * (grade == "d")
    df = pl.DataFrame({"grade": grade, "amount": amount})
    model = fit_table(df, TableSpec(source={"file": "x"}), generator=GeneratorSpec(quality="draft"))
    rows = model.sample(8192)
    for value in "abcd":
        assert (rows["grade"] == value).mean() == pytest.approx((grade == value).mean(), abs=0.004)
    for share in (0.1, 0.5, 0.9):
        real = np.quantile(amount, share)
        assert (rows["amount"] <= real).mean() == pytest.approx((amount <= real).mean(), abs=0.012)


def test_each_part_keeps_its_own_best_weights() -> None:
    import torch
    from torch import nn

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.common = nn.Parameter(torch.zeros(1))
            self.own = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(2)])

        def shared(self):
            return [self.common]

        def parts(self):
            return [[p] for p in self.own]

    model = Two()
    keeper = Keeper(model, patience=2)  # type: ignore[arg-type]
    keeper.settle()
    # The first part is best at look 1, the second one at look 3.
    for step, losses in enumerate([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]):
        with torch.no_grad():
            for p in model.own:
                p.fill_(step)
        keeper.follow(0.0)
        keeper.look(losses)
    assert keeper.active == [1]
    keeper.restore()
    assert [p.item() for p in model.own] == [0.0, 2.0] and keeper.best_loss == [1.0, 1.0]
