"""`family: auto`: every family trains on a part of the rows, and held-out rows choose among them.

A candidate is judged by what boosted trees make of it: how well they tell its rows from held-out
ones (detection), and what a prediction of the target loses when they learn it from its rows
(utility). Both sides of a comparison are rows decoded from tokens, since what the codecs lose they
lose for every family. The least sum of both wins; its family is then trained on all rows.

Time is shared out beforehand, not as it is left over: a choice depends on the machine only where a
limit strikes, which the card says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from aigc_pipeline.errors import AigcError, ArtefactError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.synthesis import Sampler
from aigc_pipeline.tabular import FAMILIES, find_family

DEFAULT = "autoregressive"  # where there are too few rows to judge
HELD_OUT = 0.2  # of the rows, at most JUDGED
JUDGED = 5_000  # rows of each kind a detector sees
FEW = 1_000  # rows, fewer than which judge nobody
# Seconds a candidate may train, by quality, and its share of a limit where there is one.
SECONDS = {"draft": 20.0, "standard": 60.0, "high": 300.0}
SHARE = 0.1
LAST_SHARE = 0.5  # of the limit, for the final training


@dataclass(frozen=True)
class Candidate:
    """What was seen of a family. A figure is None where it was not evaluated.

    seconds: of training, sampling and judging. failed: the reason, where it raised an error.
    cut_short: whether a time limit struck, so that another run may see something else.
    """

    family: str
    seconds: float
    detection_auc: float | None = None
    utility_gap: float | None = None
    cut_short: bool = False
    failed: str | None = None
    chosen: bool = False

    @property
    def cost(self) -> float:
        """What detection is above chance and utility below that of real rows; infinite unjudged."""
        if self.detection_auc is None:
            return np.inf
        return max(self.detection_auc - 0.5, 0.0) + max(self.utility_gap or 0.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the model card."""
        return asdict(self)


def choose(
    codec: TableCodec,
    tokens: np.ndarray,
    *,
    quality: str = "standard",
    time_limit: float | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
    families: Sequence[str] | None = None,
) -> list[Candidate]:
    """What was seen of each family, one of them chosen; tokens are int32 [rows, codecs].

    time_limit: seconds for candidates and final training together. families: those to try, all by
    default; one that raises is passed over. Raises ArtefactError where all do.
    """
    if len(tokens) < FEW:
        return [Candidate(DEFAULT, 0.0, chosen=True)]
    limit = SECONDS[quality] if time_limit is None else SHARE * time_limit
    order = np.random.default_rng([seed, 4]).permutation(len(tokens))
    held_out = min(int(HELD_OUT * len(tokens)), JUDGED)
    fitted = tokens[order[held_out:]]
    judge = _Judge(codec, fitted[:JUDGED], tokens[order[:held_out]], seed)
    found, names = [], families or list(FAMILIES)
    for number, family in enumerate(names):
        began = time.monotonic()

        def told(message: str, done: float | None, family: str = family) -> None:
            progress(f"trying {family}: {message}", done)

        told("training", number / len(names))
        try:
            model = find_family(family)()
            history = model.fit(
                codec,
                fitted,
                quality=quality,
                time_limit=limit,
                seed=seed,
                compute=compute,
                progress=told,
            )
            told("judging", None)
            auc, gap = judge(model)
            cut_short = history.stopped_by == "time limit"
            seen = Candidate(family, 0.0, auc, gap, cut_short)
        except Exception as error:  # of whatever kind: the others may still do
            # Messages of libraries may quote values; ours do not.
            reason = str(error) if isinstance(error, AigcError) else type(error).__name__
            seen = Candidate(family, 0.0, failed=reason)
        found.append(replace(seen, seconds=round(time.monotonic() - began, 1)))
    best = min(range(len(found)), key=lambda i: (found[i].cost, found[i].failed is not None))
    if found[best].failed is not None:
        reasons = "; ".join(f"{each.family}: {each.failed}" for each in found)
        raise ArtefactError(f"no family of models could be trained ({reasons})")
    found[best] = replace(found[best], chosen=True)
    return found


def last_limit(time_limit: float | None) -> float | None:
    """Seconds for the final training, of a limit on all; None for the quality's own."""
    return None if time_limit is None else LAST_SHARE * time_limit


class _Judge:
    """Detection AUC and utility gap of a model against held-out rows."""

    def __init__(
        self, codec: TableCodec, fitted: np.ndarray, held_out: np.ndarray, seed: int
    ) -> None:
        from aigc_pipeline.evaluation.tables import Coder, plain_values

        self.codec, self.seed, self.rows = codec, seed, len(held_out)
        rng = np.random.default_rng([seed, 5])
        train, unseen = (
            plain_values(codec.decode(each, rng), codec.schema) for each in (fitted, held_out)
        )
        # Rare values are out of the tokens already.
        self.coder = Coder(train, codec.schema, min_subjects=1)
        self.train, self.unseen = self.coder.encode(train), self.coder.encode(unseen)

    def __call__(self, model: Generator) -> tuple[float | None, float | None]:
        from aigc_pipeline.evaluation import detection, utility
        from aigc_pipeline.evaluation.tables import plain_values

        rows = Sampler(self.codec, model).table(self.rows, seed=self.seed)
        made = self.coder.encode(plain_values(rows, self.codec.schema))
        detector = detection.detect(self.unseen, made, self.coder, seed=self.seed)
        scores, _ = utility.score(
            self.train,
            self.unseen,
            made,
            self.coder,
            target=self.codec.spec.target,
            seed=self.seed,
        )
        gap = scores["utility_gap"].value
        return (
            None if detector is None else round(detector.auc, 4),
            None if gap is None else round(gap, 4),
        )
