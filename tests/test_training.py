"""Steps of a training, made fast: several columns at a time, weights side by side."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.generators.hardware import seed_device
from aigc_pipeline.generators.keeper import Flat, Keeper
from aigc_pipeline.generators.network import AutoregressiveNet, ColumnLayout
from aigc_pipeline.generators.parallel import backward, make_pool, split

SIZES = [3, 40, 7, 2, 19]
ROWS = 64


class CrossEntropy:
    """The plain loss of columns."""

    def of(self, logits: list[Tensor], rows: Tensor, columns: list[int]) -> Tensor:
        found = zip(columns, logits, strict=True)
        return torch.stack([F.cross_entropy(z, rows[:, j]) for j, z in found])


@pytest.fixture
def net() -> AutoregressiveNet:
    """Five columns, the first one known, each second one with more dropout; one has an aside."""
    torch.manual_seed(0)
    layouts = [
        ColumnLayout(size, np.full(size, 1 / size), dropout=0.4 if j % 2 else 0.15)
        for j, size in enumerate(SIZES)
    ]
    aside = {2: ColumnLayout(4, np.full(4, 0.25))}
    net = AutoregressiveNet(layouts, width=16, embed=4, context=2, known=1, asides=aside)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)  # so that no part of it is zero, as some are at first
    return net.train()


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("columns", [[1, 2, 3, 4], [1, 4], [3]])
def test_columns_at_once_have_the_gradients_of_one_by_one(
    net: AutoregressiveNet, columns: list[int], settled: bool
) -> None:
    rows = torch.stack([torch.randint(0, n, (ROWS,)) for n in [*SIZES, 4]], 1)
    context = torch.randn(ROWS, 2)
    for p in net.shared():
        p.requires_grad_(not settled)
    found = []
    for at_once in (False, True):
        net.zero_grad()
        torch.manual_seed(1)  # of the dropout
        if at_once:
            with make_pool(2) as pool:
                losses = backward(net, CrossEntropy(), rows, context, columns, pool)
        else:
            losses = CrossEntropy().of(net(rows, context, columns), rows, columns)
            losses.sum().backward()
        found.append((losses.detach(), {n: p.grad for n, p in net.named_parameters()}))
    (plain, each), (together, all_of_them) = found
    torch.testing.assert_close(together, plain)
    for name, gradient in each.items():
        assert (gradient is None) == (all_of_them[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(all_of_them[name], gradient, msg=name)


def test_every_column_is_in_one_group(net: AutoregressiveNet) -> None:
    groups = split(net, [1, 2, 4])
    assert sorted(j for group in groups for j in group) == [1, 2, 4] and len(groups) == 2


def test_parameters_side_by_side_are_the_same_parameters() -> None:
    model = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flat = Flat(list(model.parameters()))
    assert flat.weight.shape == (8,)
    model(torch.ones(5, 3)).sum().backward()
    assert flat.weight.grad is not None and flat.weight.grad.tolist() == [5.0] * 8
    torch.optim.SGD([flat.weight], lr=0.1).step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] - 0.5)
    flat.release()
    with torch.no_grad():
        flat.weight.zero_()
    assert all(p.ne(0).all() and p.grad is None for p in model.parameters())
    assert len({p.untyped_storage().data_ptr() for p in model.parameters()}) == 2


def test_what_is_shared_stays_where_it_settled(net: AutoregressiveNet) -> None:
    keeper = Keeper(net, patience=1)
    optimizer = torch.optim.AdamW(keeper.groups(0.01), lr=0.1)
    rows = torch.stack([torch.randint(0, n, (ROWS,)) for n in [*SIZES, 4]], 1)

    def step() -> None:
        CrossEntropy().of(net(rows, torch.zeros(ROWS, 2)), rows, [1, 2, 3, 4]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        keeper.follow(0.5)

    step()
    moved = [p.detach().clone() for p in net.shared()]
    step()
    assert not any(torch.equal(p, was) for p, was in zip(net.shared(), moved, strict=True))
    keeper.settle()
    settled = [p.detach().clone() for p in net.shared()]
    others = [p.detach().clone() for part in net.parts() for p in part]
    step()
    assert all(torch.equal(p, was) for p, was in zip(net.shared(), settled, strict=True))
    left = [p for part in net.parts() for p in part]
    assert not any(torch.equal(p, was) for p, was in zip(left, others, strict=True))


def test_random_numbers_begin_anew_as_by_manual_seed() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(5)
    seed_device(torch.device("cpu"), 7)
    assert torch.equal(torch.rand(5), wanted)


def test_random_numbers_of_a_gpu_begin_anew_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(manual_seed=seeds.append))
    seed_device(torch.device("cuda"), 7)
    assert seeds == [7]
