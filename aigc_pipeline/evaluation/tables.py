"""A table as two arrays, coded alike for train, holdout and synthetic rows.

Every metric works on these. Synthesis leaves rare values and extremes out on purpose, and a metric
that asked for them back would ask for a privacy leak. So in all tables alike, categories of fewer
than `min_subjects` subjects of the training rows are one value, "(other)", and numbers end at the
`min_subjects`-th most extreme training value. With `min_subjects` 1 nothing is folded or clamped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.schema import TableSchema, canonical

MISSING = 0  # the code of a missing category


@dataclass(frozen=True)
class Coded:
    """A coded table.

    numbers: float64 [rows, numeric columns], NaN where missing; datetimes as seconds since 1970.
    codes: int32 [rows, category columns]; 0 is missing, 1 … are values, the last is "(other)".
    """

    numbers: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> Coded:
        """Some of the rows, by index or mask."""
        return Coded(self.numbers[rows], self.codes[rows])


class Coder:
    """What the training rows know: the protected range of numbers, the categories to be shown.

    low, high: float64 [numeric columns], the value that `min_subjects` subjects lie at or beyond;
        equal where a column has fewer; infinite where it has none, or where nothing is protected.
    values: by category column, the values of at least `min_subjects` subjects, frequent first.
    rare: by category column, the values of fewer subjects.
    who: int64 [training rows], the subject of each.
    """

    def __init__(
        self,
        plain: pl.DataFrame,
        schema: TableSchema,
        *,
        min_subjects: int,
        subjects: pl.Series | None = None,
        most: int | None = None,
    ) -> None:
        """Count the training rows' `plain_values`; `subjects` are theirs, one a row by default.

        most: values of a category that are told apart; the others are "(other)". Values that are
        just frequent enough in the training rows are rarer in any other sample, and where there are
        many of them a detector finds that out.
        """
        self.schema = schema
        self.min_subjects = min_subjects
        self.numeric = [c.name for c in schema.judged if c.is_numeric]
        self.categories = [c.name for c in schema.judged if not c.is_numeric]
        self.names = [c.name for c in schema.judged]
        who = subjects if subjects is not None else pl.arange(plain.height, eager=True)
        self.who = who.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
        ranges = [protected_range(plain[name], who, min_subjects) for name in self.numeric]
        self.low, self.high = np.array(ranges, dtype=float).reshape(-1, 2).T
        self.values: dict[str, list[str]] = {}
        self.rare: dict[str, set[str]] = {}
        for name in self.categories:
            counted = (
                pl.DataFrame({"value": plain[name], "subject": who})
                # "(other)" in the data stands for rare values already: it is not one of its own.
                .filter(pl.col("value") != OTHER)
                .group_by("value")
                .agg(pl.col("subject").n_unique().alias("support"), pl.len().alias("rows"))
                .sort("rows", "value", descending=[True, False])
            )
            enough = pl.col("support") >= min_subjects
            self.values[name] = counted.filter(enough)["value"].head(most or len(counted)).to_list()
            self.rare[name] = set(counted.filter(~enough)["value"].to_list())

    def sizes(self) -> np.ndarray:
        """Codes of each category column, missing and "(other)" included: int64 [columns]."""
        return np.array([len(self.values[name]) + 2 for name in self.categories], dtype=np.int64)

    def encode(self, plain: pl.DataFrame) -> Coded:
        """A table of `plain_values`, coded."""
        codes = np.zeros((plain.height, len(self.categories)), dtype=np.int32)
        for index, name in enumerate(self.categories):
            values = self.values[name]
            coded = plain[name].replace_strict(
                values,
                np.arange(1, len(values) + 1),
                default=pl.lit(len(values) + 1),
                return_dtype=pl.Int32,
            )
            codes[:, index] = np.where(plain[name].is_null().to_numpy(), MISSING, coded.to_numpy())
        numbers = np.empty((plain.height, len(self.numeric)))
        for index, name in enumerate(self.numeric):
            numbers[:, index] = plain[name].to_numpy()
        return Coded(np.clip(numbers, self.low, self.high), codes)


def protected_range(values: pl.Series, who: pl.Series, min_subjects: int) -> tuple[float, float]:
    """The values that `min_subjects` subjects lie at or beyond, at either end."""
    if min_subjects <= 1:
        return -np.inf, np.inf
    ends = (
        pl.DataFrame({"value": values, "subject": who})
        .drop_nulls("value")
        .group_by("subject")
        .agg(pl.col("value").min().alias("least"), pl.col("value").max().alias("most"))
    )
    if ends.height < min_subjects:
        middle = ends["most"].median()
        return (-np.inf, np.inf) if middle is None else (float(middle), float(middle))  # type: ignore
    least = ends["least"].sort()[min_subjects - 1]
    most = ends["most"].sort(descending=True)[min_subjects - 1]
    return min(least, most), max(least, most)


def plain_values(df: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The judged columns as plain values (`schema.canonical`), unfolded.

    Raises InputError when a column is missing or its values do not have the schema's type.
    """
    missing = [c.name for c in schema.judged if c.name not in df.columns]
    if missing:
        raise InputError(
            f"table {schema.name!r}: the rows to judge lack column {', '.join(map(repr, missing))};"
            " give all tables the columns of the training rows"
        )
    try:
        return canonical(df, schema)
    except pl.exceptions.PolarsError as error:
        for column in schema.judged:
            try:
                canonical(df, schema.model_copy(update={"columns": [column]}))
            except pl.exceptions.PolarsError:
                raise InputError(
                    f"table {schema.name!r}: column {column.name!r} holds values that are no"
                    f" {column.kind.value}; give all tables the types of the training rows"
                ) from None  # Polars quotes values, which may be a person's
        raise error
