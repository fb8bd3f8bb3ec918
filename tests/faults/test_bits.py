"""One flipped bit in any file of the lake is noticed before anything is made of it."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from faults_kit import Prepared, Worker, answers, leftovers
from guarantees import STRESS, times

from aigc_pipeline import stages
from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.generators.checkpoint import Checkpoint
from aigc_pipeline.lake import STAGES, Lake
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse import check_warehouse, publish, rollback

FLIPS = times(6, 30)


@dataclass(frozen=True)
class Kind:
    """A kind of artefact: where it is, who makes it, and who reads it next."""

    stage: str
    file: str  # within the version in force, or beside it
    reader: Callable[[Lake, DatasetSpec], object]


def go_back(lake: Lake, spec: DatasetSpec) -> object:
    """Put the release in force into the warehouse again, all its files checked."""
    return rollback(lake, spec.name, lake.current(spec.name, "release").id)


def republish(lake: Lake, spec: DatasetSpec) -> object:
    return publish(lake)


KINDS = {
    "raw Parquet": Kind("raw", "wines.parquet", stages.validate),
    "raw manifest": Kind("raw", "manifest.json", stages.validate),
    "raw manifest's checksum": Kind("raw", "manifest.sha256", stages.validate),
    "raw pointer": Kind("raw", "../CURRENT", stages.validate),
    "validated Parquet": Kind("validated", "wines/train.parquet", stages.featurize),
    "validated schema": Kind("validated", "wines/schema.json", stages.featurize),
    "features Parquet": Kind("features", "wines/tokens.parquet", stages.train),
    "features codecs": Kind("features", "wines/codecs.json", stages.train),
    "model weights": Kind("model", "wines/weights.safetensors", stages.synthesize),
    "model settings": Kind("model", "wines/model.json", stages.synthesize),
    "model codecs": Kind("model", "wines/codecs.json", stages.synthesize),
    "model card": Kind("model", "wines/card.json", stages.synthesize),
    "model manifest": Kind("model", "manifest.json", stages.synthesize),
    "synthetic Parquet": Kind("synthetic", "baseline/wines/part-00000.parquet", stages.evaluate),
    "synthetic Parquet of a scenario": Kind(
        "synthetic", "barolos/wines/part-00000.parquet", stages.release
    ),
    "synthetic manifest": Kind("synthetic", "manifest.json", stages.release),
    "evaluation scores": Kind("evaluation", "scores.json", stages.release),
    "evaluation report": Kind("evaluation", "report.html", stages.release),
    "evaluation manifest": Kind("evaluation", "manifest.json", stages.release),
    "release Parquet": Kind("release", "data/wine/wines/part-00000.parquet", republish),
    "release scores": Kind("release", "scores.json", republish),
    "release schema": Kind("release", "schemas/wines.json", republish),
    "release lineage": Kind("release", "lineage.json", republish),
    "release report": Kind("release", "report.html", go_back),
    "release manifest": Kind("release", "manifest.json", republish),
    "release pointer": Kind("release", "../CURRENT", republish),
    "warehouse": Kind("warehouse", "", lambda lake, spec: check_warehouse(lake)),
}

# What to run again, as the errors say. Evaluations are of the very rows that they judged.
MENDED_BY = {
    **{stage: (stage,) for stage in (*STAGES, "warehouse")},
    "synthetic": ("synthetic", "evaluation"),
}


def flip(data: bytes, chance: random.Random) -> bytes:
    """The same with one bit turned over."""
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit(
    worker: Worker, prepared: Prepared, tmp_path: Path, tried, name: str
) -> None:
    line, kind, chance = tried("Faults", f"a bit flipped: {name}"), KINDS[name], random.Random(name)
    lake = prepared.take(tmp_path / "project", "raw")
    spec = find_dataset("wine", tmp_path / "project" / "datasets")
    at = kind.stage == "warehouse"
    file = lake.warehouse if at else lake.current("wine", kind.stage).path / kind.file
    whole = file.read_bytes()
    for _ in range(FLIPS):
        file.write_bytes(flip(whole, chance))
        with pytest.raises(ArtefactError) as noticed:
            kind.reader(lake, spec)
        assert str(lake.home) in str(noticed.value) and re.search(
            "again|afresh", str(noticed.value)
        )
    if not at:
        assert answers(lake).equals(prepared.last)
    assert leftovers(lake) == []
    if STRESS or kind.stage not in ("model", "synthetic", "evaluation"):
        for stage in MENDED_BY[kind.stage]:
            assert worker.stage(lake, stage).version
        kind.reader(lake, spec)
    line.happened("noticed before use", FLIPS)


@pytest.mark.parametrize("values", [{"step": 7, "loss": [0.5, None]}])
def test_a_flipped_bit_in_a_checkpoint(tmp_path: Path, tried, values: dict) -> None:
    """It is no error: training starts afresh."""
    line, chance = tried("Faults", "a bit flipped: checkpoint"), random.Random("checkpoint")
    kept = Checkpoint(tmp_path / "checkpoint", "key")
    kept.save({"weight": torch.randn(20, 3), "state": torch.arange(9, dtype=torch.uint8)}, values)
    whole, found = kept.path.read_bytes(), kept.load()
    assert found is not None and found[1] == values
    for _ in range(FLIPS):
        kept.path.write_bytes(flip(whole, chance))
        assert kept.load() is None
    line.happened("passed over, training starts afresh", FLIPS)


def test_a_release_put_back_after_its_pointer_was_damaged(
    prepared: Prepared, tmp_path: Path, tried
) -> None:
    lake = prepared.take(tmp_path / "project", "raw")
    current, pointer = (
        lake.current("wine", "release"),
        lake.stage_dir("wine", "release") / "CURRENT",
    )
    for content in (b"", b"\xff\xfe", b"v00009-00000000\n", b"../../raw\n"):
        pointer.write_bytes(content)
        with pytest.raises(ArtefactError, match="aigc rollback wine --to ID"):
            publish(lake)
        assert answers(lake).equals(prepared.last)
        rollback(lake, "wine", current.id)
        assert lake.current("wine", "release") == current
    line = tried("Faults", "the release's pointer is damaged")
    line.happened("refused with the way out, which works", 4)


def test_a_warehouse_that_is_gone_or_torn_is_rebuilt(
    prepared: Prepared, tmp_path: Path, tried
) -> None:
    line = tried("Faults", "the warehouse file is cut short, emptied or deleted")
    lake = prepared.take(tmp_path / "project", "raw")
    whole = lake.warehouse.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", None):
        if content is None:
            lake.warehouse.unlink()
        else:
            lake.warehouse.write_bytes(content)
        publish(lake)
        assert answers(lake).equals(prepared.last)
        line.happened("published afresh from the release")
    shutil.rmtree(lake.home)
