"""The autoregressive network: p(row | context) = prod_j p(x_j | x_<j, context).

Every column reads the embeddings of the columns before it (and the context) through a linear
layer, a residual block and a softmax head of its own. All columns train in one pass over the same
embeddings, as in MADE (Germain et al. 2015) and TabularARGN (Tiwald et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.generators.training import Trainable

DROPOUT = 0.15  # of a column's last hidden units, in training


@dataclass(frozen=True)
class ColumnLayout:
    """What the network must know of a column: its tokens, their marginal, how alike they are.

    marginal: float [size]; basis: float32 [size, features], or None for a free embedding; dropout:
    share of the last hidden units that training leaves out.
    """

    size: int
    marginal: np.ndarray
    basis: np.ndarray | None = None
    dropout: float = DROPOUT


class Prepared(NamedTuple):
    """What all columns' networks read: inputs [batch, features]; chance [batch, width] or None."""

    inputs: Tensor
    chance: Tensor | None


class Embedded(nn.Module):
    """The embeddings of a column's tokens: all there is of a column that is always known."""

    basis: Tensor | None

    def __init__(self, layout: ColumnLayout, embed: int) -> None:
        super().__init__()
        # Numbers share features (their place on the CDF) instead of a free vector a bin, which
        # would overfit; a category's tokens have nothing to share.
        features = layout.size if layout.basis is None else layout.basis.shape[1]
        self.table = nn.Parameter(torch.randn(features, embed) * embed**-0.5)
        basis = None if layout.basis is None else torch.from_numpy(layout.basis)
        self.register_buffer("basis", basis, persistent=False)

    def embedding(self) -> Tensor:
        """Embedding of every token, [size, embed]."""
        return self.table if self.basis is None else self.basis @ self.table


class ColumnNet(Embedded):
    """One column: embeddings of its tokens, and their logits given what came before.

    fan_in: features that come before, i.e. earlier columns' embeddings and the context.
    """

    def __init__(self, layout: ColumnLayout, fan_in: int, width: int, embed: int) -> None:
        super().__init__(layout, embed)
        self.dropout = layout.dropout
        self.weight = nn.Parameter(torch.randn(width, fan_in) * max(fan_in, 1) ** -0.5)
        self.bias = nn.Parameter(torch.randn(width) * 0.5)
        self.scale_norm = nn.Parameter(torch.ones(width))
        # Half as wide inside: a quarter less work for the same fidelity.
        self.block_in = nn.Linear(width, width // 2)
        self.block_out = nn.Linear(width // 2, width, bias=False)
        nn.init.zeros_(self.block_out.weight)
        self.head = nn.Linear(width, layout.size)
        nn.init.zeros_(self.head.weight)  # so training starts at the log of the marginal
        with torch.no_grad():
            self.head.bias.copy_(torch.from_numpy(np.log(np.maximum(layout.marginal, 1e-8))))

    def forward(self, before: Tensor, chance: Tensor | None = None) -> Tensor:
        """Logits [batch, size] from what came before, [batch, fan_in].

        chance: in training, a uniform number for each last hidden unit, [batch, width] (dropout).
        """
        units = F.silu(F.linear(before, self.weight, self.bias))
        normed = F.layer_norm(units, units.shape[-1:], self.scale_norm)
        units = units + self.block_out(F.silu(self.block_in(normed)))
        units = F.layer_norm(units, units.shape[-1:])
        if chance is not None:
            units = units * (chance >= self.dropout) / (1 - self.dropout)
        return self.head(units)


class AutoregressiveNet(Trainable):
    """All columns of a table, tokens in, logits out.

    width: hidden units a column; embed: embedding size a column; context: number of features of
    the optional context tensor [batch, context] (an embedding of a text or an image). known: how
    many columns, the first ones, are always given (a parent's row, the row before): they are read
    and never drawn. asides: by position of a column, what is told besides it to all later ones; its
    tokens come after those of all columns.
    """

    def __init__(
        self,
        layouts: Sequence[ColumnLayout],
        *,
        width: int,
        embed: int,
        context: int = 0,
        known: int = 0,
        asides: Mapping[int, ColumnLayout] | None = None,
    ) -> None:
        super().__init__()
        self.width, self.embed, self.context, self.known = width, embed, context, known
        self.sizes = [layout.size for layout in layouts]
        told = sorted((asides or {}).items())
        self.beside = {j: len(layouts) + i for i, (j, _) in enumerate(told)}
        self.nets = nn.ModuleList(
            Embedded(layout, embed)
            if j < known
            else ColumnNet(layout, self.before(j), width, embed)
            for j, layout in enumerate(layouts)
        )
        self.asides = nn.ModuleList(Embedded(layout, embed) for _, layout in told)

    @property
    def embedded(self) -> list[Embedded]:
        """The embeddings of all columns in order, known ones first."""
        return [net for net in self.nets if isinstance(net, Embedded)]

    @property
    def columns(self) -> list[ColumnNet]:
        """The networks of the columns that are drawn, in order."""
        return [net for net in self.nets if isinstance(net, ColumnNet)]

    @property
    def drawn(self) -> range:
        """Positions of the columns that are drawn."""
        return range(self.known, len(self.nets))

    def before(self, j: int) -> int:
        """How many features come before column j."""
        return self.context + self.embed * (j + sum(i < j for i in self.beside))

    def aside(self, j: int) -> Embedded:
        """The embeddings of what is told beside column j."""
        aside = self.asides[self.beside[j] - len(self.nets)]
        assert isinstance(aside, Embedded)
        return aside

    def column(self, j: int) -> ColumnNet:
        """The network of a column that is drawn."""
        net = self.nets[j]
        assert isinstance(net, ColumnNet)
        return net

    def forward(
        self,
        tokens: Tensor,
        context: Tensor | None = None,
        columns: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """Logits of columns given the true values before them: a list of [batch, size].

        tokens: int64 [batch, columns]. columns: positions to compute; by default all drawn ones.
        """
        wanted = self.drawn if columns is None else columns
        return self.logits(self.prepare(tokens, context), wanted)

    def prepare(self, tokens: Tensor, context: Tensor | None = None) -> Prepared:
        """What all columns read: the context, all embeddings, in training numbers for dropout."""
        parts = [] if context is None else [context]
        for j, net in enumerate(self.embedded):
            parts.append(F.embedding(tokens[:, j], net.embedding()))
            if j in self.beside:
                parts.append(F.embedding(tokens[:, self.beside[j]], self.aside(j).embedding()))
        chance = None
        if self.training:
            # The same for all columns: they are independent networks, and random numbers cost.
            chance = torch.rand(len(tokens), self.width, device=parts[-1].device)
        return Prepared(torch.cat(parts, 1), chance)

    def logits(self, prepared: Prepared, columns: Sequence[int]) -> list[Tensor]:
        """Logits of columns, a list of [batch, size]; what comes after a column is not read."""
        inputs, chance = prepared
        return [self.column(j)(inputs[:, : self.before(j)], chance) for j in columns]

    def stacked_logits(self, prepared: Prepared, columns: Sequence[int]) -> list[Tensor]:
        """What `logits` gives, with the inside of all columns' networks in the same operations.

        A column is small: on a CPU its operations take as long to start as to compute.
        """
        inputs, chance = prepared
        nets = [self.column(j) for j in columns]
        wholes = [F.linear(inputs[:, : n.weight.shape[1]], n.weight, n.bias) for n in nets]
        units = F.silu(torch.stack(wholes))  # [columns, batch, width], as all that follows
        shape = units.shape[-1:]
        scales = torch.stack([n.scale_norm for n in nets])[:, None]
        into = torch.stack([n.block_in.weight for n in nets]).transpose(1, 2)
        biases = torch.stack([n.block_in.bias for n in nets])[:, None]
        out = torch.stack([n.block_out.weight for n in nets]).transpose(1, 2)
        hidden = F.silu(torch.baddbmm(biases, F.layer_norm(units, shape) * scales, into))
        units = F.layer_norm(torch.baddbmm(units, hidden, out), shape)
        if chance is not None:
            dropout = units.new_tensor([n.dropout for n in nets])[:, None, None]
            units = units * ((chance >= dropout) / (1 - dropout))
        return [n.head(own) for n, own in zip(nets, units.unbind(0), strict=True)]

    def shared(self) -> list[nn.Parameter]:
        """Parameters that several columns use: the embeddings, of asides too."""
        return [net.table for net in (*self.embedded, *map(self.aside, self.beside))]

    def parts(self) -> list[list[nn.Parameter]]:
        """The other parameters, by the one column that uses them; a known one has none."""
        return [
            [p for name, p in column.named_parameters() if name != "table"]
            for column in self.embedded
        ]

    def flops_per_row(self) -> float:
        """Floating-point operations of one training step a row: forward, and twice that back."""
        return 6.0 * sum(p.numel() for p in self.parameters())
