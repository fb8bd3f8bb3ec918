"""The default family: a discretised autoregressive network over a table's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.quasirandom import SobolEngine

from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.codec import Codec
from aigc_pipeline.features.follow import (
    OFFSETS,
    Follower,
    Places,
    offset_basis,
    offset_tokens,
)
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.generators.ancestral import Ancestral, ruled
from aigc_pipeline.generators.base import Draw, Generator
from aigc_pipeline.generators.files import read_model, write_model
from aigc_pipeline.generators.hardware import cpu_threads
from aigc_pipeline.generators.network import DROPOUT, AutoregressiveNet, ColumnLayout
from aigc_pipeline.generators.parallel import backward, cores, make_pool
from aigc_pipeline.generators.rules import Rules, find_rules, merge
from aigc_pipeline.generators.training import (
    Compute,
    Effort,
    History,
    Progress,
    shuffled,
    silent,
    train,
)

FORMAT = 4
# Of a number that follows no other, and of all columns where none does: without sharp rules, which
# dropout blunts and which are learned late, a net soon learns single rows by heart. There the
# passes are fewer, too.
FREE_DROPOUT = 0.4
FREE_PASSES = 0.5
EMBED = 16
CALIBRATION = 16384
# Hidden units a column. Wider nets learn single rows by heart before they learn the table better.
WIDTH = {"draft": 48, "standard": 64, "high": 128}
# By quality: passes over the data, floating-point operations at most, seconds at most. The first
# two fix the work, so that a run can be repeated; the last is a safety net for slow machines.
QUALITY = {
    "draft": (4, 0.7e12, 60.0),
    "standard": (16, 6e12, 180.0),
    "high": (30, 30e12, 900.0),
}
# Rows of a table that this family passes over so often. Save in drafts, it does so up to MOST times
# as often with smaller ones, and as little as LEAST times with larger ones, of more steps a pass.
PASSED = 28_000
LEAST, MOST = 0.75, 1.75


class Autoregressive(Generator):
    """p(row) as a product of softmaxes, one a column, all trained in one pass.

    Fidelity comes from the pieces around the network (see `features`): tokens for frequent values,
    inputs on the empirical CDF, targets softened over neighbouring bins, heads that start at the
    marginal, averaged weights, and stopping on held-out likelihood.
    """

    family = "autoregressive"
    follows: ClassVar[bool] = True  # whether chains of numbers are told where they lie

    def __init__(
        self,
        net: AutoregressiveNet | None = None,
        rules: Rules | None = None,
        followers: dict[int, Follower] | None = None,
    ) -> None:
        self._net = net
        self.rules = rules or {}
        self.followers = followers or {}

    @property
    def net(self) -> AutoregressiveNet:
        """The fitted network."""
        if self._net is None:
            raise ValueError("this generator is not fitted yet: call fit or load first")
        return self._net

    def fit(
        self,
        codec: TableCodec,
        tokens: np.ndarray,
        *,
        context: np.ndarray | None = None,
        quality: str = "standard",
        time_limit: float | None = None,
        seed: int = 0,
        compute: Compute | None = None,
        checkpoint: Path | None = None,
        progress: Progress = silent,
        groups: np.ndarray | None = None,
    ) -> History:
        rng = np.random.default_rng([seed, 1])
        order = shuffled(len(tokens), rng, groups)
        held_out = min(max(len(tokens) // 20, min(200, len(tokens) // 5), 1), 20_000)
        torch.manual_seed(seed)
        followers = codec.followers()
        net = AutoregressiveNet(
            layouts(codec),
            width=WIDTH[quality],
            embed=EMBED,
            context=0 if context is None else context.shape[1],
            known=codec.known_tokens,
            asides=asides(followers),
        )
        trained, passes = len(tokens) - held_out, 1.0
        if quality != "draft":
            passes = float(np.clip(PASSED / max(trained, 1), LEAST, MOST))
            passes *= 1.0 if numbers_follow(codec) else FREE_PASSES
        effort = plan_effort(net.flops_per_row(), trained, quality, time_limit, passes)
        # A row looked at costs a third of one trained on; all looks, a quarter of the training.
        seen = effort.steps * effort.batch
        held_out = min(held_out, max(seen * 3 // (4 * effort.looks), 1000))
        rows = torch.from_numpy(_with_offsets(tokens[order], followers))
        contexts = None if context is None else torch.from_numpy(context[order])
        compute, loss = compute or Compute(), _Likelihood(codec)
        with make_pool(compute.threads or cores()) as pool:
            history = train(
                net,
                loss,
                rows[held_out:],
                rows[:held_out],
                effort,
                context=None if contexts is None else contexts[held_out:],
                held_out_context=None if contexts is None else contexts[:held_out],
                backward=(
                    (lambda some, given, parts: backward(net, loss, some, given, parts, pool))
                    if compute.on_one_cpu
                    else None
                ),
                seed=seed,
                compute=compute,
                checkpoint=checkpoint,
                progress=progress,
            )
        self._net, self.followers = net.eval(), followers
        self.rules = merge(codec.rules(), find_rules(tokens[order], codec.sizes, net.known))
        self.calibrate([c.marginal for c in codec.codecs], contexts, seed, rows)
        return history

    @torch.inference_mode()
    @cpu_threads(1)  # more would round otherwise, and other rows would come of it
    def calibrate(
        self,
        marginals: list[np.ndarray],
        context: Tensor | None,
        seed: int,
        rows: Tensor | None = None,
        *,
        damping: float = 1.0,
    ) -> None:
        """Shift each head's bias until sampled rows have the training data's marginals.

        Early stopping and softened targets leave small biases, which add up along the columns. The
        shift is found on the model's own rows, column by column, as a fixed point of
        bias += log(marginal / mean predicted share). context, rows: of the training rows; what is
        known of a row is taken from there. damping: the part of the shift that is made.
        """
        net, rng = self.net, np.random.default_rng([seed, 2])
        uniform = torch.from_numpy(quasi_random(CALIBRATION, len(marginals), rng))
        inputs = torch.zeros(CALIBRATION, net.context)
        tokens = torch.zeros(CALIBRATION, len(marginals), dtype=torch.int64)
        if context is not None or rows is not None:
            count = len(context if context is not None else rows if rows is not None else ())
            some = torch.from_numpy(rng.integers(0, count, CALIBRATION))
            inputs = inputs if context is None else context[some]
            if rows is not None:
                tokens[:, : net.known] = rows[some, : net.known]
        places = Places(self.followers)
        for j, embedded in enumerate(net.embedded):
            if j >= net.known:
                column = net.column(j)
                target = torch.from_numpy(marginals[j]).float()
                share = ruled(torch.softmax(column(inputs), 1), self.rules.get(j), tokens)
                shift = torch.zeros_like(target)
                for _ in range(4):
                    shifted = share * shift.exp()
                    mean = (shifted / shifted.sum(1, keepdim=True)).mean(0)
                    shift += (target / mean.clamp(min=1e-9)).log().clamp(-0.7, 0.7)
                shift *= damping
                column.head.bias.add_(shift)
                total = (share * shift.exp()).cumsum(1)
                drawn = torch.searchsorted(total, uniform[:, j : j + 1] * total[:, -1:], right=True)
                tokens[:, j] = drawn.squeeze(1).clamp_(max=len(target) - 1)
            if j in self.followers:
                tokens[:, j] = torch.from_numpy(places.settle(j, tokens.numpy()))
            inputs = torch.cat([inputs, F.embedding(tokens[:, j], embedded.embedding())], 1)
            if j in net.beside:
                told = F.embedding(torch.from_numpy(places.offset(j)), net.aside(j).embedding())
                inputs = torch.cat([inputs, told], 1)

    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        # One uniform number a cell, drawn up front: the same rows whatever the thread count.
        uniform = quasi_random(rows, len(self.net.nets), np.random.default_rng(seed))
        masks = {j: torch.from_numpy(mask) for j, mask in (allowed or {}).items()}
        return Ancestral(self.net, self.rules, masks, self.followers).draw(uniform, given, context)

    @torch.inference_mode()
    def cell_log_prob(self, tokens: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        found = []
        for start in range(0, len(tokens), 8192):
            rows = torch.from_numpy(_with_offsets(tokens[start : start + 8192], self.followers))
            part = None if context is None else torch.from_numpy(context[start : start + 8192])
            losses = torch.zeros(len(rows), len(self.net.nets), dtype=torch.float64)
            drawn = self.net.drawn
            losses[:, drawn] = _cell_losses(self.net(rows, part), rows[:, drawn]).double()
            found.append(-losses.numpy())
        return np.concatenate(found) if found else np.zeros(tokens.shape)

    def save(self, folder: Path) -> None:
        net = self.net
        write_model(
            folder,
            net,
            self.rules,
            family=self.family,
            format=FORMAT,
            sizes=net.sizes,
            shape={name: getattr(net, name) for name in ("width", "embed", "context", "known")},
        )

    @classmethod
    def load(cls, folder: Path, codec: TableCodec) -> Autoregressive:
        followers = codec.followers() if cls.follows else {}

        def make(**shape: int) -> AutoregressiveNet:
            return AutoregressiveNet(layouts(codec), asides=asides(followers), **shape)

        net, rules = read_model(folder, codec, make, family=cls.family, format=FORMAT)
        return cls(net, rules, followers)


class _Likelihood:
    """Mean negative log-likelihood of columns in nats; in training against softened targets."""

    def __init__(self, codec: TableCodec) -> None:
        smoothing = [c.smoothing() for c in codec.codecs]
        self.targets = [None if s is None else torch.from_numpy(s) for s in smoothing]

    def __call__(
        self, model: nn.Module, rows: Tensor, context: Tensor | None, columns: list[int]
    ) -> Tensor:
        if model.training:
            return self.of(model(rows, context, columns), rows, columns)
        starts = range(0, len(rows), 8192)
        contexts = [None if context is None else context[i : i + 8192] for i in starts]
        parts = zip(rows.split(8192), contexts, strict=True)
        losses = [_cell_losses(model(r, c, columns), r[:, columns]) for r, c in parts]
        return torch.cat(losses).mean(0)

    def of(self, logits: list[Tensor], rows: Tensor, columns: list[int]) -> Tensor:
        """The loss of each column from its logits, against softened targets; [columns]."""
        means = []
        for j, each in zip(columns, logits, strict=True):
            target = self.targets[j]
            wanted = rows[:, j]
            if target is not None:
                self.targets[j] = target = target.to(rows.device)
                wanted = F.embedding(wanted, target)
            means.append(F.cross_entropy(each, wanted))
        return torch.stack(means)


def _cell_losses(logits: list[Tensor], rows: Tensor) -> Tensor:
    """Negative log-likelihood of each cell, [rows, columns]."""
    losses = [F.cross_entropy(z, rows[:, j], reduction="none") for j, z in enumerate(logits)]
    return torch.stack(losses, 1)


def plan_effort(
    flops_per_row: float,
    rows: int,
    quality: str,
    time_limit: float | None = None,
    passes: float = 1.0,
) -> Effort:
    """Steps, batch and learning rate for a quality. A shorter time limit shrinks the budget too.

    passes: how many times as many passes over the data as the quality has.
    """
    epochs, operations, limit = QUALITY[quality]
    if time_limit is not None:
        operations *= min(time_limit / limit, 1.0)
        limit = time_limit
    batch = int(np.clip(2 ** round(np.log2(max(rows, 1) ** 0.75 / 7.5)), 32, 512))
    most = max(passes * epochs * rows / batch, 150 if quality == "draft" else 300)
    steps = int(np.clip(operations / (flops_per_row * batch), 50, most))
    rate = 1e-2 * min((batch / 256) ** 0.5, 1.0)
    return Effort(steps=steps, batch=batch, learning_rate=rate, time_limit=limit)


def quasi_random(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform numbers float32 [rows, columns], spread evenly over the cube (Sobol 1967).

    Every number is uniform by itself (scrambled after Matousek 1998), so every row follows the
    model; but a batch, and the first rows of one, hit the model's shares, of one column and of
    several together, more closely than independent draws would. The first 64 rows come in random
    order, so do the next 64, 128, 256 and so on: what lies next to what says nothing.
    """
    if not rows * columns:
        return np.empty((rows, columns), dtype=np.float32)
    sobol = SobolEngine(columns, scramble=True, seed=int(rng.integers(2**32)))
    order = np.arange(rows)
    start, end = 0, 64
    while start < rows:
        rng.shuffle(order[start:end])
        start, end = end, 2 * end
    return np.minimum(sobol.draw(rows).numpy(), np.float32(1 - 2**-24))[order]


def asides(followers: Mapping[int, Follower]) -> dict[int, ColumnLayout]:
    """What is told beside numbers: where they lie from the root of their chain."""
    even = np.full(OFFSETS, 1 / OFFSETS)
    layout = ColumnLayout(OFFSETS, even, offset_basis())
    return {at: layout for at, follower in followers.items() if follower.root is not None}


def _with_offsets(tokens: np.ndarray, followers: Mapping[int, Follower]) -> np.ndarray:
    """Tokens of columns, and of what is told beside them, int64 [rows, columns + asides]."""
    tokens = tokens.astype(np.int64)
    return np.hstack([tokens, offset_tokens(followers, tokens)])


def layouts(codec: TableCodec) -> list[ColumnLayout]:
    """What the network must know of each codec."""
    strict = numbers_follow(codec)

    def dropout(c: Codec) -> float:
        follows_none = isinstance(c, NumberCodec) and c.relation is None
        return DROPOUT if strict and not follows_none else FREE_DROPOUT

    return [ColumnLayout(c.size, c.marginal, c.basis(), dropout(c)) for c in codec.codecs]


def numbers_follow(codec: TableCodec) -> bool:
    """Whether a number follows others: sharp rules, which a net is to learn."""
    numbers = [c for c in codec.codecs if isinstance(c, NumberCodec)]
    return any(number.relation is not None for number in numbers)
