"""A table's codecs from noisy histograms: ranges, bins, categories and marginals that are private.

What is taken as known to everybody is listed in the package. Everything else a codec holds comes
from the histograms, the order of the columns too. References between columns are not looked for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import CategoryCodec, polars_dtype
from aigc_pipeline.features.codec import Codec, Subjects, codec_from_json
from aigc_pipeline.features.generated import GeneratedColumn
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.privacy.budget import FOR_COLUMNS, Budget, secret_rng
from aigc_pipeline.privacy.histograms import NUMBER_RELEASES, Releases, stand_in
from aigc_pipeline.schema import ColumnSchema, TableSchema, canonical_expr
from aigc_pipeline.spec import Kind, PrivacySpec, TableSpec

MAX_BINS = 64  # of a number: noise leaves no more to tell
KEYS_FROM = (10**9, 10**4, 10**2, 1)  # where keys start: the first that leaves their type room


def fit_codec_privately(
    df: pl.DataFrame,
    schema: TableSchema,
    table: TableSpec,
    privacy: PrivacySpec,
    *,
    lead: Iterable[str] = (),
    rng: np.random.Generator | None = None,
) -> tuple[TableCodec, Budget]:
    """Codecs of a table's training rows, and the budget of `privacy.dp` with what they cost.

    df: the rows to train on; with a subject, one row of each (see `one_row_each`).
    rng: of the noise, for tests; by default one that nobody can make again.
    """
    assert privacy.dp is not None
    budget = Budget.start(privacy.dp, len(df))
    combined = [c.fixed_combination for c in table.constraints if c.fixed_combination]
    inside = {name for group in combined for name in group}
    learned = [c for c in schema.columns if not c.is_generated and c.derived is None]
    singles = [c for c in learned if c.name not in inside]
    groups = [[schema[name] for name in group] for group in combined]
    groups += [[c] for c in singles if not c.is_numeric]
    numbers = [c for c in singles if c.is_numeric]
    made = [c for c in schema.columns if c.is_generated]
    sets = len(groups) + len(numbers)
    steps = len(groups) + NUMBER_RELEASES * len(numbers) + len(made)
    noise = budget.noise(steps=max(steps, 1), share=FOR_COLUMNS)
    releases = Releases(budget, noise, budget.threshold(noise, sets), rng or secret_rng())
    codecs: list[Codec] = [_categories(df, group, releases) for group in groups]
    codecs += [_numbers(df, c, releases, privacy.min_subjects) for c in numbers]
    generated = [_generated(df, c, releases) for c in made]
    leading = set(lead)
    codecs.sort(key=lambda c: (len(c.columns) < 2, not leading.intersection(c.columns), c.size))
    nullable = {g.name for g in generated if g.null_rate > 0}
    nullable |= {name for codec in codecs for name in _nullable(codec)}
    columns = [
        c.model_copy(update={"nullable": c.name in nullable or c.derived is not None})
        for c in schema.columns
    ]
    parts = [part for codec in codecs for part in codec.parts()]
    schema = schema.model_copy(update={"columns": columns})
    return TableCodec(schema, table, parts, generated), budget


def one_row_each(
    df: pl.DataFrame, subject: str | None, rng: np.random.Generator | None = None
) -> pl.DataFrame:
    """One row of every subject, drawn at random, so that a row is all a subject brings.

    Rows without a subject count as one subject. Without a subject column each row is its own.
    """
    if subject is None:
        return df
    if subject not in df.columns:
        hint = did_you_mean(subject, df.columns)
        raise InputError(f"privacy.subject: unknown column {subject!r}; {hint}")
    order = (rng or secret_rng()).permutation(len(df))
    return df[order].unique(subject, keep="first", maintain_order=True)


def _categories(df: pl.DataFrame, columns: list[ColumnSchema], releases: Releases) -> CategoryCodec:
    """The value tuples that surely many rows have; all others share a last token."""
    names = [c.name for c in columns]
    table = df.select(names)
    cells = table.select(pl.struct(names).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    kept, counts = releases.frequent(cells)
    first = table[np.unique(cells, return_index=True)[1]]
    rest = len(df) - counts.sum()
    if not len(kept) or rest > 2 * releases.noise * np.sqrt(len(kept) + 1):
        counts = np.append(counts, max(rest, 1.0))
    values = [list(row) for row in first[kept].rows()]
    return CategoryCodec(names, [c.dtype for c in columns], values, counts / counts.sum())


def _numbers(
    df: pl.DataFrame, column: ColumnSchema, releases: Releases, min_subjects: int
) -> Codec:
    """The codec that values drawn from noisy histograms give; of no row in particular."""
    values = df.select(canonical_expr(column)).to_series().to_numpy()
    made = stand_in(values, column, releases)
    plain = ColumnSchema(name=column.name, kind=Kind.NUMBER, dtype="Float64", nullable=False)
    frame = pl.DataFrame({column.name: pl.Series(made, dtype=pl.Float64, nan_to_null=True)})
    bins = int(np.clip(len(made) / 40, 20, MAX_BINS))
    state = NumberCodec.fit(frame, plain, Subjects(min_subjects), max_bins=bins).to_json()
    nullable = {"nullable": state["column"]["nullable"]}
    state["column"] = column.model_copy(update=nullable).model_dump(mode="json")
    return codec_from_json(state)


def _generated(df: pl.DataFrame, column: ColumnSchema, releases: Releases) -> GeneratedColumn:
    """A generated column with a noisy share of missing values; its keys tell of no real one."""
    missing = releases.sure(releases.counts(df[column.name].is_null().cast(pl.Int64).to_numpy(), 2))
    rate = 0.0 if column.key else float(np.clip(missing[1] / len(df), 0, 1).round(3))
    offset, dtype = 0, polars_dtype(column.dtype)
    if dtype.is_numeric():
        top = float(pl.select(pl.lit(0, dtype).upper_bound()).item())
        offset = next(start for start in KEYS_FROM if 2 * start <= top)
    return GeneratedColumn(column.name, str(column.dtype), column.pii, rate, offset)


def _nullable(codec: Codec) -> list[str]:
    """Columns of a codec that may come out missing."""
    if isinstance(codec, NumberCodec):
        return codec.columns if codec.column.nullable else []
    frame = codec.decode(np.flatnonzero(codec.emitted()), np.random.default_rng(0))
    return [name for name in codec.columns if frame[name].null_count()]
