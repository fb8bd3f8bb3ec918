"""An answer's rows as JSON or as an Arrow stream."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
EXACT = 2**53  # whole numbers that every JSON reader takes exactly lie below


def as_json(table: pa.Table, types: list[str], truncated: bool) -> bytes:
    """Columns with their DuckDB types, rows as lists, and whether more rows exist.

    What a JSON number cannot hold exactly comes as text: decimals, whole numbers beyond 2**53, not
    a number, the infinities. Dates and times are ISO 8601, binary values hexadecimal.
    """
    columns = [
        {"name": name, "type": kind} for name, kind in zip(table.column_names, types, strict=True)
    ]
    cells = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    rows = [list(row) for row in zip(*cells, strict=True)]
    answer = {"columns": columns, "rows": rows, "truncated": truncated}
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def as_arrow(table: pa.Table, truncated: bool) -> bytes:
    """An Arrow IPC stream; the schema's metadata has `truncated`."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({"truncated": json.dumps(truncated)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -EXACT < value < EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_cell(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _cell(item) for key, item in value.items()}
    return str(value)  # decimals and intervals among them
