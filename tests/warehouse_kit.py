"""What the release and warehouse tests start from: a small dataset, up to its evaluation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.evaluation.result import ColumnScore, Evaluation, Score
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import ShardWriter
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import DatasetSpec, Kind
from aigc_pipeline.warehouse import create_release, query
from aigc_pipeline.warehouse.duck import identifier

# As hostile as a name may be: a table's must be safe as a file name, a column's need not.
TABLE = "o'rder items; DROP TABLE orders; -- 订单[1]"
COLUMN = 'pri"ce); DROP SCHEMA shop; -- 价格'
SECRET = "learned from real rows: between 17 and 83"
# What a BI tool looks at: every table and column that is not DuckDB's own, with its comment.
COMMENTS = (
    "SELECT schema_name, table_name, '' AS column_name, comment FROM duckdb_tables()"
    " UNION ALL SELECT schema_name, table_name, column_name, comment FROM duckdb_columns()"
    " WHERE NOT internal ORDER BY ALL"
)


@dataclass(frozen=True)
class Made:
    """What `create_release` takes."""

    synthetic: Version
    evaluation: Version
    schemas: dict[str, TableSchema]


def shop(name: str = "shop", **changes: Any) -> DatasetSpec:
    """A dataset of two tables and one scenario, with a gate that `make` meets."""
    source = {"file": "shop.csv"}
    orders = {
        "description": "One order; its customer's own words",
        "source": source,
        "key": "order_id",
        "target": "amount",
    }
    fields: dict[str, Any] = {
        "name": name,
        "title": "A shop's orders",
        "domain": "e-commerce",
        "owners": ["ann@example.com", "bo@example.com"],
        "tables": {"orders": orders, TABLE: {"source": source}},
        "synthesis": {
            "seed": 7,
            "scenarios": {
                "crisis": {
                    "description": "Small orders only.",
                    "where": {"amount": {"max": 10}, "city": ["Bern", None]},
                    "rows": 3,
                }
            },
        },
        "gates": {"detection_auc": {"max": 0.65}},
    }
    return DatasetSpec.model_validate({**fields, **changes})


def column(name: str, kind: Kind, dtype: str, **more: Any) -> ColumnSchema:
    """A column of a schema, nullable unless it says otherwise."""
    return ColumnSchema(name=name, kind=kind, dtype=dtype, **{"nullable": True, **more})


def shop_schemas() -> dict[str, TableSchema]:
    """The columns of `shop`'s tables."""
    whole = {"kind": Kind.INTEGER, "dtype": "Int64", "nullable": False}
    orders = [
        column("order_id", Kind.ID, "Int64", key=True, nullable=False),
        column("city", Kind.CATEGORY, "String", description="Where it's sent"),
        column("amount", Kind.NUMBER, "Float64"),
        column("day", Kind.DATETIME, "Date"),
        ColumnSchema(name="generation", **whole),
    ]
    items = [ColumnSchema(name="order_id", **whole), column(COLUMN, Kind.NUMBER, "Float64")]
    items += [ColumnSchema(name="generation", **whole)]
    return {
        "orders": TableSchema(name="orders", columns=orders),
        TABLE: TableSchema(name=TABLE, columns=items),
    }


def shop_rows(generation: int, rows: int) -> dict[str, pl.DataFrame]:
    """Rows of `shop`'s tables; all carry the generation, so that a mixture would show."""
    numbers = range(rows)
    orders = pl.DataFrame(
        {
            "order_id": list(numbers),
            "city": [("Bern", "São Paulo", None)[i % 3] for i in numbers],
            "amount": [None if i % 4 == 0 else i / 8 + generation for i in numbers],
            "day": [date(2024, 1, 1) + timedelta(days=i) for i in numbers],
            "generation": [generation] * rows,
        },
        schema_overrides={"city": pl.String, "amount": pl.Float64},
    )
    price = pl.Series([i / 4 for i in numbers], dtype=pl.Float64)
    items = orders.select("order_id", price.alias(COLUMN), "generation")
    return {"orders": orders, TABLE: items}


def make(
    lake: Lake,
    spec: DatasetSpec,
    generation: int = 1,
    *,
    rows: int = 10,
    tables: dict[str, pl.DataFrame] | None = None,
    schemas: dict[str, TableSchema] | None = None,
    auc: float = 0.55,
) -> Made:
    """Versions of the stages up to the evaluation; `tables` and `schemas` replace the shop's."""
    schemas = schemas or shop_schemas()
    scenarios = {"baseline": tables or shop_rows(generation, rows)}
    if tables is None:
        scenarios["crisis"] = shop_rows(generation, 3)
    with lake.writing(spec.name, "validated") as validated:
        rule = {"rule": "expect_column_values_to_be_between", "column": "amount", "success": True}
        rule |= {"severity": "warning", "rows_seen": 90, "failed_rows": 2, "origin": "schema"}
        for name in schemas:
            report = {"table": name, "rows": 90, "results": [rule | {"message": SECRET}]}
            validated.write_json(f"{name}/validation.json", report)
    assert validated.version
    with lake.writing(spec.name, "model", inputs={"validated": validated.version}) as model:
        model.write_json("model.json", {"generation": generation})
        model.meta.update(quality="high")  # a run may ask for more than the dataset file
    assert model.version
    with lake.writing(spec.name, "synthetic", inputs={"model": model.version}) as synthetic:
        for scenario, frames in scenarios.items():
            for name, frame in frames.items():
                with ShardWriter(synthetic.path / scenario / name, rows_per_shard=4) as writer:
                    writer.write(frame)
    assert synthetic.version
    inputs = {
        "synthetic": synthetic.version,
        "validated": validated.version,
        "model": model.version,
    }
    with lake.writing(spec.name, "evaluation", inputs=inputs) as evaluation:
        judged = {name: judge(schema, auc).model_dump() for name, schema in schemas.items()}
        evaluation.write_json("scores.json", {"evaluations": judged, "gates": []})
        (evaluation.path / "report.html").write_text("<h1>Scores</h1>", encoding="utf-8")
    assert evaluation.version
    return Made(synthetic.version, evaluation.version, schemas)


def every_type() -> pl.DataFrame:
    """A value and a gap of each type that a source may have."""
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "unsigned": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
            "tiny": pl.Series([-128, None], dtype=pl.Int8),
            "float": [float("nan"), None],
            "float32": pl.Series([0.1, None], dtype=pl.Float32),
            "decimal": [Decimal("-1.25"), None],
            "text": ["", None],
            "boolean": [True, None],
            "day": [datetime(1, 1, 1).date(), None],
            "hour": [time(23, 59, 59, 999999), None],
            "moment": [datetime(9999, 1, 1, 0, 0, 0, 1), None],
            "span": [timedelta(hours=-3, microseconds=1), None],
            "nothing": [None, None],
            COLUMN: [1.5, None],
        }
    )
    return frame.with_columns(
        pl.lit(datetime(2024, 5, 1)).dt.replace_time_zone("UTC").alias("zoned")
    )


def odd_shop(lake: Lake, frame: pl.DataFrame, names: list[str] | None = None) -> dict[str, Any]:
    """What `create_release` takes for a dataset of one table, with the given rows."""
    source = {"source": {"file": "odd.csv"}}
    spec = shop("odd", tables={"odd": source}, synthesis={}, gates={})
    columns = [column(name, Kind.NUMBER, "Float64") for name in names or frame.columns]
    schemas = {"odd": TableSchema(name="odd", columns=columns)}
    made = make(lake, spec, tables={"odd": frame}, schemas=schemas)
    return {"spec": spec, **vars(made)}


def judge(schema: TableSchema, auc: float) -> Evaluation:
    """Scores of a table, one of them not evaluated."""
    scores = {
        "detection_auc": Score(value=auc, reference=0.5, better="half", description="Told apart"),
        "utility_gap": Score(value=None, better="low", why_not="no target", description="Loss"),
    }
    columns = [ColumnScore(column=c.name, shape_error=0.01) for c in schema.judged]
    return Evaluation(table=schema.name, scores=scores, columns=columns, pairs=[])


def release(lake: Lake, spec: DatasetSpec, generation: int = 1, **options: Any) -> Version:
    """A release of a generation, in force but not published."""
    made = make(lake, spec, generation, **options)
    return create_release(lake, spec, **vars(made))


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash; the lock file, which is empty, apart."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".warehouse.lock"
    }


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """A Python process of its own that runs `code` from the project's root."""
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=options.pop("cwd", root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def rows_of(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a query on the warehouse."""
    return query(lake, sql, limit=None).frame.rows()


def everything(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, and all comments."""
    names = rows_of(lake, "SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL")
    found = {".".join(name): rows_of(lake, f"FROM {identifier(*name)}") for name in names}
    return found | {"comments": rows_of(lake, COMMENTS)}
