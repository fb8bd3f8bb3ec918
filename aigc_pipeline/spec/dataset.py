"""The dataset file as a whole, and the gates a release must meet."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

from pydantic import Field, PrivateAttr, field_validator, model_validator

from aigc_pipeline.errors import did_you_mean
from aigc_pipeline.spec.base import Model, Name, check_name, check_table_name
from aigc_pipeline.spec.learning import GeneratorSpec, PrivacySpec
from aigc_pipeline.spec.mart import MartSpec
from aigc_pipeline.spec.synthesis import SynthesisSpec
from aigc_pipeline.spec.table import TableSpec

GATED_SCORES = (
    "shape_error",
    "trend_error",
    "detection_auc",
    "utility_gap",
    "copied_rows",
    "dcr_share",
    "membership_auc",
    "membership_model_auc",
    "null_rate_error",
    "query_error_ratio",
)

# Of all tables together: how they refer to each other. Judged once for the whole dataset.
# Judged once for a dataset: how queries on all its tables are answered.
QUERY_SCORES = ("query_error_ratio",)
RELATIONAL_SCORES = (
    "integrity",
    "key_uniqueness",
    "real_keys",
    "cardinality_error",
    "orphan_rate_error",
    "null_reference_error",
    "join_trend_error",
    "parent_detection_auc",
    "gap_error",
    "span_error",
    "autocorrelation_error",
    "copied_entities",
    "entity_membership_auc",
)


Locale = Literal["en", "zh"]
LOCALES: tuple[Locale, ...] = get_args(Locale)  # languages of pages


class Gate(Model):
    """A threshold; `holdout` stands for the figure that fresh real rows get.

    Of a membership score, a number as `max` is held against its upper 95 % confidence bound.
    """

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


class ReleasesSpec(Model):
    """How much of the past is kept."""

    keep: int = Field(
        10,
        ge=2,
        description="Runs whose releases are kept, with all they were made from; the release in"
        " force and the one before it are never deleted",
    )


class DatasetSpec(Model):
    """One dataset file: tables, model, privacy, synthesis, gates."""

    name: str
    title: str | None = None
    description: str | None = None
    domain: str | None = Field(
        None, description="e.g. finance, healthcare, e-commerce, manufacturing"
    )
    owners: list[str] = Field([], description="Whom to ask: addresses, or team:name")
    tags: list[str] = Field([], description="Words to find it by, in Dagster and the data contract")
    locale: Locale = Field("en", description="Language of the report and the data dictionary")
    tables: dict[Name, TableSpec] = Field(min_length=1)
    generator: GeneratorSpec = GeneratorSpec()
    privacy: PrivacySpec = PrivacySpec()
    synthesis: SynthesisSpec = SynthesisSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    gates: dict[str, Gate] = Field({})
    releases: ReleasesSpec = ReleasesSpec()
    marts: dict[Name, MartSpec] = Field(
        {}, description="Queries that BI starts from; files in <name>/marts/*.sql are more of them"
    )
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

    @field_validator("marts")
    @classmethod
    def _mart_names(cls, marts: dict[str, MartSpec]) -> dict[str, MartSpec]:
        for name in marts:
            check_table_name(name)
        return marts

    @model_validator(mode="after")
    def _one_name_each(self) -> DatasetSpec:
        seen = {name.lower(): f"table {name!r}" for name in self.tables}
        for name in self.marts:
            if name.lower() in seen:
                raise ValueError(
                    f"the mart {name!r} and the {seen[name.lower()]} have the same name to SQL,"
                    " so neither could be asked for; rename the mart"
                )
            seen[name.lower()] = f"mart {name!r}"
        return self

    @field_validator("gates")
    @classmethod
    def _known_scores(cls, gates: dict[str, Gate]) -> dict[str, Gate]:
        known = (*GATED_SCORES, *RELATIONAL_SCORES)
        for name in gates:
            if name not in known:
                raise ValueError(f"unknown score {name!r}: {did_you_mean(name, known)}")
        return gates

    @model_validator(mode="after")
    def _utility_needs_target(self) -> DatasetSpec:
        if "utility_gap" in self.gates and not any(t.target for t in self.tables.values()):
            raise ValueError("the gate utility_gap needs a `target` column in some table")
        return self

    @model_validator(mode="after")
    def _relational_scores_need_relations(self) -> DatasetSpec:
        relational = [name for name in self.gates if name in RELATIONAL_SCORES]
        if relational and not any(t.parents for t in self.tables.values()):
            raise ValueError(
                f"the gate {relational[0]} judges how tables refer to each other, and no table has"
                " `parents`; declare them or leave the gate out"
            )
        return self

    @model_validator(mode="after")
    def _dp_needs_the_default_family(self) -> DatasetSpec:
        if self.privacy.dp is not None and self.generator.family != "autoregressive":
            raise ValueError(
                f"privacy.dp does not go with generator.family {self.generator.family!r}: only"
                " autoregressive can be trained with differential privacy"
            )
        return self

    @model_validator(mode="after")
    def _dp_needs_every_row(self) -> DatasetSpec:
        if self.privacy.dp is not None and self.generator.outliers:
            raise ValueError(
                "privacy.dp does not go with generator.outliers: which rows are left out would"
                " depend on every row; set one of them only"
            )
        return self

    @property
    def kept(self) -> set[str]:
        """Names of the tables that are released as they are."""
        return {name for name, table in self.tables.items() if table.keep}

    def sha256(self) -> str:
        """Hash of the whole spec, written into every manifest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
