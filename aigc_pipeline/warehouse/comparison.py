"""The mart that puts a dataset's baseline and its scenarios side by side.

It is made by itself wherever there is a scenario, and computed from the tables in the file at hand.
"""

from __future__ import annotations

from collections.abc import Mapping

from aigc_pipeline.errors import FieldError
from aigc_pipeline.marts import create_mart, marts_schema
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, Kind
from aigc_pipeline.warehouse.duck import connect, create_table, identifier, literal, run
from aigc_pipeline.warehouse.record import BASELINE, MartNotes, ReleasedTable

NAME = "scenario_comparison"
MOST_VALUES = 20  # of a column, those that are frequent in either table
_NUMBERS = {
    "mean": "avg({x})",
    "10th percentile": "quantile_cont({x}, 0.1)",
    "median": "quantile_cont({x}, 0.5)",
    "90th percentile": "quantile_cont({x}, 0.9)",
}
_COLUMNS = "column_name, statistic, value"


def check_name(spec: DatasetSpec) -> None:
    """Raise FieldError where a dataset has a mart of its own by this name."""
    for name in spec.marts:
        if name.lower() == NAME:
            text = "this mart is made by itself where there are scenarios; rename yours"
            raise FieldError([(("marts", name), text)])


def plan_comparison(
    dataset: str, tables: list[ReleasedTable], schemas: Mapping[str, TableSchema]
) -> list[MartNotes]:
    """The mart of a release with these tables; none where no scenario is among them."""
    baseline = {table.table: table for table in tables if table.scenario == BASELINE}
    parts = [
        _compare(baseline[table.table], table, schemas[table.table])
        for table in tables
        if table.scenario != BASELINE
    ]
    if not parts:
        return []
    statement = " UNION ALL ".join(parts)
    with connect() as connection:
        for schema in dict.fromkeys([marts_schema(dataset), *(t.schema_name for t in tables)]):
            run(connection, f"CREATE SCHEMA {identifier(schema)}")
        for table in tables:
            create_table(connection, table.name, table.columns)
        columns = create_mart(connection, (marts_schema(dataset), NAME), "table", statement)
    return [
        MartNotes(
            name=NAME,
            title="Scenarios beside the baseline",
            description="What each column is like in a scenario and in the baseline: means and"
            " percentiles of numbers, shares of the most frequent values, shares of missing ones."
            " Moments are years with a fraction.",
            kind="table",
            sql=statement,
            statement=statement,
            columns=columns,
        )
    ]


def _compare(baseline: ReleasedTable, scenario: ReleasedTable, schema: TableSchema) -> str:
    """Rows of one table in one scenario."""
    both = [_statistics(table, schema) for table in (baseline, scenario)]
    return (
        f"SELECT {literal(scenario.scenario)} AS scenario, {literal(scenario.table)} AS table_name,"
        f" {_COLUMNS}, baseline, scenario_value, scenario_value - baseline AS difference FROM ("
        f"SELECT {_COLUMNS}, {_side('b')} AS baseline, {_side('s')} AS scenario_value"
        f" FROM ({both[0]}) b FULL JOIN ({both[1]}) s"
        " USING (column_name, statistic, value)"
        " QUALIFY statistic <> 'share' OR row_number() OVER (PARTITION BY column_name, statistic"
        f" ORDER BY greatest(baseline, scenario_value) DESC, value) <= {MOST_VALUES})"
    )


def _side(of: str) -> str:
    """One side's figure; a value that only the other side has comes there with share 0."""
    return f"CASE WHEN statistic = 'share' THEN coalesce({of}.x, 0) ELSE {of}.x END"


def _statistics(table: ReleasedTable, schema: TableSchema) -> str:
    """A query for column_name, statistic, value and x, the figure. No value is null: that of a
    statistic of the whole column is empty text."""
    place = identifier(*table.name)
    types = dict(table.columns)
    parts = [
        "SELECT '' AS column_name, 'rows' AS statistic, '' AS value, CAST(count(*) AS DOUBLE) AS x"
        f" FROM {place}"
    ]
    for column in schema.judged:
        name, said = identifier(column.name), literal(column.name)
        parts.append(
            f"SELECT {said}, 'missing', '', 1 - count({name}) / nullif(count(*), 0) FROM {place}"
        )
        number = _number(name, types[column.name], column.kind)
        if number is not None:
            parts += [
                f"SELECT {said}, {literal(statistic)}, '', {sql.format(x=number)} FROM {place}"
                for statistic, sql in _NUMBERS.items()
            ]
        else:
            parts.append(
                f"SELECT {said}, 'share', CAST({name} AS VARCHAR), count(*) / sum(count(*)) OVER ()"
                f" FROM {place} WHERE {name} IS NOT NULL GROUP BY {name}"
            )
    return " UNION ALL ".join(parts)


def _number(name: str, kind: str, meaning: Kind) -> str | None:
    """A column as a DOUBLE expression; None where its values are to be counted."""
    if meaning in (Kind.NUMBER, Kind.INTEGER) and not kind.startswith(("VARCHAR", "BOOLEAN")):
        return f"CAST({name} AS DOUBLE)"
    if meaning == Kind.DATETIME and kind.startswith(("DATE", "TIMESTAMP")):
        return f"1970 + epoch(CAST({name} AS TIMESTAMP)) / 31556952"
    return None
