"""The VAE family: a variational autoencoder over a table's tokens, with a learned prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.ancestral import CHUNK, ruled
from aigc_pipeline.generators.autoregressive import layouts, quasi_random
from aigc_pipeline.generators.base import Draw, Generator
from aigc_pipeline.generators.collapse import collapse_warning
from aigc_pipeline.generators.files import read_model, write_model
from aigc_pipeline.generators.hardware import cpu_threads
from aigc_pipeline.generators.latent import LatentNet
from aigc_pipeline.generators.latent_training import train_latent
from aigc_pipeline.generators.parallel import cores, make_pool
from aigc_pipeline.generators.rules import Rules, find_rules, merge
from aigc_pipeline.generators.training import Compute, History, Progress, shuffled, silent

FORMAT = 1
EMBED = 16
CALIBRATION = 16384
CHECKED = 4096  # rows of the model's own, looked at for collapse


class VAE(Generator):
    """p(row) = E_z prod_j p(x_j | z): latents from a learned prior, one softmax a column.

    An autoencoder (Kingma and Welling 2014) over the same tokens as the default family; what is
    done about an ordinary one's faults is in `latent` and `latent_training`. A condition weighs
    each row by its probability given the row's latents, which is exact but, unlike in the default
    family, does not steer what is drawn: rare conditions cost many rows.
    """

    family = "vae"

    def __init__(self, net: LatentNet | None = None, rules: Rules | None = None) -> None:
        self._net = net
        self.rules = rules or {}

    @property
    def net(self) -> LatentNet:
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
        order = shuffled(len(tokens), np.random.default_rng([seed, 1]), groups)
        held_out = min(max(len(tokens) // 20, min(200, len(tokens) // 5), 1), 20_000)
        torch.manual_seed(seed)
        net = LatentNet(
            layouts(codec),
            **_sizes(len(codec.codecs), quality),
            embed=EMBED,
            context=0 if context is None else context.shape[1],
        )
        rows = torch.from_numpy(tokens[order].astype(np.int64))
        contexts = None if context is None else torch.from_numpy(context[order])
        history = train_latent(
            net,
            codec,
            rows[held_out:],
            rows[:held_out],
            quality=quality,
            time_limit=time_limit,
            context=None if contexts is None else contexts[held_out:],
            held_out_context=None if contexts is None else contexts[:held_out],
            seed=seed,
            compute=compute,
            checkpoint=checkpoint,
            progress=progress,
        )
        self._net = net.eval()
        self.rules = merge(codec.rules(), find_rules(tokens[order], codec.sizes))
        marginals = [c.marginal for c in codec.codecs]
        self.calibrate(marginals, contexts, seed)
        under = None if contexts is None else contexts[:CHECKED].numpy()
        made = self.sample(len(order[:CHECKED]), seed=[seed, 3], context=under).tokens
        told = collapse_warning(made, tokens[order[held_out:]], tokens[order[:held_out]], marginals)
        if told is not None:
            history.warnings.append(told)
            progress(told, None)
        return history

    @torch.inference_mode()
    @cpu_threads(1)  # more would round otherwise, and other rows would come of it
    def calibrate(self, marginals: list[np.ndarray], context: Tensor | None, seed: int) -> None:
        """Shift the head's biases until sampled rows have the training data's marginals.

        As `Autoregressive.calibrate`: column by column on the model's own rows.
        """
        rng = np.random.default_rng([seed, 2])
        inputs = None
        if context is not None:
            inputs = context[torch.from_numpy(rng.integers(0, len(context), CALIBRATION))]
        uniform, normal = _noise(CALIBRATION, self.net, rng)
        latent = normal.shape[1]
        logits = self._logits(uniform[:, :latent], normal, inputs)
        tokens = torch.zeros(CALIBRATION, len(marginals), dtype=torch.int64)
        biases = self.net.head.bias.split(self.net.sizes)
        for j, each in enumerate(logits):
            share = ruled(torch.softmax(each, 1), self.rules.get(j), tokens)
            target = torch.from_numpy(marginals[j]).float()
            shift = torch.zeros_like(target)
            for _ in range(4):
                shifted = share * shift.exp()
                mean = (shifted / shifted.sum(1, keepdim=True)).mean(0)
                shift += (target / mean.clamp(min=1e-9)).log().clamp(-0.7, 0.7)
            biases[j].add_(shift)
            tokens[:, j] = pick(share * shift.exp(), uniform[:, latent + j])[0]

    def sample(
        self,
        rows: int,
        *,
        seed: list[int],
        allowed: dict[int, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        context: np.ndarray | None = None,
    ) -> Draw:
        # All random numbers are drawn up front: the same rows whatever the thread count.
        uniform, normal = _noise(rows, self.net, np.random.default_rng(seed))
        masks = {j: torch.from_numpy(mask) for j, mask in (allowed or {}).items()}

        def draw(start: int) -> tuple[Tensor, Tensor]:
            part = slice(start, start + CHUNK)
            known = None if given is None else torch.from_numpy(given[part].astype(np.int64))
            under = None if context is None else torch.from_numpy(context[part])
            with torch.inference_mode():  # which is a setting of the thread
                return self._sample(uniform[part], normal[part], masks, known, under)

        with make_pool(cores()) as pool:
            tokens, weights = zip(*pool.map(draw, range(0, rows, CHUNK)), strict=True)
        return Draw(torch.cat(tokens).numpy().astype(np.int32), torch.cat(weights).numpy())

    def _logits(self, uniform: Tensor, normal: Tensor, context: Tensor | None) -> list[Tensor]:
        """Logits of each column, [rows, size], for latents drawn from the prior."""
        z = self.net.prior.draw(uniform, normal, context)
        return list(self.net.decode(z, context).split(self.net.sizes, 1))

    def _sample(
        self,
        uniform: Tensor,
        normal: Tensor,
        masks: dict[int, Tensor],
        given: Tensor | None,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens int64 [rows, columns] and log weights float64 [rows] from random numbers."""
        latent = normal.shape[1]
        logits = self._logits(uniform[:, :latent], normal, context)
        tokens = torch.zeros(len(uniform), len(logits), dtype=torch.int64, device=uniform.device)
        weight = torch.zeros(len(uniform), dtype=torch.float64, device=uniform.device)
        for j, each in enumerate(logits):
            share = ruled(torch.softmax(each, 1), self.rules.get(j), tokens)
            if j in masks:
                share = share * masks[j]
            drawn, mass = pick(share, uniform[:, latent + j])
            if j in masks:
                weight += mass.clamp(max=1.0).double().log()
                # Rounding may step onto a forbidden token next to the end; it has no mass.
                weight[share.gather(1, drawn[:, None]).squeeze(1) <= 0] = -torch.inf
            if given is not None:
                known_here = given[:, j] >= 0
                drawn = torch.where(known_here, given[:, j], drawn)
                chance = share.gather(1, drawn[:, None]).squeeze(1) / mass.clamp(min=1e-30)
                weight += torch.where(known_here, chance.double().log(), 0.0)
            tokens[:, j] = drawn
        return tokens, weight

    def save(self, folder: Path) -> None:
        net = self.net
        write_model(
            folder,
            net,
            self.rules,
            family=self.family,
            format=FORMAT,
            sizes=net.sizes,
            shape=net.settings,
        )

    @classmethod
    def load(cls, folder: Path, codec: TableCodec) -> VAE:
        def make(**shape: Any) -> LatentNet:
            return LatentNet(layouts(codec), **shape)

        return cls(*read_model(folder, codec, make, family=cls.family, format=FORMAT))


def pick(share: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """A token for each row of shares [rows, size], int64 [rows], and the shares' mass [rows]."""
    total = share.cumsum(1)
    mass = total[:, -1:]
    drawn = torch.searchsorted(total, uniform[:, None] * mass, right=True)
    return drawn.clamp_(max=share.shape[1] - 1).squeeze(1), mass.squeeze(1)


def _noise(rows: int, net: LatentNet, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Uniform numbers [rows, latents + columns] and normal ones [rows, latents]."""
    latent = net.prior.latent
    uniform = quasi_random(rows, latent + len(net.sizes), rng)
    normal = rng.standard_normal((rows, latent), dtype=np.float32)
    return torch.from_numpy(uniform), torch.from_numpy(normal)


def _sizes(columns: int, quality: str) -> dict[str, int]:
    latent = int(np.clip(columns * 3 // 2, 16, 32))
    width = {"draft": 128, "standard": 256, "high": 384}[quality]
    return {"width": width, "latent": latent, "prior_width": 64}
