"""The diffusion family: numbers by Gaussian noise, all else by masks, in one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.generators.autoregressive import layouts
from aigc_pipeline.generators.base import Draw, Generator
from aigc_pipeline.generators.denoise import Denoiser
from aigc_pipeline.generators.diffusion_loss import Denoising, backward_in
from aigc_pipeline.generators.diffusion_net import DiffusionNet
from aigc_pipeline.generators.files import read_model, write_model
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.rules import Rules, find_rules, merge
from aigc_pipeline.generators.training import (
    Compute,
    Effort,
    History,
    Progress,
    shuffled,
    silent,
    train,
)

FORMAT = 1
RATE = {"draft": 1e-2, "standard": 3e-3, "high": 3e-3}  # of learning, at its peak
SHAPE = {
    "draft": {"width": 128, "depth": 2, "embed": 16},
    "standard": {"width": 256, "depth": 3, "embed": 16},
    "high": {"width": 512, "depth": 3, "embed": 16},
}
# By quality: passes over the data, floating-point operations at most, seconds at most. The first
# two fix the work, so that a run can be repeated; the last is a safety net for slow machines.
QUALITY = {
    "draft": (15, 1e12, 90.0),
    "standard": (40, 8e12, 600.0),
    "high": (160, 60e12, 3600.0),
}


class Diffusion(Generator):
    """Rows denoised from nothing: masked tokens and Gaussian coordinates, after TabDiff (Shi et al.
    2025), TabSyn (Zhang et al. 2024) and CDTD (Mueller et al. 2025).

    Each column may become known at any point, so any condition on tokens is met as it is drawn.
    """

    family = "diffusion"

    def __init__(self, net: DiffusionNet | None = None, rules: Rules | None = None) -> None:
        self._net = net
        self.rules = rules or {}

    @property
    def net(self) -> DiffusionNet:
        """The fitted network."""
        if self._net is None:
            raise ValueError("this generator is not fitted yet: call fit or load first")
        return self._net

    def fit(
        self,
        codec: TableCodec,
        tokens: np.ndarray,
        *,
        context: np.ndarray | None = None,
        quality: str = "standard",
        time_limit: float | None = None,
        seed: int = 0,
        compute: Compute | None = None,
        checkpoint: Path | None = None,
        progress: Progress = silent,
        groups: np.ndarray | None = None,
    ) -> History:
        rng = np.random.default_rng([seed, 1])
        order = shuffled(len(tokens), rng, groups)
        held_out = min(max(len(tokens) // 20, min(200, len(tokens) // 5), 1), 20_000)
        torch.manual_seed(seed)
        net = DiffusionNet(
            layouts(codec),
            coordinates(codec),
            **SHAPE[quality],
            context=0 if context is None else context.shape[1],
        )
        effort = plan_effort(net.flops_per_row(), len(tokens) - held_out, quality, time_limit)
        rows = torch.from_numpy(tokens[order].astype(np.int64))
        contexts = None if context is None else torch.from_numpy(context[order])
        compute, loss = compute or Compute(), Denoising(codec, net)
        with make_pool(compute.threads or cores()) as pool:
            history = train(
                net,
                loss,
                rows[held_out:],
                rows[:held_out],
                effort,
                context=None if contexts is None else contexts[held_out:],
                held_out_context=None if contexts is None else contexts[:held_out],
                backward=backward_in(pool, net, loss) if compute.on_one_cpu else None,
                seed=seed,
                compute=compute,
                checkpoint=checkpoint,
                progress=progress,
            )
        self._net = net.eval()
        self.rules = merge(codec.rules(), find_rules(tokens[order], codec.sizes))
        return history

    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        masks = {j: torch.from_numpy(mask) for j, mask in (allowed or {}).items()}
        rng = np.random.default_rng(seed)
        return Denoiser(self.net, self.rules, masks).draw(rows, rng, given, context)

    def save(self, folder: Path) -> None:
        net = self.net
        shape = {name: getattr(net, name) for name in ("width", "depth", "embed", "context")}
        write_model(
            folder,
            net,
            self.rules,
            family=self.family,
            format=FORMAT,
            sizes=net.sizes,
            shape=shape,
        )

    @classmethod
    def load(cls, folder: Path, codec: TableCodec) -> Diffusion:
        def make(**shape: int) -> DiffusionNet:
            return DiffusionNet(layouts(codec), coordinates(codec), **shape)

        return cls(*read_model(folder, codec, make, family=cls.family, format=FORMAT))


def coordinates(codec: TableCodec) -> list[int]:
    """Positions of the columns with a coordinate: numbers with enough bins, if there are several.

    A single one has no other to flow with.
    """
    binned = [isinstance(c, NumberCodec) and c.smoothing() is not None for c in codec.codecs]
    return [j for j, own in enumerate(binned) if own] if sum(binned) > 1 else []


def plan_effort(
    flops_per_row: float, rows: int, quality: str, time_limit: float | None = None
) -> Effort:
    """Steps, batch and learning rate for a quality. A shorter time limit shrinks the budget too."""
    epochs, operations, limit = QUALITY[quality]
    if time_limit is not None:
        operations *= min(time_limit / limit, 1.0)
        limit = time_limit
    batch = int(np.clip(2 ** round(np.log2(max(rows, 1) / 60)), 32, 512))
    passes = max(epochs * rows / batch, 300 if quality != "draft" else 150)
    steps = int(np.clip(operations / (flops_per_row * batch), 50, passes))
    return Effort(
        steps=steps,
        batch=batch,
        learning_rate=RATE[quality],
        time_limit=limit,
        averaging=0.995,
        patience=6,
    )
