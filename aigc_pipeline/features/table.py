"""A whole table as tokens, and back: codecs, fixed combinations, derived and generated columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.codec import Codec, Subjects, codec_from_json
from aigc_pipeline.features.conditions import condition_expr
from aigc_pipeline.features.copies import find_copies
from aigc_pipeline.features.generated import GeneratedColumn
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.schema import TableSchema, canonical_expr
from aigc_pipeline.sources import apply_derive
from aigc_pipeline.spec import Constraint, TableSpec, Where

FORMAT = 1


@dataclass
class TableCodec:
    """Fitted codecs of a table, in the order in which the model sees them.

    `codecs` cover the learned columns; `generated` those made afresh; derived columns are
    recomputed by `decode`.
    """

    schema: TableSchema
    spec: TableSpec
    codecs: list[Codec]
    generated: list[GeneratedColumn]

    @classmethod
    def fit(
        cls,
        df: pl.DataFrame,
        schema: TableSchema,
        spec: TableSpec,
        *,
        min_subjects: int = 5,
        subject: str | None = None,
        lead: Iterable[str] = (),
        max_bins: int | None = None,
    ) -> TableCodec:
        """Fit every column's codec on training rows.

        lead: columns that scenarios condition on; they come first, so that conditions on them are
        met by choosing among their tokens. The others follow by rising number of tokens.
        max_bins: bins a numeric column; by default one per 40 rows, between 20 and 200.
        """
        codes = None
        if subject is not None:
            codes = df[subject].rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
        subjects = Subjects(min_subjects, codes)
        bins = max_bins or int(np.clip(len(df) / 40, 20, 200))
        combined = [c.fixed_combination for c in spec.constraints if c.fixed_combination]
        in_combination = {name for group in combined for name in group}
        learned = [c for c in schema.columns if not c.is_generated and c.derived is None]
        codecs: list[Codec] = [
            CategoryCodec.fit(df, [schema[name] for name in group], subjects) for group in combined
        ]
        single = [c for c in learned if c.name not in in_combination]
        copies = find_copies(df, single)
        for column in single:
            if column.is_numeric:
                source = copies.get(column.name)
                copy_of = None if source is None else schema[source]
                codecs.append(NumberCodec.fit(df, column, subjects, max_bins=bins, copy_of=copy_of))
            else:
                codecs.append(CategoryCodec.fit(df, [column], subjects))
        leading = set(lead)
        codecs.sort(key=lambda c: (leading.isdisjoint(c.columns), c.size))
        codecs = _sources_first(codecs)
        generated = [GeneratedColumn.fit(df, c) for c in schema.columns if c.is_generated]
        return cls(schema, spec, codecs, generated)

    @property
    def sizes(self) -> list[int]:
        """Number of tokens of each codec."""
        return [codec.size for codec in self.codecs]

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        """Tokens of a table, int32 [rows, codecs]."""
        return np.stack([codec.encode(df) for codec in self.codecs], axis=1)

    def decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
        """Learned and derived columns for tokens [rows, codecs]; generated ones are added last."""
        row = self.codecs[0].decode(tokens[:, 0], rng)
        for i, codec in enumerate(self.codecs[1:], start=1):
            row = row.hstack(codec.decode(tokens[:, i], rng, row))
        return apply_derive(row, self.spec, self.schema)

    def complete(self, frame: pl.DataFrame, start: int, rng: np.random.Generator) -> pl.DataFrame:
        """Add generated columns for rows [start, …) and put all in the source's order."""
        made = [g.make(start, len(frame), rng) for g in self.generated]
        return frame.with_columns(made).select(self.schema.names)

    def satisfied(self, where: Where | None) -> pl.Expr:
        """Whether a decoded row keeps every constraint and meets every condition."""
        checks = [
            _holds(c, self.schema) for c in self.spec.constraints if c.less_equal or c.less_than
        ]
        checks += [condition_expr(self.schema[name], c) for name, c in (where or {}).items()]
        return pl.all_horizontal(checks) if checks else pl.lit(True)

    def allowed(self, where: Where | None) -> dict[int, np.ndarray]:
        """By codec position, the tokens that may be sampled; absent where all may."""
        masks: dict[int, np.ndarray] = {}
        for position, codec in enumerate(self.codecs):
            mask = codec.emitted()
            for column, condition in (where or {}).items():
                if column in codec.columns:
                    mask = mask & codec.allowed(self.schema[column], condition)
            if not mask.all():
                masks[position] = mask
        return masks

    def to_json(self) -> dict[str, Any]:
        """All fitted state as plain JSON values."""
        return {
            "format": FORMAT,
            "schema": self.schema.model_dump(mode="json"),
            "spec": self.spec.model_dump(mode="json", exclude={"source"}, exclude_unset=True),
            "codecs": [codec.to_json() for codec in self.codecs],
            "generated": [g.to_json() for g in self.generated],
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> TableCodec:
        """The codecs `to_json` described. Raises ArtefactError for another format."""
        if state.get("format") != FORMAT:
            raise ArtefactError(
                f"codecs are in format {state.get('format')}, this version reads {FORMAT}; "
                "fit again"
            )
        spec = TableSpec.model_validate({"source": {"file": "model"}, **state["spec"]})
        return cls(
            TableSchema.model_validate(state["schema"]),
            spec,
            [codec_from_json(c) for c in state["codecs"]],
            [GeneratedColumn(**g) for g in state["generated"]],
        )


def _sources_first(codecs: list[Codec]) -> list[Codec]:
    """The same order, but a column that copies another one comes after it."""
    copies = {c.columns[0]: c for c in codecs if isinstance(c, NumberCodec) and c.copy_of}
    ordered: list[Codec] = []
    waiting: dict[str, list[Codec]] = {}
    done: set[str] = set()
    for codec in codecs:
        copy = copies.get(codec.columns[0])
        if copy is not None and copy.copy_of is not None and copy.copy_of.name not in done:
            waiting.setdefault(copy.copy_of.name, []).append(codec)
            continue
        ordered.append(codec)
        done.update(codec.columns)
        for name in codec.columns:
            ordered += waiting.pop(name, [])
    return ordered


def _holds(constraint: Constraint, schema: TableSchema) -> pl.Expr:
    """Whether an inequality holds; a missing side leaves nothing to break."""
    low, high = constraint.less_equal or constraint.less_than or ("", "")
    left, right = canonical_expr(schema[low]), canonical_expr(schema[high])
    return (left <= right if constraint.less_equal else left < right).fill_null(True)
