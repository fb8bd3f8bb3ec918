"""Categories, booleans and fixed combinations of columns as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.features.codec import Codec, Subjects
from aigc_pipeline.features.conditions import condition_expr
from aigc_pipeline.features.pages import LARGE, ROWS, Page, Pages, find_pages, find_traits
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.spec import Condition

OTHER = "(other)"


class CategoryCodec(Codec):
    """Tokens for the value tuples of one or more columns that enough subjects share.

    Tuples of fewer than `min_subjects` subjects share one last value. It decodes to the text
    "(other)" where a single text column allows that; elsewhere it is never sampled.
    Of a large vocabulary the tokens are words on pages (see `pages`), otherwise the values.

    shares: the training share of each value, "other" included.
    """

    type_name = "category"

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        values: list[list[Any]],
        shares: np.ndarray,
        pages: Pages | None = None,
    ) -> None:
        self.columns = columns
        self.dtypes = dtypes
        self.values = values  # [values without other][columns]
        self.shares = shares
        self._frame = pl.DataFrame(values, schema=_schema(columns, dtypes), orient="row")
        self.page: Page | None = None
        self.marginal = shares
        if pages is not None:
            self.page = Page(self, pages)
            self.marginal = np.bincount(pages.word, weights=shares)
        self.size = len(self.marginal)

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
    def is_large(self) -> bool:
        """Whether the vocabulary belongs on pages."""
        return len(self.shares) > LARGE

    def paged(self, df: pl.DataFrame, others: Sequence[Codec]) -> CategoryCodec:
        """The same vocabulary on pages of values whose rows are alike in other columns."""
        some = df.gather_every(-(-len(df) // ROWS))
        traits = find_traits(some, others)
        pages = find_pages(self.index(some), self.shares, traits, has_other=self.has_other)
        return CategoryCodec(self.columns, self.dtypes, self.values, self.shares, pages)

    def parts(self) -> list[Codec]:
        return [self] if self.page is None else [self.page, self]

    @property
    def has_other(self) -> bool:
        """Whether the last value stands for all rare tuples."""
        return len(self.shares) > len(self.values)

    def _says_other(self) -> bool:
        return len(self.columns) == 1 and self.dtypes[0] == "String"

    def index(self, df: pl.DataFrame) -> np.ndarray:
        """Which value each row has, int32 [rows]."""
        lookup = self._frame.with_row_index("__value")
        found = df.select(self.columns).join(
            lookup, on=self.columns, how="left", nulls_equal=True, maintain_order="left"
        )
        # A tuple never seen in training (a holdout row) falls to "other", or to the rarest one.
        return found["__value"].fill_null(len(self.shares) - 1).to_numpy().astype(np.int32)

    def frame(self) -> pl.DataFrame:
        """All values in order, "other" included, in the columns' source dtypes."""
        if not self.has_other:
            return self._frame
        other = [OTHER] if self._says_other() else [None] * len(self.columns)
        return pl.concat(
            [self._frame, pl.DataFrame([other], schema=self._frame.schema, orient="row")]
        )

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        index = self.index(df)
        return index if self.page is None else self.page.pages.word[index]

    def decode(
        self,
        tokens: np.ndarray,
        rng: np.random.Generator,
        row: pl.DataFrame | None = None,
        page: np.ndarray | None = None,
    ) -> pl.DataFrame:
        """Values for tokens [rows]; page: the tokens of its page, where it has pages."""
        if self.page is not None:
            if page is None:
                raise TypeError("a word is decoded with its page")
            tokens = self.page.pages.value(page, tokens)
        return self.frame()[tokens]

    def meets(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        """Which values meet a condition on one of the columns, bool [values]."""
        return self.frame().select(condition_expr(column, condition)).to_series().to_numpy()

    def drawable(self) -> np.ndarray:
        """Which values may be sampled at all, bool [values]."""
        mask = np.ones(len(self.shares), dtype=bool)
        if self.has_other and not self._says_other() and len(mask) > 1:
            mask[-1] = False
        return mask

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        # Word and page may each be right and their value not; decoding settles the rest.
        return self._having(self.meets(column, condition))

    def emitted(self) -> np.ndarray:
        return self._having(self.drawable())

    def _having(self, values: np.ndarray) -> np.ndarray:
        """Tokens that stand for at least one of some values, bool [size]."""
        if self.page is None:
            return values
        mask = np.zeros(self.size, dtype=bool)
        mask[self.page.pages.word[values]] = True
        return mask

    def to_json(self) -> dict[str, Any]:
        state = {
            "type": self.type_name,
            "columns": self.columns,
            "dtypes": self.dtypes,
            "values": self._frame.select(pl.all().cast(pl.String)).rows(),
            "marginal": self.shares.tolist(),
        }
        return state if self.page is None else state | {"pages": self.page.pages.page.tolist()}

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
        pages = Pages(np.array(state["pages"])) if "pages" in state else None
        return cls(names, dtypes, values, np.array(state["marginal"]), pages)


def parse_text(expr: pl.Expr, dtype: str) -> pl.Expr:
    """Text as Polars prints it, back in a column's dtype."""
    if dtype == "Boolean":
        return expr == "true"
    return expr.cast(polars_dtype(dtype))


def polars_dtype(name: str) -> pl.DataType:
    """The Polars dtype a schema names, e.g. `Int64`, `Datetime(us)`."""
    if name.startswith("Datetime"):
        return pl.Datetime("us")
    dtype = getattr(pl, name, None)
    if not (isinstance(dtype, type) and issubclass(dtype, pl.DataType)):  # a file may say anything
        raise ValueError(f"{name!r} is no type of a column")
    return dtype()


def _schema(columns: list[str], dtypes: list[str]) -> dict[str, pl.DataType]:
    return {c: polars_dtype(d) for c, d in zip(columns, dtypes, strict=True)}
