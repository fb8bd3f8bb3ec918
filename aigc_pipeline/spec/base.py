"""What all parts of a dataset file share: strict models, names, durations, scalars."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
# Schemas and databases that the warehouse has itself: `warehouse.loans` would be ambiguous.
RESERVED_NAMES = {
    "catalog", "main", "information_schema", "pg_catalog", "temp", "system", "memory", "warehouse",
}  # fmt: skip


def check_name(name: str) -> str:
    """A dataset or scenario name: it becomes a folder and a warehouse schema."""
    if not NAME.fullmatch(name) or "__" in name or name.endswith("_marts"):
        raise ValueError(
            f"{name!r} cannot name a folder and a warehouse schema: use a lower-case letter, then"
            " letters, digits and single underscores, 48 at most, not ending in '_marts'"
        )
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is taken by the warehouse itself; choose another name")
    return name


def check_table_name(name: str) -> str:
    """A table name: any text that is safe as a file name on every system."""
    if (
        not name
        or name != name.strip()
        or name.startswith(".")
        or re.search(r'[/\\:*?"<>|\x00-\x1f]', name)
    ):
        raise ValueError(
            f'{name!r} cannot name a table: leave out / \\ : * ? " < > | and control characters,'
            " a leading dot and outer spaces"
        )
    if len(name.encode()) > 200:  # file systems take 255, and other parts are added
        raise ValueError(f"{name[:40]!r}… cannot name a table: it may have at most 200 bytes")
    return name


def parse_seconds(value: Any) -> Any:
    """`60`, `"60s"`, `"2m"` or `"1h"` as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is no duration: write seconds, or e.g. 90s, 2m, 1h")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    return value


Name = Annotated[str, Field(min_length=1)]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds, json_schema_input_type=float | str), Field(gt=0)
]
Scalar = bool | int | float | date | datetime | str | None


class Model(BaseModel):
    """Strict base: an unknown field is an error, and a spec never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
