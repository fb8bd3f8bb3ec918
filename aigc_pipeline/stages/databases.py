"""Features and synthetic rows of a dataset whose tables refer to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features.table import holds
from aigc_pipeline.generators.training import Progress
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.relations import Graph, graph_of
from aigc_pipeline.relations.frames import Wide, widen
from aigc_pipeline.relations.plan import TablePlan
from aigc_pipeline.relations.requests import DatabaseMaker
from aigc_pipeline.relations.sampling import DatabaseSampler
from aigc_pipeline.relations.selection import by_table, select
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, Scenario, TableSpec
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.tabular import TableModel


def is_database(spec: DatasetSpec) -> bool:
    """Whether the tables are learned together: some refer to others, or are kept."""
    return Graph(spec.tables).is_related or bool(spec.kept)


def wide_tables(
    validated: Version, spec: DatasetSpec, schemas: Mapping[str, TableSchema]
) -> dict[str, Wide]:
    """What each table's model is to learn, from the training rows of the validated tables."""
    train = train_rows(validated, spec)
    return widen(
        train,
        graph_of(spec),
        schemas,
        whole={name: read_whole(validated, spec, name, df) for name, df in train.items()},
        min_subjects=spec.privacy.min_subjects,
    )


def train_rows(validated: Version, spec: DatasetSpec) -> dict[str, pl.DataFrame]:
    """The training rows of every table."""
    return {name: read_parquet(validated.file(f"{name}/train.parquet")) for name in spec.tables}


def read_whole(
    validated: Version, spec: DatasetSpec, table: str, train: pl.DataFrame | None = None
) -> pl.DataFrame:
    """All real rows of a table, training and holdout, each once; train: if it was read before."""
    if train is None:
        train = read_parquet(validated.file(f"{table}/train.parquet"))
    if spec.tables[table].keep and not Graph(spec.tables).owned_by(table):
        return train  # both sides have all of it
    return pl.concat([train, read_parquet(validated.file(f"{table}/holdout.parquet"))])


class Databases:
    """The databases a dataset asks for: the baseline, and one for each scenario."""

    def __init__(
        self,
        lake: Lake,
        spec: DatasetSpec,
        model: Version,
        models: Mapping[str, TableModel],
        schemas: Mapping[str, TableSchema],
        validated: Version,
    ) -> None:
        self.spec = spec
        plans = model.read_json("plans.json")
        sampler = DatabaseSampler(
            graph_of(spec),
            {name: TablePlan.model_validate(plan) for name, plan in plans.items()},
            models,
            {name: read_whole(validated, spec, name) for name in spec.kept},
        )
        raw = input_of(lake, validated, "raw")
        self.maker = DatabaseMaker(sampler, schemas, raw.meta["rows"])

    def tables(
        self, name: str, scenario: Scenario | None, rows: int | None, seed: int, progress: Progress
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """All tables of the baseline, or of a scenario.

        rows: of each table that owns others; under conditions, of the lowest table that has one.
        Raises InputError where no row meets the conditions, and ArtefactError for a row that does
        not meet them after all.
        """
        told: dict[str, Any] = {"seed": seed, "stream": name, "progress": progress}
        size = self.spec.synthesis.rows
        if scenario is None:
            yield from self.maker.make(rows or size, **told).items()
            return
        at = ("synthesis", "scenarios", name, "where")
        where = by_table(scenario.where, self.maker.schemas, self.maker.graph, at)
        try:
            made = self.maker.make(size, where=where, wanted=scenario.rows or rows, **told)
        except InputError as error:
            raise InputError(f"scenario {name!r}: {error}") from error
        left = select(made, where, self.maker.schemas, self.maker.graph)
        if odd := [table for table, df in made.items() if len(left[table]) < len(df)]:
            raise ArtefactError(f"scenario {name!r}: rows of {', '.join(odd)} break its conditions")
        yield from made.items()


def rules_hold(table: TableSpec, schema: TableSchema) -> pl.Expr:
    """Whether a row keeps the table's own inequalities; those with its owner hold by design."""
    columns = {c.name: c for c in schema.columns}
    rules = [c for c in table.constraints if c.less_equal or c.less_than]
    checks = [holds(rule, columns) for rule in rules if set(rule.columns()) <= columns.keys()]
    return pl.all_horizontal(checks) if checks else pl.lit(True)
