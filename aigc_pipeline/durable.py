"""Files and folders that are whole or not there, whenever a process or the machine stops."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # a file system that cannot exchange


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
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A draft that takes a folder's place when the block succeeds: the old stays whole until then.

    The two change places in one step, so a reader, a kill or a failing disk finds one or the other
    and never a mixture. A file system that cannot do that moves the old one to `.NAME.old` first,
    where a kill in between leaves it. What the dead left of their drafts is swept.
    """
    folder = folder.resolve()
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with draft_folder(folder.parent, prefix=f".{folder.name}.draft") as draft:
        yield draft
        for path in draft.rglob("*"):
            fsync_path(path)
        fsync_path(draft)
        if not folder.exists():
            os.rename(draft, folder)
        elif not _exchange(draft, folder):
            _replace_in_two_steps(draft, folder)
        fsync_path(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in _UNABLE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _replace_in_two_steps(draft: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(folder, old)
    try:
        os.rename(draft, folder)
    finally:
        if not folder.exists():  # whatever went wrong, the old one is back in its place
            os.rename(old, folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def draft_folder(parent: Path, prefix: str = ".draft") -> Iterator[Path]:
    """A new hidden folder, 0700, locked as long as the block lasts; then removed, if still there.

    The system frees the lock when its holder dies, on whatever host and under whatever process id:
    so each new draft removes those of the dead, and leaves those of the living alone.
    """
    sweep(parent, prefix)
    path, descriptor = _make_locked(parent, prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        name = f"{prefix}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
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


def sweep(parent: Path, prefix: str = ".draft") -> None:
    """Remove drafts whose process is gone."""
    for path in parent.glob(f"{escape(prefix)}-*"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # another sweeper was quicker
        try:
            free = _lock(descriptor)
            if free or (free is None and _is_gone(path, prefix)):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_gone(draft: Path, prefix: str) -> bool:
    """Whether a draft's process ran on this host and is no more."""
    prefix = f"{prefix}-{socket.gethostname()}-"
    pid = draft.name.removeprefix(prefix).partition("-")[0]
    known = draft.name.startswith(prefix) and pid.isdigit() and Path("/proc").exists()
    return known and not Path(f"/proc/{pid}").exists()
