"""One training loop for every generator: Fabric, a cosine, averaged weights, early stopping."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from aigc_pipeline.errors import InputError
from aigc_pipeline.generators.checkpoint import (
    Checkpoint,
    fingerprint,
    optimizer_tensors,
    restore_optimizer,
)
from aigc_pipeline.generators.hardware import (
    Compute,
    add_over_processes,
    any_process,
    cpu_threads,
    make_fabric,
    seed_device,
)
from aigc_pipeline.generators.keeper import Keeper

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Progress(Protocol):
    """Told what goes on, and how far it is: `done` in [0, 1], or None where unknown."""

    def __call__(self, message: str, done: float | None) -> None: ...


def silent(message: str, done: float | None) -> None:
    """The progress of those who do not look."""


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

    A loss is None where the time limit struck before it was measured. warnings: what went wrong, in
    plain words.
    """

    steps: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    first_loss: float | None = None
    stopped_by: str = "schedule"
    looks: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the model card."""
        return asdict(self)


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
        """All other parameters, by the part that uses them; none for a part not to be learned."""


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
    training. Deterministic for a seed, interrupted or not, unless the time limit strikes. On
    several devices each has a process of its own, to which model and loss are sent by pickle.
    Raises RuntimeError when the loss becomes infinite.
    """
    compute = compute or Compute()
    fabric = make_fabric(compute)
    data = (rows, held_out, context, held_out_context)
    if compute.devices == 1:
        with cpu_threads(effort.threads):
            return _run(fabric, model, loss, data, effort, seed, checkpoint, backward, progress)
    if (size := min(effort.batch, len(rows))) < compute.devices:
        raise InputError(
            f"a batch of {size} {'row' if size == 1 else 'rows'} cannot be shared between"
            f" {compute.devices} devices; use one"
        )
    progress(f"training on {compute.devices} devices", None)  # which cannot be told how far it is
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        job = partial(_run_apart, job=(loss, data, effort, seed, checkpoint), weights=weights)
        history = fabric.launch(job, model)  # by itself: each process needs its own copy of it
        load_model(model, weights)
    model.eval()
    return history


def _run_apart(fabric: Fabric, model: Trainable, job: Any, weights: Path) -> History:
    """One process of several: trains, and the first one leaves the weights in a file.

    job: the arguments of `_run` from `loss` on.
    """
    _, _, effort, *_ = job
    with cpu_threads(effort.threads):
        history = _run(fabric, model, *job)
    if fabric.global_rank == 0:
        save_model(model, str(weights))
    return history


def _run(
    fabric: Fabric,
    model: Trainable,
    loss: Loss,
    data: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    effort: Effort,
    seed: int,
    checkpoint: Path | None,
    backward: Backward | None = None,
    progress: Progress = silent,
) -> History:
    """The training loop of one process; `data`: rows and held-out ones, and their contexts."""
    rank, processes = fabric.global_rank, fabric.world_size
    model.to(fabric.device)
    rows, held_out, context, held_out_context = fabric.to_device(data)
    torch.manual_seed(seed)
    keeper = Keeper(model, effort.patience)
    groups = keeper.groups(effort.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=effort.learning_rate, betas=(0.9, 0.99), fused=True)
    history = History()
    saved = None
    if checkpoint is not None:
        weights = [tuple(p.shape) for p in model.parameters()]
        key = fingerprint(*data, effort, seed, weights, type(model).__name__, processes)
        saved = Checkpoint(checkpoint, key)
        _resume(saved, keeper, optimizer, history, progress)
    before = history.seconds
    began = time.monotonic()
    every, settled = max(effort.steps // effort.looks, 1), max(int(effort.steps * effort.settle), 1)
    batches = _batches(len(rows), effort.batch, np.random.default_rng(seed))
    for _ in range(history.steps):
        next(batches)
    model.train()
    for step in range(history.steps + 1, effort.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = effort.learning_rate * _schedule(step / effort.steps)
        batch = next(batches)
        own = batch[rank::processes]
        pick = torch.from_numpy(own).to(rows.device)
        given = None if context is None else context[pick]
        # Random numbers of a step depend on the step alone, not on what was drawn before it.
        seed_device(fabric.device, (seed * 1_000_003 + step) * processes + rank)
        if backward is None:
            with fabric.autocast():
                total = loss(model, rows[pick], given, keeper.active).sum()
            fabric.backward(total * (len(own) / len(batch)))
            add_over_processes(fabric, model)
        else:
            backward(rows[pick], given, keeper.active)
        nn.utils.clip_grad_norm_(keeper.weights, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # parameters' gradients are views of these
        # Early on the average follows closely; later it spans about 1 / (1 - averaging) steps.
        keeper.follow(min(effort.averaging, (1 + step) / (10 + step)))
        if step == settled:
            keeper.settle()
        history.steps = step
        if step % every == 0 or step == effort.steps:
            measured: list[float] = []
            if rank == 0:
                model.eval()
                with torch.no_grad(), keeper.averaged(), fabric.autocast():
                    measured = loss(model, held_out, held_out_context, keeper.active).tolist()
                model.train()
            measured = fabric.broadcast(measured)  # for all processes to stop at the same step
            if not all(map(math.isfinite, measured)):
                raise RuntimeError(f"training diverged at step {step}: the loss is not finite")
            best = keeper.look(measured)
            history.looks.append({"step": step, "held_out": round(best, 4)})
            progress(f"training, held-out loss {best:.3f}", step / effort.steps)
            if not keeper.active:
                history.stopped_by = "held-out loss"
                break
        history.seconds = before + time.monotonic() - began
        if saved is not None and rank == 0 and saved.due():
            saved.save(
                keeper.tensors() | optimizer_tensors(optimizer),
                {"keeper": keeper.values(), "history": history.to_json()},
            )
        if any_process(fabric, history.seconds > effort.time_limit):
            history.stopped_by = "time limit"
            break
    keeper.restore()
    if history.looks:
        history.first_loss = history.looks[0]["held_out"]
    if math.isfinite(best := sum(keeper.best_loss)):
        history.best_loss = round(best, 4)
    history.seconds = round(before + time.monotonic() - began, 1)
    if saved is not None and rank == 0:
        saved.remove()
    model.eval()
    model.to("cpu")
    return history


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to a parameter's gradient; in place, for it may be a view of a larger one (`Flat`)."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


def shuffled(rows: int, rng: np.random.Generator, groups: np.ndarray | None = None) -> np.ndarray:
    """Row numbers in random order, int64 [rows]; rows of a group (int64 [rows]) side by side."""
    order = rng.permutation(rows)
    if groups is None:
        return order
    place = np.unique(groups, return_inverse=True)[1]
    return np.argsort(rng.permutation(int(place.max()) + 1)[place], kind="stable")


def _resume(
    saved: Checkpoint,
    keeper: Keeper,
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


def _schedule(at: float) -> float:
    """Share of the peak learning rate: a short warm-up, then a cosine down to 2 %."""
    if at < 0.03:
        return at / 0.03
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (at - 0.03) / 0.97))


def _batches(count: int, batch: int, rng: np.random.Generator) -> Any:
    """Endless shuffled batches of row numbers, int64 [batch]; each epoch sees every row once."""
    size = min(batch, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
