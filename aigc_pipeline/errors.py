"""The errors a user meets. Each says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class AigcError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the `aigc` command returns."""

    exit_code = 1


class InputError(AigcError):
    """Wrong usage or bad input: a file, field, value or option the user can put right."""

    exit_code = 2


FieldPath = tuple[str | int, ...]


class FieldError(InputError):
    """Bad input at fields of a dataset file, all found at once.

    problems: (path of the field, message) pairs, e.g. (("tables", "loans", "key"), "…").
    `dataset_file.located` adds file and line.
    """

    def __init__(self, problems: Sequence[tuple[FieldPath, str]]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"{dotted(path)}: {text}" for path, text in self.problems))


def dotted(path: FieldPath) -> str:
    """A field's path as text: `tables.loans.constraints.0.sum`."""
    return ".".join(map(str, path))


class GateRefused(AigcError):
    """A score missed its gate, so nothing was released."""

    exit_code = 3


class ArtefactError(AigcError):
    """An artefact in the lake is missing, changed, torn or from another version of the code."""


# What reading a damaged or hostile artefact may raise before anything can be said of its content.
UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError,
    OverflowError, MemoryError,
)  # fmt: skip


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest valid one, else a short list of them."""
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not near:  # capitals alone should not hide a match
        lower = {known.lower(): known for known in names}
        near = [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)]
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"there are: {shown}"
