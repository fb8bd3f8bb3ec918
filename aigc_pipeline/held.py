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
    What is merely mapped or reserved does not count.
    """
    try:
        import resource
    except ImportError:
        used = None
    else:
        used = data_memory()
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + most if hard == resource.RLIM_INFINITY else min(used + most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def data_memory() -> int | None:
    """Bytes of data that this process holds, as `held_memory` counts them; None where unknown."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmData:")[1].split()[0]) * 1024


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
