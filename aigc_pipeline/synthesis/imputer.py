"""Missing cells filled from a model, given the cells of the same row that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, InputError, did_you_mean
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import CategoryCodec
from aigc_pipeline.features.codec import Codec, Part
from aigc_pipeline.features.conditions import typed_cells
from aigc_pipeline.features.known import Known, Masks
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.sources import apply_derive
from aigc_pipeline.synthesis.completion import Completer, holds


def impute(
    codec: TableCodec,
    generator: Generator,
    df: pl.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> pl.DataFrame:
    """A table with its missing cells filled; every other cell is as it was.

    Missing cells of `columns` (by default of all that were learned) are drawn from the model under
    the known cells of their row; derived columns are computed where they are missing. Keys and
    other generated columns are left alone, and so is a column of which no value was learned. In
    columns that are not to be filled, missing counts as known.

    Where the model rules the known cells of a row out, as it may with noisy data, its missing cells
    follow from the columns before them. Raises InputError for a column that is not there or of
    another type, and for a family that cannot draw under known cells.
    """
    if not generator.conditional:
        raise InputError(f"a {generator.family} model cannot fill cells; use autoregressive")
    learned = codec.learned
    wanted = _wanted(columns, codec)
    own = table_cells(df, codec)
    holes = {name: own[name].is_null().to_numpy() for name in wanted}
    todo = np.flatnonzero(np.logical_or.reduce([np.zeros(len(df), dtype=bool), *holes.values()]))
    filled = own.select(learned)
    if len(todo):
        nothing = np.zeros(len(df), dtype=bool)
        given = {name: ~holes.get(name, nothing) for name in learned}
        known = Known.read(codec, filled, given).take(todo)
        completer = Completer(codec, generator, present_tokens(codec, wanted), strict=False)
        keeps = codec.satisfied(None)
        frames: list[pl.DataFrame] = []
        for frame in completer.frames(known, lambda made, _: holds(made, keeps), [seed, 1]):
            frames.append(frame)
            done = sum(map(len, frames))
            progress(f"{done:,} of {len(todo):,} rows", done / len(todo))
        place = np.zeros(len(df), dtype=np.int64)
        place[todo] = np.arange(len(todo))
        made = pl.concat(frames)[place]
        filled = filled.with_columns(
            pl.when(pl.Series(hole)).then(made[name]).otherwise(filled[name]).alias(name)
            for name, hole in holes.items()
        )
    derived = apply_derive(filled, codec.spec, codec.schema)
    computed = [c.name for c in codec.schema.columns if c.derived and c.name in own.columns]
    return df.with_columns(filled).with_columns(
        own[name].fill_null(derived[name]) for name in computed
    )


def table_cells(df: pl.DataFrame, codec: TableCodec) -> pl.DataFrame:
    """The learned and derived columns of a table, in the dtypes that were learned.

    Raises FieldError for a learned column that is not there, or of another type.
    """
    schema, learned = codec.schema, codec.learned
    missing = [name for name in learned if name not in df.columns]
    if missing:
        text = f"the table has no such column; {did_you_mean(missing[0], df.columns)}"
        raise FieldError([((missing[0],), text)])
    derived = [c.name for c in schema.columns if c.derived and c.name in df.columns]
    return typed_cells(df.select([*learned, *derived]), schema, ())


def present_tokens(codec: TableCodec, columns: Sequence[str]) -> Masks:
    """By position, the tokens that stand for a value in each of some columns, bool [size]."""
    masks = codec.allowed(None)
    for at, each in enumerate(codec.codecs):
        here = [name for name in each.columns if name in columns]
        mask = masks.get(at, np.ones(each.size, dtype=bool))
        for name in here:
            mask = mask & _present(each, codec.schema[name])
        if here and mask.any():
            masks[at] = mask
    return masks


def _present(codec: Codec, column: ColumnSchema) -> np.ndarray:
    """The tokens of a codec that stand for a value in a column, bool [size]."""
    if isinstance(codec, NumberCodec):
        return np.arange(codec.size) >= codec.first
    main = codec.main if isinstance(codec, Part) else codec
    if not isinstance(main, CategoryCodec):
        return np.ones(codec.size, dtype=bool)
    return codec.allowed(column, main.frame()[column.name].drop_nulls().unique().to_list() or None)


def _wanted(columns: Sequence[str] | None, codec: TableCodec) -> list[str]:
    """Columns to fill: all learned ones by default."""
    for name in columns or ():
        if name not in codec.learned:
            text = "it was not learned, so it cannot be filled"
            if name not in codec.schema.names:
                text = f"there is no such column; {did_you_mean(name, codec.learned)}"
            raise FieldError([((name,), text)])
    return list(dict.fromkeys(columns or codec.learned))
