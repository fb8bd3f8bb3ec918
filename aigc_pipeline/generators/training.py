"""One training loop for every generator: Fabric, a cosine, averaged weights, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aigc_pipeline.errors import InputError


class Progress(Protocol):
    """Told what goes on, and how far it is: `done` in [0, 1], or None where unknown."""

    def __call__(self, message: str, done: float | None) -> None: ...


def silent(message: str, done: float | None) -> None:
    """The progress of those who do not look."""


@dataclass(frozen=True)
class Compute:
    """Where to run. accelerator: "auto", "cpu" or "cuda"; threads: CPU threads to train with, by
    default as many as pay off for the size of a step."""

    accelerator: str = "auto"
    devices: int = 1
    threads: int | None = None


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
    checks: int = 20  # looks at the held-out loss
    patience: int = 6  # looks without gain before stopping
    threads: int = 1  # CPU threads, where `Compute` names none


@dataclass
class History:
    """What happened: steps, loss per row (nats) by look, why it stopped."""

    steps: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float = math.inf
    first_loss: float = math.inf
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


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor | None], Tensor],
    rows: Tensor,
    held_out: Tensor,
    effort: Effort,
    *,
    context: Tensor | None = None,
    held_out_context: Tensor | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> History:
    """Fit `model` in place and leave it with its best averaged weights.

    rows, held_out: int64 tokens [n, D]. loss: takes (model, rows, context) and gives the mean over
    rows in nats; in eval mode, what to stop on. Deterministic for a seed, unless the time limit
    strikes. Raises RuntimeError when the loss becomes infinite.
    """
    compute = compute or Compute()
    fabric = make_fabric(compute)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(compute.threads or effort.threads)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        _groups(model, effort.weight_decay), lr=effort.learning_rate, betas=(0.9, 0.99), fused=True
    )
    inner = model
    model, optimizer = fabric.setup(model, optimizer)
    rows, held_out = fabric.to_device((rows, held_out))
    context, held_out_context = fabric.to_device((context, held_out_context))
    average = [p.detach().clone() for p in inner.parameters()]
    best = [a.clone() for a in average]
    order = np.random.default_rng(seed)
    history = History()
    began = time.monotonic()
    every = max(effort.steps // effort.checks, 1)
    batches = _batches(len(rows), effort.batch, order)
    since_best = 0
    for step in range(1, effort.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = effort.learning_rate * _schedule(step / effort.steps)
        pick = torch.from_numpy(next(batches)).to(rows.device)
        model.train()
        value = loss(model, rows[pick], None if context is None else context[pick])
        fabric.backward(value)
        fabric.clip_gradients(model, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # Early on the average follows closely; later it spans about 1 / (1 - averaging) steps.
        decay = min(effort.averaging, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [p.detach() for p in inner.parameters()], 1 - decay)
        history.steps = step
        if step % every == 0 or step == effort.steps:
            with torch.no_grad(), _swapped(inner, average):
                model.eval()
                measured = float(loss(model, held_out, held_out_context))
            if not math.isfinite(measured):
                raise RuntimeError(
                    f"training diverged at step {step}: the held-out loss is {measured}"
                )
            history.looks.append(
                {
                    "step": step,
                    "train": round(float(value.detach()), 4),
                    "held_out": round(measured, 4),
                }
            )
            history.first_loss = min(history.first_loss, history.looks[0]["held_out"])
            if measured < history.best_loss - 1e-4:
                history.best_loss, history.best_step, since_best = measured, step, 0
                torch._foreach_copy_(best, average)
            else:
                since_best += 1
            history.seconds = round(time.monotonic() - began, 1)
            progress(f"training, held-out loss {measured:.3f}", step / effort.steps)
            if since_best >= effort.patience:
                history.stopped_by = "held-out loss"
                break
        if time.monotonic() - began > effort.time_limit:
            history.stopped_by = "time limit"
            if history.best_step == 0:
                torch._foreach_copy_(best, average)
            break
    history.seconds = round(time.monotonic() - began, 1)
    with torch.no_grad():
        torch._foreach_copy_(list(inner.parameters()), best)
    inner.eval()
    inner.to("cpu")
    torch.set_num_threads(threads_before)
    return history


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
    """The model with other weights, for the length of a block."""

    def __init__(self, model: nn.Module, weights: list[Tensor]) -> None:
        self.parameters, self.weights = list(model.parameters()), weights

    def __enter__(self) -> None:
        self.kept = [p.detach().clone() for p in self.parameters]
        torch._foreach_copy_(self.parameters, self.weights)

    def __exit__(self, *_: object) -> None:
        torch._foreach_copy_(self.parameters, self.kept)
