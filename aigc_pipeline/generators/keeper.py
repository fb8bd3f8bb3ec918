"""Weights that training keeps: their running average, and each part's best ones."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aigc_pipeline.generators.training import Trainable


class Flat:
    """Parameters side by side: views of one tensor `weight`, as their gradients are of its own.

    So an optimizer's step, or a norm, of hundreds of small parameters is one operation. mean, best:
    their running average and their best values, side by side too. `release` gives each parameter
    memory of its own again.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        whole = torch.cat([p.detach().flatten() for p in self.parameters])
        self.weight = nn.Parameter(whole)
        self.weight.grad = torch.zeros_like(whole)
        self.mean, self.best = whole.clone(), whole.clone()
        views = zip(self.parameters, self._cut(whole), self._cut(self.weight.grad), strict=True)
        for p, weight, gradient in views:
            p.data, p.grad = weight, gradient

    def _cut(self, whole: Tensor) -> list[Tensor]:
        parts = whole.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]

    def named(self, whole: Tensor) -> dict[nn.Parameter, Tensor]:
        """Views of `whole` (such as `mean`), by parameter."""
        return dict(zip(self.parameters, self._cut(whole), strict=True))

    def fix(self, fixed: bool = True) -> None:
        """Let nothing change the parameters, or let it again."""
        for p in (self.weight, *self.parameters):
            p.requires_grad_(not fixed)
            p.grad = None

    def release(self) -> None:
        """Give each parameter memory of its own, and no gradient."""
        self.fix(False)
        for p in self.parameters:
            p.data = p.detach().clone()


class Keeper:
    """Averages the weights, and keeps each part's best ones by held-out loss.

    decayed, plain: parameters that weight decay pulls at, and biases and scales, which it does not.
    """

    def __init__(self, model: Trainable, patience: int) -> None:
        self.patience = patience
        self.parts = [list(p) for p in model.parts()]
        spared = {p for n, p in model.named_parameters() if "bias" in n or "norm" in n}
        self.shared, self.decayed, self.plain = (
            [Flat(chosen)] if chosen else []
            for chosen in (
                list(model.shared()),
                [p for part in self.parts for p in part if p not in spared],
                [p for part in self.parts for p in part if p in spared],
            )
        )
        self.flats = [*self.shared, *self.decayed, *self.plain]
        self.weights = [flat.weight for flat in self.flats]
        self.mean = {p: v for flat in self.flats for p, v in flat.named(flat.mean).items()}
        self.best = {p: v for flat in self.flats for p, v in flat.named(flat.best).items()}
        self.best_loss = self._unknown()
        self.waited = [0] * len(self.parts)
        self.active = [j for j, part in enumerate(self.parts) if part]
        self.settled = False

    def _unknown(self) -> list[float]:
        return [math.inf if part else 0.0 for part in self.parts]

    def groups(self, decay: float) -> list[dict[str, Any]]:
        """All weights, for an optimizer."""
        decayed = [flat.weight for flat in (*self.shared, *self.decayed)]
        groups = [(decayed, decay), ([flat.weight for flat in self.plain], 0.0)]
        return [{"params": each, "weight_decay": pull} for each, pull in groups if each]

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average of what still trains towards the weights."""
        for flat in self.flats[len(self.shared) :] if self.settled else self.flats:
            flat.mean.lerp_(flat.weight, 1 - decay)

    @torch.no_grad()
    def settle(self) -> None:
        """Fix the shared parameters at their average."""
        self.settled = True
        # What was best while these still moved is worth nothing now.
        self.best_loss = self._unknown()
        for flat in self.shared:
            flat.weight.copy_(flat.mean)
            flat.fix()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for the length of a block without gradients."""
        kept = [weight.detach().clone() for weight in self.weights]
        for flat in self.flats:
            flat.weight.detach().copy_(flat.mean)
        try:
            yield
        finally:
            for weight, own in zip(self.weights, kept, strict=True):
                weight.detach().copy_(own)

    def look(self, losses: list[float]) -> float:
        """Note each active part's held-out loss; returns the sum over all parts at their best.

        A part that has stopped goes on being averaged with the others, but its best is kept.
        """
        for j, value in zip(list(self.active), losses, strict=True):
            if value < self.best_loss[j] - 1e-5 or not self.settled:
                self.best_loss[j], self.waited[j] = value, 0
                for p in self.parts[j]:
                    self.best[p].copy_(self.mean[p])
            else:
                self.waited[j] += 1
                if self.waited[j] >= self.patience:
                    self.active.remove(j)
        return sum(self.best_loss)

    @torch.no_grad()
    def restore(self) -> None:
        """Put every part's best weights in place; averages where nothing was measured yet."""
        for flat in self.flats:
            flat.weight.copy_(flat.mean)
            flat.release()
        for j, part in enumerate(self.parts):
            if self.settled and self.best_loss[j] < math.inf:
                for p in part:
                    p.copy_(self.best[p])

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their averages and the best ones, for a checkpoint."""
        kinds = ("weight", "mean", "best")
        return {f"{k}.{i}": getattr(flat, k) for k in kinds for i, flat in enumerate(self.flats)}

    def values(self) -> dict[str, Any]:
        """The rest of its state, as plain values."""
        best = [None if math.isinf(loss) else loss for loss in self.best_loss]
        kept = {"waited": self.waited, "active": self.active, "settled": self.settled}
        return {"best_loss": best, **kept}

    @torch.no_grad()
    def put_back(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """The state that `tensors` and `values` gave."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name])
        self.best_loss = [math.inf if loss is None else loss for loss in values["best_loss"]]
        self.waited, self.active = values["waited"], values["active"]
        self.settled = values["settled"]
        if self.settled:
            for flat in self.shared:
                flat.fix()
