"""The GAN family: rows drawn column by column, taught by a critic of packs of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.autoregressive import Autoregressive, layouts
from aigc_pipeline.generators.base import Draw, Generator
from aigc_pipeline.generators.collapse import collapse_warning
from aigc_pipeline.generators.gan_net import Critic
from aigc_pipeline.generators.gan_training import DRAWN, Game, PairDistance, drawn_rows, play
from aigc_pipeline.generators.network import AutoregressiveNet
from aigc_pipeline.generators.rules import find_rules, merge
from aigc_pipeline.generators.training import Compute, Effort, History, Progress, shuffled, silent

NOISE = 32  # random numbers that a row starts from
EMBED = 16
PACK = 64  # rows that the critic sees at once
# By quality: units a column, units of the critic; then steps, floating-point operations at most,
# seconds at most. The budget fixes the work, so that a run can be repeated; the last is a safety
# net for slow machines.
SIZES = {"draft": (48, 128), "standard": (64, 256), "high": (128, 512)}
QUALITY = {
    "draft": (600, 1.2e12, 60.0),
    "standard": (2000, 7e12, 300.0),
    "high": (6000, 80e12, 1800.0),
}


class GAN(Autoregressive):
    """p(row) = E_noise prod_j p(x_j | noise, x_<j), learned from a critic, not from likelihood.

    Wasserstein with gradient penalty, packed. Drawing is as in the autoregressive family, with
    noise at the head of the context: given a row's noise its tokens have exact probabilities, so
    conditions are met exactly and weighted rightly. The likelihood of a row, over all noise, is
    not known.
    """

    family = "gan"
    follows = False

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
        order = shuffled(len(tokens), np.random.default_rng([seed, 1]), groups)
        held_out = min(max(len(tokens) // 20, min(200, len(tokens) // 5), 1), 20_000)
        width, critic_width = SIZES[quality]
        features = 0 if context is None else context.shape[1]
        torch.manual_seed(seed)
        net = AutoregressiveNet(layouts(codec), width=width, embed=EMBED, context=NOISE + features)
        critic = Critic(layouts(codec), pack=PACK, width=critic_width, context=features)
        # The critic sees rows three times a step, and its penalty is a gradient of a gradient.
        flops = net.flops_per_row() + 18.0 * sum(p.numel() for p in critic.parameters())
        effort = plan_effort(flops, len(tokens) - held_out, quality, time_limit)
        rows = torch.from_numpy(tokens[order].astype(np.int64))
        contexts = None if context is None else torch.from_numpy(context[order])
        marginals = [c.marginal for c in codec.codecs]
        history = play(
            Game(net, critic, NOISE, effort, seed),
            PairDistance(
                marginals,
                tokens[order[:held_out]],
                None if context is None else context[order[:held_out]],
            ),
            rows[held_out:],
            rows[:held_out],
            context=None if contexts is None else contexts[held_out:],
            held_out_context=None if contexts is None else contexts[:held_out],
            compute=compute,
            checkpoint=checkpoint,
            progress=progress,
        )
        self._net = net
        self.rules = merge(codec.rules(), find_rules(tokens[order], codec.sizes))
        self.calibrate(marginals, _with_noise(len(tokens), contexts, [seed, 3]), seed)
        under = None if context is None else np.resize(context[order], (DRAWN, features))
        drawn = drawn_rows(net, NOISE, under, self.rules)
        collapse = collapse_warning(
            drawn, tokens[order[held_out:]], tokens[order[:held_out]], marginals
        )
        history.warnings += [collapse] if collapse else []
        history.warnings += warnings(history, drawn, codec)
        for told in history.warnings:
            progress(told, None)
        return history

    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        known = None if context is None else torch.from_numpy(context)
        noise = _with_noise(rows, known, [*seed, 3]).numpy()
        return super().sample(rows, seed=seed, allowed=allowed, given=given, context=noise)

    def cell_log_prob(self, tokens: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        return Generator.cell_log_prob(self, tokens, context)


def warnings(history: History, drawn: np.ndarray, codec: TableCodec) -> list[str]:
    """What went wrong in training besides a collapse, in plain words.

    drawn: rows of the finished model, int32 [rows, columns].
    """
    told: list[str] = []
    advice = "give it more rows or a higher quality, or take family: autoregressive"
    if history.stopped_by == "divergence":
        told.append(
            f"training diverged at step {history.steps}: the critic's scores are no longer "
            f"finite. The best weights before that are kept; {advice}"
        )
    for j, each in enumerate(codec.codecs):
        share = np.bincount(drawn[:, j], minlength=each.size) / len(drawn)
        lost = int(((each.marginal >= 0.01) & (share < each.marginal / 10)).sum())
        if lost:
            told.append(
                f"{', '.join(each.columns)}: {lost} of {each.size} kinds of value are lost, though "
                f"each has at least 1 % of the rows; {advice}"
            )
    return told


def plan_effort(
    flops_per_row: float, rows: int, quality: str, time_limit: float | None = None
) -> Effort:
    """Steps, batch and learning rate for a quality. A shorter time limit shrinks the budget too."""
    steps, operations, limit = QUALITY[quality]
    batch = int(np.clip(2 ** round(np.log2(max(rows, 1) / 30)), 2 * PACK, 8 * PACK))
    most = min(steps, operations / (flops_per_row * batch))
    if time_limit is not None:
        most *= min(time_limit / limit, 1.0)
        limit = time_limit
    return Effort(max(int(most), 50), batch, 1e-3, limit, averaging=0.995, patience=16)


def _with_noise(rows: int, context: Tensor | None, seed: list[int]) -> Tensor:
    """The generator's context: noise, then what is given, float32 [rows, features]."""
    noise = np.random.default_rng(seed).standard_normal((rows, NOISE), dtype=np.float32)
    parts = [torch.from_numpy(noise)] if context is None else [torch.from_numpy(noise), context]
    return torch.cat(parts, 1)
