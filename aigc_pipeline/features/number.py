"""Numbers and datetimes as tokens: frequent values by themselves, the rest in quantile bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri

from aigc_pipeline.features.category import polars_dtype
from aigc_pipeline.features.codec import Codec, Subjects
from aigc_pipeline.features.conditions import bounds, canonical_value
from aigc_pipeline.features.grid import Grid
from aigc_pipeline.schema import ColumnSchema, canonical_expr
from aigc_pipeline.spec import Between, Condition, Kind

SEGMENTS = 24
SPIKES = 8


class NumberCodec(Codec):
    """Tokens in rising order of value: [null], frequent values and bins, ["as in that column"].

    A value that many subjects share is a token of its own (so zero inflation and repeated values
    are states). The rest lie in bins of about equal mass, finer in the tails. Within a bin a value
    is drawn on the source's grid, as round as the bin's real values were. No bin, and nothing
    beyond the outermost edges, rests on fewer than `min_subjects` subjects.

    low, high: int64 [spans], a token's span in units of the last decimal place; equal for a
    frequent value. levels: float64 [spans, steps], roundness shares. copy_of: the column whose
    value the last token repeats (see `copies`), or None.
    """

    type_name = "number"

    def __init__(
        self,
        column: str,
        dtype: str,
        grid: Grid,
        low: np.ndarray,
        high: np.ndarray,
        levels: np.ndarray,
        marginal: np.ndarray,
        *,
        nullable: bool,
        format: str | None = None,
        datetime: bool = False,
        copy_of: ColumnSchema | None = None,
    ) -> None:
        self.columns = [column]
        self.dtype = dtype
        self.grid = grid
        self.low, self.high = low, high
        self.levels = levels
        self.marginal = marginal
        self.nullable = nullable
        self.format = format
        self.datetime = datetime
        self.copy_of = copy_of
        self.size = len(marginal)
        self._first = int(nullable)  # index of the first value token
        self._spans = slice(self._first, self._first + len(low))
        self._single = low == high
        self._single_values = low[self._single]
        self._single_tokens = np.flatnonzero(self._single)
        self._bin_tokens = np.flatnonzero(~self._single)

    @classmethod
    def fit(
        cls,
        df: pl.DataFrame,
        column: ColumnSchema,
        subjects: Subjects,
        *,
        max_bins: int = 200,
        copy_of: ColumnSchema | None = None,
    ) -> NumberCodec:
        """Learn the grid, the frequent values and the bins of one column."""
        values = df.select(canonical_expr(column)).to_series().to_numpy()
        nullable = column.nullable or bool(np.isnan(values).any())
        copied = _copied(df, values, copy_of)
        if (~copied & ~np.isnan(values)).sum() < 4 * subjects.minimum:
            copy_of, copied = None, np.zeros_like(copied)  # nothing left to learn the rest from
        own = ~np.isnan(values) & ~copied
        grid = Grid.fit(values[~np.isnan(values)])
        units = grid.to_units(values[own])
        subjects = subjects.take(np.flatnonzero(own))
        low, high = _spans(units, subjects, grid, max_bins)
        nullable = nullable or not len(low)  # values of too few subjects become missing
        codec = cls(
            column.name,
            column.dtype,
            grid,
            low,
            high,
            np.ones((len(low), len(grid.steps))),
            np.ones(len(low) + int(nullable) + int(copy_of is not None)),
            nullable=nullable,
            format=column.format,
            datetime=column.kind == Kind.DATETIME,
            copy_of=copy_of,
        )
        if not len(low):
            units = units[:0]
        tokens = codec._tokens(units)
        counts = np.bincount(tokens + codec._first, minlength=codec.size).astype(float)
        if nullable:
            counts[0] = np.isnan(values).sum()
        if copy_of is not None:
            counts[-1] = copied.sum()
        # A state seen nowhere in this sample (a null, say) keeps a sliver: logs need it.
        counts = np.maximum(counts, 0.1)
        codec.marginal = counts / counts.sum()
        table = np.zeros((len(low), len(grid.steps)))
        np.add.at(table, (tokens, grid.level(units)), 1.0)
        overall = table[codec._bin_tokens].sum(0) + 1e-9
        levels = table + 4.0 * overall / overall.sum()
        # Rounded as in the file, so that a loaded codec draws the same values.
        codec.levels = np.round(levels / levels.sum(1, keepdims=True), 6)
        return codec

    def _tokens(self, units: np.ndarray) -> np.ndarray:
        """Value tokens (null not counted) of units, int64 [n]."""
        tokens = np.zeros(len(units), dtype=np.int64)
        is_single = np.zeros(len(units), dtype=bool)
        if len(self._single_values):
            at = np.searchsorted(self._single_values, units)
            at = np.minimum(at, len(self._single_values) - 1)
            is_single = self._single_values[at] == units
            tokens[is_single] = self._single_tokens[at[is_single]]
        rest = ~is_single
        if len(self._bin_tokens):
            at = np.searchsorted(self.high[self._bin_tokens], units[rest])
            tokens[rest] = self._bin_tokens[np.minimum(at, len(self._bin_tokens) - 1)]
        elif rest.any():  # only frequent values are known: the nearest one
            edges = (self._single_values[1:] + self._single_values[:-1]) / 2
            tokens[rest] = self._single_tokens[np.searchsorted(edges, units[rest])]
        return tokens

    def encode(self, df: pl.DataFrame) -> np.ndarray:
        values = df.select(self._canonical()).to_series().to_numpy()
        tokens = np.zeros(len(values), dtype=np.int32)
        present = ~np.isnan(values)
        if len(self.low):
            tokens[present] = self._tokens(self.grid.to_units(values[present])) + self._first
        if self.copy_of is not None:
            tokens[_copied(df, values, self.copy_of)] = self.size - 1
        return tokens

    def decode(
        self, tokens: np.ndarray, rng: np.random.Generator, row: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        index = tokens.astype(np.int64) - self._first
        drawn = (index >= 0) & (index < len(self.low))
        values = np.full(len(tokens), np.nan)
        if drawn.any():
            values[drawn] = self.grid.to_values(self._draw(index[drawn], rng))
        if self.copy_of is not None and row is not None:
            source = row.select(canonical_expr(self.copy_of)).to_series().to_numpy()
            copied = tokens == self.size - 1
            values[copied] = source[copied]
        series = pl.Series(self.columns[0], values, nan_to_null=True)
        return pl.DataFrame([series]).select(self._restore())

    def _draw(self, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One value in units for each value token."""
        units = self.low[index].copy()
        todo = np.flatnonzero(~self._single[index])
        cumulative = np.cumsum(self.levels, axis=1)
        steps = np.array(self.grid.steps)
        for attempt in range(6):
            if not len(todo):
                break
            span = index[todo]
            level = (rng.random(len(todo))[:, None] > cumulative[span, :-1]).sum(1)
            if attempt >= 4:  # no such round number in this bin: settle for the finest step
                level = np.zeros_like(level)
            step = steps[level]
            low, high = self.low[span], self.high[span]
            first, last = -(-low // step), high // step
            drawn = (first + (rng.random(len(todo)) * (last - first + 1)).astype(np.int64)) * step
            good = (last >= first) & ~np.isin(drawn, self._single_values)
            if attempt < 4:
                good &= self.grid.level(drawn) == level
            else:
                good = last >= first
            units[todo[good]] = drawn[good]
            todo = todo[~good]
        return units

    def allowed(self, column: ColumnSchema, condition: Condition) -> np.ndarray:
        # A bin may meet a condition if its span touches a wanted value; decoding settles the rest.
        mask = np.zeros(self.size, dtype=bool)
        spans = mask[self._spans]
        if self.copy_of is not None:
            mask[-1] = True
        low, high = self.grid.to_values(self.low), self.grid.to_values(self.high)
        if isinstance(condition, Between):
            least, most = bounds(column, condition)
            spans |= (high >= least) & (low <= most)
            return mask
        for value in condition if isinstance(condition, list) else [condition]:
            if value is not None:
                number = canonical_value(column, value)
                spans |= (low <= number) & (number <= high)
            elif self.nullable:
                mask[0] = True
        return mask

    def _canonical(self) -> pl.Expr:
        kind = Kind.DATETIME if self.datetime else Kind.NUMBER
        return canonical_expr(
            ColumnSchema(
                name=self.columns[0], kind=kind, dtype=self.dtype, nullable=True, format=self.format
            )
        )

    def _restore(self) -> pl.Expr:
        """From float64 (seconds for a datetime) back to the source's dtype and format."""
        expr = pl.col(self.columns[0])
        if self.datetime:
            moment = (expr * 1e6).round(0).cast(pl.Int64).cast(pl.Datetime("us"))
            if self.format is not None:
                return moment.dt.strftime(self.format)
            return moment.cast(polars_dtype(self.dtype))
        dtype = polars_dtype(self.dtype)
        if dtype.is_integer() or (dtype == pl.String and self.grid.decimals == 0):
            return expr.round(0).cast(pl.Int64).cast(dtype)
        return expr.cast(dtype)

    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Mid-point of each value token on the empirical CDF, and its share, both [tokens]."""
        shares = self.marginal[self._spans]
        shares = shares / shares.sum()
        return np.cumsum(shares) - shares / 2, shares

    def basis(self) -> np.ndarray | None:
        """Piecewise-linear encoding of the empirical CDF, normal score, null, copy, spikes.

        Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning".
        """
        features = np.zeros((self.size, SEGMENTS + 3 + SPIKES), dtype=np.float32)
        if len(self.low):
            middle, shares = self._positions()
            scaled = middle[:, None] * SEGMENTS - np.arange(SEGMENTS)
            features[self._spans, :SEGMENTS] = np.clip(scaled, 0, 1)
            features[self._spans, SEGMENTS] = ndtri(np.clip(middle, 1e-4, 1 - 1e-4))
            spikes = [t for t in np.argsort(-shares)[:SPIKES] if shares[t] > 0.01]
            for slot, token in enumerate(spikes):
                features[self._first + token, SEGMENTS + 3 + slot] = 1.0
        if self.nullable:
            features[0, SEGMENTS + 1] = 1.0
        if self.copy_of is not None:
            features[-1, SEGMENTS + 2] = 1.0
        return features

    def smoothing(self, width: float = 0.7) -> np.ndarray | None:
        """Targets spread over neighbouring bins, `width` in average bins; frequent values stay."""
        if len(self._bin_tokens) < 12:
            return None
        middle, shares = self._positions()
        unit = shares[self._bin_tokens].mean()
        distance = (middle[:, None] - middle[None, :]) / (unit * width)
        kernel = np.exp(-0.5 * distance**2)
        kernel[self._single_tokens, :] = 0
        kernel[:, self._single_tokens] = 0
        np.fill_diagonal(kernel, 1.0)
        target = np.eye(self.size, dtype=np.float32)
        target[self._spans, self._spans] = kernel / kernel.sum(1, keepdims=True)
        return target

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "column": self.columns[0],
            "dtype": self.dtype,
            "decimals": self.grid.decimals,
            "steps": self.grid.steps,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "levels": self.levels.tolist(),
            "marginal": self.marginal.tolist(),
            "nullable": self.nullable,
            "format": self.format,
            "datetime": self.datetime,
            "copy_of": None if self.copy_of is None else self.copy_of.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> NumberCodec:
        steps = [int(s) for s in state["steps"]]
        return cls(
            state["column"],
            state["dtype"],
            Grid(int(state["decimals"]), steps),
            np.array(state["low"], dtype=np.int64),
            np.array(state["high"], dtype=np.int64),
            np.array(state["levels"], dtype=float).reshape(-1, len(steps)),
            np.array(state["marginal"]),
            nullable=state["nullable"],
            format=state["format"],
            datetime=state["datetime"],
            copy_of=state["copy_of"] and ColumnSchema.model_validate(state["copy_of"]),
        )


def _copied(df: pl.DataFrame, values: np.ndarray, copy_of: ColumnSchema | None) -> np.ndarray:
    """Rows whose value is that of another column, zeros not counted; bool [rows]."""
    if copy_of is None:
        return np.zeros(len(values), dtype=bool)
    return (values == df.select(canonical_expr(copy_of)).to_series().to_numpy()) & (values != 0)


def _spans(
    units: np.ndarray, subjects: Subjects, grid: Grid, max_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frequent values and bins, as sorted spans (low, high) in units."""
    values, codes, counts = np.unique(units, return_inverse=True, return_counts=True)
    if not len(values):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    support = subjects.support(codes, len(values))
    mass = len(units) / max_bins
    enough = support >= subjects.minimum
    frequent = enough if len(values) <= max_bins else enough & (counts >= mass / 2)
    spans = [(int(v), int(v)) for v in values[frequent]]
    rest = np.sort(units[~frequent[codes]])
    if len(rest) >= max(subjects.minimum, 2) and rest[0] < rest[-1]:
        spans += _bins(rest, subjects, mass, grid.steps[0])
    # Rare values too few to form a bin are left to the nearest frequent value, if there is one.
    spans.sort(key=lambda s: (s[0] + s[1], s[1]))
    found = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _bins(rest: np.ndarray, subjects: Subjects, mass: float, unit: int) -> list[tuple[int, int]]:
    """Bins over sorted values: equal mass, halved towards both tails, edges between people.

    The outermost edges leave out the `minimum` smallest and largest values, so that no extreme is
    learned. Every edge lies halfway between two neighbouring values: it is nobody's own.
    """
    # With several rows a subject, ask for as many rows as could come from too few subjects.
    per_subject = 1
    if subjects.codes is not None:
        per_subject = int(np.bincount(np.unique(subjects.codes, return_inverse=True)[1]).max())
    least = max(subjects.minimum * per_subject, 2)
    size = max(round(mass), least)
    n = len(rest)
    cuts = list(range(size, n - size + 1, size))
    if cuts:  # split the outermost bins: tails are where a uniform draw shows
        head, tail = cuts[0], n - cuts[-1]
        while head // 2 >= 2 * least:
            head //= 2
            cuts.insert(0, head)
        while tail // 2 >= 2 * least:
            tail //= 2
            cuts.append(n - tail)
    k = min(least, (n - 1) // 2)
    lowest = (int(rest[max(k - 1, 0)]) + int(rest[k])) // 2
    highest = (int(rest[n - 1 - max(k - 1, 0)]) + int(rest[n - 1 - k]) + 1) // 2
    edges = [lowest // unit * unit]
    for cut in cuts:
        middle = (int(rest[cut - 1]) + int(rest[cut])) // 2 // unit * unit
        if edges[-1] + unit < middle < highest - unit:
            edges.append(middle)
    edges.append(max(highest // unit * unit, edges[-1] + unit))
    # Spans are (previous edge, edge]: a bin starts one grid step above the one before.
    starts = [edges[0]] + [e + unit for e in edges[1:-1]]
    spans = [(lo, hi) for lo, hi in zip(starts, edges[1:], strict=True) if lo <= hi]
    # A bin one step wide looks like a frequent value; merge it into its neighbour.
    merged: list[tuple[int, int]] = []
    for lo, hi in spans:
        if merged and (lo == hi or merged[-1][0] == merged[-1][1]):
            merged[-1] = (merged[-1][0], hi)
        else:
            merged.append((lo, hi))
    return merged
