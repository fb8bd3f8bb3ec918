"""The dataset file as Pydantic models: the only thing a user must write.

`dataset_file.py` reads a YAML file into `DatasetSpec` and turns validation errors into messages
with file, line and field.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from aigc_pipeline.errors import did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
# Schemas and databases that the warehouse has itself: `warehouse.loans` would be ambiguous.
RESERVED_NAMES = {
    "catalog", "main", "information_schema", "pg_catalog", "temp", "system", "memory", "warehouse",
}  # fmt: skip


def check_name(name: str) -> str:
    """A dataset or scenario name: it becomes a folder and a warehouse schema."""
    if not NAME.fullmatch(name) or "__" in name or name.endswith("_marts"):
        raise ValueError(
            f"{name!r} cannot name a folder and a warehouse schema: use a lower-case letter, then"
            " letters, digits and single underscores, 48 at most, not ending in '_marts'"
        )
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is taken by the warehouse itself; choose another name")
    return name


def check_table_name(name: str) -> str:
    """A table name: any text that is safe as a file name on every system."""
    if (
        not name
        or name != name.strip()
        or name.startswith(".")
        or re.search(r'[/\\:*?"<>|\x00-\x1f]', name)
    ):
        raise ValueError(
            f'{name!r} cannot name a table: leave out / \\ : * ? " < > | and control characters,'
            " a leading dot and outer spaces"
        )
    return name


def parse_seconds(value: Any) -> Any:
    """`60`, `"60s"`, `"2m"` or `"1h"` as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is no duration: write seconds, or e.g. 90s, 2m, 1h")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    return value


Name = Annotated[str, Field(min_length=1)]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds, json_schema_input_type=float | str), Field(gt=0)
]
Scalar = bool | int | float | date | datetime | str | None


class Model(BaseModel):
    """Strict base: an unknown field is an error, and a spec never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    """What a column means, whatever its storage type."""

    NUMBER = "number"
    INTEGER = "integer"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    ID = "id"
    TEXT = "text"


class Severity(StrEnum):
    """What a failed expectation does: `critical` stops the run, `warning` is reported."""

    CRITICAL = "critical"
    WARNING = "warning"


class Source(Model):
    """Where a table is read: exactly one of `file`, `sql` or `sample`."""

    file: str | None = Field(
        None, description="Path, glob or http(s) URL of CSV, Parquet, JSON lines or Excel"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Checksum; required for a URL"
    )
    sheet: str | None = Field(None, description="Excel sheet; the first one by default")
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV column delimiter")
    encoding: str = Field("utf-8", description="CSV text encoding")
    null_values: list[str] = Field([""], description="CSV texts that mean missing")
    sql: str | None = Field(
        None,
        repr=False,  # it may hold a password
        description="sqlite:///path or postgresql://… ; ${VAR} is read from the environment",
    )
    query: str | None = Field(None, description="SELECT statement to run on `sql`")
    table: str | None = Field(None, description="Table to read whole from `sql`")
    sample: str | None = Field(
        None, description="Packaged sample, e.g. openintro/loans_full_schema"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [k for k in ("file", "sql", "sample") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"name exactly one of file, sql, sample (found: {', '.join(given) or 'none'})"
            )
        if self.sql is not None and (self.query is None) == (self.table is None):
            raise ValueError("a sql source needs exactly one of query, table")
        if self.sql is None and (self.query or self.table):
            raise ValueError("query and table go with sql")
        if self.file and re.match(r"https?://", self.file) and not self.sha256:
            raise ValueError(
                "a file read from a URL needs its sha256, so that a changed file is noticed"
            )
        return self


class ColumnSpec(Model):
    """What the user says of a column; whatever is left out is inferred."""

    type: Kind | None = Field(None, description="Overrides the inferred type")
    format: str | None = Field(
        None, description="strptime format of a datetime kept as text, e.g. %b-%Y"
    )
    pii: (
        Literal["name", "email", "phone", "address", "company", "ip", "iban", "user_name", "uuid"]
        | None
    ) = Field(None, description="Direct identifier: never learned, faked afresh")
    description: str | None = None


class Constraint(Model):
    """A rule between columns that every synthetic row keeps. Exactly one field."""

    less_equal: tuple[Name, Name] | None = Field(
        None, description="[low, high]: low <= high where both are present"
    )
    less_than: tuple[Name, Name] | None = Field(
        None, description="[low, high]: low < high where both are present"
    )
    fixed_combination: list[Name] | None = Field(
        None,
        min_length=2,
        description="Columns whose values appear only in combinations seen in the data",
    )
    sum: SumConstraint | None = Field(None, description="total = sum of parts")

    @model_validator(mode="after")
    def _exactly_one(self) -> Constraint:
        if len(self.model_fields_set) != 1:
            raise ValueError(
                "a constraint is exactly one of less_equal, less_than, fixed_combination, sum"
            )
        return self

    def columns(self) -> list[str]:
        """All columns the rule names."""
        if self.sum is not None:
            return [self.sum.total, *self.sum.parts]
        return list(self.less_equal or self.less_than or self.fixed_combination or ())


class SumConstraint(Model):
    """`total` equals the sum of `parts`; it is recomputed, so it holds exactly."""

    total: Name
    parts: list[Name] = Field(min_length=2)


class Expectation(Model):
    """A Great Expectations rule by its own name, with its arguments and a severity."""

    model_config = ConfigDict(extra="allow", frozen=True)

    severity: Severity = Severity.CRITICAL

    @model_validator(mode="after")
    def _one_rule(self) -> Expectation:
        rules = self.model_extra or {}
        if len(rules) != 1 or not next(iter(rules)).startswith("expect_"):
            raise ValueError(
                "write one Great Expectations rule, e.g. "
                "{expect_column_values_to_not_be_null: {column: x}}"
            )
        if not isinstance(next(iter(rules.values())), dict):
            raise ValueError("the rule's arguments are a mapping, e.g. {column: x, min_value: 0}")
        return self

    @property
    def rule(self) -> str:
        """The expectation's name, e.g. `expect_column_values_to_be_between`."""
        return next(iter(self.model_extra or {}))

    @property
    def arguments(self) -> dict[str, Any]:
        """The expectation's keyword arguments."""
        return dict((self.model_extra or {})[self.rule])


class TableSpec(Model):
    """One table of the dataset."""

    source: Source
    description: str | None = None
    key: str | None = Field(None, description="Primary key: generated afresh, never learned")
    target: str | None = Field(None, description="Column that the utility score predicts")
    columns: dict[Name, ColumnSpec] = {}
    derive: dict[Name, str] = Field(
        {}, description="column: SQL expression over other columns, recomputed after sampling"
    )
    constraints: list[Constraint] = []
    expect: list[Expectation] = []


class GeneratorSpec(Model):
    """Which model learns the tables, and how much effort it may spend."""

    family: Literal["autoregressive"] = "autoregressive"
    quality: Literal["draft", "standard", "high"] = Field(
        "standard", description="The one dial for effort"
    )
    time_limit: Seconds | None = Field(
        None, description="Wall-clock limit on training, e.g. 60s; by default the quality's own"
    )


class PrivacySpec(Model):
    """What is kept from the model."""

    min_subjects: int = Field(
        5, ge=1, description="Values and extremes of fewer subjects are not learned; 1 turns it off"
    )
    subject: str | None = Field(
        None, description="Column that names the subject; each row is its own by default"
    )


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
    scenarios: dict[Name, Scenario] = {}

    @field_validator("scenarios")
    @classmethod
    def _names(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        for name in scenarios:
            check_name(name)
        return scenarios


GATED_SCORES = (
    "shape_error",
    "trend_error",
    "detection_auc",
    "utility_gap",
    "copied_rows",
    "dcr_share",
    "null_rate_error",
)


class Gate(Model):
    """A threshold; `holdout` stands for the figure that fresh real rows get."""

    min: float | Literal["holdout"] | None = None
    max: float | Literal["holdout"] | None = None

    @model_validator(mode="after")
    def _some_end(self) -> Gate:
        if self.min is None and self.max is None:
            raise ValueError("a gate needs min, max or both")
        return self


class EvaluationSpec(Model):
    """How the release is judged."""

    holdout: float = Field(
        0.2, gt=0, lt=0.6, description="Share of rows kept from training, to judge by"
    )


class DatasetSpec(Model):
    """One dataset file: tables, model, privacy, synthesis, gates."""

    name: str
    title: str | None = None
    description: str | None = None
    domain: str | None = Field(
        None, description="e.g. finance, healthcare, e-commerce, manufacturing"
    )
    owners: list[str] = []
    tables: dict[Name, TableSpec] = Field(min_length=1)
    generator: GeneratorSpec = GeneratorSpec()
    privacy: PrivacySpec = PrivacySpec()
    synthesis: SynthesisSpec = SynthesisSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    gates: dict[str, Gate] = {}
    schedule: str | None = Field(None, description="Cron expression, e.g. '0 3 * * *'")

    _file: str | None = PrivateAttr(None)  # where it was read, for errors; no part of the spec

    _check_name = field_validator("name")(classmethod(lambda cls, value: check_name(value)))

    @field_validator("tables")
    @classmethod
    def _table_names(cls, tables: dict[str, TableSpec]) -> dict[str, TableSpec]:
        seen: dict[str, str] = {}
        for name in tables:
            check_table_name(name)
            if name.lower() in seen:
                raise ValueError(
                    f"tables {seen[name.lower()]!r} and {name!r} differ only by case,"
                    " which SQL ignores"
                )
            seen[name.lower()] = name
        return tables

    @field_validator("gates")
    @classmethod
    def _known_scores(cls, gates: dict[str, Gate]) -> dict[str, Gate]:
        for name in gates:
            if name not in GATED_SCORES:
                raise ValueError(f"unknown score {name!r}: {did_you_mean(name, GATED_SCORES)}")
        return gates

    @model_validator(mode="after")
    def _utility_needs_target(self) -> DatasetSpec:
        if "utility_gap" in self.gates and not any(t.target for t in self.tables.values()):
            raise ValueError("the gate utility_gap needs a `target` column in some table")
        return self

    def sha256(self) -> str:
        """Hash of the whole spec, written into every manifest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


Constraint.model_rebuild()
