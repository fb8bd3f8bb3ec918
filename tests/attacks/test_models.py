"""Hostile model folders: pickle, torn tensors, JSON that asks for memory. And formulas in CSV."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aigc_pipeline.commands.output import write_batches
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.spec import GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's folder."""
    table = pl.DataFrame({"x": [i % 40 / 4 for i in range(200)], "c": ["red", "green"] * 100})
    folder = tmp_path_factory.mktemp("models") / "m"
    spec = TableSpec(source=Source(file="a.csv"))
    fit_table(table, spec, generator=GeneratorSpec(quality="draft", time_limit=2)).save(folder)
    assert folder.stat().st_mode & 0o077 == 0
    TableModel.load(folder)
    return folder


def edits() -> dict[str, Any]:
    """name -> what it does to model.json, codecs.json or card.json."""

    def shape(value: Any) -> Any:
        return ("model.json", lambda d: d["shape"].update(dict.fromkeys(d["shape"], value)))

    def codec(change: Any) -> Any:
        return ("codecs.json", change)

    return {
        "a width of 2^40": shape(2**40),
        "a width of 60,000": shape(60_000),  # 3.6e9 weights a layer
        "a negative width": shape(-5),
        "a width in words": shape("9" * 50),
        "a width in a list": shape([1] * 100),
        "no sizes": ("model.json", lambda d: d.update(sizes=[])),
        "a list for a card": ("card.json", lambda d: d.clear()),
        "another family": ("card.json", lambda d: d.update(family="os:system")),
        "a family that is a list": ("card.json", lambda d: d.update(family=["x"])),
        "a grid of 10^9 decimals": codec(lambda d: _numbers(d)[0].update(decimals=10**9)),
        "a grid without steps": codec(lambda d: _numbers(d)[0].update(steps=[])),
        "steps by nought": codec(lambda d: _numbers(d)[0].update(steps=[[1, 0]])),
        "a page of 2^31": codec(
            lambda d: next(c for c in d["codecs"] if "values" in c).update(pages=[2**31 - 1, 0])
        ),
        "a type that is a function": codec(
            lambda d: next(c for c in d["codecs"] if "dtypes" in c).update(dtypes=["read_csv"])
        ),
        "an unknown codec": codec(lambda d: d["codecs"][0].update(type="subprocess")),
        "a source": codec(lambda d: d["spec"].update(source={"file": "/etc/passwd"})),
    }


def _numbers(codecs: Any) -> list[Any]:
    return [c for c in codecs["codecs"] if "steps" in c]


@pytest.mark.parametrize("name", [n for n in edits() if n != "a source"])
def test_a_model_folder_that_was_tampered_with(
    name: str, model: Path, tmp_path: Path, tried: Any
) -> None:
    line = tried("Attacks", "a model folder whose JSON was tampered with")
    folder = tmp_path / "m"
    shutil.copytree(model, folder)
    file, change = edits()[name]
    data = json.loads((folder / file).read_text())
    change(data)
    (folder / file).write_text(json.dumps(data))
    tracemalloc.start()
    with pytest.raises(ArtefactError) as caught:
        TableModel.load(folder)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100 * 2**20 and "green" not in str(caught.value)
    line.happened("refused, nothing allocated, nothing shown")


def test_weights_that_are_none(model: Path, tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "pickle or malformed safetensors as a model's weights")
    touched = tmp_path / "touched"
    huge = struct.pack("<Q", 2**62)
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ).encode()
    whole = (model / "weights.safetensors").read_bytes()
    for weights in (
        f"cos\nsystem\n(Vtouch {touched}\ntR.".encode(),  # as a pickle, it would run a command
        b"",
        huge,
        struct.pack("<Q", len(header)) + header,
        struct.pack("<Q", 4) + b"null",
        b"PK\x03\x04" + whole,
        whole[: len(whole) // 2],
        whole + b"\x00",
    ):
        folder = tmp_path / "m"
        shutil.copytree(model, folder, dirs_exist_ok=True)
        (folder / "weights.safetensors").write_bytes(weights)
        with pytest.raises(ArtefactError, match="cannot be read"):
            TableModel.load(folder)
        line.happened("refused, nothing run")
    assert not touched.exists()


def test_json_that_is_none(model: Path, tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "a model folder whose JSON was tampered with")
    for file in ("model.json", "codecs.json", "card.json"):
        for text in ("[" * 100_000, "null", "[1]", '"x"', "{}", "NaN", "\x00", '{"format": 4}'):
            folder = tmp_path / "m"
            shutil.copytree(model, folder, dirs_exist_ok=True)
            (folder / file).write_text(text)
            with pytest.raises(ArtefactError):
                TableModel.load(folder)
            line.happened("refused, nothing allocated, nothing shown")


FORMULAS = [
    "=1+1", "=cmd|' /C calc'!A0", "+1+cmd|x", "-2+3+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "\n=1",
    "\uff1d1+1", "\uff0bx", "\uff0dx", "\uff20x",
    "=HYPERLINK(\"http://x\",\"y\")", "-A1", "+A1", "-1+A1",
]  # fmt: skip
PLAIN = ["-5", "+5", "-1.5e3", "-12 %", "+41 79 555 01 17", "-1,234.50", "a=b", "x", "", "'=1", "-"]


def test_formulas_in_csv(tmp_path: Path, tried: Any) -> None:
    line = tried("Attacks", "formulas in CSV that is written")
    texts = [*FORMULAS, *PLAIN]
    df = pl.DataFrame(
        {"t": texts, "n": [-float(i) for i in range(len(texts))], "=1+1": [-1] * len(texts)}
    )
    path = tmp_path / "x.csv"
    write_batches([df[:5], df[5:]], path)
    read = pl.read_csv(path, empty_string_is_null=False)
    assert read.columns == ["t", "n", "'=1+1"]
    written = read["t"].to_list()
    assert written[: len(FORMULAS)] == [f"'{text}" for text in FORMULAS]
    kept = [("'" + t if t == "-" else t) for t in PLAIN]  # a dash alone: nothing is lost by it
    assert written[len(FORMULAS) :] == kept
    assert read["n"].to_list() == df["n"].to_list()
    line.happened("an apostrophe before each", len(FORMULAS) + 1)
    line.happened("negatives, phone numbers and other texts as they are", len(PLAIN))
    write_batches([df], path, keep_formulas=True)
    assert pl.read_csv(path, empty_string_is_null=False).equals(df)
    line.happened("kept as they are with --keep-formulas")
