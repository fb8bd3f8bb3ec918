"""Clipped gradients: each row's gradient of a loss, cut to a length, and summed, in one backward.

The gradient of a linear layer's weight for one row is the outer product of what came in and the
gradient of what went out, so its length is known without forming it. One backward pass to the
layers' outputs gives every row's length, and then the sum of the clipped gradients is a matrix
product (Goodfellow 2015, "Efficient per-example gradient computations"; Bu et al. 2023,
"Differentially private optimization on large foundation model"). Memory stays that of a plain step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def clipped_gradients(
    model: nn.Module, losses: Callable[[], Tensor], limit: float
) -> tuple[Tensor, Tensor]:
    """Set every parameter's `grad` to the sum over rows of its gradient, clipped to `limit`.

    losses: runs the model, with rows first in every tensor, and returns a loss a row [rows]; no
    row's loss may depend on another row. The length clipped is that of all parameters together.

    Returns:
        The losses and the lengths before clipping, each [rows].

    Raises:
        TypeError: a parameter is used in a way whose rows cannot be told apart, or twice, or not.
    """
    parameters = dict(model.named_parameters())
    with _Uses(list(parameters.values())) as uses:
        found = losses()
    counts = {id(p): 0 for p in parameters.values()}
    for use in uses.found:
        for parameter in use.parameters:
            counts[id(parameter)] += 1
    for name, parameter in parameters.items():
        if counts[id(parameter)] != 1:
            raise TypeError(
                f"parameter {name} is used {counts[id(parameter)]} times; to clip each row's"
                " gradient it must be used once"
            )
    outputs = [use.output for use in uses.found]
    gradients = torch.autograd.grad(found.sum(), outputs, allow_unused=True)
    with torch.no_grad():
        told = [
            (use, torch.zeros_like(use.output) if gradient is None else gradient)
            for use, gradient in zip(uses.found, gradients, strict=True)
        ]
        squares = torch.stack([use.squares(gradient) for use, gradient in told])
        lengths = squares.sum(0).sqrt()
        share = (limit / lengths.clamp(min=1e-12)).clamp(max=1.0)[:, None]
        for use, gradient in told:
            for parameter, total in zip(use.parameters, use.sums(gradient * share), strict=True):
                parameter.grad = total
    return found.detach(), lengths


@dataclass(frozen=True)
class _Use(ABC):
    """Where parameters act on rows: output [rows, out]."""

    parameters: tuple[nn.Parameter, ...]
    output: Tensor

    @abstractmethod
    def squares(self, gradient: Tensor) -> Tensor:
        """Squared length of each row's gradient, [rows]; gradient: that of the output."""

    @abstractmethod
    def sums(self, gradient: Tensor) -> list[Tensor]:
        """The parameters' gradients summed over rows."""


@dataclass(frozen=True)
class _Linear(_Use):
    inputs: Tensor

    def squares(self, gradient: Tensor) -> Tensor:
        own = self.inputs.square().sum(1) + (len(self.parameters) - 1)
        return own * gradient.square().sum(1)

    def sums(self, gradient: Tensor) -> list[Tensor]:
        return [gradient.T @ self.inputs, gradient.sum(0)][: len(self.parameters)]


@dataclass(frozen=True)
class _Scale(_Use):
    inputs: Tensor

    def squares(self, gradient: Tensor) -> Tensor:
        return (gradient * self.inputs).square().sum(1)

    def sums(self, gradient: Tensor) -> list[Tensor]:
        return [(gradient * self.inputs).sum(0)]


@dataclass(frozen=True)
class _Lookup(_Use):
    """Rows of a table, or of a constant `basis` times a table."""

    tokens: Tensor
    basis: Tensor | None

    def squares(self, gradient: Tensor) -> Tensor:
        own = 1.0 if self.basis is None else self.basis.square().sum(1)[self.tokens]
        return own * gradient.square().sum(1)

    def sums(self, gradient: Tensor) -> list[Tensor]:
        [table] = self.parameters
        size = len(table) if self.basis is None else len(self.basis)
        by_token = gradient.new_zeros(size, gradient.shape[1])
        by_token.index_add_(0, self.tokens, gradient)
        return [by_token if self.basis is None else self.basis.T @ by_token]


class _Uses(TorchFunctionMode):
    """Notes how a network uses its parameters while it runs; TypeError for any unknown way.

    Known are `linear`, the scale of a `layer_norm`, and `embedding` of a parameter or of a constant
    matrix times one.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.watched = {id(p): p for p in parameters}
        self.products: dict[int, tuple[Tensor, Tensor, nn.Parameter]] = {}
        self.found: list[_Use] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [
            inner
            for value in (*args, *(kwargs or {}).values())
            for inner in (value if isinstance(value, list | tuple) else [value])
        ]
        if any(id(v) in self.watched or id(v) in self.products for v in given):
            if func is F.linear:
                self._linear(result, *args, **(kwargs or {}))
            elif func is F.layer_norm:
                self._layer_norm(result, *args, **(kwargs or {}))
            elif func is F.embedding:
                self._lookup(result, *args, **(kwargs or {}))
            elif func in _PRODUCTS and id(args[1]) in self.watched:
                self.products[id(result)] = (result, args[0], args[1])
            elif getattr(func, "__name__", "") != "__get__":  # a look at its shape, say
                name = getattr(func, "__name__", repr(func))
                raise TypeError(f"a parameter is used by {name}: its rows cannot be clipped")
        return result

    def _linear(self, output: Tensor, inputs: Tensor, weight: Any, bias: Any = None) -> None:
        parameters = (weight,) if bias is None else (weight, bias)
        self._note(_Linear(parameters, output, inputs), inputs)

    def _layer_norm(
        self, output: Tensor, inputs: Tensor, shape: Any, weight: Any, bias: Any, eps: float
    ) -> None:
        if bias is not None:
            raise TypeError("the shift of a layer_norm is a parameter: its rows cannot be clipped")
        normal = F.layer_norm(inputs, shape, eps=eps)
        self._note(_Scale((weight,), output, normal), inputs)

    def _lookup(self, output: Tensor, tokens: Tensor, table: Tensor, **settings: Any) -> None:
        settings.pop("norm_type", None)  # of `max_norm`
        if any(value not in (None, False) for value in settings.values()):
            raise TypeError(f"an embedding with {settings}: its rows cannot be clipped")
        _, basis, parameter = self.products.get(id(table), (None, None, table))
        self._note(_Lookup((parameter,), output, tokens, basis), output)  # type: ignore[arg-type]

    def _note(self, use: _Use, rows: Tensor) -> None:
        if any(id(p) not in self.watched for p in use.parameters) or rows.dim() != 2:
            raise TypeError("parameters act on more than one vector a row, or together with others")
        self.found.append(use)


_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
