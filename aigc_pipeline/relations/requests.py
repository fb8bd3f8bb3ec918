"""Databases as they are asked for: of a size, and under conditions on any of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.features.conditions import condition_expr
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.relations.graph import Graph
from aigc_pipeline.relations.sampling import DatabaseSampler
from aigc_pipeline.relations.selection import select
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Where

PILOT = 2000  # rows of each root table that tell how often a condition on a child is met
ATTEMPTS = 3

Size = int | Mapping[str, int] | None
Frames = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class DatabaseMaker:
    """Makes databases of a size, under conditions.

    source_rows: of each table in the source; by default as many are made.
    """

    sampler: DatabaseSampler
    schemas: Mapping[str, TableSchema]
    source_rows: Mapping[str, int]

    @property
    def graph(self) -> Graph:
        """How the tables refer to each other."""
        return self.sampler.graph

    def make(
        self,
        size: Size = None,
        *,
        where: Mapping[str, Where] | None = None,
        wanted: int | None = None,
        seed: int,
        stream: str = "",
        progress: Progress = silent,
    ) -> Frames:
        """All tables.

        size: rows of each table that owns others or stands alone, or rows by table, as in the
        source by default. where: conditions by table. wanted: instead of a size, rows of the lowest
        table that has a condition; a few more are made, or fewer where it is hardly ever met.
        Raises InputError where none meets the conditions, or a size is given that is not free.
        """
        above = {table: each for table, each in (where or {}).items() if self._leads(table)}
        below = {table: each for table, each in (where or {}).items() if table not in above}

        def sample(roots: Size, part: str = "") -> Frames:
            return self.sampler.sample(
                self._roots(roots), seed=seed, where=above, stream=stream + part, progress=progress
            )

        if not below:
            return sample(size if wanted is None else wanted)
        for table, each in below.items():
            self._check_possible(table, each)
        lowest = self._lowest(below)
        roots = size if wanted is None else PILOT if self._scaled() else None
        for attempt in range(ATTEMPTS):
            made = sample(roots, f"/{attempt}")
            chosen = select(made, below, self.schemas, self.graph)
            found = len(chosen[lowest])
            if wanted is None or not isinstance(roots, int) or (attempt and found >= wanted):
                break
            if attempt and not found:  # more of the same would take minutes, and hardly help
                break
            roots = round(roots * wanted / found * 1.2) + 10 if found else roots * 10
        if not found:
            raise InputError(
                f"no row of {lowest!r} met the condition among {len(made[lowest]):,} that were"
                " made; widen it"
            )
        return chosen

    def _check_possible(self, table: str, where: Where) -> None:
        """Raise InputError for a condition that no row of a table can meet, before any is made."""
        if table in self.sampler.kept:
            schema, rows = self.schemas[table], self.sampler.kept[table]
            met = len(rows.filter(condition_expr(schema[c], each) for c, each in where.items())) > 0
        else:
            met = all(
                mask.any() for mask in self.sampler.models[table].codec.allowed(where).values()
            )
        if not met:
            raise InputError(
                f"no value of {', '.join(where)} in {table!r} that was learned meets the condition"
                " (values of fewer than min_subjects subjects are not learned); widen it"
            )

    def _lowest(self, below: Mapping[str, Where]) -> str:
        """The table furthest down that has a condition, or refers to one that has."""
        lowest = max(below, key=self.graph.order.index)
        return self.graph.children_of(lowest)[0].child if self._is_looked_up(lowest) else lowest

    def _leads(self, table: str) -> bool:
        """Whether rows can be made under a condition on this table: nothing is made before it."""
        return self.graph.owner_of(table) is None and not self._is_looked_up(table)

    def _is_looked_up(self, table: str) -> bool:
        """Whether others refer to the table, and it owns nothing."""
        return bool(self.graph.children_of(table)) and not self.graph.owned_by(table)

    def _made_roots(self) -> list[str]:
        """Tables that are made without an owner."""
        roots = [t for t in self.graph.order if self.graph.owner_of(t) is None]
        return [t for t in roots if not self.graph.tables[t].keep]

    def _scaled(self) -> list[str]:
        """Tables whose number of rows can be chosen: those that own others, or stand alone."""
        return [t for t in self._made_roots() if not self._is_looked_up(t)]

    def _roots(self, size: Size) -> dict[str, int]:
        """Rows of every table that is made without an owner."""
        roots, scaled = self._made_roots(), self._scaled()
        if isinstance(size, Mapping):
            unknown = next((table for table in size if table not in roots), None)
            if unknown is not None:
                hint = did_you_mean(unknown, roots)
                raise InputError(f"the number of rows of {unknown!r} cannot be chosen; {hint}")
            return {table: size.get(table, self.source_rows[table]) for table in roots}
        if size is not None and not scaled:
            raise InputError(
                "the number of rows follows from the tables that are kept; leave out `rows`"
            )
        return {
            table: size if size is not None and table in scaled else self.source_rows[table]
            for table in roots
        }
