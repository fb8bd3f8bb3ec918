"""What is sampled: rows, conditions, named what-ifs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

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
Share = Annotated[float, Field(ge=0, le=1)]
Balance = dict[Name, dict[Scalar, Share]]


def check_scenario_name(name: str) -> str:
    """A scenario's name: that of a schema, and not the one of the rows under no condition."""
    if name == "baseline":
        raise ValueError("'baseline' stands for the rows under no condition; choose another name")
    return check_name(name)


class Scenario(Model):
    """A named what-if: the conditions under which rows are sampled, the shares values have."""

    where: Where = Field({}, description="column: value, list of values, {min, max} or null")
    balance: Balance = Field(
        {}, description="column: {value: share}; other values keep their proportions"
    )
    rows: int | None = Field(
        None, ge=1, description="Rows to make; the dataset's own number by default"
    )
    description: str | None = None

    @model_validator(mode="after")
    def _some_condition(self) -> Scenario:
        if not self.where and not self.balance:
            raise ValueError("a scenario needs where, balance or both")
        for column, shares in self.balance.items():
            if not shares or sum(shares.values()) > 1 + 1e-6:
                raise ValueError(f"balance.{column}: give shares that add up to 1 at most")
            if column in self.where:
                raise ValueError(f"{column!r} has both a condition and shares; keep one of them")
        return self

    @property
    def columns(self) -> set[str]:
        """The columns it names."""
        return set(self.where) | set(self.balance)


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
            check_scenario_name(name)
        return scenarios
