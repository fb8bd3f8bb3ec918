"""Training that is killed and started again: the same weights, and nothing left behind."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from cli_kit import aigc, enter
from safetensors.torch import load_file

from aigc_pipeline import stages
from aigc_pipeline.generators import checkpoint
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.spec import DatasetSpec, GeneratorSpec, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

TABLE = TableSpec(source={"file": "patients.csv"})
DRAFT = GeneratorSpec(quality="draft")


class Killed(BaseException):
    """What stops a training in this process, as a signal would."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Save after every step, and stop after so many savings; never, for None."""
    save = checkpoint.Checkpoint.save
    monkeypatch.setattr(checkpoint.Checkpoint, "due", lambda self: True)

    def choose(savings: int | None) -> None:
        left = itertools.count(-1 if savings is None else savings, -1)

        def save_and_stop(self: checkpoint.Checkpoint, tensors, values) -> None:
            save(self, tensors, values)
            if next(left) == 1:
                raise Killed

        monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)

    return choose


def fit(
    df: pl.DataFrame, at: Path | None, generator: GeneratorSpec = DRAFT, seed: int = 0
) -> tuple[TableModel, list[str]]:
    """A model, and what its training said."""
    said: list[str] = []
    model = fit_table(
        df,
        TABLE,
        generator=generator,
        seed=seed,
        checkpoint=at,
        progress=lambda message, done: said.append(message),
    )
    return model, said


def weights(model: TableModel) -> dict[str, bytes]:
    state = model.generator.net.state_dict()  # type: ignore[attr-defined]
    return {name: value.numpy().tobytes() for name, value in state.items()}


@pytest.fixture(scope="module")
def patients(diabetes: pl.DataFrame) -> pl.DataFrame:
    """Four columns of the diabetes table."""
    return diabetes.select("age", "sex", "bmi", "target")


@pytest.fixture(scope="module")
def whole(patients: pl.DataFrame) -> TableModel:
    """The model of a training that nothing interrupted."""
    return fit(patients, None)[0]


# Before the embeddings are fixed, after that, and when some columns have stopped.
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_training_goes_on_to_the_same_weights(
    patients: pl.DataFrame, whole: TableModel, tmp_path: Path, stop_after, share: float
) -> None:
    at, steps = tmp_path / "checkpoint", round(share * whole.card["history"]["steps"])
    stop_after(steps)
    with pytest.raises(Killed):
        fit(patients, at)
    assert at.stat().st_mode & 0o777 == 0o600
    stop_after(None)
    model, said = fit(patients, at)
    assert f"going on from step {steps} of an interrupted training" in said
    assert weights(model) == weights(whole)
    kept = ("steps", "best_loss", "looks", "stopped_by")
    assert all(model.card["history"][k] == whole.card["history"][k] for k in kept)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["diffusion", "vae", "gan"])
def test_every_family_goes_on_to_the_same_weights(
    patients: pl.DataFrame, tmp_path: Path, stop_after, family: str
) -> None:
    generator = GeneratorSpec(family=family, quality="draft")
    stop_after(None)
    whole, _ = fit(patients, None, generator)
    at, steps = tmp_path / "checkpoint", round(0.6 * whole.card["history"]["steps"])
    stop_after(steps)
    with pytest.raises(Killed):
        fit(patients, at, generator)
    stop_after(None)
    model, said = fit(patients, at, generator)
    assert any(message.startswith("going on from step") for message in said)
    assert weights(model) == weights(whole)
    assert not list(tmp_path.iterdir())


KILLED = """
    import sys, time
    from pathlib import Path
    import polars as pl
    from aigc_pipeline.generators import checkpoint
    from aigc_pipeline.spec import GeneratorSpec, TableSpec
    from aigc_pipeline.tabular import fit_table

    def progress(message, done):
        if done is not None and done >= 0.5:
            print("halfway", flush=True)
            time.sleep(600)

    checkpoint.SECONDS = 0
    fit_table(
        pl.read_parquet(sys.argv[1]),
        TableSpec(source={"file": "patients.csv"}),
        generator=GeneratorSpec(quality="draft"),
        checkpoint=Path(sys.argv[2]),
        progress=progress,
    )
"""


def test_a_killed_process_leaves_what_another_goes_on_from(
    patients: pl.DataFrame, whole: TableModel, tmp_path: Path
) -> None:
    patients.write_parquet(tmp_path / "patients.parquet")
    at = tmp_path / "model" / "checkpoint"
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / "patients.parquet", at]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "halfway\n"
        process.kill()
    assert process.returncode == -9 and at.exists()
    (at.parent / "checkpoint.12345.part").write_bytes(b"cut short while saving")
    model, said = fit(patients, at)
    assert any(message.startswith("going on from step") for message in said)
    assert weights(model) == weights(whole)
    assert not list(at.parent.iterdir())


@pytest.mark.parametrize("change", ["rows", "seed", "time limit", "torn", "text"])
def test_a_checkpoint_of_another_training_is_passed_over(
    patients: pl.DataFrame, tmp_path: Path, stop_after, change: str
) -> None:
    at = tmp_path / "checkpoint"
    stop_after(30)
    with pytest.raises(Killed):
        fit(patients, at)
    stop_after(None)
    if change == "torn":
        at.write_bytes(at.read_bytes()[:-1000])
    if change == "text":
        at.write_text("no tensors")
    df = patients[:-1] if change == "rows" else patients
    seed = 1 if change == "seed" else 0
    generator = DRAFT.model_copy(update={"time_limit": 9.0} if change == "time limit" else {})
    _, said = fit(df, at, generator, seed)
    assert not any(message.startswith("going on") for message in said)
    assert not list(tmp_path.iterdir())


def learn(lake: Lake, spec: DatasetSpec, source: Path) -> None:
    """Everything up to the tokens a model learns from."""
    stages.ingest(lake, spec, source)
    stages.validate(lake, spec)
    stages.featurize(lake, spec)


def test_a_run_in_the_lake_goes_on_where_the_last_one_died(
    patients: pl.DataFrame, tmp_path: Path, stop_after
) -> None:
    patients.write_csv(tmp_path / "patients.csv")
    spec = DatasetSpec(name="clinic", tables={"patients": TABLE}, generator=DRAFT)
    stop_after(None)
    models: list[Version] = []
    for name in ("undisturbed", "killed"):
        lake = Lake(tmp_path / name)
        learn(lake, spec, tmp_path)
        at = lake.checkpoint("clinic", "patients")
        if name == "killed":
            stop_after(60)
            with pytest.raises(Killed):
                stages.train(lake, spec)
            assert lake.find_current("clinic", "model") is None
            assert at.stat().st_mode & 0o777 == 0o600
            assert at.parent.stat().st_mode & 0o777 == 0o700
            # One of a table that the dataset no longer has.
            lake.checkpoint("clinic", "wards").write_bytes(at.read_bytes())
            stop_after(None)
        stages.train(lake, spec)
        models.append(lake.current("clinic", "model"))
        assert not at.parent.exists()
    first, second = (m.manifest["files"]["patients/weights.safetensors"] for m in models)
    assert first["sha256"] == second["sha256"]


def test_aigc_fit_goes_on_beside_the_models_folder(
    patients: pl.DataFrame, whole: TableModel, tmp_path: Path, stop_after, monkeypatch
) -> None:
    enter(monkeypatch, tmp_path)
    patients.write_csv("patients.csv")
    command = ("fit", "patients.csv", "--model", "m", "--quality", "draft")
    stop_after(60)
    with pytest.raises(Killed):
        aigc(*command)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.checkpoint", "patients.csv"]
    stop_after(None)
    assert aigc(*command).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "patients.csv"]
    saved = load_file(tmp_path / "m" / "weights.safetensors")
    expected = weights(whole)
    assert {n: saved[n].numpy().tobytes() for n in expected} == expected
