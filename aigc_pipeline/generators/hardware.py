"""Where training runs: a CPU or GPUs, in one process or several, by lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from aigc_pipeline.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Compute:
    """Where to train. Rows are sampled on the CPU: the same ones, wherever a model was trained.

    accelerator: "auto" (GPUs if there are any), "cpu" or "cuda"; on a GPU the matrix products are
    in bfloat16. devices: GPUs, or CPU processes, each of which takes its share of every batch.
    threads: CPU threads of one process, by default one a core; the result does not depend on their
    number.
    """

    accelerator: str = "auto"
    devices: int = 1
    threads: int | None = None

    @property
    def on_one_cpu(self) -> bool:
        """Whether training is a single process on a CPU."""
        gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return self.devices == 1 and not gpu


def make_fabric(compute: Compute) -> Fabric:
    """A lightning Fabric for `compute`; several processes start with its `launch`.

    Raises InputError for an accelerator, or a number of them, that is not there.
    """
    from lightning_fabric import Fabric

    if compute.accelerator not in ("auto", "cpu", "cuda"):
        raise InputError(f"accelerator {compute.accelerator!r}: choose auto, cpu or cuda")
    if compute.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("accelerator 'cuda': torch sees no GPU here; use auto or cpu")
    on_gpu = compute.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu and compute.devices > torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"devices {compute.devices}: torch sees {found}; ask for no more")
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=compute.devices,
        strategy="ddp_spawn" if compute.devices > 1 else "auto",
        precision="bf16-mixed" if on_gpu else "32-true",
    )
    if compute.devices == 1:
        fabric.launch()
    return fabric


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let each of torch's operations use `count` CPU threads, for the length of a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_device(device: torch.device, seed: int) -> None:
    """Begin the random numbers of a device anew.

    `torch.manual_seed` does so for every kind of device, and takes a millisecond to find out which
    there are: too long for every step of a training.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    torch.default_generator.manual_seed(seed)


def add_over_processes(fabric: Fabric, model: nn.Module) -> None:
    """Add up the gradients of all processes, in one message.

    DistributedDataParallel wants every parameter used by `forward` in every step, but parts of a
    model stop one by one, and a loss may use parameters itself.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    whole = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="sum")
    assert isinstance(whole, torch.Tensor)
    parts = whole.split([g.numel() for g in gradients])
    totals = [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]
    torch._foreach_copy_(gradients, totals)


def any_process(fabric: Fabric, what: bool) -> bool:
    """Whether something is so in any of the processes."""
    if fabric.world_size == 1:
        return what
    return bool(fabric.all_reduce(torch.tensor(float(what)), reduce_op="sum"))
