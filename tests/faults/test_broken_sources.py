"""Sources that break while they are read: refused, nothing written, the next run succeeds."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from faults_kit import Prepared, answers, leftovers
from guarantees import times
from postgres_kit import PASSWORD, postgres_server

from aigc_pipeline import stages
from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.sources import read
from aigc_pipeline.spec import DatasetSpec

ROWS = 20_000  # some 500 kB on the wire


class Wire:
    """A loopback proxy that cuts all connections once so many bytes came from the server."""

    def __init__(self, server: str) -> None:
        host, port = server.split(":")
        self.server = host, int(port)
        self.left = 0  # bytes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the tests are done
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.server)
                for route in (self._ask, self._answer):
                    threading.Thread(target=route, args=(client, server), daemon=True).start()

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while self.left > 0 and (data := server.recv(min(self.left, 65_536))):
                client.sendall(data)
                self.left -= len(data)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _ask(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """The way to a server that has a table `wines`."""
    from adbc_driver_postgresql import dbapi

    with postgres_server() as place:
        url = f"postgresql://bob:{quote(PASSWORD, safe='')}@{place}/postgres"
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE wines AS SELECT g % 97 / 8.0::float8 AS hue,"
                " 'cultivar ' || g % 3 AS cultivar"
                f" FROM generate_series(1, {ROWS}) g"
            )
        wire = Wire(place)
        with closing(wire.listener):
            yield wire


def refused(lake: Lake, spec: DatasetSpec, root: Path) -> str:
    """What the raw stage says; it changes nothing."""
    before = lake.current("wine", "raw"), answers(lake)
    with pytest.raises(InputError) as error:
        stages.ingest(lake, spec, root)
    assert error.value.__cause__ is None  # a driver's own error may hold the password
    assert lake.current("wine", "raw") == before[0] and answers(lake).equals(before[1])
    assert leftovers(lake) == []
    return str(error.value)


def test_a_database_that_drops_while_it_is_read(
    wire: Wire, prepared: Prepared, tmp_path: Path, tried
) -> None:
    line = tried("Faults", "a source database drops the connection at a random byte")
    lake = prepared.take(tmp_path / "project", "raw")
    file = tmp_path / "project" / "datasets" / "wine.yaml"
    url = f"postgresql://bob:{quote(PASSWORD, safe='')}@{wire.place}/postgres"
    source = f"{{sql: '{url}', query: SELECT * FROM wines}}"
    file.write_text(file.read_text().replace("{file: data/wine.csv}", source))
    spec = find_dataset("wine", file.parent)
    wire.left = 2**40
    stages.ingest(lake, spec, tmp_path)
    needed = 2**40 - wire.left
    whole = lake.current("wine", "raw")
    assert whole.meta["rows"] == {"wines": ROWS}
    chance = random.Random("drops")
    for _ in range(times(6, 20)):
        wire.left = chance.randrange(1, needed)
        message = refused(lake, spec, tmp_path)
        assert wire.place in message and quote(PASSWORD, safe="") not in message
        assert PASSWORD not in message
        line.happened("refused by name, nothing written")
    wire.left = 2**40
    stages.ingest(lake, spec, tmp_path)
    assert lake.current("wine", "raw").meta == whole.meta


@pytest.mark.parametrize("change", ["grows", "is replaced", "is cut short", "goes"])
def test_a_file_that_changes_while_it_is_read(
    prepared: Prepared, tmp_path: Path, tried, monkeypatch, change: str
) -> None:
    line = tried("Faults", f"a source file {change} while it is read")
    lake = prepared.take(tmp_path / "project", "raw")
    root = tmp_path / "project"
    spec, file = find_dataset("wine", root / "datasets"), root / "data" / "wine.csv"
    whole, kept = file.read_bytes(), read.read_files

    def disturbed(*arguments: object) -> pl.DataFrame:
        """The reader, with somebody else at work on the file right after it."""
        df = kept(*arguments)  # type: ignore[arg-type]
        if change == "grows":
            file.write_bytes(whole + b"0.5,barolo\n")
        elif change == "is replaced":
            file.write_bytes(whole.replace(b"barolo", b"Barolo"))
        elif change == "is cut short":
            file.write_bytes(whole[:-40])
        else:
            file.unlink()
        return df

    with monkeypatch.context() as patch:
        patch.setattr(read, "read_files", disturbed)
        message = refused(lake, spec, root)
    assert "wine.csv" in message
    if change != "goes":
        assert "changed while it was read; run again" in message
    file.write_bytes(whole)
    stages.ingest(lake, spec, root)
    assert (
        lake.current("wine", "raw").manifest["files"]
        == (lake.versions("wine", "raw")[0].manifest["files"])
    )
    line.happened("refused by name, nothing written")
