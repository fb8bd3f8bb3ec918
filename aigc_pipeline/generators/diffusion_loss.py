"""How rows are noised, and what denoising them costs: the training of the diffusion network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.diffusion_net import DiffusionNet, State
from aigc_pipeline.generators.training import add_gradient

DROPOUT = 0.1  # of inner units, in training
# Share of rows noised as in the flow (no column known), of those with columns known already in it
# (conditions); in the others, columns become known at the flow's end.
FLOW, CONDITIONED = 0.3, 0.1
SHARDS = 2  # of a batch: a worker each, and the same ones whatever the number of workers
LOOKS = 4  # noised versions of each held-out row
CURVE = 1e-3  # weight of the schedule's own loss, small beside the gradient that is clipped


class Noise(NamedTuple):
    """Random numbers that noise rows.

    stage, time, size: [rows], spread evenly over [0, 1); order: uniform [rows, columns]; shift,
    place: uniform, gauss: normal, [rows, coordinates]; kept: the factors of inner units (dropout),
    [rows, depth, width].
    """

    stage: Tensor
    time: Tensor
    size: Tensor
    order: Tensor
    shift: Tensor
    place: Tensor
    gauss: Tensor
    kept: Tensor

    @classmethod
    def draw(cls, net: DiffusionNet, rows: int, generator: torch.Generator | None = None) -> Noise:
        """Fresh numbers, on the network's device; by default from torch's own generator."""
        columns, count = len(net.sizes), len(net.coordinates)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        strata = [torch.randperm(rows, generator=generator) for _ in range(3)]
        spread = [(stratum + uniform(rows)) / rows for stratum in strata]
        cells = [uniform(rows, n) for n in (columns, count, count)]
        gauss = torch.randn(rows, count, generator=generator)
        kept = F.dropout(torch.ones(rows, net.depth, net.width), DROPOUT, net.training)
        device = net.unknown.device
        return cls(*(part.to(device) for part in (*spread, *cells, gauss, kept)))

    def part(self, rows: slice) -> Noise:
        """The same for some of the rows."""
        return Noise(*(part[rows] for part in self))


class Denoising:
    """Mean cost of denoising a row, in nats: of telling its unknown columns from the known ones.

    Where a random subset is known, the cost of the others is scaled to the whole row, as in
    order-agnostic autoregression (Hoogeboom et al. 2022), which bounds the likelihood.
    """

    def __init__(self, codec: TableCodec, net: DiffusionNet) -> None:
        found = {j: codec.codecs[j].smoothing() for j in range(len(net.sizes))}
        self.smoothing = {j: torch.from_numpy(s) for j, s in found.items() if s is not None}

    def __call__(
        self, model: nn.Module, rows: Tensor, context: Tensor | None, parts: list[int]
    ) -> Tensor:
        """Loss of the network's one part, [1]; on held-out rows with the same noise each time."""
        assert isinstance(model, DiffusionNet)
        if model.training:
            return self.of(model, rows, context, Noise.draw(model, len(rows)))[None]
        total = rows.new_zeros((), dtype=torch.float32)
        fixed = torch.Generator().manual_seed(0)
        for start in [*range(0, len(rows), 4096)] * LOOKS:
            some = rows[start : start + 4096]
            given = None if context is None else context[start : start + 4096]
            noise = Noise.draw(model, len(some), fixed)
            total += self.of(model, some, given, noise) * len(some)
        return (total / (LOOKS * len(rows)))[None]

    def of(self, net: DiffusionNet, rows: Tensor, context: Tensor | None, noise: Noise) -> Tensor:
        """Mean cost of rows under given noise, a scalar."""
        known, level = self._stages(net, noise)
        targets = {
            j: F.embedding(rows[:, j], self._on(rows.device, j))
            for j in self.smoothing
            if net.training
        }
        noisy = []
        for n, (j, place) in enumerate(zip(net.coordinates, net.places, strict=True)):
            token = rows[:, j]
            if j in targets:  # the coordinate of the neighbouring bin that the target is drawn to
                token = (targets[j].cumsum(1) < noise.shift[:, n : n + 1]).sum(1)
                token = token.clamp(max=net.sizes[j] - 1)
            noisy.append(place.place(token, noise.place[:, n]))
        seen = torch.stack(noisy, 1) + level.exp() * noise.gauss if noisy else level
        logits, beliefs = net(State(rows, known, seen, level), context, noise.kept)
        scale = ~known * (known.shape[1] / (~known).sum(1, keepdim=True))
        total = level.new_zeros(())
        for j, each in enumerate(logits):
            if j not in targets:
                cost = F.cross_entropy(each, rows[:, j], reduction="none")
            else:
                target = targets[j]
                if j in beliefs:  # what the noised coordinate says of which bin that was
                    share = net.places[net.coordinates.index(j)].share
                    hint = beliefs[j].evidence - share.log()
                    target = target * (hint - hint.amax(1, keepdim=True)).clamp(min=-60).exp()
                    target = target / target.sum(1, keepdim=True).clamp(min=1e-30)
                cost = -(target * F.log_softmax(each, 1)).sum(1)
            total = total + (cost * scale[:, j]).mean()
            if net.training and j in beliefs:
                n = net.coordinates.index(j)
                expected = net.near(level[:, n]) @ net.curves[n]
                total = total + CURVE * ((expected - cost.detach()) ** 2 * ~known[:, j]).mean()
        return total

    def _stages(self, net: DiffusionNet, noise: Noise) -> tuple[Tensor, Tensor]:
        """Which columns are known, bool [rows, columns], and the coordinates' levels of noise."""
        columns = len(net.sizes)
        flow = (noise.stage < FLOW) & bool(net.coordinates)
        unknown = torch.where(flow, columns, torch.ceil(noise.size * columns).clamp(min=1))
        known = noise.order.argsort(1).argsort(1) >= unknown[:, None]
        # Under conditions, half of the rows are where the flow begins: there these are weighed.
        time = torch.where(flow, noise.time, (2 * noise.time).clamp(max=1))
        time = torch.where(noise.stage < FLOW + CONDITIONED, time, 0.0)
        return known, net.levels(time[:, None].expand(-1, len(net.coordinates)))

    def _on(self, device: torch.device, j: int) -> Tensor:
        """Targets of a column's tokens, [size, size], kept on the device where they are used."""
        self.smoothing[j] = self.smoothing[j].to(device)
        return self.smoothing[j]


def backward_in(pool: ThreadPoolExecutor, net: DiffusionNet, loss: Denoising) -> Callable:
    """A training step's gradients on a CPU: a batch in shards, one worker each.

    Neither the shards nor their random numbers depend on the number of workers, so neither do the
    weights, to the last bit.
    """
    parameters = list(net.parameters())

    def backward(rows: Tensor, context: Tensor | None, parts: list[int]) -> None:
        noise, size = Noise.draw(net, len(rows)), -(-len(rows) // SHARDS)

        def work(start: int) -> list[Tensor]:
            at = slice(start, start + size)
            given = None if context is None else context[at]
            cost = loss.of(net, rows[at], given, noise.part(at)) * (len(rows[at]) / len(rows))
            return list(torch.autograd.grad(cost, parameters, materialize_grads=True))

        shards = list(pool.map(work, range(0, len(rows), size)))
        for parameter, gradients in zip(parameters, zip(*shards, strict=True), strict=True):
            add_gradient(parameter, torch.stack(gradients).sum(0))

    return backward
