"""What is sampled: rows, conditions, named what-ifs."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field, field_validator, model_validator

from aigc_pipeline.spec.base import Model, Name, Scalar, check_name


class Between(Model):
    """A range condition; either end may be left out; both ends are included."""

    min: int | float | date | datetime | None = None
    max: int | float | date | datetime | None = None

    @model_validator(mode="after")
    def _some_end(self) -> Between:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        return self


Condition = Between | list[Scalar] | Scalar
Where = dict[Name, Condition]


class Scenario(Model):
    """A named what-if: the conditions under which rows are sampled."""

    where: Where = Field(
        min_length=1, description="column: value, list of values, {min, max} or null"
    )
    rows: int | None = Field(
        None, ge=1, description="Rows to make; the dataset's own number by default"
    )
    description: str | None = None


class SynthesisSpec(Model):
    """How many rows are made, from which seed, and under which scenarios."""

    rows: int | None = Field(
        None, ge=1, description="Rows of each table; as many as the source by default"
    )
    seed: int = Field(0, ge=0)
    scenarios: dict[Name, Scenario] = Field({})

    @field_validator("scenarios")
    @classmethod
    def _names(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        for name in scenarios:
            check_name(name)
        return scenarios
