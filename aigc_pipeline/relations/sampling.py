"""Databases: parents first, then the children of each, given the parent and the siblings before."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from aigc_pipeline.errors import InputError
from aigc_pipeline.features.category import polars_dtype
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.histories import make_children
from aigc_pipeline.relations.history import with_weekdays
from aigc_pipeline.relations.links import gather
from aigc_pipeline.relations.plan import COUNT, Fitted, TablePlan, count_name
from aigc_pipeline.relations.references import refer
from aigc_pipeline.sources import apply_derive
from aigc_pipeline.spec import Where
from aigc_pipeline.synthesis import Sampler

EVEN = 20_000  # rows of a root table, below which they are chosen by their numbers of children
MOST_TIMES = 16  # as many rows made for this as are wanted


@dataclass
class Made:
    """A table as far as it is made.

    rows: its public columns and the hidden ones its children and references need. owner: the row
    of the owner's table that each row is under, int64 [rows], -1 where there is none.
    """

    rows: pl.DataFrame
    owner: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class DatabaseSampler:
    """Fitted tables of a dataset, ready to make whole databases.

    kept: the rows of tables that are kept as they are.
    """

    graph: Graph
    plans: Mapping[str, TablePlan]
    models: Mapping[str, Fitted]
    kept: Mapping[str, pl.DataFrame]

    def sample(
        self,
        rows: Mapping[str, int],
        *,
        seed: int,
        where: Mapping[str, Where] | None = None,
        stream: str = "",
        progress: Progress = silent,
    ) -> dict[str, pl.DataFrame]:
        """All tables, every key in place; the same seed and stream give the same database.

        rows: of each root table that is made; the others' follow. where: conditions on root tables
        and kept ones, by table. Raises InputError as `Sampler.batches` does.
        """
        made: dict[str, Made] = {}
        for number, name in enumerate(self.graph.order):
            progress(f"{name}", number / len(self.graph.order))
            entropy = [seed, zlib.crc32(f"{stream}/{name}".encode())]
            made[name] = self._table(name, rows, entropy, (where or {}).get(name), made)
        return {name: made[name].rows.select(self._names(name, made)) for name in self.graph.tables}

    def _names(self, name: str, made: Mapping[str, Made]) -> list[str]:
        return self.kept[name].columns if name in self.kept else self.plans[name].columns.names

    def _table(
        self,
        name: str,
        rows: Mapping[str, int],
        entropy: list[int],
        where: Where | None,
        made: Mapping[str, Made],
    ) -> Made:
        if self.graph.tables[name].keep:
            return self._kept(name, entropy, where)
        owner = self.graph.owner_of(name)
        if owner is None:
            table = self._root(name, rows[name], entropy, where)
        else:
            table = self._owned(name, owner, entropy, made)
        return self._with_references(name, table, entropy, made)

    def _kept(self, name: str, entropy: list[int], where: Where | None) -> Made:
        """A kept table's rows, with how many children each has."""
        frame = self.kept[name]
        if where:
            from aigc_pipeline.features.conditions import condition_expr

            schema = self.plans[name].columns
            frame = frame.filter(condition_expr(schema[c], each) for c, each in where.items())
            if not len(frame):
                raise InputError(f"no row of the kept table {name!r} meets the condition; widen it")
        if name not in self.plans:
            return Made(frame)
        codec, generator = self.models[name].codec, self.models[name].generator
        columns = [c for c in codec.schema.columns if c.name in codec.known]
        known = with_weekdays(frame, columns).select(codec.known)
        given = np.full((len(frame), len(codec.codecs)), -1, dtype=np.int32)
        for i, each in enumerate(codec.codecs[: codec.known_tokens]):
            given[:, i] = each.encode(known)
        tokens = generator.sample(len(frame), seed=entropy, given=given).tokens
        counts = codec.decode(tokens, np.random.default_rng([*entropy, 1]), known=known)
        hidden = [c for c in counts.columns if c not in codec.known]
        return Made(frame.with_columns(counts.select(hidden)))

    def _root(self, name: str, rows: int, entropy: list[int], where: Where | None) -> Made:
        """A table without an owner, by its model alone.

        Of few rows, their numbers of children would be off by chance, and with them the size of
        all tables below. So more are made, and chosen evenly by these numbers.
        """
        codec = self.models[name].codec
        sampler = Sampler(codec, self.models[name].generator)
        counts = [column for column in codec.schema.names if column.startswith(COUNT)]
        times = max(min(MOST_TIMES, EVEN // max(rows, 1)), 1) if counts else 1
        frames = sampler.batches(rows * times, seed=entropy[0], where=where, stream=f"{entropy[1]}")
        frame = pl.concat(frames)
        if times > 1:
            rng = np.random.default_rng([*entropy, 8])
            by_count = frame.select(counts).with_row_index().sort(counts)["index"].to_numpy()
            chosen = np.sort(by_count[rng.integers(times) :: times])
            fresh = [g.make(0, rows, np.random.default_rng([*entropy, 9])) for g in codec.generated]
            frame = frame[chosen].with_columns(fresh)
        return Made(frame)

    def _owned(
        self, name: str, owner: Relation, entropy: list[int], made: Mapping[str, Made]
    ) -> Made:
        plan, parent = self.plans[name], made[owner.parent]
        context = {
            (table, column): self._gathered(owner, table, column, made)
            for table, column in plan.context
        }
        counts = parent.rows[count_name(owner)].fill_null(0).to_numpy()
        children = make_children(
            plan,
            self.graph.tables[name],
            self.models[name],
            {f"{table}.{column}": values for (table, column), values in context.items()},
            counts,
            entropy,
        )
        frame, row = children.rows, children.owner
        columns = [
            gather(parent.rows[key], row).alias(column)
            for column, key in zip(owner.columns, owner.key, strict=True)
        ]
        columns += [gather(parent.rows[column], row) for column in plan.inherited]
        frame = frame.with_columns(columns)
        frame = children.with_orphans(frame, owner, plan, np.random.default_rng([*entropy, 5]))
        if plan.numbered is not None:
            number, start = plan.numbered
            dtype = polars_dtype(plan.columns[number].dtype)
            frame = frame.with_columns(pl.Series(number, children.position + start, dtype=dtype))
        return Made(frame, row)

    def _gathered(
        self, owner: Relation, table: str, column: str, made: Mapping[str, Made]
    ) -> pl.Series:
        """A column of an owner's table, or one above it, for each row of the owner's."""
        name = owner.parent
        row = np.arange(len(made[name].rows))
        while name != table:
            row = np.where(row >= 0, made[name].owner[np.maximum(row, 0)], -1)
            above = self.graph.owner_of(name)
            assert above is not None
            name = above.parent
        return gather(made[table].rows[column], row)

    def _with_references(
        self, name: str, table: Made, entropy: list[int], made: Mapping[str, Made]
    ) -> Made:
        """The table with the keys of the parents that are no owners, and derived columns."""
        plan, spec = self.plans[name], self.graph.tables[name]
        frame, schema = table.rows, plan.columns
        for number, reference in enumerate(plan.references):
            relation = next(r for r in self.graph.relations if r.name == reference.relation)
            parents = frame if relation.is_self else made[relation.parent].rows
            rng = np.random.default_rng([*entropy, 3, number])
            codec = self.models[name].codec
            frame = frame.with_columns(refer(reference, relation, codec, frame, parents, rng))
        for relation in self.graph.references_of(name):
            if self.graph.tables[relation.parent].keep and len(relation.columns) == 1:
                rng = np.random.default_rng([*entropy, 4, relation.number])
                frame = frame.with_columns(_only_keys(frame, relation, self.kept, rng))
        if self.graph.owner_of(name) is not None:
            frame = apply_derive(frame, spec, schema)
        keys = list(spec.keys)
        if len(keys) > 1:
            first = frame.select(pl.struct(keys).is_first_distinct()).to_series().to_numpy()
            frame = frame.filter(pl.Series(first))
            return Made(frame, table.owner[first] if len(table.owner) else table.owner)
        return Made(frame, table.owner)


def _only_keys(
    frame: pl.DataFrame,
    relation: Relation,
    kept: Mapping[str, pl.DataFrame],
    rng: np.random.Generator,
) -> pl.Series:
    """A reference to a kept table, with keys in place of "(other)": rare ones, each as likely."""
    from aigc_pipeline.features.category import OTHER

    (column,), (key,) = relation.columns, relation.key
    values = frame[column]
    if values.dtype != pl.String or not (values == OTHER).any():
        return values
    keys = kept[relation.parent][key]
    rare = keys.filter(~keys.is_in(values.unique().implode()))
    rare = rare if len(rare) else keys
    drawn = rare[rng.integers(0, len(rare), len(values))]
    chosen = pl.when(values != OTHER).then(values).when(values.is_not_null()).then(drawn)
    return pl.select(chosen.alias(column)).to_series()
