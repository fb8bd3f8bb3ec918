"""Training steps on a CPU, several columns at a time.

A column's network is small: its operations fit a core's cache, and a second thread inside each
would mostly wait. So each worker thread takes a group of whole columns instead, forward and back.
Groups are large, for threads wait for each other whenever Python starts an operation. They do not
depend on the number of workers, so neither do the weights, to the last bit.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from aigc_pipeline.generators.network import AutoregressiveNet, Prepared

GROUP = 12  # columns at least, where there are enough for two groups


class ColumnLoss(Protocol):
    """The loss of columns from their logits."""

    def of(self, logits: list[Tensor], rows: Tensor, columns: list[int]) -> Tensor:
        """Mean loss of each column in nats, [columns]."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_pool(workers: int) -> ThreadPoolExecutor:
    """Threads that each compute on one core."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def backward(
    net: AutoregressiveNet,
    loss: ColumnLoss,
    rows: Tensor,
    context: Tensor | None,
    columns: list[int],
    pool: ThreadPoolExecutor,
) -> Tensor:
    """Add the gradient of the columns' summed loss to the parameters; returns the losses.

    As `loss(net, rows, context, columns).sum().backward()`, but in parallel.
    """
    prepared = net.prepare(rows, context)
    shared = prepared.inputs.requires_grad

    def work(group: list[int]) -> tuple[Tensor, Tensor | None]:
        inputs = prepared.inputs.detach().requires_grad_(shared)
        logits = net.stacked_logits(Prepared(inputs, prepared.chance), group)
        losses = loss.of(logits, rows, group)
        losses.sum().backward()
        return losses.detach(), inputs.grad

    groups = [group for group in split(net, columns) if group]
    done = list(pool.map(work, groups))
    gradients = [gradient for _, gradient in done if gradient is not None]
    if shared and gradients:
        torch.autograd.backward(prepared.inputs, torch.stack(gradients).sum(0))
    order = [j for group in groups for j in group]
    losses = dict(zip(order, torch.cat([losses for losses, _ in done]), strict=True))
    return torch.stack([losses[j] for j in columns])


def split(net: AutoregressiveNet, columns: list[int]) -> list[list[int]]:
    """Columns in groups of about equal work: the largest first, each to the least busy group."""
    work = {j: net.width * (net.before(j) + net.width + net.sizes[j]) for j in columns}
    count = max(2, len(columns) // GROUP)
    groups: list[list[int]] = [[] for _ in range(count)]
    load = [0] * count
    for j in sorted(columns, key=lambda j: (-work[j], j)):
        least = load.index(min(load))
        groups[least].append(j)
        load[least] += work[j] + 5000  # every column has fixed costs too
    return groups
