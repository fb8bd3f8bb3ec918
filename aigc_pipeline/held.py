"""Work that may take no more than its share of memory and time, whatever it is asked for."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held_memory(most: int) -> Iterator[None]:
    """Let this process take `most` bytes more than it has, where the system can say so (Linux).

    What asks for more gets a MemoryError, or ends the process where its library knows no better.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + most
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def held_time(seconds: float, message: str) -> Iterator[None]:
    """End this process with exit code 2 and a message if the block takes longer than `seconds`.

    For commands only: a library call within a single C function heeds no gentler sign.
    """

    def leave() -> None:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
        os._exit(2)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
