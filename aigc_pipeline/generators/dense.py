"""The dense view of an ordered column's tokens: intervals of a standard normal variable."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EDGE = 6.0  # stands for infinity
LEAST = 1e-12


class Belief(NamedTuple):
    """What a noised coordinate says by itself: it is N(mean, std), both [rows, 1], and the log
    probability of each token, [rows, size]."""

    mean: Tensor
    std: Tensor
    evidence: Tensor


class Coordinate(nn.Module):
    """A column's coordinate: the normal score of a value's place on the empirical CDF.

    Each token is an interval of it, as wide as its share. Over the training rows a coordinate is
    standard normal by construction, frequent values and nulls included.
    marginal: [size], the tokens' shares, in rising order of value.
    """

    edges: Tensor
    low: Tensor
    share: Tensor

    def __init__(self, marginal: np.ndarray) -> None:
        super().__init__()
        share = torch.from_numpy(marginal / marginal.sum())
        below = F.pad(share.cumsum(0), (1, 0)).clamp(0, 1)
        edges = torch.special.ndtri(below).clamp(-EDGE, EDGE).float()
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("low", below[:-1].float(), persistent=False)
        self.register_buffer("share", share.float(), persistent=False)

    def place(self, tokens: Tensor, uniform: Tensor) -> Tensor:
        """A coordinate within each token's interval, float32 [rows], from uniform numbers."""
        at = self.low[tokens] + uniform * self.share[tokens]
        return torch.special.ndtri(at.clamp(1e-6, 1 - 1e-6))

    def belief(self, noisy: Tensor, level: Tensor) -> Belief:
        """What coordinates plus Gaussian noise say of them.

        noisy: [rows]; level: [rows], the log of the noise's standard deviation.
        """
        spread = (2 * level).exp() + 1
        mean, std = (noisy / spread)[:, None], (level.exp() / spread.sqrt())[:, None]
        below = torch.special.ndtr((self.edges - mean) / std)
        return Belief(mean, std, below.diff(dim=1).clamp(min=LEAST).log())

    def denoised(self, belief: Belief, share: Tensor) -> Tensor:
        """Posterior mean of coordinates, [rows], given the tokens' probabilities [rows, size]."""
        scaled = (self.edges - belief.mean) / belief.std
        density = (-0.5 * scaled**2).exp() * (2 * math.pi) ** -0.5
        # The mean of a normal variable within an interval; far off, the interval's nearer end.
        inside = belief.mean - belief.std * density.diff(dim=1) / belief.evidence.exp()
        nearest = belief.mean.clamp(self.edges[:-1], self.edges[1:])
        return (share * torch.where(belief.evidence > math.log(1e-6), inside, nearest)).sum(1)
