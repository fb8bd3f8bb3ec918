"""The diffusion network: what every column was, from what a partly noised row still shows.

A row's noised state has some columns known. Of the others, a discrete column shows nothing (masked
diffusion: Austin et al. 2021, Sahoo et al. 2024), and a number with bins its coordinate (see
`dense`) plus Gaussian noise (EDM: Karras et al. 2022). The answer is a softmax over tokens for
every column; a coordinate's posterior mean follows from it in closed form (score interpolation:
Dieleman et al. 2022; CDTD: Mueller et al. 2025).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.generators.dense import Belief, Coordinate
from aigc_pipeline.generators.network import ColumnLayout
from aigc_pipeline.generators.training import Trainable

# Log standard deviation of the noise that the flow ends and begins with.
LEVELS = (math.log(1.0), math.log(20.0))
KNOTS = 12  # of the noise schedule
EVEN = 0.2  # share of the times spread evenly over levels, whatever was learned


class State(NamedTuple):
    """A noised row. tokens: int64 [rows, columns], without meaning where `known` (bool) is false;
    noisy, level: float32 [rows, coordinates], noised coordinates and the log of their noise."""

    tokens: Tensor
    known: Tensor
    noisy: Tensor
    level: Tensor


class DiffusionNet(Trainable):
    """Noised rows in, logits of every column's token out.

    coordinates: positions of the columns that have one. width, depth: hidden units and residual
    blocks; embed: embedding size a column; context: number of features of the optional context.
    """

    knots: Tensor

    def __init__(
        self,
        layouts: Sequence[ColumnLayout],
        coordinates: Sequence[int],
        *,
        width: int,
        depth: int,
        embed: int,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.embed, self.context = width, depth, embed, context
        self.sizes = [layout.size for layout in layouts]
        self.coordinates = list(coordinates)
        self.tables = nn.ParameterList()
        for j, layout in enumerate(layouts):
            # Numbers share features (their place on the CDF) instead of a free vector a token.
            basis = None if layout.basis is None else torch.from_numpy(layout.basis)
            self.register_buffer(f"basis_{j}", basis, persistent=False)
            features = layout.size if basis is None else basis.shape[1]
            self.tables.append(nn.Parameter(torch.randn(features, embed) * embed**-0.5))
        self.unknown = nn.Parameter(torch.randn(len(layouts), embed) * embed**-0.5)
        self.noised = nn.Parameter(torch.randn(len(self.coordinates), KNOTS, embed) * embed**-0.5)
        self.intervals = nn.ModuleList(Coordinate(layouts[j].marginal) for j in self.coordinates)
        self.entry = nn.Linear(len(layouts) * embed + context, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        outer = [nn.Linear(width, width, bias=False) for _ in range(depth)]
        heads = [nn.Linear(width, size) for size in self.sizes]
        # So that training starts at the marginals; a coordinate's come with its evidence.
        for layer in (*outer, *heads):
            nn.init.zeros_(layer.weight)
        for j, (head, layout) in enumerate(zip(heads, layouts, strict=True)):
            logs = torch.from_numpy(np.log(np.maximum(layout.marginal, 1e-8)))
            with torch.no_grad():
                head.bias.copy_(torch.zeros_like(logs) if j in self.coordinates else logs)
        self.outer, self.heads = nn.ModuleList(outer), nn.ModuleList(heads)
        knots = torch.linspace(*LEVELS, KNOTS)
        self.register_buffer("knots", knots, persistent=False)
        with torch.device("cpu"):  # real numbers, wherever the rest is made, if at all
            levels = torch.linspace(*LEVELS, KNOTS)
            curves = [_marginal_curve(place, levels) for place in self.places]
        # Expected loss in nats by level of noise, learned as training goes.
        self.curves = nn.Parameter(torch.stack(curves) if curves else torch.zeros(0, KNOTS))

    @property
    def places(self) -> list[Coordinate]:
        """The coordinates, in the order of their positions."""
        return [place for place in self.intervals if isinstance(place, Coordinate)]

    def table(self, j: int) -> Tensor:
        """Embedding of every token of a column, [size, embed]."""
        basis = getattr(self, f"basis_{j}")
        return self.tables[j] if basis is None else basis @ self.tables[j]

    def levels(self, time: Tensor) -> Tensor:
        """The noise schedule: log noise of each coordinate at times in [0, 1], both [rows, n].

        A coordinate's expected loss rises evenly with time, as far as it is learned (time warping:
        Dieleman et al. 2022), so that no step of a sampler has much more to decide than another.
        """
        if not self.coordinates:
            return time
        curve = self.curves.detach().cummax(1).values
        rise = (curve - curve[:, :1]) / (curve[:, -1:] - curve[:, :1]).clamp(min=1e-6)
        rise = torch.lerp(rise, torch.linspace(0, 1, KNOTS, device=rise.device), EVEN)
        at = (time[..., None] >= rise).sum(-1).clamp(1, KNOTS - 1)
        column = torch.arange(len(rise), device=at.device)
        low, high = rise[column, at - 1], rise[column, at]
        part = ((time - low) / (high - low)).clamp(0, 1)
        return torch.lerp(self.knots[at - 1], self.knots[at], part)

    def near(self, level: Tensor) -> Tensor:
        """Weights of the schedule's knots around each level, [..., KNOTS]."""
        step = (LEVELS[1] - LEVELS[0]) / (KNOTS - 1)
        return (1 - (level[..., None] - self.knots).abs() / step).clamp(min=0)

    def beliefs(self, state: State) -> dict[int, Belief]:
        """By column position, what each noised coordinate says by itself."""
        return {
            j: place.belief(state.noisy[:, n], state.level[:, n])
            for n, (j, place) in enumerate(zip(self.coordinates, self.places, strict=True))
        }

    def embed_row(self, state: State, beliefs: dict[int, Belief]) -> list[Tensor]:
        """What the network reads of each column, a list of [rows, embed].

        A noised coordinate is read as its tokens' embeddings, averaged over what it says.
        """
        weights = self.near(state.level)
        found = []
        for j, size in enumerate(self.sizes):
            table, known = self.table(j), state.known[:, j]
            if j in beliefs:
                n = self.coordinates.index(j)
                likely = torch.softmax(beliefs[j].evidence, 1)
                soft = likely @ table + weights[:, n] @ self.noised[n]
                exact = F.embedding(state.tokens[:, j], table)
                found.append(torch.where(known[:, None], exact, soft))
            else:
                rows = torch.cat([table, self.unknown[j : j + 1]])
                found.append(F.embedding(torch.where(known, state.tokens[:, j], size), rows))
        return found

    def hidden(
        self, embedded: list[Tensor], context: Tensor | None, kept: Tensor | None = None
    ) -> Tensor:
        """Last hidden units, [rows, width].

        kept: in training, factors of inner units, [rows, depth, width] (dropout).
        """
        units = self.entry(torch.cat(embedded if context is None else [*embedded, context], 1))
        for i in range(self.depth):
            inner = F.silu(self.inner[i](self.norms[i](units)))
            units = units + self.outer[i](inner if kept is None else inner * kept[:, i])
        return F.silu(self.norms[-1](units))

    def logits(self, units: Tensor, j: int, belief: Belief | None) -> Tensor:
        """Logits of one column's tokens, [rows, size]."""
        logits = self.heads[j](units)
        return logits if belief is None else logits + belief.evidence

    def forward(
        self,
        state: State,
        context: Tensor | None = None,
        kept: Tensor | None = None,
        columns: Sequence[int] | None = None,
    ) -> tuple[list[Tensor], dict[int, Belief]]:
        """Logits of columns (all by default), a list of [rows, size], and what coordinates say."""
        beliefs = self.beliefs(state)
        units = self.hidden(self.embed_row(state, beliefs), context, kept)
        wanted = range(len(self.sizes)) if columns is None else columns
        return [self.logits(units, j, beliefs.get(j)) for j in wanted], beliefs

    def shared(self) -> list[nn.Parameter]:
        """None: the network is one part."""
        return []

    def parts(self) -> list[list[nn.Parameter]]:
        """The whole network as one part."""
        return [list(self.parameters())]

    def flops_per_row(self) -> float:
        """Floating-point operations of one training step a row: forward, and twice that back."""
        return 6.0 * sum(p.numel() for p in self.parameters())


def _marginal_curve(place: Coordinate, knots: Tensor) -> Tensor:
    """Expected loss at each level of noise when no other column is seen, float32 [knots]."""
    count = 512
    clean = torch.special.ndtri((torch.arange(count) + 0.5) / count)
    noise = clean[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    tokens = torch.searchsorted(place.edges[1:-1].contiguous(), clean)
    losses = []
    for level in knots:
        belief = place.belief(clean + noise * level.exp(), level.expand(count))
        losses.append(F.cross_entropy(belief.evidence, tokens))
    return torch.stack(losses)
