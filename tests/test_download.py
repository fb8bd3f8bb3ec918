"""Files over the network: fetched from a server on loopback, checked, and limited."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import content_hash, read_table
from aigc_pipeline.sources.download import download, public_url
from aigc_pipeline.spec import Source


def people() -> pl.DataFrame:
    return pl.DataFrame({"id": range(1, 31), "name": [f"person {i}" for i in range(1, 31)]})


def refusal(read_it: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        read_it()
    return str(caught.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server on loopback with one CSV file, some redirects and a torn answer."""
    folder = tmp_path_factory.mktemp("web")
    people().write_csv(folder / "people.csv")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            target = {"/moved": "/people.csv", "/out": "ftp://127.0.0.1/x", "/file": "file:///x"}
            if self.path in target:
                self.send_response(302)
                self.send_header("Location", target[self.path])
                self.end_headers()
            elif self.path == "/torn.csv":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"a,b\n")
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture(autouse=True)
def _loopback_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_ALLOWED_HOSTS", "127.0.0.1")


def test_a_url_is_read_if_its_checksum_holds(server: str, tmp_path: Path) -> None:
    expected = hashlib.sha256(people().write_csv().encode()).hexdigest()
    source = Source(file=f"{server}/people.csv?token=hush", sha256=expected)
    df = read_table(source, tmp_path, name="people")
    assert len(df) == 30 and content_hash(source, tmp_path) == expected
    wrong = source.model_copy(update={"sha256": "0" * 64})
    message = refusal(lambda: read_table(wrong, tmp_path, name="people"))
    assert f"people ({server}/people.csv): the file's sha256 is {expected}" in message
    assert "hush" not in message and not list(tmp_path.iterdir())


def test_what_a_server_may_not_do(server: str, tmp_path: Path) -> None:
    def fetch(path: str, **limits: Any) -> Path:
        return download(server + path, tmp_path, sha256=None, at="t", **limits)

    assert fetch("/moved").read_bytes() == people().write_csv().encode()
    assert "answered 404" in refusal(lambda: fetch("/nothing.csv"))
    assert "redirects from http to ftp, which is not followed" in refusal(lambda: fetch("/out"))
    assert "answered 302" in refusal(lambda: fetch("/file"))
    assert "larger than 100 bytes" in refusal(lambda: fetch("/people.csv", max_bytes=100))
    assert "only 4 of 1,000 bytes arrived" in refusal(lambda: fetch("/torn.csv", timeout=5))
    port_nobody_serves = "http://127.0.0.1:1/x.csv"
    message = refusal(lambda: download(port_nobody_serves, tmp_path, sha256=None, at="t"))
    assert "cannot be fetched" in message
    message = refusal(
        lambda: download("http://u:hush@127.0.0.1/x.csv", tmp_path, sha256=None, at="t")
    )
    assert "password" in message and "hush" not in message
    assert public_url("https://u:hush@host:8/x.csv?sig=hush#hush") == "https://host:8/x.csv"
