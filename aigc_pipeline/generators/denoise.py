"""Sampling from the diffusion network: conditions first, then the flow, then column by column.

Any column can become known at any time, by a draw from its own softmax: exact, as all noise is
independent. So conditions are met first, and cost nothing but their probability. The coordinates
then follow the probability flow together by Heun's method (Karras et al. 2022) down to a noise at
which they tell each other where they roughly are; the columns then become known one by one in
random order, each given all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_pipeline.generators.autoregressive import quasi_random
from aigc_pipeline.generators.base import Draw
from aigc_pipeline.generators.diffusion_net import LEVELS, DiffusionNet, State
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.rules import Rules

CHUNK = 512  # rows drawn together, in one order of columns
STEPS = 6  # of the flow, two looks at the network each


@dataclass
class Denoiser:
    """Draws rows from a network and its rules, under what is asked of all rows.

    masks: by column position, the tokens that may be drawn, bool [size].
    """

    net: DiffusionNet
    rules: Rules
    masks: dict[int, Tensor]

    def draw(
        self,
        rows: int,
        rng: np.random.Generator,
        given: np.ndarray | None,
        context: np.ndarray | None,
    ) -> Draw:
        """Rows by random numbers drawn up front: the same whatever the number of threads.

        given: tokens each row must have, -1 where free; context: float32 [rows, features].
        """
        net = self.net
        columns, count = len(net.sizes), len(net.coordinates)
        uniform = torch.from_numpy(quasi_random(rows, columns, rng))
        start = torch.from_numpy(quasi_random(rows, count, rng)).clamp(1e-6, 1 - 1e-6)
        noisy = torch.special.ndtri(start) * _spread(torch.tensor(LEVELS[1]))
        orders = [rng.permutation(columns).tolist() for _ in range(0, rows, CHUNK)]
        asked = torch.full((rows, columns), -1)
        if given is not None:
            asked = torch.from_numpy(given.astype(np.int64))
        under = None if context is None else torch.from_numpy(context)
        rules = _both_ways(self.rules, net.sizes)

        def draw(number: int) -> tuple[Tensor, Tensor]:
            at = slice(number * CHUNK, (number + 1) * CHUNK)
            state = State(
                torch.zeros_like(asked[at]),
                torch.zeros_like(asked[at], dtype=torch.bool),
                noisy[at],
                torch.full_like(noisy[at], LEVELS[1]),
            )
            weight = torch.zeros(len(noisy[at]), dtype=torch.float64)
            own = None if under is None else under[at]
            some = _Rows(net, rules, self.masks, uniform[at], asked[at], own, state, weight)
            with torch.inference_mode():  # which is a setting of the thread
                some.draw(orders[number])
            return some.state.tokens, some.weight

        # A worker a core, each with one thread, neither waits for the other nor suffers when
        # another job takes a core.
        with make_pool(cores()) as pool:
            tokens, weights = zip(*pool.map(draw, range(len(orders))), strict=True)
        return Draw(torch.cat(tokens).numpy().astype(np.int32), torch.cat(weights).numpy())


@dataclass
class _Rows:
    """Rows being drawn together, and what is known of them so far.

    rules: as `_both_ways` has them; uniform: float32 [rows, columns], a number for each draw;
    given: int64 [rows, columns], -1 where free; weight: float64 [rows].
    """

    net: DiffusionNet
    rules: dict[int, dict[int, Tensor]]
    masks: dict[int, Tensor]
    uniform: Tensor
    given: Tensor
    context: Tensor | None
    state: State
    weight: Tensor

    def draw(self, order: list[int]) -> None:
        """Draw all columns; `order` is the one in which those that are free become known."""
        self._look()
        for j in order:
            self._reveal(j, self.given[:, j] >= 0)
        for j in self.masks:
            self._reveal(j)
        self._flow()
        for j in order:
            self._reveal(j)

    def _look(self) -> None:
        """Note what the network reads of the state, once noise has changed."""
        self.beliefs = self.net.beliefs(self.state)
        self.embedded = self.net.embed_row(self.state, self.beliefs)

    def _flow(self) -> None:
        """Take the coordinates' noise down to where the flow ends."""
        net, level = self.net, self.state.level
        if not net.coordinates or bool(self.state.known[:, net.coordinates].all()):
            return
        for time in torch.linspace(1, 0, STEPS + 1, device=level.device)[1:]:
            after = net.levels(time.expand(1, level.shape[1])).expand_as(level)
            step = torch.asinh((-level).exp()) - torch.asinh((-after).exp())
            start, slope = self.state.noisy / _spread(level), self._slope()
            ahead = (start + step * slope) * _spread(after)
            self.state = self.state._replace(noisy=ahead, level=after)
            noisy = (start + step * (slope + self._slope()) / 2) * _spread(after)
            self.state, level = self.state._replace(noisy=noisy), after
        self._look()

    def _slope(self) -> Tensor:
        """What other columns make of the coordinates, [rows, coordinates].

        In coordinates of variance 1, noisy / sqrt(1 + noise²), and over -arcsinh(1 / noise), the
        probability flow's slope is (mean by itself - mean given all): where no column tells of
        another, nothing moves, whatever the step.
        """
        logits, beliefs = self.net(self.state, self.context, columns=self.net.coordinates)
        moves = []
        for j, place, each in zip(self.net.coordinates, self.net.places, logits, strict=True):
            clean = place.denoised(beliefs[j], torch.softmax(each, 1))
            moves.append(beliefs[j].mean.squeeze(1) - clean)
        return torch.stack(moves, 1)

    def _reveal(self, j: int, some: Tensor | None = None) -> None:
        """Make column j known, as given or drawn, in all rows or some (bool [rows])."""
        tokens, known = self.state.tokens, self.state.known
        now = ~known[:, j] if some is None else some & ~known[:, j]
        if not bool(now.any()):
            return
        units = self.net.hidden(self.embedded, self.context)
        share = torch.softmax(self.net.logits(units, j, self.beliefs.get(j)), 1)
        share = self._ruled(share, j)
        mask = self.masks.get(j)
        if mask is not None:
            share = share * mask
        total = share.cumsum(1)
        mass = total[:, -1:]
        drawn = torch.searchsorted(total, self.uniform[:, j : j + 1] * mass, right=True)
        drawn = drawn.clamp_(max=share.shape[1] - 1).squeeze(1)
        fixed = self.given[:, j] >= 0
        drawn = torch.where(fixed, self.given[:, j], drawn)
        chance = share.gather(1, drawn[:, None]).squeeze(1)
        gain = torch.where(fixed, chance, 1.0 if mask is None else mass.squeeze(1))
        # Rounding may step onto a forbidden token next to the end; it has no mass.
        gain = torch.where(chance > 0, gain, 0.0)
        self.weight += torch.where(now, gain.clamp(max=1.0).double().log(), 0.0)
        tokens[:, j] = torch.where(now, drawn, tokens[:, j])
        known[:, j] |= now
        exact = F.embedding(tokens[:, j], self.net.table(j))
        self.embedded[j] = torch.where(now[:, None], exact, self.embedded[j])

    def _ruled(self, share: Tensor, j: int) -> Tensor:
        """Shares [rows, size] of column j without the tokens that known columns rule out."""
        if j not in self.rules:
            return share
        kept = share
        for i, allowed in self.rules[j].items():
            state = torch.where(self.state.known[:, i], self.state.tokens[:, i], len(allowed) - 1)
            kept = kept * F.embedding(state, allowed)
        mass = kept.sum(1, keepdim=True)
        # Rules that contradict each other would leave nothing: such a row keeps the network's view.
        return torch.where(mass > 1e-6, kept / mass.clamp(min=1e-6), share)


def _both_ways(rules: Rules, sizes: list[int]) -> dict[int, dict[int, Tensor]]:
    """Rules both ways round, as columns come in any order; float32 [size + 1, ruled size].

    The last line stands for a column that is not known, which rules nothing out.
    """
    found: dict[int, dict[int, Tensor]] = {}
    for j, given in rules.items():
        for i, allowed in given.items():
            for ruled, ruling, table in ((j, i, allowed), (i, j, allowed.T)):
                line = np.ones((1, sizes[ruled]), dtype=bool)
                both = torch.from_numpy(np.concatenate([table, line])).float()
                found.setdefault(ruled, {})[ruling] = both
    return found


def _spread(level: Tensor) -> Tensor:
    """Standard deviation of coordinates with noise, from its log."""
    return (1 + (2 * level).exp()).sqrt()
