"""A table's model as one object: fit on a frame, sample frames, save and load a folder."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline import __version__
from aigc_pipeline.durable import replacing_folder
from aigc_pipeline.errors import UNREADABLE, ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.outliers import check_outliers, rank_rows, score_cells, without_outliers
from aigc_pipeline.privacy.budget import Budget, check_budget, check_dp
from aigc_pipeline.privacy.columns import fit_codec_privately, one_row_each
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import apply_derive, infer_schema
from aigc_pipeline.spec import Balance, GeneratorSpec, PrivacySpec, TableSpec, Where
from aigc_pipeline.synthesis import Sampler, impute, table_cells

MODEL_FILES = {"card.json", "codecs.json", "model.json", "weights.safetensors"}
# By name, where the class is: a family's module is imported when it is used.
FAMILIES = {
    "autoregressive": "aigc_pipeline.generators.autoregressive:Autoregressive",
    "diffusion": "aigc_pipeline.generators.diffusion:Diffusion",
    "vae": "aigc_pipeline.generators.vae:VAE",
    "gan": "aigc_pipeline.generators.gan:GAN",
}


def find_family(name: str) -> type[Generator]:
    """The generator class of a family. Raises KeyError for an unknown name."""
    module, _, attribute = FAMILIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass
class TableModel:
    """A fitted table: its codecs, its generator, and a card that says how it came to be."""

    codec: TableCodec
    generator: Generator
    card: dict[str, Any]

    @property
    def schema(self) -> TableSchema:
        """Schema of the rows it makes."""
        return self.codec.schema

    def sample(
        self,
        rows: int | None = None,
        *,
        seed: int = 0,
        where: Where | None = None,
        balance: Balance | None = None,
        conditions: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """`rows` synthetic rows in the source's schema, under conditions (`Sampler.batches`)."""
        return pl.concat(
            self.sample_batches(
                rows, seed=seed, where=where, balance=balance, conditions=conditions
            )
        )

    def sample_batches(
        self,
        rows: int | None = None,
        *,
        seed: int = 0,
        where: Where | None = None,
        balance: Balance | None = None,
        conditions: pl.DataFrame | None = None,
        stream: str = "",
        progress: Progress = silent,
    ) -> Iterator[pl.DataFrame]:
        """The same rows in frames of at most 8,192, in constant memory."""
        return Sampler(self.codec, self.generator).batches(
            rows,
            seed=seed,
            where=where,
            balance=balance,
            conditions=conditions,
            stream=stream,
            progress=progress,
        )

    def impute(
        self,
        df: pl.DataFrame,
        *,
        columns: Sequence[str] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> pl.DataFrame:
        """A table with its missing cells filled from the model (`synthesis.impute`)."""
        return impute(self.codec, self.generator, df, columns=columns, seed=seed, progress=progress)

    def log_prob(self, df: pl.DataFrame) -> pl.Series:
        """Log-likelihood of each row of a table in nats: low means implausible.

        Raises FieldError for a table without the learned columns.
        """
        tokens = self.codec.encode(table_cells(df, self.codec))
        return pl.Series("log_prob", self.generator.log_prob(tokens))

    def find_outliers(self, df: pl.DataFrame, rows: int = 20) -> pl.DataFrame:
        """The least plausible rows of a table, lowest first: row (from 1), log_prob, columns.

        columns: the ones that surprise most. A number beyond the learned range counts as less
        plausible the further it lies outside. Raises FieldError for a table without the learned
        columns, InputError in a family without a likelihood.
        """
        return rank_rows(score_cells(self.codec, self.generator, table_cells(df, self.codec)), rows)

    def save(self, folder: Path | str) -> None:
        """Write codecs.json, weights.safetensors, model.json and card.json to a folder.

        The folder appears once it is whole; a model that was there is replaced, and stays if the
        saving fails. Raises InputError where anything else is in the way.
        """
        folder = Path(folder)
        if folder.exists() and {p.name for p in folder.iterdir()} - MODEL_FILES:
            raise InputError(f"{folder}: there are files here that are no model; name a new folder")
        with replacing_folder(folder) as draft:  # 0700: a model tells of the rows it learned
            self.generator.save(draft)
            _write_json(draft / "codecs.json", self.codec.to_json())
            _write_json(draft / "card.json", self.card)

    @classmethod
    def load(cls, folder: Path | str) -> TableModel:
        """Read what `save` wrote. Raises ArtefactError for a damaged or older folder."""
        folder = Path(folder)
        try:
            codecs = json.loads((folder / "codecs.json").read_bytes())
            card = json.loads((folder / "card.json").read_bytes())
            codec = TableCodec.from_json(codecs)
            family = card["family"]
            known = family in FAMILIES
        except (*UNREADABLE, pl.exceptions.PolarsError) as error:  # it may quote what was learned
            kind = type(error).__name__
            raise ArtefactError(f"{folder}: no model can be read here ({kind})") from error
        if not known:
            raise ArtefactError(f"{folder}: unknown model family {family!r}")
        return cls(codec, find_family(family).load(folder, codec), card)


def encode_table(
    df: pl.DataFrame,
    schema: TableSchema,
    table: TableSpec,
    privacy: PrivacySpec,
    *,
    lead: list[str] | None = None,
    known: Sequence[str] = (),
) -> tuple[TableCodec, np.ndarray, Budget | None]:
    """Codecs of a table's training rows, and these rows' tokens, int32 [rows, columns].

    lead, known: columns that come first, or are given (see `TableCodec.fit`). With differential
    privacy also what the codecs cost, and only one row of each subject is encoded.
    """
    if privacy.dp is not None:
        df = one_row_each(df, privacy.subject)
        codec, budget = fit_codec_privately(df, schema, table, privacy, lead=lead or ())
        return codec, codec.encode(df), budget
    codec = TableCodec.fit(
        df,
        schema,
        table,
        min_subjects=privacy.min_subjects,
        subject=privacy.subject,
        lead=lead or (),
        known=known,
    )
    return codec, codec.encode(df), None


def train_model(
    codec: TableCodec,
    tokens: np.ndarray,
    generator: GeneratorSpec,
    privacy: PrivacySpec,
    *,
    budget: Budget | None = None,
    context: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> TableModel:
    """Train a generator on int32 tokens [rows, columns] of fitted codecs.

    context: what else is known of each row, float32 [rows, features]; groups: rows to be held out
    together in training, int64 [rows] (see `Generator.fit`).
    budget: what `encode_table` returned with the codecs; training spends the rest of it.
    checkpoint: a file from which an interrupted training goes on (see `Generator.fit`). With
    differential privacy it starts afresh instead, and the whole budget pays for the new one alone:
    of the old one nothing is left that could be published.
    """
    check_dp(generator, privacy)
    check_outliers(generator, privacy)
    rows = len(tokens)
    if generator.outliers:
        codec, kept = without_outliers(
            codec, tokens, generator.outliers, seed=seed, compute=compute, progress=progress
        )
        tokens = tokens[kept]
        context = None if context is None else context[kept]
        groups = None if groups is None else groups[kept]
    settings: dict[str, Any] = {
        "quality": generator.quality,
        "time_limit": generator.time_limit,
        "seed": seed,
        "compute": compute,
        "progress": progress,
    }
    model: Generator
    family: str = generator.family
    choice: list[Any] = []
    if privacy.dp is not None:
        from aigc_pipeline.privacy.training import train_privately

        budget = check_budget(budget, privacy.dp, len(tokens))
        model, history = train_privately(codec, tokens, budget, **settings)
    else:
        if generator.family == "auto":
            from aigc_pipeline.choice import choose, last_limit

            choice = choose(codec, tokens, **settings)
            family = next(each.family for each in choice if each.chosen)
            settings["time_limit"] = last_limit(generator.time_limit)
        if groups is not None:
            settings["groups"] = groups
        model = find_family(family)()
        history = model.fit(codec, tokens, context=context, checkpoint=checkpoint, **settings)
    card = {
        "family": family,
        "choice": [each.to_json() for each in choice],
        "quality": generator.quality,
        "table": codec.schema.name,
        "rows": len(tokens),
        "outliers": rows - len(tokens),  # rows left out of training
        "columns": {c.name: str(c.kind) for c in codec.schema.columns},
        # A hash tells whether a guess at the whole table is right: not with differential privacy.
        "tokens_sha256": None if privacy.dp else hashlib.sha256(tokens.tobytes()).hexdigest(),
        "seed": seed,
        "min_subjects": privacy.min_subjects,
        "subject": privacy.subject,
        "dp": budget.to_json() if privacy.dp and budget else None,
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": __version__,
        "history": history.to_json(),
    }
    return TableModel(codec, model, card)


def fit_table(
    df: pl.DataFrame,
    table: TableSpec,
    *,
    name: str = "table",
    generator: GeneratorSpec | None = None,
    privacy: PrivacySpec | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> TableModel:
    """Infer a table's schema, fit its codecs and train a model on all its rows.

    checkpoint: a file from which an interrupted training goes on (see `Generator.fit`).
    Raises InputError where the table and its spec do not fit together.
    """
    generator, privacy = generator or GeneratorSpec(), privacy or PrivacySpec()
    check_dp(generator, privacy)
    check_outliers(generator, privacy)
    progress("reading the columns", None)
    schema = infer_schema(df, name, table)
    df = apply_derive(df, table)
    codec, tokens, budget = encode_table(df, schema, table, privacy)
    return train_model(
        codec,
        tokens,
        generator,
        privacy,
        budget=budget,
        seed=seed,
        compute=compute,
        checkpoint=checkpoint,
        progress=progress,
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
