"""A whole table as tokens, and back: codecs, fixed combinations, derived and generated columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.codec import Codec, Part, Subjects, codec_from_json
from aigc_pipeline.features.conditions import condition_expr
from aigc_pipeline.features.follow import Follower, find_followers
from aigc_pipeline.features.generated import GeneratedColumn
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.features.reference import find_related, with_related
from aigc_pipeline.features.telling import find_telling
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.sources import apply_derive
from aigc_pipeline.spec import MIN_SUBJECTS, Constraint, TableSpec, Where

FORMAT = 5


@dataclass
class TableCodec:
    """Fitted codecs of a table, in the order in which the model sees them.

    `codecs` cover the learned columns; `generated` those made afresh; derived columns are
    recomputed by `decode`. known: columns that come first and are always given, never drawn.
    """

    schema: TableSchema
    spec: TableSpec
    codecs: list[Codec]
    generated: list[GeneratedColumn]
    known: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        df: pl.DataFrame,
        schema: TableSchema,
        spec: TableSpec,
        *,
        min_subjects: int = MIN_SUBJECTS,
        subject: str | None = None,
        lead: Iterable[str] = (),
        known: Sequence[str] = (),
        max_bins: int | None = None,
    ) -> TableCodec:
        """Fit every column's codec on training rows.

        lead: columns that scenarios condition on; they come first, so that conditions on them are
        met by choosing among their tokens. The target follows, whose influence on all others is
        then learned directly, and the others by rising number of tokens. Numbers with the most
        there can be begin with those that tell most of the target, and all related to them.
        known: columns that are given with each row to make (its parent's, the row's before it).
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
        groups = [[schema[name] for name in group] for group in combined]
        groups += [[c] for c in learned if c.name not in in_combination]
        leading = set(lead)

        def place(group: list[ColumnSchema]) -> tuple[bool, bool, bool, int]:
            names = [c.name for c in group]
            tokens = min(df.select(names).n_unique(), bins)
            first = set(known).isdisjoint(names)
            return first, leading.isdisjoint(names), spec.target not in names, tokens

        places = {group[0].name: place(group) for group in groups}
        groups.sort(key=lambda group: places[group[0].name])
        numeric = [c for group in groups for c in group if len(group) == 1 and c.is_numeric]
        related = find_related(df, numeric, known)
        fine = {c.name for c in numeric if places[c.name][-1] == bins} - {spec.target, *known}
        if spec.target is not None and fine:
            late = fine - with_related(find_telling(df, fine, spec.target), related)
            groups.sort(key=lambda group: (*places[group[0].name], group[0].name in late))
        codecs: list[Codec] = []
        for group in groups:
            if group[0] in numeric:
                told = related.get(group[0].name)
                whole = group[0].name not in known
                codecs.append(
                    NumberCodec.fit(
                        df, group[0], subjects, max_bins=bins, related=told, with_parts=whole
                    )
                )
            else:
                codecs.append(CategoryCodec.fit(df, group, subjects))
        others = [c for c in codecs if not isinstance(c, CategoryCodec) or not c.is_large]
        for i, codec in enumerate(codecs):
            if isinstance(codec, CategoryCodec) and codec.is_large:
                codecs[i] = codec.paged(df, others)
        codecs = [part for codec in codecs for part in codec.parts()]
        generated = [GeneratedColumn.fit(df, c) for c in schema.columns if c.is_generated]
        return cls(schema, spec, codecs, generated, tuple(known))

    @property
    def known_tokens(self) -> int:
        """How many codecs, the first ones, cover known columns."""
        return sum(self.is_known(codec) for codec in self.codecs)

    def is_known(self, codec: Codec) -> bool:
        """Whether a codec's columns are always given."""
        return not set(self.known).isdisjoint(codec.columns)

    @property
    def sizes(self) -> list[int]:
        """Number of tokens of each codec."""
        return [codec.size for codec in self.codecs]

    @property
    def learned(self) -> list[str]:
        """The learned columns, in the model's order."""
        return list(dict.fromkeys(name for codec in self.codecs for name in codec.columns))

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        """Tokens of a table, int32 [rows, codecs]."""
        return np.stack([codec.encode(df) for codec in self.codecs], axis=1)

    def decode(
        self, tokens: np.ndarray, rng: np.random.Generator, known: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Learned and derived columns for tokens [rows, codecs]; generated ones are added last.

        known: learned columns of the same rows, null where a value is to be drawn; a column may be
        left out. What is known stands as it is, and what follows from it follows exactly.
        """
        at = {id(codec): i for i, codec in enumerate(self.codecs)}
        made: list[pl.Series] = []
        for i, codec in enumerate(self.codecs):
            if isinstance(codec, Part):
                continue
            if known is not None and self.is_known(codec):
                made += known.select(codec.columns).get_columns()
                continue
            row = pl.DataFrame(made)
            decode: Callable[..., pl.DataFrame] = codec.decode  # takes its parts by name
            parts = [part for part in codec.parts() if isinstance(part, Part)]
            drawn = decode(tokens[:, i], rng, row, **{p.name: tokens[:, at[id(p)]] for p in parts})
            if known is not None:
                drawn = drawn.select(
                    known[c].fill_null(drawn[c]) if c in known.columns else drawn[c]
                    for c in codec.columns
                )
            made += drawn.get_columns()
        row = pl.DataFrame(made)
        return apply_derive(row, self.spec, self.schema)

    def complete(self, frame: pl.DataFrame, start: int, rng: np.random.Generator) -> pl.DataFrame:
        """Add generated columns for rows [start, …) and put all in the source's order."""
        made = [g.make(start, len(frame), rng) for g in self.generated]
        return frame.with_columns(made).select(self.schema.names)

    def satisfied(self, where: Where | None) -> pl.Expr:
        """Whether a decoded row keeps every constraint and meets every condition."""
        columns = {c.name: c for c in self.schema.columns}
        checks = [holds(c, columns) for c in self.spec.constraints if c.less_equal or c.less_than]
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

    def rules(self) -> dict[int, dict[int, np.ndarray]]:
        """Tokens that the codecs themselves rule out: by ruled position, by ruling position, the
        allowed pairs, bool [ruling size, ruled size]."""
        at = {id(codec): i for i, codec in enumerate(self.codecs)}
        found: dict[int, dict[int, np.ndarray]] = {}
        for i, codec in enumerate(self.codecs):
            if isinstance(codec, Part):
                found.setdefault(at[id(codec.main)], {})[i] = codec.allows()
        return found

    def followers(self) -> dict[int, Follower]:
        """By position, the numbers that follow others, and those that they follow."""
        at = {id(codec): i for i, codec in enumerate(self.codecs)}
        numbers = {i: c for i, c in enumerate(self.codecs) if isinstance(c, NumberCodec)}
        relations = {i: at[id(n.relation)] for i, n in numbers.items() if n.relation is not None}
        return find_followers(numbers, relations)

    def to_json(self) -> dict[str, Any]:
        """All fitted state as plain JSON values."""
        return {
            "format": FORMAT,
            "schema": self.schema.model_dump(mode="json"),
            "spec": self.spec.model_dump(mode="json", exclude={"source"}, exclude_unset=True),
            "codecs": [c.to_json() for c in self.codecs if not isinstance(c, Part)],
            "generated": [g.to_json() for g in self.generated],
            "known": list(self.known),
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
            [part for c in state["codecs"] for part in codec_from_json(c).parts()],
            [GeneratedColumn(**g) for g in state["generated"]],
            tuple(state["known"]),
        )


def holds(constraint: Constraint, columns: Mapping[str, ColumnSchema]) -> pl.Expr:
    """Whether an inequality holds; a missing side leaves nothing to break."""
    low, high = constraint.less_equal or constraint.less_than or ("", "")
    left, right = canonical_expr(columns[low]), canonical_expr(columns[high])
    return (left <= right if constraint.less_equal else left < right).fill_null(True)
