"""Conditions on tables of a database: which rows meet them, and what hangs on these."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath, did_you_mean
from aigc_pipeline.features.conditions import check_where, condition_expr
from aigc_pipeline.relations.graph import Graph
from aigc_pipeline.relations.links import find_link
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Where


def by_table(
    where: Where, schemas: Mapping[str, TableSchema], graph: Graph, at: FieldPath
) -> dict[str, Where]:
    """Conditions by the table whose column they name: `customers.region`, or `region` alone.

    A column of several tables is that of the one nearest the top. Raises FieldError for a column
    that no table has, or a value that its type cannot take.
    """
    found: dict[str, Where] = {}
    for name, condition in where.items():
        table, _, column = name.rpartition(".")
        if table not in schemas:
            column = name
            having = [t for t in graph.order if name in schemas[t].names]
            learned = [t for t in having if not schemas[t][name].is_generated]
            table = next(iter(learned or having), "")
        if not table:
            known = [c for schema in schemas.values() for c in schema.names]
            text = f"unknown column {name!r}; {did_you_mean(name, known)}"
            raise FieldError([((*at, name), text)])
        check_where({column: condition}, schemas[table], at)
        found.setdefault(table, {})[column] = condition
    return found


def select(
    frames: Mapping[str, pl.DataFrame],
    where: Mapping[str, Where],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
) -> dict[str, pl.DataFrame]:
    """The rows that meet the conditions, their owners, and what these own besides.

    An owner stays if something below it that is under a condition stays. A condition on a parent
    that owns nothing is one on the rows that refer to it; such parents stay as they are, for they
    are there whoever refers to them.
    """
    keep = {name: np.ones(len(df), dtype=bool) for name, df in frames.items()}
    for name, conditions in where.items():
        schema = schemas[name]
        met = frames[name].select(
            pl.all_horizontal(condition_expr(schema[c], each) for c, each in conditions.items())
        )
        keep[name] &= met.to_series().to_numpy()
    links = {r.name: find_link(frames, r) for r in graph.relations}
    asked = set(where)
    for name in where:
        if not graph.owned_by(name) and graph.owner_of(name) is None:
            for relation in graph.children_of(name):
                row = links[relation.name].row
                keep[relation.child] &= (row >= 0) & keep[name][np.maximum(row, 0)]
                asked.add(relation.child)
            if graph.children_of(name):
                keep[name][:] = True
    for name in reversed(graph.order):  # children before their owners
        for relation in graph.owned_by(name):
            if relation.child in asked:
                row = links[relation.name].row[keep[relation.child]]
                having = np.zeros(len(frames[name]), dtype=bool)
                having[row[row >= 0]] = True
                keep[name] &= having
                asked.add(name)
    for name in graph.order:
        owner = graph.owner_of(name)
        if owner is not None:
            row = links[owner.name].row
            if owner.parent in asked:
                keep[name] &= (row >= 0) & keep[owner.parent][np.maximum(row, 0)]
                asked.add(name)
    return {name: df.filter(pl.Series(keep[name])) for name, df in frames.items()}
