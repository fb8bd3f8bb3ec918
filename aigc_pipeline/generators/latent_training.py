"""Training a variational autoencoder over tokens in two stages, both stopped on held-out rows.

First encoder, decoder and prior learn together, with the latents' cost at a discount (a beta-VAE,
Higgins et al. 2017): at the full price few latents are ever used, and a softmax a column cannot
tell by itself what goes with what. The price of the discount is latents far from the prior at
first; so in a second stage the encoder stands still and the prior goes on learning where it puts
them, as in two-stage VAEs (Dai and Wipf 2019) and TabSyn (Zhang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.checkpoint import Checkpoint, fingerprint
from aigc_pipeline.generators.latent import LatentNet, Noise
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.training import (
    Backward,
    Compute,
    Effort,
    History,
    Progress,
    Trainable,
    add_gradient,
    train,
)

KL_WEIGHT = 0.2
FIRST = 0.75  # of the time limit, for the first stage
SHARDS = 2  # of a batch, on a CPU
LEAST_SHARD = 64  # rows, below which a part is not worth a thread
# By quality: passes over the data in each stage, floating-point operations at most in the first,
# seconds at most in all.
QUALITY = {
    "draft": (6, 1e12, 60.0),
    "standard": (30, 7e12, 170.0),
    "high": (60, 35e12, 900.0),
}


class Objective:
    """Negative log-likelihood of rows given their latents, plus the latents' discounted cost.

    In nats a row; in training against softened targets.
    """

    def __init__(self, codec: TableCodec) -> None:
        smoothing = [c.smoothing() for c in codec.codecs]
        self.targets = [None if s is None else torch.from_numpy(s) for s in smoothing]
        self.sizes = codec.sizes

    def __call__(
        self, model: nn.Module, rows: Tensor, context: Tensor | None, parts: list[int]
    ) -> Tensor:
        """Mean over rows, [1]."""
        assert isinstance(model, LatentNet)
        if model.training:
            return self.of(model, rows, context, model.noise(len(rows)))[None]
        total = torch.zeros(1, device=rows.device)
        for start in range(0, len(rows), 8192):
            some = rows[start : start + 8192]
            given = None if context is None else context[start : start + 8192]
            logits, cost = model(some, given)
            total += KL_WEIGHT * cost.sum()
            for j, each in enumerate(logits.split(self.sizes, 1)):
                total += F.cross_entropy(each, some[:, j], reduction="sum")
        return total / len(rows)

    def of(self, net: LatentNet, rows: Tensor, context: Tensor | None, noise: Noise) -> Tensor:
        """The loss in training, a single number."""
        logits, cost = net(rows, context, noise)
        loss = KL_WEIGHT * cost.sum(1).mean()
        for j, each in enumerate(logits.split(self.sizes, 1)):
            target = self.targets[j]
            if target is None:
                loss = loss + F.cross_entropy(each, rows[:, j])
            else:
                self.targets[j] = target = target.to(rows.device)
                logs = F.log_softmax(each, 1)
                loss = loss - (F.embedding(rows[:, j], target) * logs).sum(1).mean()
        return loss


class PriorAlone(Trainable):
    """A network of which only the prior learns."""

    def __init__(self, net: LatentNet) -> None:
        super().__init__()
        self.net = net

    def shared(self) -> list[nn.Parameter]:
        """None."""
        return []

    def parts(self) -> list[list[nn.Parameter]]:
        """The prior's parameters."""
        return [list(self.net.prior.parameters())]


class PriorObjective:
    """What latents cost under the prior, nats a row; on held-out rows the whole objective."""

    def __init__(self, whole: Objective) -> None:
        self.whole = whole

    def __call__(
        self, model: nn.Module, rows: Tensor, context: Tensor | None, parts: list[int]
    ) -> Tensor:
        """Mean over rows, [1]."""
        assert isinstance(model, PriorAlone)
        if not model.training:
            return self.whole(model.net, rows, context, parts)
        return self.of(model.net, rows, context, model.net.noise(len(rows)))[None]

    def of(self, net: LatentNet, rows: Tensor, context: Tensor | None, noise: Noise) -> Tensor:
        """The loss in training, a single number."""
        with torch.no_grad():
            z = net.draw_latents(rows, context, noise)[0]
        return -net.prior.log_prob(z, context).sum(1).mean()


def train_latent(
    net: LatentNet,
    codec: TableCodec,
    rows: Tensor,
    held_out: Tensor,
    *,
    quality: str,
    time_limit: float | None = None,
    context: Tensor | None = None,
    held_out_context: Tensor | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: Path | None = None,
    progress: Progress,
) -> History:
    """Both stages, as one history. See `train`; the first stage's end has a checkpoint too."""
    compute = compute or Compute()
    effort = plan_effort(net.flops_per_row(), len(rows), quality, time_limit)
    objective = Objective(codec)
    with make_pool(compute.threads or cores()) as pool:

        def run(model: Trainable, loss: Objective | PriorObjective, limit: float) -> History:
            own = [p for part in model.parts() for p in part]
            return train(
                model,
                loss,
                rows,
                held_out,
                replace(effort, time_limit=limit),
                context=context,
                held_out_context=held_out_context,
                backward=in_shards(loss.of, net, own, pool) if compute.on_one_cpu else None,
                seed=seed,
                compute=compute,
                checkpoint=checkpoint,
                progress=progress,
            )

        saved = None
        if checkpoint is not None:
            key = fingerprint(rows, held_out, context, held_out_context, effort, seed, net.settings)
            saved = Checkpoint(checkpoint.with_name(f"{checkpoint.name}.first"), key)
        state = saved.load() if saved is not None else None
        if state is not None:
            net.load_state_dict(state[0])
            first = History(**state[1])
        else:
            first = run(net, objective, FIRST * effort.time_limit)
            if saved is not None:
                saved.save(net.state_dict(), first.to_json())
        left = max(effort.time_limit - first.seconds, 0.0)
        second = run(PriorAlone(net), PriorObjective(objective), left)
        if saved is not None:
            saved.remove()
    return follow(first, second)


def follow(first: History, second: History) -> History:
    """One history of two stages whose held-out losses are on the same scale."""
    looks = [{**look, "step": look["step"] + first.steps} for look in second.looks]
    losses = [loss for loss in (first.best_loss, second.best_loss) if loss is not None]
    late = "time limit" in (first.stopped_by, second.stopped_by)
    return History(
        steps=first.steps + second.steps,
        seconds=round(first.seconds + second.seconds, 1),
        best_loss=min(losses, default=None),
        first_loss=second.first_loss if first.first_loss is None else first.first_loss,
        stopped_by="time limit" if late else second.stopped_by,
        looks=first.looks + looks,
    )


def in_shards(
    loss: Callable[[LatentNet, Tensor, Tensor | None, Noise], Tensor],
    net: LatentNet,
    parameters: list[nn.Parameter],
    pool: ThreadPoolExecutor,
) -> Backward:
    """The gradient of a loss, parts of a batch side by side, a core each.

    The parts do not depend on the number of threads, so neither do the weights.
    """

    def backward(rows: Tensor, context: Tensor | None, columns: list[int]) -> None:
        noise = net.noise(len(rows))

        def work(at: slice) -> tuple[Tensor, ...]:
            given = None if context is None else context[at]
            share = len(rows[at]) / len(rows)
            mean = loss(net, rows[at], given, noise.part(at))
            return torch.autograd.grad(mean * share, parameters)

        size = max(-(-len(rows) // SHARDS), LEAST_SHARD)
        gradients = list(pool.map(work, [slice(i, i + size) for i in range(0, len(rows), size)]))
        for parameter, parts in zip(parameters, zip(*gradients, strict=True), strict=True):
            add_gradient(parameter, torch.stack(parts).sum(0))

    return backward


def plan_effort(
    flops_per_row: float, rows: int, quality: str, time_limit: float | None = None
) -> Effort:
    """Steps, batch and learning rate of a stage. A shorter time limit shrinks the budget too."""
    epochs, operations, limit = QUALITY[quality]
    if time_limit is not None:
        operations *= min(time_limit / limit, 1.0)
        limit = time_limit
    batch = int(np.clip(2 ** round(np.log2(max(rows, 1) / 60)), 32, 256))
    passes = max(epochs * rows / batch, 600 if quality != "draft" else 150)
    steps = int(np.clip(operations / (flops_per_row * batch), 50, passes))
    return Effort(steps, batch, 3e-3, limit, settle=0.0)
