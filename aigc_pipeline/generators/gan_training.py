"""Adversarial training: a Wasserstein critic with gradient penalty, stopped by a held-out score.

A critic's loss says nothing of how good the rows are. So now and then rows are drawn with averaged
weights and compared with held-out ones; the best weights by that are kept.
"""

from __future__ import annotations

import copy
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_pipeline.errors import InputError
from aigc_pipeline.generators.ancestral import Ancestral
from aigc_pipeline.generators.checkpoint import (
    Checkpoint,
    fingerprint,
    optimizer_tensors,
    restore_optimizer,
)
from aigc_pipeline.generators.collapse import GROUPS, group_tokens, one_hot
from aigc_pipeline.generators.gan_net import Critic, draw_soft
from aigc_pipeline.generators.hardware import Compute, cpu_threads, make_fabric
from aigc_pipeline.generators.network import AutoregressiveNet
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.rules import Rules
from aigc_pipeline.generators.training import Effort, History, Progress, silent

SHARDS = 2  # of a batch, worked on side by side on a CPU
PENALTY = 1.0  # weight of the gradient penalty
CRITIC = 6.0  # learning rate of the critic, as a share of the generator's (Heusel et al. 2017)
MOMENTS = (0.5, 0.9)  # of Adam, for both networks
SETTLE = 0.4  # share of the steps before which nothing stops: at first marginals drift
DRAWN = 4096  # rows drawn at a look


class PairDistance:
    """How far rows are from held-out ones: the distance of two columns' joint shares, mean.

    Tokens are told apart in at most 12 groups; the distance is total variation, in [0, 1], averaged
    over all pairs of columns. A context's features count as columns: rows must follow it too.
    """

    def __init__(
        self, marginals: list[np.ndarray], held_out: np.ndarray, context: np.ndarray | None = None
    ) -> None:
        groups = [group_tokens(marginal) for marginal in marginals]
        self.edges: list[np.ndarray] = []
        if context is not None:
            steps = np.linspace(0, 1, GROUPS + 1)[1:-1]
            self.edges = [np.unique(np.quantile(feature, steps)) for feature in context.T]
            groups += [np.arange(len(edges) + 1) for edges in self.edges]
        self.groups = groups
        sizes = [int(group.max()) + 1 for group in groups]
        self.start = np.cumsum([0, *sizes])
        column = np.repeat(np.arange(len(sizes)), sizes)
        self.pairs = column[:, None] < column[None, :]
        self.held_out = self._shares(held_out, context)

    def __call__(self, tokens: np.ndarray, context: np.ndarray | None = None) -> float:
        """The distance of int tokens [rows, columns] that were drawn under a context."""
        count = len(self.groups) * (len(self.groups) - 1) / 2
        apart = np.abs(self._shares(tokens, context) - self.held_out)[self.pairs].sum()
        return float(apart / 2 / max(count, 1))

    def _shares(self, tokens: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        if context is not None:
            features = zip(self.edges, context.T, strict=True)
            told = [np.searchsorted(edges, feature, side="right") for edges, feature in features]
            tokens = np.concatenate([tokens, np.stack(told, 1)], 1)
        known = one_hot(tokens, self.groups, self.start)
        return known.T @ known / len(tokens)


@dataclass
class Game:
    """A generator and its critic, and what both are trained with.

    noise: how many random numbers the generator's context begins with.
    """

    net: AutoregressiveNet
    critic: Critic
    noise: int
    effort: Effort
    seed: int

    def __post_init__(self) -> None:
        self.mean = copy.deepcopy(self.net).requires_grad_(False)
        self.best = {k: v.clone() for k, v in self.mean.state_dict().items()}
        self.weights = list(self.net.parameters())
        self.optimizer = self._optimizer(self.weights)
        self.critic_weights = list(self.critic.parameters())
        self.critic_optimizer = self._optimizer(self.critic_weights)

    def _optimizer(self, weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(weights, lr=self.effort.learning_rate, betas=MOMENTS, fused=True)

    def step(
        self, number: int, rows: Tensor, context: Tensor | None, pool: ThreadPoolExecutor
    ) -> float:
        """One step of the critic, one of the generator; returns the critic's estimated distance.

        rows: int64 tokens [batch, columns]. The batch is worked on in parts of whole packs, which
        do not depend on the number of threads, so neither do the weights.
        """
        at = number / self.effort.steps
        for optimizer, share in ((self.optimizer, 1.0), (self.critic_optimizer, CRITIC)):
            for group in optimizer.param_groups:
                group["lr"] = self.effort.learning_rate * share * _schedule(at)
        packs = len(rows) // self.critic.pack
        size = -(-packs // SHARDS) * self.critic.pack
        slices = [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]
        shares = [(part.stop - part.start) / len(rows) for part in slices]

        def criticise(index: int) -> tuple[Tensor, Tensor | None, float, tuple[Tensor, ...]]:
            part = slices[index]
            given = None if context is None else context[part]
            # Random numbers of a step depend on the step alone, not on what was drawn before it.
            rng = torch.Generator().manual_seed((self.seed * 1_000_003 + number) * SHARDS + index)
            drawn = self._draw(part.stop - part.start, given, rng, rows.device)
            real, fixed = self.critic.look_up(rows[part]), drawn.detach()
            between = torch.rand(len(real) // self.critic.pack, generator=rng).to(rows.device)
            distance = self.critic(real, given).mean() - self.critic(fixed, given).mean()
            loss = PENALTY * self.critic.penalty(real, fixed, given, between) - distance
            gradients = torch.autograd.grad(loss * shares[index], self.critic_weights)
            return drawn, given, float(distance.detach()) * shares[index], gradients

        def generate(index: int) -> tuple[Tensor, ...]:
            drawn, given, *_ = played[index]
            loss = -self.critic(drawn, given).mean()
            return torch.autograd.grad(loss * shares[index], self.weights)

        played = list(pool.map(criticise, range(len(slices))))
        _update(self.critic_optimizer, self.critic_weights, [p[3] for p in played])
        _update(self.optimizer, self.weights, list(pool.map(generate, range(len(slices)))))
        # Early on the average follows closely; later it spans about 1 / (1 - averaging) steps.
        decay = min(self.effort.averaging, (1 + number) / (10 + number))
        torch._foreach_lerp_(
            list(self.mean.parameters()), [p.detach() for p in self.weights], 1 - decay
        )
        return sum(p[2] for p in played)

    def _draw(
        self, count: int, context: Tensor | None, rng: torch.Generator, device: torch.device
    ) -> Tensor:
        given = torch.randn(count, self.noise, generator=rng).to(device)
        if context is not None:
            given = torch.cat([given, context], 1)
        return draw_soft(self.net, self.critic.features, given, rng)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of its state, for a checkpoint."""
        kinds = {"net": self.net.state_dict(), "critic": self.critic.state_dict()}
        kinds |= {"mean": self.mean.state_dict(), "best": self.best}
        state = {f"{kind}.{name}": v for kind, of in kinds.items() for name, v in of.items()}
        second = optimizer_tensors(self.critic_optimizer)
        state |= {f"second.{name}": value for name, value in second.items()}
        return state | optimizer_tensors(self.optimizer)

    def put_back(self, state: dict[str, Tensor]) -> None:
        """The state that `tensors` gave."""

        def of(kind: str) -> dict[str, Tensor]:
            named = {k: v for k, v in state.items() if k.startswith(f"{kind}.")}
            return {name.removeprefix(f"{kind}."): value for name, value in named.items()}

        self.net.load_state_dict(of("net"))
        self.mean.load_state_dict(of("mean"))
        self.critic.load_state_dict(of("critic"))
        self.best = of("best")
        restore_optimizer(self.optimizer, state)
        restore_optimizer(self.critic_optimizer, of("second"))


def play(
    game: Game,
    distance: PairDistance,
    rows: Tensor,
    held_out: Tensor,
    *,
    context: Tensor | None = None,
    held_out_context: Tensor | None = None,
    compute: Compute | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> History:
    """Train both networks in place and leave the generator with its best averaged weights.

    rows, held_out: int64 tokens [n, columns]; their contexts float32 [n, features]. checkpoint: as
    in `train`. The history's losses are `distance` to the held-out rows. Deterministic for a seed,
    interrupted or not, unless the time limit strikes. A training that diverges stops, says so, and
    leaves the best weights so far. Raises InputError for more than one device.
    """
    compute, effort = compute or Compute(), game.effort
    if compute.devices != 1:
        raise InputError(f"devices {compute.devices}: a gan trains on one; use devices: 1")
    fabric = make_fabric(compute)
    history, best, waited = History(), math.inf, 0
    saved = None
    if checkpoint is not None:
        data = (rows, held_out, context, held_out_context)
        networks = (game.weights, game.critic_weights)
        shapes = [tuple(p.shape) for weights in networks for p in weights]
        saved = Checkpoint(checkpoint, fingerprint(*data, effort, game.seed, shapes, "gan"))
        if (state := saved.load()) is not None:
            game.put_back(state[0])
            best = math.inf if state[1]["best"] is None else state[1]["best"]
            waited = state[1]["waited"]
            for name, value in state[1]["history"].items():
                setattr(history, name, value)
            progress(f"going on from step {history.steps:,} of an interrupted training", None)
    for module in (game.net, game.mean, game.critic):
        module.to(fabric.device)
    rows, context = fabric.to_device((rows, context))
    looked_at = None
    if held_out_context is not None:
        looked_at = np.resize(held_out_context.numpy(), (DRAWN, held_out_context.shape[1]))
    before, began = history.seconds, time.monotonic()
    every = max(effort.steps // effort.looks, 1)
    batches = _packs(len(rows), effort.batch, game.critic.pack, np.random.default_rng(game.seed))
    for _ in range(history.steps):
        next(batches)
    workers = min(compute.threads or cores(), SHARDS)
    with cpu_threads(effort.threads), make_pool(workers) as pool:
        for step in range(history.steps + 1, effort.steps + 1):
            pick = torch.from_numpy(next(batches)).to(fabric.device)
            given = None if context is None else context[pick]
            gap = game.step(step, rows[pick], given, pool)
            history.steps = step
            if not math.isfinite(gap):
                history.stopped_by = "divergence"
                break
            if step % every == 0 or step == effort.steps:
                found = distance(drawn_rows(game.mean, game.noise, looked_at), looked_at)
                history.looks.append({"step": step, "held_out": round(found, 4)})
                waited += 1
                if found < best:
                    best, waited = found, 0
                    game.best = {k: v.clone() for k, v in game.mean.state_dict().items()}
                progress(f"training, distance to held-out rows {found:.4f}", step / effort.steps)
                if waited >= effort.patience and step >= effort.steps * SETTLE:
                    history.stopped_by = "held-out score"
                    break
            history.seconds = before + time.monotonic() - began
            if saved is not None and saved.due():
                least = None if math.isinf(best) else best
                values = {"best": least, "waited": waited, "history": history.to_json()}
                saved.save(game.tensors(), values)
            if history.seconds > effort.time_limit:
                history.stopped_by = "time limit"
                break
    measured = history.looks or history.stopped_by == "divergence"
    game.net.load_state_dict(game.best if measured else game.mean.state_dict())
    game.net.to("cpu").eval()
    if history.looks:
        history.first_loss = history.looks[0]["held_out"]
        history.best_loss = round(best, 4)
    history.seconds = round(before + time.monotonic() - began, 1)
    if saved is not None:
        saved.remove()
    return history


def drawn_rows(
    net: AutoregressiveNet, noise: int, context: np.ndarray | None, rules: Rules | None = None
) -> np.ndarray:
    """Rows of a generator to be looked at, the same noise each time, int32 [DRAWN, columns].

    context: float32 [DRAWN, features].
    """
    rng = np.random.default_rng(0)
    given = rng.standard_normal((DRAWN, noise), dtype=np.float32)
    if context is not None:
        given = np.concatenate([given, context], 1)
    uniform = rng.random((DRAWN, len(net.columns)), dtype=np.float32)
    if next(net.parameters()).device.type != "cpu":
        net = copy.deepcopy(net).cpu()
    return Ancestral(net, rules or {}, {}).draw(uniform, None, given).tokens


def _update(
    optimizer: torch.optim.Optimizer,
    weights: list[torch.nn.Parameter],
    gradients: list[tuple[Tensor, ...]],
) -> None:
    """One step along the sum of the parts' gradients."""
    for weight, parts in zip(weights, zip(*gradients, strict=True), strict=True):
        weight.grad = torch.stack(parts).sum(0)
    optimizer.step()


def _schedule(at: float) -> float:
    """Share of the peak learning rate: a short warm-up, then a cosine down to 2 %."""
    return min(at / 0.03, 1.0) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * at)))


def _packs(rows: int, batch: int, pack: int, rng: np.random.Generator) -> Any:
    """Endless batches of row numbers, whole packs of different rows, int64 [batch]."""
    size = max(min(batch, rows) // pack, 1) * pack
    while True:
        order = rng.permutation(rows)
        if rows < size:  # fewer rows than one pack: some come twice
            order = np.concatenate([order, rng.integers(0, rows, size - rows)])
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]
