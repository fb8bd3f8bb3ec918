"""`catalog.overview`: what a column is, how good, of which release, trained when and how private.

A view over the catalogue's tables, so that one query answers without a join.
"""

from __future__ import annotations

from aigc_pipeline.warehouse.catalog_tables import TABLES, CatalogTable

_OF = {table.name: table.columns for table in TABLES}
_SCORES = ("detection_auc", "utility_gap", "copied_rows", "membership_auc")
_TITLES = {
    "detection_auc": "How well boosted trees tell the table's rows from real ones; best at 0.5",
    "utility_gap": "What a prediction loses when trained on the table instead of real rows",
    "copied_rows": "Share of the table's rows that equal a training row",
    "membership_auc": "How well an attacker tells from the rows who was trained on; best at 0.5",
}

# Column -> the table of the catalogue it is taken from.
_TAKEN = {
    **dict.fromkeys(("dataset", "title", "domain", "owners"), "datasets"),
    "scenario": "tables",
    **dict.fromkeys(("schema_name", "table_name", "column_name", "position"), "columns"),
    **dict.fromkeys(("description", "kind", "data_type", "made", "nullable"), "columns"),
    **dict.fromkeys(("null_rate", "distinct_values"), "columns"),
    **dict.fromkeys(("shape_error", "shape_reference"), "columns"),
    **dict.fromkeys(("release", "released_at"), "datasets"),
    **dict.fromkeys(("trained_at", "model_family", "model_quality", "seed"), "releases"),
    **dict.fromkeys(("code_version", "privacy"), "releases"),
    **dict.fromkeys(("epsilon", "delta"), "tables"),
}

OVERVIEW = CatalogTable(
    "overview",
    "One row per column of every table and scenario, with its release, model, privacy and scores",
    {
        **{column: _OF[table][column] for column, table in _TAKEN.items()},
        **{score: ("DOUBLE", f"{_TITLES[score]}; baseline only") for score in _SCORES},
        "gates": ("BIGINT", "Gates that the table was held to; baseline only"),
        "gates_passed": ("BIGINT", "Those of them it passed"),
    },
)

SQL = f"""
SELECT {", ".join(f"{table}.{column}" for column, table in _TAKEN.items())},
  {", ".join(f"judged.{score}" for score in _SCORES)}, held.gates, held.gates_passed
FROM catalog.columns AS columns
JOIN catalog.tables AS tables USING (dataset, schema_name, table_name)
JOIN catalog.datasets AS datasets USING (dataset)
JOIN catalog.releases AS releases
  ON releases.dataset = datasets.dataset AND releases.release = datasets.release
LEFT JOIN (
  SELECT dataset, release, table_name,
    {", ".join(f"max(value) FILTER (score = '{score}') AS {score}" for score in _SCORES)}
  FROM catalog.scores GROUP BY dataset, release, table_name
) AS judged
  ON judged.dataset = datasets.dataset AND judged.release = datasets.release
  AND judged.table_name = columns.table_name AND tables.scenario = 'baseline'
LEFT JOIN (
  SELECT dataset, release, table_name, count(*) AS gates,
    count(*) FILTER (passed) AS gates_passed
  FROM catalog.checks WHERE check_type = 'gate' GROUP BY dataset, release, table_name
) AS held
  ON held.dataset = datasets.dataset AND held.release = datasets.release
  AND held.table_name = columns.table_name AND tables.scenario = 'baseline'
"""
