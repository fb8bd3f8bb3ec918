"""Related tables: keys, parents and children, order within a parent."""

from aigc_pipeline.relations.graph import Graph, Relation

__all__ = ["Graph", "Relation"]
