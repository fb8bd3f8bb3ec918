"""Numbers and datetimes as tokens: frequent values by themselves, the rest in quantile bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.features.category import polars_dtype
from aigc_pipeline.features.codec import Codec, Subjects
from aigc_pipeline.features.common import NONE, Common
from aigc_pipeline.features.conditions import bounds, canonical_value
from aigc_pipeline.features.grid import Grid
from aigc_pipeline.features.ordered import (
    RULED_WIDTH,
    WIDTH,
    Spans,
    cut,
    order_features,
    size_features,
    softened,
)
from aigc_pipeline.features.parts import Relation, Roundness
from aigc_pipeline.features.reference import Near, Reference, Related
from aigc_pipeline.schema import ColumnSchema, canonical_expr
from aigc_pipeline.spec import Between, Condition, Kind

LEAST_BINNED = 0.05  # of rows in bins, for their roundness to be told


class NumberCodec(Codec):
    """Tokens in rising order of value: [null], frequent values and bins.

    A value that many subjects share is a token of its own (so zero inflation and repeated values
    are states). The rest lie in bins of about equal mass, finer in the tails; within a bin a value
    is drawn on the source's grid. No bin, and nothing beyond the outermost edges, rests on fewer
    than `min_subjects` subjects. `parts` says more where there is more to say.

    spans: the frequent values and bins, in units of the last decimal place.
    common: values within bins that are drawn as often as they occur.
    """

    type_name = "number"

    def __init__(
        self,
        column: ColumnSchema,
        grid: Grid,
        spans: Spans,
        marginal: np.ndarray,
    ) -> None:
        self.column = column
        self.columns = [column.name]
        self.grid = grid
        self.spans = spans
        self.marginal = marginal
        self.size = len(marginal)
        self.first = int(column.nullable)  # token of the first span
        self._tokens = slice(self.first, self.first + len(spans))
        self.roundness: Roundness | None = None
        self.relation: Relation | None = None
        self.common = NONE

    @classmethod
    def fit(
        cls,
        df: pl.DataFrame,
        column: ColumnSchema,
        subjects: Subjects,
        *,
        max_bins: int = 200,
        related: Related | None = None,
        with_parts: bool = True,
    ) -> NumberCodec:
        """Learn the grid, the frequent values, the bins and the parts of one column.

        with_parts: not needed of a column that is only read.
        """
        values = df.select(canonical_expr(column)).to_series().to_numpy()
        present = np.flatnonzero(~np.isnan(values))
        grid = Grid.fit(values[present])
        units = grid.to_units(values[present])
        spans = Spans(*cut(units, subjects.take(present), grid.unit, max_bins))
        # Values of too few subjects become missing.
        nullable = column.nullable or len(present) < len(values) or not len(spans)
        column = column.model_copy(update={"nullable": nullable})
        codec = cls(column, grid, spans, np.ones(int(nullable) + len(spans)))
        # A state seen nowhere in this sample (a null, say) keeps a sliver: logs need it.
        counts = np.maximum(np.bincount(codec.encode(df), minlength=codec.size), 0.1)
        codec.marginal = counts / counts.sum()
        if not len(spans) or not with_parts:
            return codec
        free = ~spans.single[spans.find(units)]
        if related is not None:
            codec.relation = Relation.fit(codec, df, related, subjects, max_bins)
        if codec.relation is not None:
            free &= ~codec.relation.repeats(codec.relation.encode(df)[present])
        if free.sum() >= max(LEAST_BINNED * len(df), 200):
            codec.grid = grid.with_levels(units[free])
        if len(codec.grid.steps) > 1:
            codec.roundness = Roundness.fit(codec, df)
        if codec.relation is not None:  # what follows another column is not drawn from its bin
            free &= codec.relation.encode(df)[present] == 0
        rows = np.flatnonzero(free)
        span, level = spans.find(units[rows]), codec.grid.level(units[rows])
        codec.common = Common.fit(
            units[rows], codec.cells(span, level), subjects.take(present[rows])
        )
        return codec

    def cells(self, span: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Number of each bin and level of roundness together, int64 [rows]."""
        return span.astype(np.int64) * len(self.grid.steps) + level

    def parts(self) -> list[Codec]:
        """All its tokens' codecs, in the order in which the model should see them."""
        found: list[Codec | None] = [self.relation, self.roundness, self]
        return [codec for codec in found if codec is not None]

    def units(self, df: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Values in units, int64 [rows], and where a span stands for them, bool [rows]."""
        values = df.select(canonical_expr(self.column)).to_series().to_numpy()
        present = ~np.isnan(values) & (len(self.spans) > 0)
        return self.grid.to_units(np.where(present, values, 0.0)), present

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        units, present = self.units(df)
        tokens = np.zeros(len(units), dtype=np.int32)
        if len(self.spans):
            tokens[present] = self.spans.find(units[present]) + self.first
        return tokens

    def decode(
        self,
        tokens: np.ndarray,
        rng: np.random.Generator,
        row: pl.DataFrame | None = None,
        relation: np.ndarray | None = None,
        roundness: np.ndarray | None = None,
    ) -> pl.DataFrame:
        """Values for tokens [rows]; relation, roundness: the tokens of its parts."""
        span = tokens.astype(np.int64) - self.first
        present = (span >= 0) & (len(self.spans) > 0)
        level = np.zeros(len(tokens), dtype=np.int64)
        if roundness is not None:
            level = np.maximum(roundness.astype(np.int64) - 1, 0)
        units = np.zeros(len(tokens), dtype=np.int64)
        told = np.zeros(len(tokens), dtype=bool)
        if self.relation is not None and relation is not None and row is not None:
            follows = np.where(present, relation, 0)
            units, told = self.relation.apply(units, follows, level, row, rng)
        drawn = present & ~told
        if drawn.any():
            units[drawn] = self._draw(span[drawn], level[drawn], rng)
        values = np.where(present, self.grid.to_values(units), np.nan)
        return pl.DataFrame([self.to_column(values)])

    def to_column(self, values: np.ndarray) -> pl.Series:
        """Canonical numbers, float64 [rows], in the source's dtype and format; NaN is missing."""
        series = pl.Series(self.columns[0], values, nan_to_null=True)
        return pl.DataFrame([series]).select(self._restore()).to_series()

    def _draw(self, span: np.ndarray, level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One value in units for each span, on the level of roundness asked for."""
        units = self.spans.low[span].copy()
        todo = np.flatnonzero(~self.spans.single[span])
        common, drawn = self.common.draw(self.cells(span[todo], level[todo]), rng)
        units[todo[drawn]] = common[drawn]
        todo = todo[~drawn]
        repeated = np.concatenate([self.spans.frequent, self.common.values])
        for attempt in range(6):
            if not len(todo):
                break
            # No such round number in this bin: settle for the finest step.
            wanted = level[todo] if attempt < 4 else np.zeros(len(todo), dtype=np.int64)
            low, high = self.spans.low[span[todo]], self.spans.high[span[todo]]
            drawn, good = self.grid.draw(low, high, wanted, rng)
            good &= ~np.isin(drawn, repeated) | (attempt == 5)
            if attempt < 4 and self.roundness is not None:
                good &= self.grid.level(drawn) == wanted
            units[todo[good]] = drawn[good]
            todo = todo[~good]
        return units

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        # A bin may meet a condition if its span touches a wanted value; decoding settles the rest.
        mask = np.zeros(self.size, dtype=bool)
        spans = mask[self._tokens]
        low, high = self.grid.to_values(self.spans.low), self.grid.to_values(self.spans.high)
        if isinstance(condition, Between):
            least, most = bounds(column, condition)
            spans |= (high >= least) & (low <= most)
            return mask
        for value in condition if isinstance(condition, list) else [condition]:
            if value is not None:
                number = canonical_value(column, value)
                spans |= (low <= number) & (number <= high)
            elif self.first:
                mask[0] = True
        return mask

    def _restore(self) -> pl.Expr:
        """From float64 (seconds for a datetime) back to the source's dtype and format."""
        expr = pl.col(self.columns[0])
        if self.column.kind == Kind.DATETIME:
            moment = (expr * 1e6).round(0).cast(pl.Int64).cast(pl.Datetime("us"))
            if self.column.format is not None:
                return moment.dt.strftime(self.column.format)
            return moment.cast(polars_dtype(self.column.dtype))
        dtype = polars_dtype(self.column.dtype)
        if dtype.is_integer() or (dtype == pl.String and self.grid.decimals == 0):
            return expr.round(0).cast(pl.Int64).cast(dtype)
        return expr.cast(dtype)

    def basis(self) -> np.ndarray | None:
        """Where a token lies on the empirical CDF; null is told apart."""
        if not len(self.spans):
            return None
        shares = self.marginal[self._tokens]
        middle = (self.spans.low + self.spans.high) / 2
        ordered = np.hstack([order_features(shares), size_features(middle, shares)])
        features = np.zeros((self.size, ordered.shape[1] + 1), dtype=np.float32)
        features[self._tokens, :-1] = ordered
        features[: self.first, -1] = 1.0
        return features

    def smoothing(self) -> np.ndarray | None:
        """Targets spread over neighbouring bins; frequent values stay.

        By a bin of average mass; by less where it follows another number, for rules are sharp.
        """
        if len(self.spans.bins) < 12:
            return None
        width = WIDTH if self.relation is None else RULED_WIDTH
        target = np.eye(self.size, dtype=np.float32)
        shares = self.marginal[self._tokens]
        target[self._tokens, self._tokens] = softened(shares, self.spans.bins, width)
        return target

    def to_json(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "type": self.type_name,
            "column": self.column.model_dump(mode="json"),
            "decimals": self.grid.decimals,
            "digits": self.grid.digits,
            "steps": self.grid.steps,
            "low": self.spans.low.tolist(),
            "high": self.spans.high.tolist(),
            "marginal": self.marginal.tolist(),
            "common": self.common.to_json(),
        }
        if self.roundness is not None:
            state["roundness"] = self.roundness.marginal.tolist()
        if self.relation is not None:
            near = [
                {
                    "reference": n.reference.to_json(),
                    "ratio": n.ratio,
                    "low": spans.low.tolist(),
                    "high": spans.high.tolist(),
                }
                for n, spans in self.relation.near
            ]
            state["relation"] = {
                "copies": [r.to_json() for r in self.relation.copies],
                "near": near,
                "marginal": self.relation.marginal.tolist(),
            }
        return state

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> NumberCodec:
        steps = [(int(n), int(d)) for n, d in state["steps"]]
        codec = cls(
            ColumnSchema.model_validate(state["column"]),
            Grid.checked(int(state["decimals"]), int(state["digits"]), steps),
            _spans(state),
            np.array(state["marginal"]),
        )
        codec.common = Common.from_json(state["common"])
        if "roundness" in state:
            codec.roundness = Roundness(codec, np.array(state["roundness"]))
        if "relation" in state:
            told = state["relation"]
            copies = [Reference.from_json(r) for r in told["copies"]]
            near = [
                (Near(Reference.from_json(n["reference"]), n["ratio"]), _spans(n))
                for n in told["near"]
            ]
            codec.relation = Relation(codec, copies, near, np.array(told["marginal"]))
        return codec


def _spans(state: dict[str, Any]) -> Spans:
    return Spans(np.array(state["low"], dtype=np.int64), np.array(state["high"], dtype=np.int64))
