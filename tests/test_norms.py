"""Clipped gradients: as if every row's gradient were taken, cut and added by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.features.ordered import order_features
from aigc_pipeline.generators.network import AutoregressiveNet, ColumnLayout
from aigc_pipeline.privacy.norms import clipped_gradients
from aigc_pipeline.privacy.training import add_up, row_losses

ROWS = 12


def make(seed: int) -> tuple[AutoregressiveNet, Tensor, list[Tensor | None]]:
    """A small network away from its start, random rows, and targets softened for one column."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    sizes = [int(n) for n in rng.integers(2, 7, 4)]
    shares = [rng.dirichlet(np.ones(n)) for n in sizes]
    layouts = [
        ColumnLayout(n, share, order_features(share) if j % 2 else None)
        for j, (n, share) in enumerate(zip(sizes, shares, strict=True))
    ]
    net = AutoregressiveNet(layouts, width=6, embed=3).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    rows = torch.from_numpy(np.stack([rng.integers(0, n, ROWS) for n in sizes], 1))
    soft = torch.softmax(torch.randn(sizes[1], sizes[1]), 1)
    return net, rows, [None, soft, None, None]


def one_by_one(
    net: nn.Module, rows: Tensor, targets: list[Tensor | None], limit: float
) -> tuple[list[Tensor], Tensor]:
    """The same by plain autograd, a row at a time."""
    parameters = list(net.parameters())
    total, lengths = [torch.zeros_like(p) for p in parameters], []
    for i in range(len(rows)):
        loss = row_losses(net, rows[i : i + 1], targets).sum()  # type: ignore[arg-type]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        found = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(parameters, gradients, strict=True)
        ]
        length = torch.cat([g.flatten() for g in found]).norm()
        for t, g in zip(total, found, strict=True):
            t += g * min(1.0, limit / float(length))
        lengths.append(length)
    return total, torch.stack(lengths)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.floats(0.05, 20.0))
def test_they_equal_those_of_single_rows(seed: int, limit: float) -> None:
    net, rows, targets = make(seed)
    expected, expected_lengths = one_by_one(net, rows, targets, limit)
    losses, lengths = clipped_gradients(net, lambda: row_losses(net, rows, targets), limit)
    assert torch.allclose(losses, row_losses(net, rows, targets))
    assert torch.allclose(lengths, expected_lengths, rtol=1e-4)
    for p, total in zip(net.parameters(), expected, strict=True):
        assert p.grad is not None and torch.allclose(p.grad, total, rtol=1e-3, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.floats(0.05, 5.0))
def test_a_row_changes_the_sum_by_at_most_the_limit(seed: int, limit: float) -> None:
    net, rows, targets = make(seed)
    sums = []
    for kept in (rows, rows[1:]):
        add_up(net, kept, targets, limit)
        sums.append(torch.cat([p.grad.flatten() for p in net.parameters()]))  # type: ignore[union-attr]
    assert (sums[0] - sums[1]).norm() <= limit * (1 + 1e-4)


def test_no_rows_give_no_gradient() -> None:
    net, rows, targets = make(0)
    add_up(net, rows[:0], targets, 1.0)
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


def test_rows_are_taken_in_parts_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net, rows, targets = make(1)
    add_up(net, rows, targets, 0.5)
    whole = [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]
    monkeypatch.setattr("aigc_pipeline.privacy.training.CHUNK", 5)
    add_up(net, rows, targets, 0.5)
    for p, expected in zip(net.parameters(), whole, strict=True):
        assert torch.allclose(p.grad, expected, atol=1e-6)  # type: ignore[arg-type]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.ones(3))
        self.layer = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda m, x: m.layer(m.layer(F.layer_norm(x, (3,), m.free))).sum(1),
            "layer.weight is used 2 times",
        ),
        (lambda m, x: x.sum(1), "free is used 0 times"),
        (lambda m, x: torch.mul(x, m.free).sum(1), "used by mul"),
        (lambda m, x: F.linear(x[:, None], m.layer.weight).sum((1, 2)), "more than one vector"),
        (lambda m, x: F.linear(x, m.layer.weight, m.free.neg()).sum(1), "used by neg"),
        (lambda m, x: F.layer_norm(x, (3,), m.free, m.free).sum(1), "shift of a layer_norm"),
        (
            lambda m, x: F.embedding(x.argmax(1), m.layer.weight, max_norm=1.0).sum(1),
            "an embedding with",
        ),
    ],
)
def test_what_cannot_be_clipped_row_by_row_is_refused(use, message: str) -> None:
    model = Small()
    with pytest.raises(TypeError, match=message):
        clipped_gradients(model, lambda: use(model, torch.randn(4, 3)), 1.0)
