"""The lock that publishers of one lake take, besides whatever queue started them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake

TIMEOUT = 600.0  # seconds; a rebuild takes seconds to minutes


@contextmanager
def exclusive(lake: Lake, timeout: float = TIMEOUT) -> Iterator[None]:
    """Hold `.warehouse.lock`: nobody else releases, rolls back or publishes in this lake meanwhile.

    The system frees it when its holder dies. Raises ArtefactError after `timeout` seconds.
    """
    lake.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = lake.home / ".warehouse.lock"
    try:
        with FileLock(path, timeout=timeout, mode=0o600):
            yield
    except Timeout as error:
        raise ArtefactError(
            f"{path}: another run has been publishing for more than {timeout:g} seconds;"
            " wait for it to end, then try again"
        ) from error
