"""The warehouse as a Dagster resource."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from resources.lake import LakeResource


@dataclass(frozen=True)
class WarehouseResource:
    """The DuckDB file that BI opens: read-only here, since only the release stage rebuilds it."""

    lake: LakeResource

    @property
    def path(self) -> Path:
        """Where the file stands."""
        return self.lake.open().warehouse

    def query(self, sql: str, *, limit: int = 1000) -> pl.DataFrame:
        """The answer to one SQL statement, `limit` rows of it at most.

        Raises InputError when the statement cannot be answered.
        """
        from aigc_pipeline.warehouse import query

        return query(self.lake.open(), sql, limit=limit).frame
