"""Columns made afresh instead of learned: keys, ids and faked personal data."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features.category import polars_dtype
from aigc_pipeline.schema import ColumnSchema

_FAKER = {
    "name": "name",
    "email": "email",
    "phone": "phone_number",
    "address": "address",
    "company": "company",
    "ip": "ipv4",
    "iban": "iban",
    "user_name": "user_name",
    "uuid": "uuid4",
}


@dataclass(frozen=True)
class GeneratedColumn:
    """One generated column: how its values look, and how often they are missing.

    offset: for whole numbers, where counting starts: a power of ten above every real value, so
    that no real key is ever given out and only the magnitude of the real ones shows. Where the type
    has no room above, it is -1 and counting goes down from there.
    """

    name: str
    dtype: str
    pii: str | None
    null_rate: float
    offset: int

    @classmethod
    def fit(cls, df: pl.DataFrame, column: ColumnSchema) -> GeneratedColumn:
        """Learn only magnitude and null rate."""
        series = df[column.name]
        offset = 0
        if series.dtype.is_numeric():
            offset = _start(series)
        return cls(
            column.name,
            str(column.dtype),
            column.pii,
            round(series.null_count() / len(series), 3),
            offset,
        )

    def make(self, start: int, rows: int, rng: np.random.Generator) -> pl.Series:
        """Values for rows [start, start + rows) of a table."""
        numbers = range(start + 1, start + rows + 1)
        values: list[str] | list[int]
        if self.pii is not None:
            values = self._fake(rows, rng)
        elif self.offset:
            step = 1 if self.offset > 0 else -1
            values = [self.offset + step * number for number in numbers]
        else:
            values = [f"syn-{number:09d}" for number in numbers]
        try:
            series = pl.Series(self.name, values, strict=False).cast(polars_dtype(self.dtype))
        except pl.exceptions.InvalidOperationError:
            raise InputError(
                f"column {self.name!r}: {self.dtype} has no room for {start + rows:,} new numbers;"
                " make the column a wider type at the source"
            ) from None
        if self.null_rate > 0:
            missing = pl.Series(rng.random(rows) < self.null_rate)
            series = pl.select(pl.when(~missing).then(series).alias(self.name)).to_series()
        return series

    def _fake(self, rows: int, rng: np.random.Generator) -> list[str]:
        from faker import Faker

        fake = Faker()
        fake.seed_instance(int(rng.integers(2**63)))
        if self.pii == "uuid":
            return [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(rows)]
        make = getattr(fake, _FAKER[self.pii or ""])
        return [str(make()).replace("\n", ", ") for _ in range(rows)]

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return dict(self.__dict__)


def _start(series: pl.Series) -> int:
    """Where new whole numbers start, so that none is a real one; see `GeneratedColumn`."""
    given = series.drop_nulls().cast(pl.Int128)
    low, high = int(given.min() or 0), int(given.max() or 0)  # type: ignore[arg-type]
    offset = 10 ** len(str(max(abs(low), abs(high))))
    if not series.dtype.is_integer():
        return offset
    most = int(series.dtype.max().pipe(pl.select).item())  # type: ignore[attr-defined]
    if offset + 10 * len(series) <= most or low < 0 or not series.dtype.is_signed_integer():
        return offset
    return -1
