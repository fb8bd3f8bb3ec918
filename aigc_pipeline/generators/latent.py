"""The networks of the variational autoencoder: an encoder, a learned prior and a decoder.

An ordinary VAE draws its latents from N(0, 1), where the encoder seldom puts any: its samples come
from holes. Here the prior is learned with the rest, as in the variational lossy autoencoder (Chen
et al. 2017): each latent follows a mixture of Gaussians given the latents before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_pipeline.generators.network import ColumnLayout
from aigc_pipeline.generators.training import Trainable

DROPOUT = 0.1  # of the decoder's last hidden units, in training
COMPONENTS = 8  # Gaussians a latent
LEAST_LOG_SCALE, MOST_LOG_SCALE = -6.0, 2.0


class Noise(NamedTuple):
    """Random numbers of a pass: normal [batch, latent]; kept [batch, width], the factor of each of
    the decoder's last hidden units (dropout)."""

    normal: Tensor
    kept: Tensor

    def part(self, rows: slice) -> Noise:
        """The same for some of the rows."""
        return Noise(self.normal[rows], self.kept[rows])


class Passed(NamedTuple):
    """A row's way through the autoencoder: logits of all columns [batch, total size], and what each
    latent drawn costs, log q(z | row) - log p(z), nats [batch, latent]."""

    logits: Tensor
    cost: Tensor


class Block(nn.Module):
    """A residual block that starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.block_in = nn.Linear(width, width)
        self.block_out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.block_out.weight)

    def forward(self, units: Tensor) -> Tensor:
        return units + self.block_out(F.silu(self.block_in(self.norm(units))))


def trunk(fan_in: int, width: int, blocks: int) -> nn.Sequential:
    """Inputs [batch, fan_in] to normed units [batch, width]."""
    layers = [nn.Linear(fan_in, width), nn.SiLU(), *(Block(width) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.LayerNorm(width))


class LatentPrior(nn.Module):
    """p(z | context) = prod_k p(z_k | z_<k, context), each factor a mixture of Gaussians.

    Each latent has a small network of its own over those before it; all are computed at once.
    """

    mask: Tensor

    def __init__(self, latent: int, width: int, context: int) -> None:
        super().__init__()
        self.latent, self.context = latent, context
        fan_in = context + latent
        self.weight = nn.Parameter(torch.randn(latent, width, fan_in) * fan_in**-0.5)
        self.bias = nn.Parameter(torch.randn(latent, 1, width) * 0.5)
        self.block_in = nn.Parameter(torch.randn(latent, width, width) * width**-0.5)
        self.bias_in = nn.Parameter(torch.zeros(latent, 1, width))
        self.block_out = nn.Parameter(torch.zeros(latent, width, width))
        self.head = nn.Parameter(torch.zeros(latent, width, 3 * COMPONENTS))
        start = torch.zeros(latent, 1, 3, COMPONENTS)
        start[:, :, 1] = torch.linspace(-2, 2, COMPONENTS)
        self.head_bias = nn.Parameter(start.flatten(2))
        before = torch.arange(fan_in) < context + torch.arange(latent)[:, None]
        self.register_buffer("mask", before[:, None].float(), persistent=False)

    def log_prob(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Log density of each of the latents given those before it, [batch, latent]."""
        inputs = z if context is None else torch.cat([context, z], 1)
        first = F.linear(inputs, (self.weight * self.mask).flatten(0, 1))
        units = first.unflatten(1, (self.latent, -1)).transpose(0, 1) + self.bias
        mixture = self._mixture(units, slice(None))  # [latent, batch, 3, components]
        share, mean, log_scale = mixture.unbind(2)
        off = (z.t()[:, :, None] - mean) * torch.exp(-log_scale)
        density = F.log_softmax(share, 2) - 0.5 * off**2 - log_scale
        return density.logsumexp(2).t() - 0.5 * math.log(2 * math.pi)

    def draw(self, uniform: Tensor, normal: Tensor, context: Tensor | None) -> Tensor:
        """Latents [rows, latent] from uniform and normal numbers of that shape."""
        inputs = normal.new_zeros(len(uniform), self.context + self.latent)
        if context is not None:
            inputs[:, : self.context] = context
        for k in range(self.latent):
            at = self.context + k
            units = F.linear(inputs[:, :at], self.weight[k, :, :at]) + self.bias[k]
            mixture = self._mixture(units[None], slice(k, k + 1))[0]
            total = torch.softmax(mixture[:, 0], 1).cumsum(1)
            chosen = torch.searchsorted(total, uniform[:, k : k + 1] * total[:, -1:], right=True)
            chosen = chosen.clamp_(max=COMPONENTS - 1)
            mean, log_scale = (mixture[:, i].gather(1, chosen).squeeze(1) for i in (1, 2))
            inputs[:, at] = mean + log_scale.exp() * normal[:, k]
        return inputs[:, self.context :]

    def _mixture(self, units: Tensor, of: slice) -> Tensor:
        """Logits, means and log scales of some latents' mixtures from their first layer."""
        units = F.silu(units)
        normed = F.layer_norm(units, units.shape[-1:])
        hidden = F.silu(torch.baddbmm(self.bias_in[of], normed, self.block_in[of]))
        units = units + torch.bmm(hidden, self.block_out[of])
        units = F.layer_norm(units, units.shape[-1:])
        found = torch.baddbmm(self.head_bias[of], units, self.head[of])
        found = found.unflatten(2, (3, COMPONENTS))
        share, mean, log_scale = found.unbind(2)
        return torch.stack([share, mean, log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)], 2)


class LatentNet(Trainable):
    """Tokens to latents and back, and a prior over the latents.

    width: hidden units of encoder and decoder; latent: number of latents; prior_width: hidden units
    a latent in the prior; embed: embedding size a column; context: features of the optional context
    tensor [batch, context], which encoder, prior and decoder all read.
    """

    def __init__(
        self,
        layouts: Sequence[ColumnLayout],
        *,
        width: int,
        latent: int,
        prior_width: int,
        embed: int,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.sizes = [layout.size for layout in layouts]
        self.settings = {
            "width": width,
            "latent": latent,
            "prior_width": prior_width,
            "embed": embed,
            "context": context,
        }
        # Numbers share features (their place on the CDF) instead of a free vector a bin.
        self.tables = nn.ParameterList()
        for j, layout in enumerate(layouts):
            features = layout.size if layout.basis is None else layout.basis.shape[1]
            self.tables.append(nn.Parameter(torch.randn(features, embed) * embed**-0.5))
            basis = None if layout.basis is None else torch.from_numpy(layout.basis)
            self.register_buffer(f"basis_{j}", basis, persistent=False)
        self.encoder = trunk(len(layouts) * embed + context, width, 1)
        self.posterior = nn.Linear(width, 2 * latent)
        self.prior = LatentPrior(latent, prior_width, context)
        self.decoder = trunk(latent + context, width, 2)
        self.head = nn.Linear(width, sum(self.sizes))
        nn.init.zeros_(self.head.weight)  # so training starts at the log of the marginals
        marginals = np.concatenate([layout.marginal for layout in layouts])
        with torch.no_grad():
            self.head.bias.copy_(torch.from_numpy(np.log(np.maximum(marginals, 1e-8))))

    def forward(
        self, tokens: Tensor, context: Tensor | None = None, noise: Noise | None = None
    ) -> Passed:
        """Encode rows, int64 [batch, columns], draw latents and decode them."""
        noise = noise or self.noise(len(tokens))
        z, entropy = self.draw_latents(tokens, context, noise)
        logits = self.decode(z, context, noise.kept)
        return Passed(logits, -entropy - self.prior.log_prob(z, context))

    def draw_latents(
        self, tokens: Tensor, context: Tensor | None, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """Latents of rows and the entropy of where they were drawn from, each [batch, latent]."""
        mean, log_scale = self.encode(tokens, context)
        z = mean + log_scale.exp() * noise.normal
        return z, log_scale + 0.5 * math.log(2 * math.pi * math.e)

    def noise(self, rows: int) -> Noise:
        """Random numbers for a pass; outside training always the same, so that looks compare."""
        like = self.head.weight
        latent, width = self.settings["latent"], self.settings["width"]
        if self.training:
            ones = like.new_ones(rows, width)
            normal = torch.randn(rows, latent, device=like.device)
            return Noise(normal, F.dropout(ones, DROPOUT))
        fixed = torch.Generator().manual_seed(0)
        normal = torch.randn(rows, latent, generator=fixed).to(like.device)
        return Noise(normal, like.new_ones(1, 1).expand(rows, width))

    def encode(self, tokens: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means and log scales of the latents of rows, each [batch, latent]."""
        parts = [] if context is None else [context]
        for j, table in enumerate(self.tables):
            basis = getattr(self, f"basis_{j}")
            parts.append(F.embedding(tokens[:, j], table if basis is None else basis @ table))
        mean, log_scale = self.posterior(self.encoder(torch.cat(parts, 1))).chunk(2, 1)
        return mean, log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)

    def decode(self, z: Tensor, context: Tensor | None, kept: Tensor | None = None) -> Tensor:
        """Logits of all columns side by side, [batch, total size], from latents."""
        units = self.decoder(z if context is None else torch.cat([context, z], 1))
        return self.head(units if kept is None else units * kept)

    def shared(self) -> list[nn.Parameter]:
        """None: encoder, prior and decoder are one part."""
        return []

    def parts(self) -> list[list[nn.Parameter]]:
        """All parameters: they only make sense together."""
        return [list(self.parameters())]

    def flops_per_row(self) -> float:
        """Floating-point operations of one training step a row: forward, and twice that back."""
        return 6.0 * sum(p.numel() for p in self.parameters())
