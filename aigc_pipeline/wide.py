"""Models of related tables: trained on wide rows, one model a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.privacy.budget import Budget
from aigc_pipeline.relations.frames import Wide
from aigc_pipeline.relations.graph import Graph
from aigc_pipeline.relations.plan import ENTITY
from aigc_pipeline.relations.settle import owners_of, settle
from aigc_pipeline.relations.so_far import context_of
from aigc_pipeline.spec import GeneratorSpec, PrivacySpec
from aigc_pipeline.tabular import TableModel, encode_table, train_model


def encode_wide(
    wide: Wide, privacy: PrivacySpec, *, lead: Sequence[str] = ()
) -> tuple[TableCodec, np.ndarray, Budget | None]:
    """Codecs and tokens of a table as its model sees it; what is rare is counted in entities."""
    return encode_table(
        wide.frame,
        wide.schema,
        wide.spec,
        privacy.model_copy(update={"subject": ENTITY}),
        lead=list(lead),
        known=wide.known,
    )


def fit_tables(
    wide: Mapping[str, Wide],
    frames: Mapping[str, pl.DataFrame],
    graph: Graph,
    generator: GeneratorSpec,
    privacy: PrivacySpec,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> dict[str, TableModel]:
    """A model for each of some wide tables, as `widen` makes them, trained on all their rows.

    frames, graph: what `widen` made them of.
    """

    def fitted(name: str, each: Wide) -> TableModel:
        codec, tokens, _ = encode_wide(each, privacy)
        model = train_model(
            codec,
            tokens,
            generator,
            privacy,
            context=context_of(each.frame, each.plan, codec),
            groups=each.frame[ENTITY].to_numpy(),
            seed=seed,
            compute=compute,
            progress=lambda message, done: progress(f"{name}, {message}", done),
        )
        owners = owners_of(each.plan, frames, graph)
        if owners is not None:
            progress(f"{name}, settling", None)
            settle(each.plan, graph.tables[name], model, owners, seed=seed)
        return model

    return {name: fitted(name, each) for name, each in wide.items()}
