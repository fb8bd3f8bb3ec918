"""Features and synthetic rows of a dataset whose tables refer to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features.table import holds
from aigc_pipeline.generators.training import Progress
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.relations import Graph, graph_of
from aigc_pipeline.relations.frames import Wide, widen
from aigc_pipeline.relations.plan import TablePlan
from aigc_pipeline.relations.sampling import DatabaseSampler
from aigc_pipeline.relations.selection import by_table, select
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, Scenario, TableSpec, Where
from aigc_pipeline.tabular import TableModel

PILOT = 2000  # rows of each root table that tell how often a condition on a child is met
ATTEMPTS = 3


def is_database(spec: DatasetSpec) -> bool:
    """Whether the tables are learned together: some refer to others, or are kept."""
    return Graph(spec.tables).is_related or bool(spec.kept)


def wide_tables(
    validated: Version, spec: DatasetSpec, schemas: Mapping[str, TableSchema]
) -> dict[str, Wide]:
    """What each table's model is to learn, from the training rows of the validated tables."""
    train = {name: read_parquet(validated.file(f"{name}/train.parquet")) for name in spec.tables}
    return widen(
        train,
        graph_of(spec),
        schemas,
        whole={name: read_whole(validated, spec, name) for name in spec.tables},
        min_subjects=spec.privacy.min_subjects,
    )


def read_whole(validated: Version, spec: DatasetSpec, table: str) -> pl.DataFrame:
    """All real rows of a table, training and holdout, each once."""
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
        self.spec, self.graph, self.schemas = spec, graph_of(spec), schemas
        plans = model.read_json("plans.json")
        self.sampler = DatabaseSampler(
            self.graph,
            {name: TablePlan.model_validate(plan) for name, plan in plans.items()},
            models,
            {name: read_whole(validated, spec, name) for name in spec.kept},
        )
        self.source_rows = lake.current(spec.name, "raw").meta["rows"]

    def tables(
        self, name: str, scenario: Scenario | None, rows: int | None, seed: int, progress: Progress
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """All tables of the baseline, or of a scenario.

        rows: of each table that owns others; under conditions, of the lowest table that has one.
        Raises InputError where too few rows meet the conditions.
        """
        if scenario is None:
            total = rows or self.spec.synthesis.rows
            yield from self._sample(total, {}, name, seed, progress).items()
            return
        at = ("synthesis", "scenarios", name, "where")
        where = by_table(scenario.where, self.schemas, self.graph, at)
        above = {t: w for t, w in where.items() if self._leads(t)}
        below = {t: w for t, w in where.items() if t not in above}
        wanted = scenario.rows or rows
        if below:
            made = self._selected(name, above, below, wanted, seed, progress)
        else:
            total = wanted or self.spec.synthesis.rows
            made = self._sample(total, above, name, seed, progress)
        yield from made.items()

    def _sample(
        self,
        rows: int | None,
        where: Mapping[str, Where],
        stream: str,
        seed: int,
        progress: Progress,
    ) -> dict[str, pl.DataFrame]:
        return self.sampler.sample(
            self._roots(rows), seed=seed, where=where, stream=stream, progress=progress
        )

    def _selected(
        self,
        name: str,
        above: Mapping[str, Where],
        below: Mapping[str, Where],
        wanted: int | None,
        seed: int,
        progress: Progress,
    ) -> dict[str, pl.DataFrame]:
        """A database made large enough that `wanted` rows of the lowest table stay."""
        lowest = max(below, key=self.graph.order.index)
        if self._is_looked_up(lowest):  # what refers to it is meant
            lowest = self.graph.children_of(lowest)[0].child
        roots = PILOT if self._scaled() else None
        for attempt in range(ATTEMPTS):
            made = self._sample(roots, above, f"{name}/{attempt}", seed, progress)
            chosen = select(made, below, self.schemas, self.graph)
            found = len(chosen[lowest])
            if found and (wanted is None or found >= wanted) and (attempt or wanted is None):
                return chosen
            if roots is None:
                break
            if not found:
                roots *= 10
                continue
            if wanted is None:
                return chosen
            roots = round(roots * wanted / found * 1.2) + 10
        if found:
            return chosen
        raise InputError(
            f"scenario {name!r}: no row of {lowest!r} met the condition among {len(made[lowest]):,}"
            " that were made; widen it"
        )

    def _leads(self, table: str) -> bool:
        """Whether rows can be made under a condition on this table: nothing is made before it."""
        return self.graph.owner_of(table) is None and not self._is_looked_up(table)

    def _is_looked_up(self, table: str) -> bool:
        """Whether others refer to the table, and it owns nothing."""
        return bool(self.graph.children_of(table)) and not self.graph.owned_by(table)

    def _scaled(self) -> list[str]:
        """Root tables whose number of rows can be chosen: those that own others, or stand alone."""
        roots = [t for t in self.graph.order if self.graph.owner_of(t) is None]
        made = [t for t in roots if not self.graph.tables[t].keep]
        return [t for t in made if not self._is_looked_up(t)]

    def _roots(self, rows: int | None) -> dict[str, int]:
        """Rows of every root table that is made: as many as the source has, by default."""
        scaled = self._scaled()
        if rows is not None and not scaled:
            raise InputError(
                "the number of rows follows from the tables that are kept; leave out `rows`"
            )
        return {
            table: rows if rows is not None and table in scaled else self.source_rows[table]
            for table in self.graph.order
            if self.graph.owner_of(table) is None and not self.graph.tables[table].keep
        }


def rules_hold(table: TableSpec, schema: TableSchema) -> pl.Expr:
    """Whether a row keeps the table's own inequalities; those with its owner hold by design."""
    columns = {c.name: c for c in schema.columns}
    rules = [c for c in table.constraints if c.less_equal or c.less_than]
    checks = [holds(rule, columns) for rule in rules if set(rule.columns()) <= columns.keys()]
    return pl.all_horizontal(checks) if checks else pl.lit(True)
