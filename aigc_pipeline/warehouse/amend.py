"""A release with one scenario more, or one less: all else is, byte for byte, what was approved."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake, Named, Version
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.warehouse import comparison
from aigc_pipeline.warehouse.dictionary import write_dictionary
from aigc_pipeline.warehouse.evidence import read_table
from aigc_pipeline.warehouse.lock import exclusive
from aigc_pipeline.warehouse.publish import rebuild
from aigc_pipeline.warehouse.record import (
    BASELINE,
    Release,
    ReleasedTable,
    ReleaseNotes,
    ScenarioNotes,
    schema_name,
)


def amend(
    lake: Lake,
    base: Release,
    name: str,
    scenario: ScenarioNotes | None,
    write: Callable[[Path], None] | None = None,
    *,
    model: Version | None = None,
) -> Version:
    """Publish a new release: `base` with a scenario added, replaced or (None) dropped.

    Its rows, scores, gates, report and contract are those of `base`, and its manifest names `base`,
    what that was made from, and the model by their hashes. So rolling back takes the scenario away
    again, and the next run's release does not have it unless the dataset file does.

    write: makes the scenario's shards as `<table>/part-*.parquet` in a folder.
    Raises ArtefactError where `base` is damaged or no longer in force; nothing is changed then, nor
    by any error of `write`.
    """
    with ExitStack() as held:
        inputs: dict[str, Version | Named] = {
            stage: Named(given["version"], given["sha256"])
            for stage, given in base.version.manifest["inputs"].items()
        }
        inputs["release"] = base.version
        if model is not None:
            inputs["model"] = model
        with lake.writing(
            base.dataset,
            "release",
            inputs=inputs,
            spec_sha256=base.version.manifest["spec_sha256"],
        ) as draft:
            place = f"data/{schema_name(base.dataset, name)}"
            tables = [table for table in base.notes.tables if table.scenario != name]
            _copy(base.version, draft.path, f"{place}/")
            if write is not None:
                write(draft.path / place)
                tables += _read(base.dataset, draft.path, place, name, base.schemas)
            draft.write_json("lineage.json", base.lineage)
            notes = _notes(base, name, scenario, tables)
            draft.meta.update(notes.model_dump(mode="json"))
            scores = base.version.read_json("scores.json")
            write_dictionary(draft.path, base.dataset, notes, base.schemas, scores)
            held.enter_context(exclusive(lake))
            if lake.current(base.dataset, "release").id != base.id:
                raise ArtefactError(
                    f"{base.dataset}: another release came into force meanwhile; try again"
                )
            held.enter_context(lake.keeping_current(base.dataset, "release"))
        rebuild(lake)
    assert draft.version is not None
    return draft.version


def check_released(release: Release, name: str) -> None:
    """Raise InputError unless a release has a scenario of this name."""
    if name not in release.notes.scenarios:
        known = ", ".join(sorted(release.notes.scenarios)) or "none"
        raise InputError(
            f"release {release.id} of {release.dataset} has no scenario {name!r}; it has: {known}"
        )


def _copy(base: Version, target: Path, without: str) -> None:
    """A release's files but those below a folder, each checked as it is read and once copied."""
    for name in base.files():
        if name.startswith(without) or name == "lineage.json":
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.file(name), copy)
        if sha256_file(copy) != base.manifest["files"][name]["sha256"]:
            raise ArtefactError(f"{base.path / name}: its bytes changed while they were copied")


def _read(
    dataset: str, draft: Path, place: str, scenario: str, schemas: Mapping[str, TableSchema]
) -> list[ReleasedTable]:
    found = []
    for folder in sorted(path for path in (draft / place).iterdir() if path.is_dir()):
        shards = [f"{place}/{folder.name}/{path.name}" for path in sorted(folder.iterdir())]
        found.append(read_table(dataset, draft, (scenario, folder.name), shards, schemas))
    return found


def _notes(
    base: Release, name: str, scenario: ScenarioNotes | None, tables: list[ReleasedTable]
) -> ReleaseNotes:
    """The new release's notes: the old ones, with this scenario and the comparison made anew."""
    tables = sorted(tables, key=lambda t: (t.scenario != BASELINE, t.scenario, t.table))
    scenarios = {k: v for k, v in base.notes.scenarios.items() if k != name}
    if scenario is not None:
        scenarios[name] = scenario
    marts = [mart for mart in base.notes.marts if mart.name != comparison.NAME]
    marts += comparison.plan_comparison(base.dataset, tables, base.schemas)
    return base.notes.model_copy(
        update={
            "tables": tables,
            "rows": {".".join(table.name): table.rows for table in tables},
            "scenarios": dict(sorted(scenarios.items())),
            "marts": marts,
            "based_on": base.id,
        }
    )
