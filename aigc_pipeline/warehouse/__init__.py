"""The release and the warehouse: approved synthetic tables in a DuckDB file that BI opens."""

from aigc_pipeline.warehouse.diff import ReleaseDiff, diff
from aigc_pipeline.warehouse.history import ReleaseInfo, releases, rollback
from aigc_pipeline.warehouse.publish import publish
from aigc_pipeline.warehouse.query import QueryResult, check_warehouse, query
from aigc_pipeline.warehouse.release import create_release

__all__ = [
    "QueryResult",
    "ReleaseDiff",
    "ReleaseInfo",
    "check_warehouse",
    "create_release",
    "diff",
    "publish",
    "query",
    "releases",
    "rollback",
]
