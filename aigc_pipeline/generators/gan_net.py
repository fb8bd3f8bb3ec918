"""The networks of the GAN: rows drawn column by column with a gradient, and a critic of packs.

The generator is an `AutoregressiveNet` whose context begins with noise: one network a column, that
reads the noise and the columns drawn before it, so that what strictly follows from another column
can be learned. Its heads start at the marginals; what remains is how columns depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.generators.network import AutoregressiveNet, ColumnLayout

TEMPERATURE = 0.7  # of the soft tokens that carry the gradient
WIDEST = 64  # features of a column; a category with more tokens gets random directions


def draw_soft(
    net: AutoregressiveNet, features: Sequence[Tensor], context: Tensor, rng: torch.Generator
) -> Tensor:
    """Features of rows drawn from a generator, [batch, all features], with a gradient.

    features: by column, [size, features]; context: noise and what is given, [batch, features].
    A row is made of drawn tokens, but its gradient is that of a softmax: the straight-through
    Gumbel-softmax of Jang et al. 2017.
    """
    found: list[Tensor] = []
    inputs = context
    for column, feature in zip(net.columns, features, strict=True):
        logits = column(inputs)
        # Random numbers come from the CPU: the same ones on every device.
        waits = torch.rand(logits.shape, generator=rng).clamp_(min=1e-7).log_().neg_()
        noisy = logits - waits.clamp_(min=1e-7).log_().to(logits.device)
        soft = torch.softmax(noisy / TEMPERATURE, 1)
        hard = torch.zeros_like(soft).scatter_(1, noisy.argmax(1, keepdim=True), 1.0)
        token = hard + (soft - soft.detach())
        made = token @ torch.cat([feature, column.embedding()], 1)
        found.append(made[:, : feature.shape[1]])
        inputs = torch.cat([inputs, made[:, feature.shape[1] :]], 1)
    return torch.cat(found, 1)


class Critic(nn.Module):
    """Scores packs of rows: higher where they look real.

    A pack (PacGAN, Lin et al. 2018) lets the critic see what no single row shows: that shares of
    values and of their combinations are off. The order of its rows means nothing, so they are not
    laid side by side: hidden units are averaged over the pack (Zaheer et al. 2017, "Deep Sets").

    pack: rows of a pack; width: hidden units; context: features of the optional context.
    """

    def __init__(
        self, layouts: Sequence[ColumnLayout], *, pack: int, width: int, context: int = 0
    ) -> None:
        super().__init__()
        self.pack = pack
        for j, layout in enumerate(layouts):
            self.register_buffer(f"features_{j}", _features(layout), persistent=False)
        self.count = len(layouts)
        known = sum(f.shape[1] for f in self.features) + context
        self.row = nn.Sequential(
            nn.Linear(known, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.whole = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1, bias=False)
        )

    @property
    def features(self) -> list[Tensor]:
        """Fixed features of each column's tokens, by column [size, features]."""
        return [self.get_buffer(f"features_{j}") for j in range(self.count)]

    def look_up(self, tokens: Tensor) -> Tensor:
        """Features of rows of tokens, int64 [batch, columns] -> [batch, all features]."""
        columns = [F.embedding(tokens[:, j], f) for j, f in enumerate(self.features)]
        return torch.cat(columns, 1)

    def forward(self, rows: Tensor, context: Tensor | None = None) -> Tensor:
        """Scores [packs] of rows [batch, all features]; batch is a multiple of `pack`."""
        hidden = self.row(rows if context is None else torch.cat([rows, context], 1))
        return self.whole(hidden.unflatten(0, (-1, self.pack)).mean(1)).squeeze(1)

    def penalty(self, real: Tensor, drawn: Tensor, context: Tensor | None, at: Tensor) -> Tensor:
        """How far the slope between real and drawn packs is from 1, squared, mean.

        The gradient penalty of Gulrajani et al. 2017. at: in [0, 1], where between, [packs].
        """
        share = at.repeat_interleave(self.pack)[:, None]
        between = (share * real + (1 - share) * drawn).requires_grad_()
        scores = self(between, context)
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        return ((slope.unflatten(0, (-1, self.pack)).flatten(1).norm(dim=1) - 1) ** 2).mean()


def _features(layout: ColumnLayout) -> Tensor:
    """What the critic sees of each token, float32 [size, at most WIDEST]."""
    if layout.basis is not None:
        return torch.from_numpy(layout.basis)
    if layout.size <= WIDEST:
        return torch.eye(layout.size)
    directions = np.random.default_rng(0).standard_normal((layout.size, WIDEST), dtype=np.float32)
    return torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
