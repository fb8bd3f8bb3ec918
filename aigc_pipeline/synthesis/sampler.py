"""Batches of synthetic rows that keep every constraint and meet every condition, exactly.

Conditions restrict the tokens while sampling; each row then carries the probability of having been
allowed (`Draw.log_weight`), and is accepted in proportion to it, which yields the true conditional
distribution without repeating rows. What tokens cannot express (part of a bin, a derived column,
an inequality between columns) is checked on the decoded row. Work is bounded: a condition that
the model all but never meets is an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.conditions import check_where
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.spec import Where

BATCH = 8192
# Candidates to look at before giving up on a condition that no row has met.
HOPELESS = 40 * BATCH
LEAST_RATE = 1e-4


@dataclass(frozen=True)
class Sampler:
    """A fitted codec and generator, ready to make rows."""

    codec: TableCodec
    generator: Generator

    def batches(
        self,
        rows: int,
        *,
        seed: int,
        where: Where | None = None,
        stream: str = "",
        progress: Progress = silent,
    ) -> Iterator[pl.DataFrame]:
        """Frames of at most 8,192 rows in the source's schema, `rows` in all.

        The same seed and stream (a scenario's or table's name) give the same rows. Raises
        InputError for an unknown column, or a condition that is (almost) never met.
        """
        check_where(where or {}, self.codec.schema)
        allowed = self.codec.allowed(where)
        for position, mask in allowed.items():
            if not mask.any():
                names = ", ".join(self.codec.codecs[position].columns)
                raise InputError(
                    f"where.{names}: no value that was learned meets the condition (values of "
                    "fewer than min_subjects subjects are not learned); widen it"
                )
        entropy = [seed, zlib.crc32(stream.encode())]
        keeps = self.codec.satisfied(where)
        ceiling = self._ceiling(entropy, allowed)
        made = tried = number = 0
        while made < rows:
            draw = self.generator.sample(BATCH, seed=[*entropy, number], allowed=allowed)
            rng = np.random.default_rng([*entropy, number, 1])
            accepted = np.log(1 - rng.random(BATCH)) + ceiling < draw.log_weight
            frame = self.codec.decode(draw.tokens[accepted], rng).filter(keeps)
            frame = frame.head(rows - made)
            tried, number = tried + BATCH, number + 1
            if tried >= HOPELESS and made + len(frame) < LEAST_RATE * tried:
                raise InputError(
                    f"the condition is met by {made + len(frame)} of {tried:,} sampled rows, too "
                    "few to go on; widen it, or check it against the constraints"
                )
            if len(frame):
                yield self.codec.complete(frame, made, rng)
                made += len(frame)
                progress(f"{made:,} of {rows:,} rows", made / rows)

    def _ceiling(self, entropy: list[int], allowed: dict[int, np.ndarray]) -> float:
        """A bound on the log weights, from a pilot batch: accepting against it wastes fewer rows.

        A row above the bound is accepted once, so the bound is taken generously.
        """
        if not allowed:
            return 0.0
        pilot = self.generator.sample(BATCH, seed=[*entropy, 2**31], allowed=allowed)
        probability = np.exp(pilot.log_weight).mean()
        if probability < LEAST_RATE:
            raise InputError(
                f"the model gives the condition a probability of {probability:.1g}, too "
                "small to sample from; widen it"
            )
        return min(float(pilot.log_weight.max()) + 0.1, 0.0)

    def table(
        self, rows: int, *, seed: int, where: Where | None = None, stream: str = ""
    ) -> pl.DataFrame:
        """All rows at once."""
        return pl.concat(self.batches(rows, seed=seed, where=where, stream=stream))
