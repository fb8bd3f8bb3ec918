"""Weights that training keeps: their running average, and each part's best ones."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aigc_pipeline.generators.training import Trainable


class Keeper:
    """Averages the weights, and keeps each part's best ones by held-out loss."""

    def __init__(self, model: Trainable, patience: int) -> None:
        self.patience = patience
        self.shared = list(model.shared())
        self.parts = [list(p) for p in model.parts()]
        self.all = [*self.shared, *(p for part in self.parts for p in part)]
        self.mean = {p: p.detach().clone() for p in self.all}
        self.best = {p: p.detach().clone() for p in self.all}
        self.best_loss = self._unknown()
        self.waited = [0] * len(self.parts)
        self.active = [j for j, part in enumerate(self.parts) if part]
        self.settled = False

    def _unknown(self) -> list[float]:
        return [math.inf if part else 0.0 for part in self.parts]

    def follow(self, decay: float) -> None:
        """Move the average of what still trains towards the weights."""
        moving = [] if self.settled else list(self.shared)
        moving += [p for j in self.active for p in self.parts[j]]
        torch._foreach_lerp_(
            [self.mean[p] for p in moving], [p.detach() for p in moving], 1 - decay
        )

    def settle(self) -> None:
        """Fix the shared parameters at their average."""
        self.settled = True
        # What was best while these still moved is worth nothing now.
        self.best_loss = self._unknown()
        with torch.no_grad():
            for p in self.shared:
                p.copy_(self.mean[p])
                self.best[p].copy_(p)
        self._fix()

    def _fix(self) -> None:
        for p in self.shared:
            p.requires_grad_(False)
            p.grad = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for the length of a block without gradients."""
        parameters: list[Tensor] = [*self.all]
        kept = [p.detach().clone() for p in parameters]
        torch._foreach_copy_(parameters, [self.mean[p] for p in self.all])
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, kept)

    def look(self, losses: list[float]) -> float:
        """Note each active part's held-out loss; returns the sum over all parts at their best."""
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

    def restore(self) -> None:
        """Put every part's best weights in place; averages where nothing was measured yet."""
        for p in self.shared:
            p.requires_grad_(True)
        with torch.no_grad():
            for p in self.shared:
                p.copy_(self.mean[p])
            for j, part in enumerate(self.parts):
                source = self.best if self.settled and self.best_loss[j] < math.inf else self.mean
                for p in part:
                    p.copy_(source[p])

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their averages and the best ones, for a checkpoint."""
        own: dict[nn.Parameter, Tensor] = {p: p for p in self.all}
        kinds = {"weight": own, "mean": self.mean, "best": self.best}
        return {f"{k}.{i}": of[p] for k, of in kinds.items() for i, p in enumerate(self.all)}

    def values(self) -> dict[str, Any]:
        """The rest of its state, as plain values."""
        best = [None if math.isinf(loss) else loss for loss in self.best_loss]
        kept = {"waited": self.waited, "active": self.active, "settled": self.settled}
        return {"best_loss": best, **kept}

    def put_back(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """The state that `tensors` and `values` gave."""
        with torch.no_grad():
            for i, p in enumerate(self.all):
                p.copy_(tensors[f"weight.{i}"])
                self.mean[p].copy_(tensors[f"mean.{i}"])
                self.best[p].copy_(tensors[f"best.{i}"])
        self.best_loss = [math.inf if loss is None else loss for loss in values["best_loss"]]
        self.waited, self.active = values["waited"], values["active"]
        self.settled = values["settled"]
        if self.settled:
            self._fix()
