"""The benchmark that lets anonymeter attack our rows: what it reads, compares, and finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import InputError

ROOT = Path(__file__).parents[1]
PEERS = os.environ.get("AIGC_BENCH_PEERS", sys.executable)


@pytest.fixture
def peer_attacks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import peer_attacks

    return peer_attacks


def people(rows: int, seed: int) -> pl.DataFrame:
    """People whose columns know nothing of each other, with gaps."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "income": np.round(rng.lognormal(10, 0.5, rows), 2),
            "weight": np.round(rng.normal(70, 10, rows), 1),
            "town": rng.choice(["Basel", "Bern", "Geneva", "Zurich"], rows),
            "pet": rng.choice(["cat", "dog", "none"], rows),
            "steps": rng.integers(0, 10_000, rows),
        }
    ).with_columns(
        weight=pl.when(pl.int_range(pl.len()) % 9 > 0).then("weight"),
        town=pl.when(pl.int_range(pl.len()) % 7 > 0).then("town"),
    )


def written(folder: Path, **frames: pl.DataFrame) -> list[str]:
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    return [str(folder / f"{name}.parquet") for name in frames]


def test_files_are_read_alike(peer_attacks: Any, tmp_path: Path) -> None:
    """Dates are numbers, flags and categories texts, and only what all three have is kept."""
    train = pl.DataFrame(
        {"a": [1, None], "day": [date(1970, 1, 2), None], "flag": [True, None], "own": [1, 2]}
    )
    paths = written(tmp_path, train=train, control=train)
    train.select("flag", "a", "day").write_csv(tmp_path / "synthetic.csv")
    with_dates = peer_attacks.read([*paths, paths[0]])
    assert with_dates.train["day"].iloc[0] == 86_400
    tables = peer_attacks.read([*paths, str(tmp_path / "synthetic.csv")])
    for frame in vars(tables).values():
        assert list(frame) == ["a", "day", "flag"]
        assert frame["a"].isna().tolist() == [False, True]
        assert frame["flag"].tolist()[0] == "true" and frame["flag"].isna().tolist()[1]
    full = peer_attacks.comparable(tables)
    assert not full.train.isna().any().any()
    assert full.train["a"].tolist() == [1.0, 0.5] and full.train["flag"].tolist()[1] == "(missing)"


def test_only_what_chance_does_not_explain_leaks(peer_attacks: Any) -> None:
    rate, attack = peer_attacks.Rate, peer_attacks.Attack
    low, high = rate(0.10, 0.03), rate(0.14, 0.03)  # 0.04 apart, give or take 0.042
    assert not attack("a", 500, high, low, low).leaks
    leak = attack("b", 500, rate(0.15, 0.03), low, low)
    assert leak.leaks and not attack("c", 500, low, high, low).leaks
    assert peer_attacks.table_of([leak]).splitlines()[-1] == (
        "| b | 500 | 0.150 ± 0.030 | 0.100 ± 0.030 | 0.100 ± 0.030 | **yes**: 0.050 ± 0.042 |"
    )


def test_without_anonymeter_the_error_says_what_to_do(
    peer_attacks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.attacks import attack_files

    paths = written(tmp_path, train=people(20, 0), control=people(20, 1), synthetic=people(20, 2))
    (tmp_path / "anonymeter.py").write_text("raise ModuleNotFoundError('no anonymeter here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("AIGC_BENCH_PEERS", sys.executable)
    with pytest.raises(InputError, match=r"no anonymeter here; AIGC_BENCH_PEERS must name"):
        attack_files(paths, 10, 0)
    monkeypatch.setenv("AIGC_BENCH_PEERS", "no-such-python")
    with pytest.raises(InputError, match="no Python that can be run"):
        attack_files(paths, 10, 0)


@pytest.mark.skipif(
    subprocess.run([PEERS, "-c", "import anonymeter"], capture_output=True).returncode != 0,
    reason="AIGC_BENCH_PEERS names no Python that has anonymeter",
)
def test_copies_leak_and_other_people_do_not(peer_attacks: Any, tmp_path: Path) -> None:
    train, control = people(600, 0), people(600, 1)
    script = str(Path(peer_attacks.__file__))
    for synthetic, leaking in ((train, True), (people(600, 2), False)):
        paths = written(tmp_path, train=train, control=control, synthetic=synthetic)
        command = [PEERS, script, *paths, "--attacks", "300", "--columns", "3", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = {a["name"]: a for a in json.loads(done.stdout.splitlines()[-1])}
        assert len(found) == 4 + 5
        for name in (
            "singling out, multivariate, 3 columns",
            "linkability, the nearest row",
            "inference of town",
        ):
            main, control_rate = found[name]["main"], found[name]["control"]
            excess = main["value"] - control_rate["value"]
            error = float(np.hypot(main["error"], control_rate["error"]))
            assert (excess > 0.2) if leaking else (excess <= 1.5 * error), name
