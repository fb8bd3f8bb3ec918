"""A model's files: weights and rules in safetensors, all else in JSON, and never pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from aigc_pipeline.errors import UNREADABLE, ArtefactError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.rules import Rules, from_tensors, to_tensors

Net = TypeVar("Net", bound=nn.Module)
MOST_UNITS = 65_536  # of any size that a network is made from


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, notes: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors. Raises ArtefactError when the disk refuses."""
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path, notes)
    except SafetensorError as error:
        raise ArtefactError(f"{path}: cannot be written ({error})") from error


def write_model(
    folder: Path,
    net: nn.Module,
    rules: Rules,
    *,
    family: str,
    format: int,
    sizes: list[int],
    shape: dict[str, Any],
) -> None:
    """Write weights.safetensors and model.json to a folder.

    sizes: number of tokens of each column; shape: the settings that the network is made from.
    """
    state = {name: torch.from_numpy(v) for name, v in to_tensors(rules).items()}
    save_tensors({**net.state_dict(), **state}, folder / "weights.safetensors")
    told = {"format": format, "family": family, "sizes": sizes, "shape": shape}
    (folder / "model.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_model(
    folder: Path,
    codec: TableCodec,
    make: Callable[..., Net],
    *,
    family: str,
    format: int,
) -> tuple[Net, Rules]:
    """The network and rules that `write_model` wrote. make: a network from its shape.

    Raises ArtefactError for damage, another family or format, or codecs of another model.
    """
    try:
        settings = json.loads((folder / "model.json").read_bytes())
        if settings.get("format") != format or settings.get("family") != family:
            raise ArtefactError(
                f"{folder}: a {settings.get('family')} model in format {settings.get('format')}, "
                f"this version reads {family} in format {format}; fit it again"
            )
        if settings["sizes"] != codec.sizes:
            raise ArtefactError(f"{folder}: the model does not belong to its codecs; fit again")
        _check_shape(folder, settings["shape"], make)
        net = make(**settings["shape"])
        state = load_file(folder / "weights.safetensors")
        rules = from_tensors({k: v.numpy() for k, v in state.items() if k.startswith("rules.")})
        net.load_state_dict({k: v for k, v in state.items() if not k.startswith("rules.")})
    except (*UNREADABLE, AssertionError, RuntimeError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: the model cannot be read ({type(error).__name__}); fit it again"
        ) from error
    net.eval()
    return net, rules


def _check_shape(folder: Path, shape: dict[str, Any], make: Callable[..., nn.Module]) -> None:
    """Hold a network, made without memory, against the tensors that the weights' file has.

    A few bytes of JSON could ask for terabytes, so nothing is allocated before. Raises ValueError
    where they differ, and what the maker raises.
    """
    with safe_open(folder / "weights.safetensors", "pt") as file:
        held = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    if any(isinstance(size, int) and size > MOST_UNITS for size in shape.values()):
        raise ValueError("a size is beyond all reason")
    with torch.device("meta"):
        sketch = make(**shape)
    wanted = {name: list(value.shape) for name, value in sketch.state_dict().items()}
    if wanted != {name: size for name, size in held.items() if not name.startswith("rules.")}:
        raise ValueError("the weights are those of another network")
