"""Columns made afresh instead of learned: keys, ids and faked personal data."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

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
    that no real key is ever given out and only the magnitude of the real ones shows.
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
            top = int(np.abs(series.drop_nulls().to_numpy()).max(initial=0))
            offset = 10 ** len(str(top))
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
            values = [self.offset + number for number in numbers]
        else:
            values = [f"syn-{number:09d}" for number in numbers]
        series = pl.Series(self.name, values, strict=False).cast(polars_dtype(self.dtype))
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
