"""A table's model as one object: fit on a frame, sample frames, save and load a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline import __version__
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.autoregressive import Autoregressive
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import apply_derive, infer_schema
from aigc_pipeline.spec import GeneratorSpec, PrivacySpec, TableSpec, Where
from aigc_pipeline.synthesis import Sampler

MODEL_FILES = {"card.json", "codecs.json", "model.json", "weights.safetensors"}
FAMILIES: dict[str, type[Generator]] = {Autoregressive.family: Autoregressive}


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

    def sample(self, rows: int, *, seed: int = 0, where: Where | None = None) -> pl.DataFrame:
        """`rows` synthetic rows in the source's schema, all meeting `where`."""
        return Sampler(self.codec, self.generator).table(rows, seed=seed, where=where)

    def sample_batches(
        self,
        rows: int,
        *,
        seed: int = 0,
        where: Where | None = None,
        stream: str = "",
        progress: Progress = silent,
    ) -> Iterator[pl.DataFrame]:
        """The same rows in frames of at most 8,192, in constant memory."""
        return Sampler(self.codec, self.generator).batches(
            rows, seed=seed, where=where, stream=stream, progress=progress
        )

    def log_prob(self, df: pl.DataFrame) -> pl.Series:
        """Log-likelihood of each row of a table in nats: low means implausible."""
        return pl.Series("log_prob", self.generator.log_prob(self.codec.encode(df)))

    def save(self, folder: Path | str) -> None:
        """Write codecs.json, weights.safetensors, model.json and card.json to a folder.

        The folder appears once it is whole; a model that was there is replaced. Raises InputError
        where anything else is in the way.
        """
        folder = Path(folder)
        if folder.exists() and {p.name for p in folder.iterdir()} - MODEL_FILES:
            raise InputError(f"{folder}: there are files here that are no model; name a new folder")
        part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        part.mkdir(parents=True)
        try:
            self.generator.save(part)
            _write_json(part / "codecs.json", self.codec.to_json())
            _write_json(part / "card.json", self.card)
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path | str) -> TableModel:
        """Read what `save` wrote. Raises ArtefactError for a damaged or older folder."""
        folder = Path(folder)
        try:
            codecs = json.loads((folder / "codecs.json").read_bytes())
            card = json.loads((folder / "card.json").read_bytes())
            codec = TableCodec.from_json(codecs)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ArtefactError(f"{folder}: no model can be read here ({error})") from error
        family = FAMILIES.get(card.get("family", ""))
        if family is None:
            raise ArtefactError(f"{folder}: unknown model family {card.get('family')!r}")
        return cls(codec, family.load(folder, codec), card)


def fit_codec(
    df: pl.DataFrame,
    schema: TableSchema,
    table: TableSpec,
    privacy: PrivacySpec,
    *,
    lead: list[str] | None = None,
) -> TableCodec:
    """Codecs of a table's training rows; `lead` columns come first (see `TableCodec.fit`)."""
    return TableCodec.fit(
        df,
        schema,
        table,
        min_subjects=privacy.min_subjects,
        subject=privacy.subject,
        lead=lead or (),
    )


def train_model(
    codec: TableCodec,
    tokens: np.ndarray,
    generator: GeneratorSpec,
    privacy: PrivacySpec,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> TableModel:
    """Train a generator on int32 tokens [rows, columns] of fitted codecs."""
    model = FAMILIES[generator.family]()
    history = model.fit(
        codec,
        tokens,
        quality=generator.quality,
        time_limit=generator.time_limit,
        seed=seed,
        compute=compute,
        progress=progress,
    )
    card = {
        "family": generator.family,
        "quality": generator.quality,
        "table": codec.schema.name,
        "rows": len(tokens),
        "columns": {c.name: str(c.kind) for c in codec.schema.columns},
        "tokens_sha256": hashlib.sha256(tokens.tobytes()).hexdigest(),
        "seed": seed,
        "min_subjects": privacy.min_subjects,
        "subject": privacy.subject,
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
    progress: Progress = silent,
) -> TableModel:
    """Infer a table's schema, fit its codecs and train a model on all its rows.

    Raises InputError where the table and its spec do not fit together.
    """
    generator, privacy = generator or GeneratorSpec(), privacy or PrivacySpec()
    progress("reading the columns", None)
    schema = infer_schema(df, name, table)
    df = apply_derive(df, table)
    codec = fit_codec(df, schema, table, privacy)
    return train_model(
        codec, codec.encode(df), generator, privacy, seed=seed, compute=compute, progress=progress
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
