"""The dataset file as Pydantic models: the only thing a user must write.

`dataset_file.py` reads a YAML file into `DatasetSpec` and turns validation errors into messages
with file, line and field.
"""

from aigc_pipeline.spec.base import (
    NAME,
    RESERVED_NAMES,
    Model,
    Name,
    Scalar,
    Seconds,
    check_name,
    check_table_name,
    parse_seconds,
)
from aigc_pipeline.spec.dataset import (
    GATED_SCORES,
    LOCALES,
    QUERY_SCORES,
    RELATIONAL_SCORES,
    DatasetSpec,
    EvaluationSpec,
    Gate,
    Locale,
    ReleasesSpec,
)
from aigc_pipeline.spec.learning import (
    MIN_SUBJECTS,
    DpSpec,
    GeneratorSpec,
    PrivacySpec,
)
from aigc_pipeline.spec.mart import MartSpec
from aigc_pipeline.spec.synthesis import (
    Balance,
    Between,
    Condition,
    Scenario,
    SynthesisSpec,
    Where,
    check_scenario_name,
)
from aigc_pipeline.spec.table import (
    ColumnSpec,
    Constraint,
    Expectation,
    Kind,
    ParentSpec,
    Severity,
    Source,
    SumConstraint,
    TableSpec,
)

__all__ = [
    "GATED_SCORES",
    "LOCALES",
    "MIN_SUBJECTS",
    "NAME",
    "QUERY_SCORES",
    "RELATIONAL_SCORES",
    "RESERVED_NAMES",
    "Balance",
    "Between",
    "ColumnSpec",
    "Condition",
    "Constraint",
    "DatasetSpec",
    "DpSpec",
    "EvaluationSpec",
    "Expectation",
    "Gate",
    "GeneratorSpec",
    "Kind",
    "Locale",
    "MartSpec",
    "Model",
    "Name",
    "ParentSpec",
    "PrivacySpec",
    "ReleasesSpec",
    "Scalar",
    "Scenario",
    "Seconds",
    "Severity",
    "Source",
    "SumConstraint",
    "SynthesisSpec",
    "TableSpec",
    "Where",
    "check_name",
    "check_scenario_name",
    "check_table_name",
    "parse_seconds",
]
