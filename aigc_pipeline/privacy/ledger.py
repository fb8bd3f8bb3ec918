"""The ledger: epsilon spent on each source by all trainings of a lake, whatever dataset they serve.

Each training with differential privacy spends anew, and what is published of one source adds up
(sequential composition: epsilons and deltas of independent mechanisms are summed). A source is the
same where its place is (its path, URL, database and table) or where its bytes are.
"""

from __future__ import annotations

import hashlib
import json
import os.path
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from filelock import FileLock

from aigc_pipeline.durable import write_atomically
from aigc_pipeline.errors import UNREADABLE, ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.spec import DpSpec, Source


@dataclass(frozen=True)
class Entry:
    """One training of one table: what it spent, and on which source.

    place, content: hex sha256 of where the source is and of what was in it.
    """

    at: str
    dataset: str
    table: str
    place: str
    content: str
    epsilon: float
    delta: float


def place_of(source: Source) -> str:
    """Hex sha256 of where a source is: neither user, password nor query string count."""
    url = re.sub(r"//[^/@]*@", "//", (source.sql or source.file or "").partition("?")[0])
    if source.file and "://" not in source.file:
        url = os.path.normpath(source.file)
    parts = [source.sample or "", url, source.table or "", source.query or ""]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_ledger(lake: Lake) -> list[Entry]:
    """All entries, oldest first. Raises ArtefactError for a ledger that cannot be read."""
    if not lake.ledger.exists():
        return []
    try:
        entries = json.loads(lake.ledger.read_bytes())
        if not isinstance(entries, list):
            raise TypeError("no list")
        return [Entry(**each) for each in entries]
    except UNREADABLE as error:
        raise ArtefactError(
            f"{lake.ledger}: the ledger of epsilon cannot be read ({type(error).__name__}); put it"
            " back from a copy: without it nothing is known of what was spent"
        ) from None


def spent_on(entries: list[Entry], place: str, content: str) -> float:
    """Epsilon of all trainings on a source."""
    return sum(e.epsilon for e in entries if e.place == place or e.content == content)


def check_ledger(lake: Lake, dp: DpSpec, table: str, place: str, content: str) -> None:
    """Raise InputError where another training would go beyond the source's budget."""
    _check(read_ledger(lake), dp, table, place, content)


def note_training(
    lake: Lake,
    dp: DpSpec,
    *,
    dataset: str,
    table: str,
    place: str,
    content: str,
    epsilon: float,
    delta: float,
) -> float:
    """Write down what a training spent; returns the epsilon spent on its source so far.

    Raises InputError where another run took what was left of the budget meanwhile.
    """
    with _locked(lake):
        entries = read_ledger(lake)
        _check(entries, dp, table, place, content)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entries.append(Entry(at, dataset, table, place, content, epsilon, delta))
        text = json.dumps([asdict(entry) for entry in entries], indent=1)
        write_atomically(lake.ledger, f"{text}\n".encode())
        lake.ledger.chmod(0o600)
    return spent_on(entries, place, content)


def _check(entries: list[Entry], dp: DpSpec, table: str, place: str, content: str) -> None:
    spent = spent_on(entries, place, content)
    if dp.budget is not None and spent + dp.epsilon > dp.budget * (1 + 1e-9):
        raise InputError(
            f"privacy.dp.budget is {dp.budget:g}: trainings on the source of {table!r} have spent"
            f" {spent:.3g}, and another one of {dp.epsilon:g} would go beyond; release what there"
            " is, or raise the budget"
        )


@contextmanager
def _locked(lake: Lake) -> Iterator[None]:
    with FileLock(lake.home / ".ledger.lock", timeout=60, mode=0o600):
        yield
