"""Hostile sources: bombs, files that are something else, URLs that lead inward."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import read_table
from aigc_pipeline.sources.download import _is_public, download
from aigc_pipeline.spec import Source

ROOT = Path(__file__).parents[2]
SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


def refused(path: Path, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_table(Source(file=str(path), **fields), Path("/"), name="bomb")
    return str(caught.value)


def parquet_bomb(path: Path) -> Path:
    """100 columns of 300,000 nulls: 30 million cells in a small file."""
    column = pa.nulls(300_000, pa.int8())
    pq.write_table(pa.table({f"c{i}": column for i in range(100)}), path, compression="zstd")
    assert path.stat().st_size < 200_000
    return path


def workbook(path: Path, sheet: str) -> Path:
    """A spreadsheet with this XML for its only sheet."""
    pl.DataFrame({"a": [1]}).write_excel(path.with_suffix(".tmp.xlsx"))
    with (
        zipfile.ZipFile(path.with_suffix(".tmp.xlsx")) as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            text = sheet.encode() if name == "xl/worksheets/sheet1.xml" else plain.read(name)
            packed.writestr(name, text)
    return path


def test_a_parquet_bomb(tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = tried("Attacks", "a small file that fills memory")
    monkeypatch.setenv("AIGC_MAX_CELLS", "20000000")
    message = refused(parquet_bomb(tmp_path / "b.parquet"))
    assert "more than 20,000,000 cells (100 columns)" in message
    line.happened("refused before it was read")


def test_text_bombs(tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = tried("Attacks", "a small file that fills memory")
    monkeypatch.setenv("AIGC_MAX_CELLS", "100000")
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"c{i}" for i in range(300)) + "\n" + ("," * 299 + "\n") * 400)
    assert "more than 100,000 cells (300 columns)" in refused(wide)
    wide.write_text(",".join(f"c{i}" for i in range(20_001)) + "\n" + "," * 20_000 + "\n")
    assert "at most 20,000" in refused(wide)
    blank = tmp_path / "blank.csv"
    blank.write_text("a,b\n" + "\n" * 60_000)
    assert "more than 100,000 cells" in refused(blank)
    line.happened("refused before it was read", 3)
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 500_000)
    for name, fields in (("g.csv", {}), ("g.csv", {"encoding": "latin-1"}), ("g.jsonl", {})):
        (tmp_path / name).write_bytes(packed)
        refused(tmp_path / name, **fields)
        line.happened("packed text is not unpacked")


@pytest.mark.parametrize(
    "sheet",
    [
        # One cell in the first row and one in the last column of the last: 17,000 million cells.
        SHEET + '<row r="1"><c r="A1"><v>1</v></c></row>'
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>',
        # 400 million bytes of text in half a megabyte.
        SHEET + '<row r="1"><c r="A1" t="inlineStr"><is><t>' + "x" * 400_000_000 + "</t></is></c>"
        "</row></sheetData></worksheet>",
    ],
    ids=["far cell", "zip bomb"],
)
def test_an_excel_bomb(
    sheet: str, tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = tried("Attacks", "a small file that fills memory")
    monkeypatch.setattr("aigc_pipeline.sources.sheets.MOST_BYTES", 2**28)
    path = workbook(tmp_path / "b.xlsx", sheet)
    assert path.stat().st_size < 3_000_000
    assert "takes more than 256 MB of memory" in refused(path)
    line.happened("its reader was stopped at its share of memory")


def test_files_that_are_something_else(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "a file that is something else than its name says")
    secret = "root:x:0:0:canary"
    for name in ("a.csv", "a.parquet", "a.jsonl", "a.xlsx", "a.ods", "a.xls", "a.passwd"):
        (tmp_path / name).write_text(f"{secret}\n\x00{secret}\n")
        assert secret not in refused(tmp_path / name)
        line.happened("refused, nothing of it shown")
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    assert "root:" not in refused(tmp_path / "link.csv")
    line.happened("refused, nothing of it shown")


INWARD = [
    "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.0.0.1",
    "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "[fd00::1]", "[fe80::1]",
    "[64:ff9b::7f00:1]", "2130706433", "0x7f.1", "127.1", "224.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", INWARD)
def test_a_url_that_points_inward(
    host: str, web: Any, tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = tried("Attacks", "a URL source that points inward, by address or by name")
    monkeypatch.delenv("AIGC_ALLOWED_HOSTS", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = web[0].rpartition(":")[2]
    with pytest.raises(InputError, match=r"not a public one|cannot be fetched") as caught:
        download(f"http://{host}:{port}/x.csv", tmp_path, sha256=None, at="t")
    assert "404" not in str(caught.value)  # nobody was asked
    assert list(tmp_path.iterdir()) == []
    line.happened("refused before anyone was asked")


def test_a_url_that_redirects_inward(
    web: Any, tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 may be asked here, and sends us on to another inward name."""
    line = tried("Attacks", "a URL source that redirects inward")
    url, folder = web
    (folder / "inner.csv").write_text("secret\n1\n")
    monkeypatch.setenv("AIGC_ALLOWED_HOSTS", "127.0.0.1")
    inner = url.replace("127.0.0.1", "localhost") + "/inner.csv"
    with pytest.raises(InputError, match="not a public one"):
        download(f"{url}/to?{inner}", tmp_path, sha256=None, at="t")
    assert list(tmp_path.iterdir()) == []
    line.happened("refused before anyone was asked")


def test_a_name_that_changes_its_address(
    web: Any, tmp_path: Path, tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is looked at, loopback when it is connected to."""
    line = tried("Attacks", "a URL source whose name changes its address after the check")
    port = int(web[0].rpartition(":")[2])
    answers = iter(["192.0.2.1", "8.8.8.8"] + ["127.0.0.1"] * 9)
    asked: list[str] = []

    def resolve(host: str, *args: Any, **options: Any) -> list[Any]:
        if host != "rebind.example":
            return real(host, *args, **options)
        asked.append(next(answers))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (asked[-1], port))]

    connected: list[Any] = []

    def connect(address: Any, *args: Any, **options: Any) -> socket.socket:
        connected.append(address[0])
        raise OSError("not here")

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    for _ in range(3):
        with pytest.raises(InputError):
            download(f"http://rebind.example:{port}/x.csv", tmp_path, sha256=None, at="t")
    assert asked[:3] == ["192.0.2.1", "8.8.8.8", "127.0.0.1"] and connected == ["8.8.8.8"]
    line.happened("connected to the address that was looked at, or to none", 3)


def test_public_addresses_are_public() -> None:
    import ipaddress

    for text in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"):
        assert _is_public(ipaddress.ip_address(text)), text


def test_a_query_is_held_in_time_and_memory(tmp_path: Path, tried: Any) -> None:
    """`aigc query` as a process of its own, with queries that no sign of DuckDB's stops."""
    from warehouse_kit import release, shop

    from aigc_pipeline.lake import Lake
    from aigc_pipeline.warehouse import publish

    line = tried("Attacks", "`aigc query` asked to run for ever or to fill memory")
    lake = Lake(tmp_path / "lake")
    release(lake, shop())
    publish(lake)
    for sql in (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        "SELECT string_agg(repeat('x', 1000000), ',') FROM range(100000)",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "aigc_pipeline.cli", "query", sql, "--timeout", "1"],
            env={"AIGC_HOME": str(lake.home), "PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 2 and done.stdout == b"", sql
        line.happened("given up, exit code 2")
