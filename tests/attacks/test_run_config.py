"""Hostile run config, tags and partition keys: whoever may launch a run chooses rows and seeds.

What a run can be told is read from Dagster's own schema of the job, so that a field that is added
is attacked as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from small_project import make_project
from warehouse_kit import state

from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.definitions import compose
from aigc_pipeline.lake import Lake
from resources import LogReporter

SECRET = "a-secret-of-the-environment"
TEXTS = [
    "'; DROP TABLE wine.wines; --", "../x", "../../../../x", "a\x00b", "~/x", "$HOME/x",
    "x" * 100_000, "{{7*7}}", "\ud7ff", "",
]  # fmt: skip
NUMBERS = [-1, 2**70, 1e309, float("nan"), 0.5, True, [1], {"env": "CANARY"}, {"a": 1}]
# Where Dagster's own parts are told of processes and logs; none of them takes a path or SQL.
DAGSTERS = ("execution", "loggers", "resources.reporter")


class Project:
    """A project whose runs read a source; everything beside its lake is watched."""

    def __init__(self, root: Path, wine: pl.DataFrame) -> None:
        self.root = make_project(root / "project", wine)
        self.outside = root / "outside"
        self.outside.mkdir()
        self.lake = Lake(root / "lake")
        spec = find_dataset("wine", self.root / "datasets")
        self.definitions = compose([spec], self.root, LogReporter(every=0))
        self.job = self.definitions.resolve_job_def("wine_job")

    def fields(self) -> list[str]:
        """Every field of a run's config, dotted."""
        return [
            name for name in leaves(self.job.run_config_schema.config_type)
            if not name.startswith(DAGSTERS)
        ]  # fmt: skip

    def run(
        self, config: dict[str, Any], stage: str = "raw", **more: Any
    ) -> dg.ExecuteInProcessResult:
        """One stage, with such a config."""
        quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
        with dg.DagsterInstance.ephemeral() as instance:
            return self.job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(["wine", stage])],
                run_config={**config, "loggers": quiet},
                **more,
            )

    def refusal(self, name: str, value: Any) -> str:
        """What is said to such a value of an op's field, by Dagster or by the step itself."""
        stage = name.split(".")[1].removeprefix("wine__")
        try:
            done = self.run(nested(name, value), stage)
        except dg.DagsterInvalidConfigError as error:
            return str(error)
        [failed] = [event for event in done.all_events if event.is_step_failure]
        assert failed.step_failure_data.error is not None
        return failed.step_failure_data.error.to_string()

    def beside(self) -> dict[str, str]:
        """Every file that is not in the lake; the working folder is among them."""
        files = state(self.root.parent)
        return {name: sha for name, sha in files.items() if not name.startswith("lake/")}


def leaves(kind: Any, at: str = "") -> Iterator[str]:
    """Dotted names of the fields that hold a value."""
    fields = getattr(kind, "fields", None)
    if fields is None:
        yield at
    else:
        for name, field in fields.items():
            yield from leaves(field.config_type, f"{at}.{name}".strip("."))


def nested(name: str, value: Any) -> dict[str, Any]:
    """A config with one field."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


@pytest.fixture
def project(tmp_path: Path, wine: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "lake"))
    monkeypatch.setenv("CANARY", SECRET)
    made = Project(tmp_path, wine)
    monkeypatch.chdir(made.outside)
    return made


def test_what_a_run_can_be_told(project: Project) -> None:
    """No path, SQL or name that is heeded; Dagster's own store, which has a folder, is not used."""
    assert sorted(project.fields()) == [
        "ops.wine__evaluation.config.seed",
        "ops.wine__model.config.quality",
        "ops.wine__model.config.seed",
        "ops.wine__synthetic.config.rows",
        "ops.wine__synthetic.config.seed",
        "resources.compute.config.accelerator",
        "resources.compute.config.devices",
        "resources.compute.config.threads",
        "resources.io_manager.config.base_dir",
        "resources.lake.config",
        "resources.warehouse.config",
    ]


def test_hostile_run_config(project: Project, tried: Any) -> None:
    line = tried("Attacks", "SQL, paths and numbers that are none in a run's config")
    before = project.beside()
    for name in project.fields():
        if not name.startswith("ops."):
            continue
        field = name.rpartition(".")[2]
        for value in [*TEXTS, *NUMBERS, str(project.outside / "x")]:
            refusal = project.refusal(name, value)
            assert field in refusal and SECRET not in refusal, (name, value, refusal)
            line.happened("refused before anything was written")
    assert not project.lake.home.exists() and project.beside() == before


def test_a_run_that_is_told_to_write_elsewhere(project: Project, tried: Any) -> None:
    """Where the lake is, the machine's owner says, and not whoever launches a run."""
    line = tried("Attacks", "a run told to write elsewhere than into the lake")
    before = project.beside()
    for value in (str(project.outside / "x"), "../x", {"env": "CANARY"}, "a\x00b"):
        for resource in ("lake", "warehouse"):
            done = project.run(nested(f"resources.{resource}.config.home", value))
            assert done.success and project.lake.current("wine", "raw")
            line.happened("not heeded: the lake is where it was")
        done = project.run(nested("resources.io_manager.config.base_dir", value))
        line.happened("nothing is stored there" if done.success else "the run failed")
    assert project.beside() == before
    for value in (*TEXTS, "cuda"):
        with pytest.raises(dg.DagsterInvalidConfigError):
            project.run(nested("resources.compute.config.threads", value))
        line.happened("refused before anything was written")


def test_partition_keys(project: Project, tried: Any) -> None:
    line = tried("Attacks", "SQL and paths in partition keys of a run")
    graph = project.definitions.resolve_asset_graph()
    assert all(graph.get(key).partitions_def is None for key in graph.get_all_asset_keys())
    assert project.job.partitions_def is None
    before = project.beside()
    for key in filter(None, TEXTS):
        with pytest.raises(Exception, match="no PartitionsDefinition"):  # of a private type
            project.run({}, partition_key=key)
        line.happened("refused: nothing has partitions")
    assert not project.lake.home.exists()
    for key in TEXTS:
        tags = {"dagster/partition": key, "dataset": key}
        done = project.run({}, tags=tags)
        if done.success:
            names = {path.name for path in (project.lake.home / "wine" / "raw").iterdir()}
            assert names - {"CURRENT"} == {v.id for v in project.lake.versions("wine", "raw")}
        line.happened("named in a tag: not heeded" if done.success else "named in a tag: refused")
    assert project.beside() == before
