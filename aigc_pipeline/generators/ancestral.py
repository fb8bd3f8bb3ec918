"""Ancestral sampling: rows drawn column by column from an autoregressive network.

Rows that agree so far have the same conditional, so it is computed once for each distinct prefix.
With columns of few values first, a batch of 8,192 rows has a handful of prefixes for a good part of
its columns; only where most rows differ is the network asked for every row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_pipeline.features.follow import Follower, Places
from aigc_pipeline.generators.base import Draw
from aigc_pipeline.generators.network import AutoregressiveNet
from aigc_pipeline.generators.rules import Rules

CHUNK = 2048  # rows whose hidden units fit the processor's cache
SHARED = 0.6  # distinct prefixes by rows, above which sharing does not pay


@dataclass
class Ancestral:
    """Draws from a network and its rules, under what is asked of all rows.

    masks: by column position, the tokens that may be drawn, bool [size]. followers: numbers whose
    bins follow from earlier tokens.
    """

    net: AutoregressiveNet
    rules: Rules
    masks: dict[int, Tensor]
    followers: dict[int, Follower] = field(default_factory=dict)

    def draw(
        self, uniform: np.ndarray, given: np.ndarray | None, context: np.ndarray | None
    ) -> Draw:
        """Rows from uniform numbers float32 [rows, columns]: the same whatever the threads.

        given: tokens each row must have, -1 where free; context: float32 [rows, features].
        """
        rows = _Rows.start(uniform, given, context, self.net.context)
        begin = 0
        with torch.inference_mode():
            if context is None and not self.net.known:
                begin = self._shared(rows)
            for at in range(0, len(uniform), CHUNK):
                self._each(rows.part(at), begin)
        return Draw(rows.tokens.numpy().astype(np.int32), rows.weight.numpy())

    def _shared(self, rows: _Rows) -> int:
        """Draw the first columns, one conditional a prefix; returns how many columns were drawn."""
        count = len(rows.tokens)
        prefix = torch.zeros(count, dtype=torch.int64)
        tokens = torch.zeros(1, 0, dtype=torch.int64)
        inputs = torch.zeros(1, 0)
        places = Places(self.followers)
        for j, column in enumerate(self.net.columns):
            if len(tokens) > SHARED * count:
                return j
            share = ruled(torch.softmax(column(inputs), 1), self.rules.get(j), tokens)
            self._choose(rows, j, share, prefix)
            drawn = self._settle(rows, j, places)
            paths, prefix = torch.unique(
                prefix * column.head.out_features + drawn, return_inverse=True
            )
            before, last = paths // column.head.out_features, paths % column.head.out_features
            tokens = torch.cat([tokens[before], last[:, None]], 1)
            inputs = torch.cat([inputs[before], F.embedding(last, column.embedding())], 1)
            if (told := self._beside(j, places)) is not None:  # the same for all of a prefix
                some = torch.zeros_like(last).scatter_(0, prefix, torch.arange(count))
                inputs = torch.cat([inputs, told[some]], 1)
        return len(self.net.columns)

    def _each(self, rows: _Rows, begin: int) -> None:
        """Draw the columns from `begin` on, row by row."""
        net = self.net
        inputs = rows.context.new_zeros(len(rows.tokens), net.before(len(net.nets)))
        inputs[:, : net.context] = rows.context
        if net.known and rows.given is not None:
            rows.tokens[:, : net.known] = rows.given[:, : net.known]
        places = Places(self.followers)
        for j, column in enumerate(net.embedded):
            before = net.before(j)
            if j >= max(begin, net.known):
                share = torch.softmax(net.column(j)(inputs[:, :before]), 1)
                self._choose(rows, j, ruled(share, self.rules.get(j), rows.tokens))
            self._settle(rows, j, places)
            embedded = F.embedding(rows.tokens[:, j], column.embedding())
            inputs[:, before : before + net.embed] = embedded
            if (told := self._beside(j, places)) is not None:
                inputs[:, before + net.embed : net.before(j + 1)] = told

    def _settle(self, rows: _Rows, j: int, places: Places) -> Tensor:
        """Column j's tokens, int64 [rows], with those that follow from earlier ones put right.

        What was asked for stands: decoding, which does not draw from these, sees to the rest.
        """
        if j in self.followers:
            found = torch.from_numpy(places.settle(j, rows.tokens.numpy()))
            if (mask := self.masks.get(j)) is not None:
                found = torch.where(mask[found], found, rows.tokens[:, j])
            if rows.given is not None:
                found = torch.where(rows.given[:, j] >= 0, rows.tokens[:, j], found)
            rows.tokens[:, j] = found
        return rows.tokens[:, j]

    def _beside(self, j: int, places: Places) -> Tensor | None:
        """What is told beside column j, embedded, [rows, embed]."""
        if j not in self.net.beside:
            return None
        return F.embedding(torch.from_numpy(places.offset(j)), self.net.aside(j).embedding())

    def _choose(self, rows: _Rows, j: int, share: Tensor, prefix: Tensor | None = None) -> None:
        """Draw column j from shares [rows or prefixes, size] and note it.

        prefix: the line of `share` that is each row's, int64 [rows].
        """
        mask = self.masks.get(j)
        if mask is not None:
            share = share * mask
        total = share.cumsum(1)
        if prefix is not None:
            share, total = share[prefix], total[prefix]
        mass = total[:, -1:]
        drawn = torch.searchsorted(total, rows.uniform[:, j : j + 1] * mass, right=True)
        drawn = drawn.clamp_(max=share.shape[1] - 1).squeeze(1)
        if mask is not None:
            rows.weight += mass.squeeze(1).clamp(max=1.0).double().log()
            # Rounding may step onto a forbidden token next to the end; it has no mass.
            rows.weight[share.gather(1, drawn[:, None]).squeeze(1) <= 0] = -torch.inf
        if rows.given is not None:
            known_here = rows.given[:, j] >= 0
            drawn = torch.where(known_here, rows.given[:, j], drawn)
            chance = share.gather(1, drawn[:, None]).squeeze(1) / mass.squeeze(1)
            rows.weight += torch.where(known_here, chance.double().log(), 0.0)
        rows.tokens[:, j] = drawn


@dataclass
class _Rows:
    """Rows being drawn: uniform numbers, what is given, and what is known so far.

    tokens: int64 [rows, columns]; weight: float64 [rows]. Parts share memory with the whole.
    """

    uniform: Tensor
    given: Tensor | None
    context: Tensor
    tokens: Tensor
    weight: Tensor

    @classmethod
    def start(
        cls, uniform: np.ndarray, given: np.ndarray | None, context: np.ndarray | None, width: int
    ) -> _Rows:
        rows, columns = uniform.shape
        return cls(
            torch.from_numpy(uniform),
            None if given is None else torch.from_numpy(given.astype(np.int64)),
            torch.zeros(rows, width) if context is None else torch.from_numpy(context),
            torch.zeros(rows, columns, dtype=torch.int64),
            torch.zeros(rows, dtype=torch.float64),
        )

    def part(self, start: int) -> _Rows:
        at = slice(start, start + CHUNK)
        given = None if self.given is None else self.given[at]
        return _Rows(self.uniform[at], given, self.context[at], self.tokens[at], self.weight[at])


def ruled(share: Tensor, rules: dict[int, np.ndarray] | None, tokens: Tensor) -> Tensor:
    """Shares [rows, size] without the tokens that earlier ones, int64 [rows, …], rule out."""
    if not rules:
        return share
    kept = share
    for i, allowed in rules.items():
        kept = kept * torch.from_numpy(allowed).to(tokens.device)[tokens[:, i]]
    mass = kept.sum(1, keepdim=True)
    # Rules that contradict each other would leave nothing: such a row keeps the network's view.
    return torch.where(mass > 1e-6, kept / mass.clamp(min=1e-6), share)
