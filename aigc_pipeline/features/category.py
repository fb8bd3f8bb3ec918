"""Categories, booleans and fixed combinations of columns as tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.features.codec import Codec, Subjects
from aigc_pipeline.features.conditions import condition_expr
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Condition

OTHER = "(other)"


class CategoryCodec(Codec):
    """Tokens for the value tuples of one or more columns that enough subjects share.

    Tuples of fewer than `min_subjects` subjects share one last token. It decodes to the text
    "(other)" where a single text column allows that; elsewhere it is never sampled.
    """

    type_name = "category"

    def __init__(
        self, columns: list[str], dtypes: list[str], values: list[list[Any]], marginal: np.ndarray
    ) -> None:
        self.columns = columns
        self.dtypes = dtypes
        self.values = values  # [tokens without other][columns]
        self.marginal = marginal
        self.size = len(marginal)
        self._frame = pl.DataFrame(values, schema=_schema(columns, dtypes), orient="row")

    @classmethod
    def fit(
        cls, df: pl.DataFrame, columns: list[ColumnSchema], subjects: Subjects
    ) -> CategoryCodec:
        """Learn the vocabulary: tuples by falling support, ties by value."""
        names = [c.name for c in columns]
        table = df.select(names)
        groups = table.with_columns(pl.struct(names).rank("dense").alias("__group") - 1)
        codes = groups["__group"].to_numpy()
        count = int(codes.max()) + 1
        support = subjects.support(codes, count)
        rows = np.bincount(codes, minlength=count)
        # Missing says nothing of a subject, so it is a state whatever its support.
        first = table[np.unique(codes, return_index=True)[1]]
        missing = first.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
        kept = np.flatnonzero((support >= subjects.minimum) | missing)
        kept = kept[np.lexsort((kept, -rows[kept]))]
        shares = rows[kept] / rows.sum()
        other = 1.0 - shares.sum()
        if len(kept) < count:
            shares = np.append(shares, max(other, 1 / rows.sum()))
        values = [list(row) for row in first[kept].rows()]
        return cls(names, [c.dtype for c in columns], values, shares / shares.sum())

    @property
    def has_other(self) -> bool:
        """Whether the last token stands for all rare tuples."""
        return self.size > len(self.values)

    def _says_other(self) -> bool:
        return len(self.columns) == 1 and self.dtypes[0] == "String"

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        lookup = self._frame.with_row_index("__token")
        found = df.select(self.columns).join(
            lookup, on=self.columns, how="left", nulls_equal=True, maintain_order="left"
        )
        # A tuple never seen in training (a holdout row) falls to "other", or to the rarest one.
        return found["__token"].fill_null(self.size - 1).to_numpy().astype(np.int32)

    def decode(
        self, tokens: np.ndarray, rng: np.random.Generator, row: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        frame = self._frame
        if self.has_other:
            other = [OTHER] if self._says_other() else [None] * len(self.columns)
            frame = pl.concat([frame, pl.DataFrame([other], schema=frame.schema, orient="row")])
        return frame[tokens]

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        frame = self.decode(np.arange(self.size), np.random.default_rng(0))
        return frame.select(condition_expr(column, condition)).to_series().to_numpy()

    def emitted(self) -> np.ndarray:
        mask = np.ones(self.size, dtype=bool)
        if self.has_other and not self._says_other() and self.size > 1:
            mask[-1] = False
        return mask

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "columns": self.columns,
            "dtypes": self.dtypes,
            "values": self._frame.select(pl.all().cast(pl.String)).rows(),
            "marginal": self.marginal.tolist(),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> CategoryCodec:
        names, dtypes = state["columns"], state["dtypes"]
        text = pl.DataFrame(
            state["values"], schema={name: pl.String for name in names}, orient="row"
        )
        typed = text.select(
            parse_text(pl.col(name), dtype) for name, dtype in zip(names, dtypes, strict=True)
        )
        values = [list(row) for row in typed.rows()]
        return cls(names, dtypes, values, np.array(state["marginal"]))


def parse_text(expr: pl.Expr, dtype: str) -> pl.Expr:
    """Text as Polars prints it, back in a column's dtype."""
    if dtype == "Boolean":
        return expr == "true"
    return expr.cast(polars_dtype(dtype))


def polars_dtype(name: str) -> pl.DataType:
    """The Polars dtype a schema names, e.g. `Int64`, `Datetime(us)`."""
    if name.startswith("Datetime"):
        return pl.Datetime("us")
    return getattr(pl, name)()


def _schema(columns: list[str], dtypes: list[str]) -> dict[str, pl.DataType]:
    return {c: polars_dtype(d) for c, d in zip(columns, dtypes, strict=True)}
