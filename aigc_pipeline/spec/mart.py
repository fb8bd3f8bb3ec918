"""Marts: the queries a dataset offers BI to start from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from aigc_pipeline.spec.base import Model


class MartSpec(Model):
    """A SELECT over the dataset's tables and other marts, kept in the schema `<dataset>_marts`."""

    title: str | None = None
    description: str | None = None
    sql: str | None = Field(None, description="One SELECT in DuckDB's SQL")
    file: str | None = Field(
        None, description="A file that holds the SELECT, beside the dataset file"
    )
    materialize: Literal["view", "table"] = Field(
        "view", description="view: computed when it is asked; table: computed at the release"
    )

    _file: str | None = PrivateAttr(None)  # where the SQL was read, for errors

    @model_validator(mode="after")
    def _exactly_one(self) -> MartSpec:
        if (self.sql is None) == (self.file is None):
            raise ValueError("a mart needs exactly one of sql, file")
        return self
