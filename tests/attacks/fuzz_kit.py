"""Random input for the fuzz targets: texts that parsers trip over, and files with parts changed."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guarantees import STRESS
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
# How long a target is fuzzed under AIGC_STRESS.
SECONDS = float(os.environ.get("AIGC_FUZZ_SECONDS", "1200" if STRESS else "0"))

# What a parser may take for something else than the text it is.
AWKWARD = [
    "", " ", "null", "~", "true", "yes", "1e309", "-0", "0x1F", "1_000", "nan", "inf", "-inf",
    "2023-02-30", "2023-13-01", "9999-12-31", "0001-01-01", "1" * 400, "=", ">=", "<=", "a=b=c",
    "*", "^.*$", "..", "../x", "/etc/passwd", "a\x00b", "\ufeff", "\u2028", "\ud7ff", "é", "𝄞",
    "'; DROP TABLE x; --", '"', "`", "\\", "{{7*7}}", "${HOME}", "<script>alert(1)</script>",
    "!!python/object/apply:os.system [x]", "&a [*a]", "<<", "%TAG ! x", "---", "...", "|", "> ",
    "- ", "? ", ": ", "# ", "@", "\t",
]  # fmt: skip
TEXT = st.sampled_from(AWKWARD) | st.text(max_size=12)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | TEXT
)
ANY = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


def examples(usual: int) -> settings:
    """Hypothesis' settings: as many examples as CI has time for; a failure is kept small."""
    return settings(
        max_examples=usual if not SECONDS else 300,
        deadline=None,
        database=None,
        derandomize=not SECONDS,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def fuzz(*targets: Callable[[], None]) -> None:
    """Run targets once, or under AIGC_STRESS by turns until their time is over."""
    end = time.monotonic() + SECONDS
    while True:
        for target in targets:
            target()
        if time.monotonic() >= end:
            return


def shipped() -> list[Any]:
    """The data of the shipped dataset files, to be changed at random."""
    safe = YAML(typ="safe", pure=True)
    return [safe.load(path.read_text()) for path in sorted((ROOT / "datasets").glob("*.yaml"))]


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data, as a path of keys."""
    yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*at, index))


def changed(data: Any, at: tuple[Any, ...], how: str, value: Any, key: str) -> Any:
    """A copy of nested data: one place replaced, removed, or given another field."""
    if not at:
        return value if how == "replace" else data
    data = copy.deepcopy(data)
    owner = data
    for part in at[:-1]:
        owner = owner[part]
    if how == "remove":
        del owner[at[-1]]
    elif how == "add" and isinstance(owner[at[-1]], dict):
        owner[at[-1]][key] = value
    else:
        owner[at[-1]] = value
    return data
