"""Combinations of values that never occur though they should often, kept out of the sample.

"No internet service" rules out "online backup: yes". A network gives such a pair a small
probability; in a table of 10,000 rows that is a hundred broken rows, which an analyst sees at once.
A pair of tokens is ruled out when it was never seen in training although independence would have
it at least EXPECTED times: by chance alone that happens with probability exp(-EXPECTED).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

EXPECTED = 15.0
# A rule is kept where it affects this share of rows at least; the network manages the rest.
WORTH = 0.005
MAX_STATES = 64  # tokens of the ruling column
MAX_ROWS = 100_000

# By position of the ruled column, by position of the ruling one: bool [ruling size, ruled size].
Rules = dict[int, dict[int, np.ndarray]]


def find_rules(tokens: np.ndarray, sizes: list[int], known: int = 0) -> Rules:
    """Allowed pairs of tokens for every two columns where some are ruled out.

    tokens: int32 [rows, columns] in the model's order; a column is ruled by earlier ones only.
    known: how many columns, the first ones, are never drawn, so that nothing rules them.
    """
    tokens = tokens[:MAX_ROWS].astype(np.int64)
    rows = len(tokens)
    counts = [np.bincount(tokens[:, j], minlength=size) for j, size in enumerate(sizes)]
    rules: Rules = {}
    for j, size in list(enumerate(sizes))[known:]:
        for i in range(j):
            if sizes[i] > MAX_STATES or sizes[i] < 2 or size < 2:
                continue
            if counts[i].max() * counts[j].max() < EXPECTED * rows:
                continue
            expected = np.outer(counts[i], counts[j]) / rows
            pairs = np.bincount(tokens[:, i] * size + tokens[:, j], minlength=sizes[i] * size)
            ruled_out = (pairs.reshape(sizes[i], size) == 0) & (expected >= EXPECTED)
            if expected[ruled_out].sum() >= WORTH * rows:
                rules.setdefault(j, {})[i] = ~ruled_out
    return rules


def merge(first: Rules, second: Rules) -> Rules:
    """Both sets of rules: a pair is allowed where both allow it."""
    merged = {j: dict(given) for j, given in first.items()}
    for j, given in second.items():
        for i, allowed in given.items():
            both = merged.setdefault(j, {})
            both[i] = both[i] & allowed if i in both else allowed
    return merged


def to_tensors(rules: Rules) -> dict[str, np.ndarray]:
    """The rules as named arrays for a safetensors file."""
    return {
        f"rules.{i}.{j}": allowed.astype(np.uint8)
        for j, given in rules.items()
        for i, allowed in given.items()
    }


def from_tensors(tensors: Mapping[str, np.ndarray]) -> Rules:
    """The rules `to_tensors` named; other arrays are passed over."""
    rules: Rules = {}
    for name, allowed in tensors.items():
        if name.startswith("rules."):
            _, i, j = name.split(".")
            rules.setdefault(int(j), {})[int(i)] = allowed.astype(bool)
    return rules
