"""What the tables of the warehouse's `catalog` schema are: names, DuckDB types and descriptions."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = "catalog"


@dataclass(frozen=True)
class CatalogTable:
    """One table of the catalogue; columns map to a DuckDB type and a description."""

    name: str
    description: str
    columns: dict[str, tuple[str, str]]


_DATASET = {"dataset": ("VARCHAR", "Dataset: the schema that has its baseline tables")}
_TABLE = {
    "schema_name": ("VARCHAR", "Schema of the table in this warehouse"),
    "table_name": ("VARCHAR", "Table, named as its source"),
}
_RELEASE = {"release": ("VARCHAR", "Release id; ids sort in the order of release")}
_RELEASED_AT = {"released_at": ("TIMESTAMP", "When the release was approved, UTC")}

TABLES = (
    CatalogTable(
        "datasets",
        "One row per dataset in this warehouse",
        {
            **_DATASET,
            "title": ("VARCHAR", "Title from the dataset file"),
            "description": ("VARCHAR", "Description from the dataset file"),
            "domain": ("VARCHAR", "Field of business, e.g. finance"),
            "owners": ("VARCHAR", "Whom to ask, separated by commas"),
            **_RELEASE,
            **_RELEASED_AT,
            "tables": ("BIGINT", "Number of baseline tables"),
            "rows": ("BIGINT", "Rows of all baseline tables"),
        },
    ),
    CatalogTable(
        "scenarios",
        "One row per what-if schema: rows sampled under conditions",
        {
            **_DATASET,
            "scenario": ("VARCHAR", "Name of the what-if"),
            "schema_name": ("VARCHAR", "Schema that has its tables"),
            "description": ("VARCHAR", "Description from the dataset file"),
            "conditions": (
                "VARCHAR",
                "What every row meets, as JSON: column to value, list of values or range",
            ),
            "shares": (
                "VARCHAR",
                "What share of the rows has a value, as JSON: column to value to share",
            ),
            "ad_hoc": (
                "BOOLEAN",
                "Whether it was made from a released model and is not in the dataset file: the next"
                " run's release does not have it",
            ),
            "rows": ("BIGINT", "Rows of all its tables"),
        },
    ),
    CatalogTable(
        "tables",
        "One row per table and scenario",
        {
            **_DATASET,
            "scenario": ("VARCHAR", "baseline, or the name of the what-if"),
            **_TABLE,
            "description": ("VARCHAR", "Description from the dataset file"),
            "primary_key": ("VARCHAR", "Key column, generated afresh"),
            "target": ("VARCHAR", "Column that the utility score predicts"),
            "columns": ("BIGINT", "Number of columns"),
            "rows": ("BIGINT", "Number of rows"),
            "epsilon": (
                "DOUBLE",
                "Differential privacy: what training its model spent; missing if there is none",
            ),
            "delta": ("DOUBLE", "The delta that goes with epsilon"),
            "epsilon_of_source": (
                "DOUBLE",
                "Epsilon of all trainings on the table's source up to this release",
            ),
            **_RELEASE,
        },
    ),
    CatalogTable(
        "columns",
        "One row per column of every table and scenario",
        {
            **_DATASET,
            **_TABLE,
            "position": ("BIGINT", "Place in the table, from 1"),
            "column_name": ("VARCHAR", "Column, named as in its source"),
            "kind": (
                "VARCHAR",
                "Meaning: number, integer, category, boolean, datetime, id or text",
            ),
            "data_type": ("VARCHAR", "DuckDB type"),
            "nullable": ("BOOLEAN", "Whether the source has missing values here"),
            "null_rate": ("DOUBLE", "Share of missing values in the synthetic table, 0 to 1"),
            "distinct_values": (
                "BIGINT",
                "Distinct values in the synthetic table, missing ones apart",
            ),
            "description": ("VARCHAR", "Description from the dataset file"),
            "made": (
                "VARCHAR",
                "How: learned, generated afresh (keys, ids), faked (personal data) or computed",
            ),
            "shape_error": (
                "DOUBLE",
                "Distance of the distribution from the real one, 0 to 1; baseline only",
            ),
            "shape_reference": ("DOUBLE", "The distance that fresh real rows have"),
        },
    ),
    CatalogTable(
        "relations",
        "One row per way in which rows of a table refer to rows of another",
        {
            **_DATASET,
            "child": ("VARCHAR", "Table whose rows refer"),
            "columns": ("VARCHAR", "Its columns that hold the parent's key, separated by commas"),
            "parent": ("VARCHAR", "Table they refer to"),
            "key": ("VARCHAR", "Key columns of the parent, in the same order"),
            "optional": ("BOOLEAN", "Whether a row may have no parent"),
        },
    ),
    CatalogTable(
        "marts",
        "One row per mart: a query that BI may start from",
        {
            **_DATASET,
            "schema_name": ("VARCHAR", "Schema of the mart in this warehouse"),
            "name": ("VARCHAR", "Mart"),
            "title": ("VARCHAR", "Title from its SQL file or the dataset file"),
            "description": ("VARCHAR", "Description from its SQL file or the dataset file"),
            "sql": ("VARCHAR", "Query as its author wrote it"),
            "kind": ("VARCHAR", "view (computed when asked) or table (computed at the release)"),
            "columns": ("VARCHAR", "Its columns, separated by commas"),
        },
    ),
    CatalogTable(
        "releases",
        "One row per release kept, in force or not",
        {
            **_DATASET,
            **_RELEASE,
            "created_at": ("TIMESTAMP", "When it was approved, UTC"),
            "is_current": ("BOOLEAN", "Whether it is the one in this warehouse"),
            "code_version": ("VARCHAR", "Version of aigc_pipeline"),
            "seed": ("BIGINT", "Seed the rows were sampled from"),
            "based_on": (
                "VARCHAR",
                "Release that this one adds a scenario to, or drops one from; missing of a run's",
            ),
            "rows": ("BIGINT", "Rows of all baseline tables"),
            "model_family": ("VARCHAR", "Family of the generator"),
            "model_quality": ("VARCHAR", "Effort the generator was trained with"),
            "trained_at": (
                "TIMESTAMP",
                "When the model was trained, UTC; missing if the model is no longer kept",
            ),
            "privacy": ("VARCHAR", "Privacy settings as JSON"),
            "spec_sha256": ("VARCHAR", "Hash of the dataset file"),
            "problem": (
                "VARCHAR",
                "What is damaged, if anything; its other facts are then left out",
            ),
        },
    ),
    CatalogTable(
        "scores",
        "One row per release, table and score, for every release kept",
        {
            **_DATASET,
            **_RELEASE,
            **_RELEASED_AT,
            "is_current": ("BOOLEAN", "Whether the release is the one in this warehouse"),
            "table_name": (
                "VARCHAR",
                "Table that was judged; (relations) and (queries) for all together",
            ),
            "score": ("VARCHAR", "Name of the score"),
            "value": ("DOUBLE", "Score of the synthetic rows; missing if not evaluated"),
            "error": ("DOUBLE", "Standard error of the value, from the rows it was computed on"),
            "reference": ("DOUBLE", "Score that fresh real rows get"),
            "better": ("VARCHAR", "low, high, or half (best at 0.5)"),
            "description": ("VARCHAR", "What the score says"),
            "why_not": ("VARCHAR", "Why it was not evaluated"),
        },
    ),
    CatalogTable(
        "checks",
        "One row per gate, validation rule and column's drift of every release kept",
        {
            **_DATASET,
            **_RELEASE,
            "table_name": (
                "VARCHAR",
                "Table that was checked; (relations) and (queries) for all together",
            ),
            "check_type": (
                "VARCHAR",
                "gate (a score's limit), validation (a rule for the source) or drift (how far a"
                " column of the source moved since the run before)",
            ),
            "name": ("VARCHAR", "Score or rule"),
            "column_name": ("VARCHAR", "Column a rule is about"),
            "severity": ("VARCHAR", "critical stops the run, warning is reported"),
            "passed": ("BOOLEAN", "Whether it held"),
            "value": ("DOUBLE", "Score that was held against the limit, or the column's distance"),
            "accepted": ("VARCHAR", "The gate's limit"),
            "rows_seen": ("BIGINT", "Rows a rule looked at"),
            "failed_rows": ("BIGINT", "Rows that broke it"),
        },
    ),
    CatalogTable(
        "lineage",
        "One row per artefact and input of every release kept, back to the sources",
        {
            **_DATASET,
            **_RELEASE,
            "from_stage": ("VARCHAR", "Stage of the input"),
            "from_version": ("VARCHAR", "Version of the input"),
            "from_sha256": ("VARCHAR", "Hash of the input's manifest"),
            "to_stage": ("VARCHAR", "Stage of what was made from it"),
            "to_version": ("VARCHAR", "Version of what was made from it"),
            "to_sha256": ("VARCHAR", "Hash of the manifest of what was made from it"),
        },
    ),
)
