"""Related tables: keys, parents and children, order within a parent."""

from aigc_pipeline.relations.declared import graph_of
from aigc_pipeline.relations.graph import Graph, Relation
from aigc_pipeline.relations.keys import (
    RelationFacts,
    check_owner_columns,
    drop_orphans,
    inspect_relations,
)
from aigc_pipeline.relations.split import split_tables

__all__ = [
    "Graph",
    "Relation",
    "RelationFacts",
    "check_owner_columns",
    "drop_orphans",
    "graph_of",
    "inspect_relations",
    "split_tables",
]
