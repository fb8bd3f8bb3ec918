"""A file that an interrupted training goes on from: tensors and plain values, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aigc_pipeline import __version__
from aigc_pipeline.generators.files import save_tensors

SECONDS = 15.0  # between two savings
FORMAT = "3"


def fingerprint(*parts: object) -> str:
    """Hash of what a training depends on: arrays and tensors by content, the rest by its text.

    The version of this package is part of it, for another one may train otherwise.
    """
    digest = hashlib.sha256(__version__.encode())
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        data = part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _digest(tensors: Mapping[str, Tensor], values: str) -> str:
    """Hash of a state: a bit that flips in the file must not become a weight."""
    return fingerprint(
        values, *(part for name in sorted(tensors) for part in (name, tensors[name]))
    )


class Checkpoint:
    """The state of one training in one file, private to its owner (0600), replaced as a whole.

    key: fingerprint of data and settings; a file of another training is passed over.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._saved_at = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and values of the last saving; None where there is none of this training."""
        try:
            with safe_open(self.path, framework="pt") as file:
                notes = file.metadata() or {}
                if (notes.get("format"), notes.get("key")) != (FORMAT, self.key):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                if notes.get("sha256") != _digest(tensors, notes["values"]):
                    return None
                return tensors, json.loads(notes["values"])
        except (OSError, SafetensorError, ValueError, KeyError):
            return None  # there is none, or it was cut short or changed: training starts afresh

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved_at >= SECONDS

    def save(self, tensors: Mapping[str, Tensor], values: dict[str, Any]) -> None:
        """Replace the file by this state."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        part.touch(mode=0o600)
        notes = {"format": FORMAT, "key": self.key, "values": json.dumps(values)}
        notes["sha256"] = _digest(tensors, notes["values"])
        save_tensors(tensors, part, notes)
        part.chmod(0o600)
        os.replace(part, self.path)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Training is done: leave nothing to go on from, nor what was cut off while saving."""
        for left in [self.path, *self.path.parent.glob(f"{escape(self.path.name)}.*.part")]:
            left.unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` named."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**whole, "state": state})
