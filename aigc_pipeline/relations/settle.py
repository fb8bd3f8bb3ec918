"""Models of histories, settled on what they make themselves.

A model that makes rows one after the other is trained on real rows before, and then reads its own.
Where it leans a little to one side, it reads that back, leans further, and delays grow from flight
to flight ("exposure bias", Ranzato et al. 2016, "Sequence level training with recurrent neural
networks"). So histories are made for training owners, and the heads' biases shifted until rows made
after the model's own rows have the training data's marginals.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch

from aigc_pipeline.generators.autoregressive import Autoregressive
from aigc_pipeline.relations.graph import Graph
from aigc_pipeline.relations.histories import Maker
from aigc_pipeline.relations.links import find_link, gather
from aigc_pipeline.relations.plan import ROWS, Fitted, TablePlan
from aigc_pipeline.spec import TableSpec

TURNS = 3  # of making histories and shifting
DAMPING = 0.5  # of a shift: what a row is told moves with it, and would carry it too far
ENOUGH = 12_000  # rows made each time


def owners_of(
    plan: TablePlan, frames: Mapping[str, pl.DataFrame], graph: Graph
) -> pl.DataFrame | None:
    """The owners in training tables: what rows are told of each, and how many it has.

    None where rows are not made one after the other.
    """
    owner = graph.owner_of(plan.table)
    if not plan.history or owner is None:
        return None
    row = find_link(frames, owner).row
    count = np.bincount(row[row >= 0], minlength=len(frames[owner.parent]))
    some = np.flatnonzero(count)
    made, above, at = [], owner.parent, some
    while True:
        names = [column for table, column in plan.context if table == above]
        made += [gather(frames[above][name], at).alias(f"{above}.{name}") for name in names]
        following = graph.owner_of(above)
        if following is None:
            break
        found = find_link(frames, following).row[np.maximum(at, 0)]
        above, at = following.parent, np.where(at >= 0, found, -1)
    return pl.DataFrame([*made, pl.Series(ROWS, count[some])])


def settle(
    plan: TablePlan, spec: TableSpec, model: Fitted, owners: pl.DataFrame, *, seed: int
) -> None:
    """Shift a fitted model until the rows it makes after its own have the training marginals.

    owners: as `owners_of` gives them. Other families than the autoregressive one are left alone.
    """
    generator = model.generator
    if not isinstance(generator, Autoregressive):
        return
    some = np.random.default_rng([seed, 11]).permutation(len(owners))
    total = owners[ROWS].to_numpy()[some].cumsum()
    owners = owners[np.sort(some[: int(np.searchsorted(total, ENOUGH)) + 1])]
    context = {name: owners[name] for name in owners.columns if name != ROWS}
    marginals = [each.marginal for each in model.codec.codecs]
    for turn in range(TURNS):
        counts, entropy = owners[ROWS].to_numpy(), [seed, 12, turn]
        maker = Maker(plan, spec, model, context, counts, entropy, noting=True)
        maker.children()
        tokens = torch.from_numpy(np.concatenate([known for known, _ in maker.given]))
        told = [context for _, context in maker.given if context is not None]
        generator.calibrate(
            marginals,
            torch.from_numpy(np.concatenate(told)) if told else None,
            seed,
            tokens.long(),
            damping=DAMPING,
        )
