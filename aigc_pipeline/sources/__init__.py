"""Tables from where they are kept: read, checked, typed, with derived columns computed."""

from aigc_pipeline.sources.derive import apply_derive, derive_agreement
from aigc_pipeline.sources.infer import infer_schema
from aigc_pipeline.sources.read import content_hash, read_table, read_table_and_hash
from aigc_pipeline.sources.suggest import suggest_dataset

__all__ = [
    "apply_derive",
    "content_hash",
    "derive_agreement",
    "infer_schema",
    "read_table",
    "read_table_and_hash",
    "suggest_dataset",
]
