"""One training loop for every generator: Fabric, a cosine, averaged weights, early stopping."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aigc_pipeline.errors import InputError
from aigc_pipeline.generators.checkpoint import (
    Checkpoint,
    fingerprint,
    optimizer_tensors,
    restore_optimizer,
)


class Progress(Protocol):
    """Told what goes on, and how far it is: `done` in [0, 1], or None where unknown."""

    def __call__(self, message: str, done: float | None) -> None: ...


def silent(message: str, done: float | None) -> None:
    """The progress of those who do not look."""


@dataclass(frozen=True)
class Compute:
    """Where to run. accelerator: "auto", "cpu" or "cuda"; threads: CPU threads to train with, by
    default one a core. The result does not depend on their number."""

    accelerator: str = "auto"
    devices: int = 1
    threads: int | None = None

    @property
    def on_one_cpu(self) -> bool:
        """Whether training is a single process on a CPU."""
        gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return self.devices == 1 and not gpu


@dataclass(frozen=True)
class Effort:
    """What training may spend.

    steps is the budget and makes a run repeatable; time_limit (seconds) is only a safety net: a
    run that hits it stops early and says so, because its result then depends on the machine.
    """

    steps: int
    batch: int
    learning_rate: float
    time_limit: float
    weight_decay: float = 0.01
    averaging: float = 0.99  # of the weights, towards the end of training
    settle: float = 0.25  # share of the steps after which shared parameters are fixed
    looks: int = 24  # at the held-out loss
    patience: int = 4  # looks without gain before a part stops
    threads: int = 1  # CPU threads within an operation


@dataclass
class History:
    """What happened: steps, held-out loss a row (nats) by look, why it stopped.

    A loss is None where the time limit struck before it was measured.
    """

    steps: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    first_loss: float | None = None
    stopped_by: str = "schedule"
    looks: list[dict[str, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the model card."""
        return asdict(self)


def make_fabric(compute: Compute) -> Any:
    """A launched lightning Fabric for `compute`; raises InputError for a missing accelerator."""
    from lightning_fabric import Fabric

    if compute.accelerator not in ("auto", "cpu", "cuda"):
        raise InputError(f"accelerator {compute.accelerator!r}: choose auto, cpu or cuda")
    if compute.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("accelerator 'cuda': torch sees no GPU here; use auto or cpu")
    on_gpu = compute.accelerator != "cpu" and torch.cuda.is_available()
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=compute.devices,
        precision="bf16-mixed" if on_gpu else "32-true",
    )
    fabric.launch()
    return fabric


class Trainable(nn.Module):
    """A network whose parts share some parameters and own the others.

    Once the shared ones are fixed, no part's loss depends on another part, so each can stop by
    itself: noisy columns overfit long before strict rules between columns are learned.
    """

    @abstractmethod
    def shared(self) -> list[nn.Parameter]:
        """Parameters that several parts use."""

    @abstractmethod
    def parts(self) -> list[list[nn.Parameter]]:
        """All other parameters, by the part that uses them."""


# (model, rows, context, parts) -> mean loss of each of these parts in nats, [parts]
Loss = Callable[[nn.Module, Tensor, Tensor | None, list[int]], Tensor]
# (rows, context, parts): adds the gradient of the parts' summed loss to the parameters
Backward = Callable[[Tensor, Tensor | None, list[int]], object]


def train(
    model: Trainable,
    loss: Loss,
    rows: Tensor,
    held_out: Tensor,
    effort: Effort,
    *,
    context: Tensor | None = None,
    held_out_context: Tensor | None = None,
    backward: Backward | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> History:
    """Fit a `Trainable` in place and leave each of its parts with its best averaged weights.

    rows, held_out: int64 tokens [n, D]. backward: a faster way to the same gradients, on one CPU
    process. checkpoint: a file to save to now and then, and to go on from where it is of this very
    training. Deterministic for a seed, interrupted or not, unless the time limit strikes.
    Raises RuntimeError when the loss becomes infinite.
    """
    compute = compute or Compute()
    fabric = make_fabric(compute)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(effort.threads)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        _groups(model, effort.weight_decay), lr=effort.learning_rate, betas=(0.9, 0.99), fused=True
    )
    wrapped, optimizer = fabric.setup(model, optimizer)
    rows, held_out = fabric.to_device((rows, held_out))
    context, held_out_context = fabric.to_device((context, held_out_context))
    keeper = _Keeper(model, effort.patience)
    history = History()
    saved = None
    if checkpoint is not None:
        weights = [tuple(p.shape) for p in model.parameters()]
        given_rows = (rows, held_out, context, held_out_context)
        key = fingerprint(*given_rows, effort, seed, weights, type(model).__name__)
        saved = Checkpoint(checkpoint, key)
        _resume(saved, keeper, optimizer, history, progress)
    before = history.seconds
    began = time.monotonic()
    every, settled = max(effort.steps // effort.looks, 1), max(int(effort.steps * effort.settle), 1)
    batches = _batches(len(rows), effort.batch, np.random.default_rng(seed))
    for _ in range(history.steps):
        next(batches)
    for step in range(history.steps + 1, effort.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = effort.learning_rate * _schedule(step / effort.steps)
        pick = torch.from_numpy(next(batches)).to(rows.device)
        wrapped.train()
        given = None if context is None else context[pick]
        # Random numbers of a step depend on the step alone, not on what was drawn before it.
        torch.manual_seed(seed * 1_000_003 + step)
        if backward is None:
            fabric.backward(loss(wrapped, rows[pick], given, keeper.active).sum())
        else:
            backward(rows[pick], given, keeper.active)
        fabric.clip_gradients(wrapped, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # Early on the average follows closely; later it spans about 1 / (1 - averaging) steps.
        keeper.follow(min(effort.averaging, (1 + step) / (10 + step)))
        if step == settled:
            keeper.settle()
        history.steps = step
        if step % every == 0 or step == effort.steps:
            with torch.no_grad(), keeper.averaged():
                wrapped.eval()
                measured = loss(wrapped, held_out, held_out_context, keeper.active)
            if not bool(measured.isfinite().all()):
                raise RuntimeError(f"training diverged at step {step}: the loss is not finite")
            total = keeper.look(measured.tolist())
            history.looks.append({"step": step, "held_out": round(total, 4)})
            share = step / effort.steps
            progress(f"training, held-out loss {total:.3f}", share)
            if not keeper.active:
                history.stopped_by = "held-out loss"
                break
        history.seconds = before + time.monotonic() - began
        if saved is not None and saved.due():
            saved.save(
                keeper.tensors() | optimizer_tensors(optimizer),
                {"keeper": keeper.values(), "history": history.to_json()},
            )
        if history.seconds > effort.time_limit:
            history.stopped_by = "time limit"
            break
    keeper.restore()
    if history.looks:
        history.first_loss = history.looks[0]["held_out"]
    if math.isfinite(best := sum(keeper.best_loss)):
        history.best_loss = round(best, 4)
    history.seconds = round(before + time.monotonic() - began, 1)
    if saved is not None:
        saved.remove()
    model.eval()
    model.to("cpu")
    torch.set_num_threads(threads_before)
    return history


def _resume(
    saved: Checkpoint,
    keeper: _Keeper,
    optimizer: torch.optim.Optimizer,
    history: History,
    progress: Progress,
) -> None:
    """Go on from what an earlier, interrupted training of the same kind left, if it did."""
    state = saved.load()
    if state is None:
        return
    tensors, values = state
    keeper.put_back(tensors, values["keeper"])
    restore_optimizer(optimizer, tensors)
    for name, value in values["history"].items():
        setattr(history, name, value)
    progress(f"going on from step {history.steps:,} of an interrupted training", None)


class _Keeper:
    """Averages the weights, and keeps each part's best ones by held-out loss."""

    def __init__(self, model: Trainable, patience: int) -> None:
        self.patience = patience
        self.shared = list(model.shared())
        self.parts = [list(p) for p in model.parts()]
        self.all = [*self.shared, *(p for part in self.parts for p in part)]
        self.mean = {p: p.detach().clone() for p in self.all}
        self.best = {p: p.detach().clone() for p in self.all}
        self.best_loss = [math.inf] * len(self.parts)
        self.waited = [0] * len(self.parts)
        self.active = list(range(len(self.parts)))
        self.settled = False

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
        self.best_loss = [math.inf] * len(self.parts)
        with torch.no_grad():
            for p in self.shared:
                p.copy_(self.mean[p])
                self.best[p].copy_(p)
        self._fix()

    def _fix(self) -> None:
        for p in self.shared:
            p.requires_grad_(False)
            p.grad = None

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

    def averaged(self) -> Any:
        """The model with its averaged weights, for the length of a block."""
        return _swapped(self.all, [self.mean[p] for p in self.all])

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


def _schedule(at: float) -> float:
    """Share of the peak learning rate: a short warm-up, then a cosine down to 2 %."""
    if at < 0.03:
        return at / 0.03
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (at - 0.03) / 0.97))


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Biases and scales are not decayed."""
    plain = [p for n, p in model.named_parameters() if "bias" in n or "norm" in n]
    others = [p for n, p in model.named_parameters() if not ("bias" in n or "norm" in n)]
    return [{"params": others, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]


def _batches(count: int, batch: int, rng: np.random.Generator) -> Any:
    """Endless shuffled batches of row numbers, int64 [batch]; each epoch sees every row once."""
    size = min(batch, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


class _swapped:
    """Parameters with other values, for the length of a block."""

    def __init__(self, parameters: list[nn.Parameter], values: list[Tensor]) -> None:
        self.parameters: list[Tensor] = [*parameters]
        self.values = values

    def __enter__(self) -> None:
        self.kept = [p.detach().clone() for p in self.parameters]
        torch._foreach_copy_(self.parameters, self.values)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.kept)
