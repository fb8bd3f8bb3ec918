"""Files and folders that are whole or not there, whenever a process or the machine stops."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a small file so that a reader sees the old bytes or the new, never a part."""
    _replace(path, data, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}"))


def replace_within(folder: Path, name: str, data: bytes) -> None:
    """`write_atomically` in a folder of drafts: what a kill leaves of it is swept later."""
    with draft_folder(folder) as draft:
        _replace(folder / name, data, draft / name)


def _replace(path: Path, data: bytes, part: Path) -> None:
    try:
        with part.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, path)
        fsync_path(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder, 0700, locked as long as the block lasts; then removed, if still there.

    The system frees the lock when its holder dies, on whatever host and under whatever process id:
    so each new draft removes those of the dead, and leaves those of the living alone.
    """
    _sweep(parent)
    path, descriptor = _make_locked(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make_locked(parent: Path) -> tuple[Path, int]:
    while True:
        name = f".draft-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        path = parent / name
        path.mkdir(mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # a sweeper took it for a dead one's, being not locked yet
        if _lock(descriptor) is not False and path.exists():
            return path, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Take a folder's lock: False where another has it, None where the file system knows none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(parent: Path) -> None:
    """Remove drafts whose process is gone."""
    for path in parent.glob(".draft-*"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # another sweeper was quicker
        try:
            free = _lock(descriptor)
            if free or (free is None and _is_gone(path)):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_gone(draft: Path) -> bool:
    """Whether a draft's process ran on this host and is no more."""
    prefix = f".draft-{socket.gethostname()}-"
    pid = draft.name.removeprefix(prefix).partition("-")[0]
    known = draft.name.startswith(prefix) and pid.isdigit() and Path("/proc").exists()
    return known and not Path(f"/proc/{pid}").exists()
