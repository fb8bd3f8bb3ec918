"""DP-SGD for the autoregressive family: clipped rows, Gaussian noise, a fixed number of steps.

Abadi et al. 2016, "Deep learning with differential privacy". Batches are Poisson samples, opacus
adds the noise once a step, and there is as much of it as the budget needs for that many steps.
Nothing is held out and no loss is looked at, for that would be one more release; the time limit
looks at the clock alone. Averaging weights is free. Nothing is saved on the way either: an
interrupted training is lost, and a new one spends the budget of a new model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from torch import Tensor
from torch.nn import functional as F

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.autoregressive import Autoregressive, layouts
from aigc_pipeline.generators.hardware import Compute, cpu_threads
from aigc_pipeline.generators.network import AutoregressiveNet
from aigc_pipeline.generators.training import History, Progress, silent
from aigc_pipeline.privacy.budget import Budget, secret_rng
from aigc_pipeline.privacy.norms import clipped_gradients


@dataclass(frozen=True)
class PrivateEffort:
    """What private training does, whatever the data: noise hides detail that more width would show.

    batch: rows of an average batch; clip: length to which a row's gradient is cut.
    """

    steps: int
    batch: int
    width: int = 64
    embed: int = 8
    learning_rate: float = 1e-2
    clip: float = 1.0
    averaging: float = 0.98
    seconds: float = 300.0


QUALITY = {
    "draft": PrivateEffort(steps=150, batch=1024, width=32, seconds=60.0),
    "standard": PrivateEffort(steps=600, batch=2048),
    "high": PrivateEffort(steps=2000, batch=4096, seconds=1800.0),
}
LARGEST_RATE = 0.25  # share of the rows in a batch, in a small table
CHUNK = 4096  # rows whose gradients are taken at once


class NoisyOptimizer(DPOptimizerFastGradientClipping):
    """Opacus' optimizer, with noise from numpy's generator.

    torch's own generator takes 32 bits of its seed: so few that all could be tried.
    """

    def __init__(self, *args: Any, rng: np.random.Generator, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.rng = rng

    def add_noise(self) -> None:
        """Set each parameter's gradient to the summed one with noise."""
        scale = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            noise = self.rng.standard_normal(p.shape, dtype=np.float32) * np.float32(scale)
            p.grad = p.summed_grad + torch.from_numpy(noise)


def train_privately(
    codec: TableCodec,
    tokens: np.ndarray,
    budget: Budget,
    *,
    quality: str = "standard",
    time_limit: float | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
    rng: np.random.Generator | None = None,
) -> tuple[Autoregressive, History]:
    """Train on int32 tokens [rows, columns] with all that `budget` has left, and note it there.

    seed: of the first weights; rng: of batches and noise, for tests; by default one that nobody can
    make again, so that two runs never agree. compute: its threads; this is one process on the CPU.
    """
    effort = QUALITY[quality]
    rng = rng or secret_rng()
    torch.manual_seed(seed)
    net = AutoregressiveNet(layouts(codec), width=effort.width, embed=effort.embed).eval()
    rate = min(effort.batch / len(tokens), LARGEST_RATE)
    weights = list(net.parameters())
    optimizer = NoisyOptimizer(
        torch.optim.Adam(weights, lr=effort.learning_rate, betas=(0.9, 0.99)),
        noise_multiplier=budget.noise(rate=rate, steps=effort.steps),
        max_grad_norm=effort.clip,
        expected_batch_size=rate * len(tokens),
        rng=rng,
    )
    optimizer.attach_step_hook(lambda done: budget.spend(done.noise_multiplier, rate=rate))
    rows = torch.from_numpy(tokens.astype(np.int64))
    targets = _targets(codec)
    mean = [p.detach().clone() for p in weights]
    history = History()
    began, limit = time.monotonic(), time_limit or effort.seconds
    with cpu_threads((compute and compute.threads) or 1):
        for step in range(1, effort.steps + 1):
            at = step / effort.steps
            for group in optimizer.param_groups:
                group["lr"] = effort.learning_rate * min(at / 0.05, 1.0) * (1 - 0.9 * at)
            batch = rows[torch.from_numpy(np.flatnonzero(rng.random(len(rows)) < rate))]
            add_up(net, batch, targets, effort.clip)
            optimizer.step()
            optimizer.zero_grad()
            decay = min(effort.averaging, (1 + step) / (10 + step))
            torch._foreach_lerp_(mean, [p.detach() for p in weights], 1 - decay)
            history.steps = step
            progress(f"training with noise, step {step} of {effort.steps}", at)
            if time.monotonic() - began > limit:
                history.stopped_by = "time limit"
                break
    with torch.no_grad():
        for p, average in zip(weights, mean, strict=True):
            p.copy_(average)
    history.seconds = round(time.monotonic() - began, 1)
    model = Autoregressive(net, codec.rules())
    model.calibrate([c.marginal for c in codec.codecs], None, seed)
    return model, history


def add_up(
    net: AutoregressiveNet, batch: Tensor, targets: list[Tensor | None], clip: float
) -> None:
    """Set the parameters' gradients to the sum of the batch's clipped ones; zero for no rows."""
    weights = list(net.parameters())
    total = [torch.zeros_like(p) for p in weights]
    for part in batch.split(CHUNK) if len(batch) else ():
        clipped_gradients(net, partial(row_losses, net, part, targets), clip)
        for p, gradient in zip(weights, total, strict=True):
            assert p.grad is not None
            gradient += p.grad
    for p, gradient in zip(weights, total, strict=True):
        p.grad = gradient


def row_losses(net: AutoregressiveNet, rows: Tensor, targets: list[Tensor | None]) -> Tensor:
    """Negative log-likelihood of each row against softened targets, [rows].

    Column by column: so each parameter is used once, and its rows' gradients can be told apart.
    """
    embedded = [F.embedding(rows[:, j], c.embedding()) for j, c in enumerate(net.columns)]
    inputs = torch.cat(embedded, 1)
    losses = rows.new_zeros(len(rows), dtype=inputs.dtype)
    for j, column in enumerate(net.columns):
        logs = F.log_softmax(column(inputs[:, : j * net.embed]), 1)
        target = targets[j]
        if target is None:
            losses = losses + F.nll_loss(logs, rows[:, j], reduction="none")
        else:
            losses = losses - (target[rows[:, j]] * logs).sum(1)
    return losses


def _targets(codec: TableCodec) -> list[Tensor | None]:
    smoothing = [c.smoothing() for c in codec.codecs]
    return [None if s is None else torch.from_numpy(s) for s in smoothing]
