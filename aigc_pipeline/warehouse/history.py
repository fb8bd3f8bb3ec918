"""The releases a lake keeps, and going back to one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from aigc_pipeline.errors import ArtefactError, InputError, did_you_mean
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.warehouse.lock import exclusive
from aigc_pipeline.warehouse.publish import rebuild
from aigc_pipeline.warehouse.record import Release, released_datasets


@dataclass(frozen=True)
class ReleaseInfo:
    """One release in a line. Where `problem` says that it is damaged, the rest may be missing."""

    dataset: str
    id: str
    is_current: bool
    created_at: datetime | None = None  # UTC
    code_version: str | None = None
    seed: int | None = None
    based_on: str | None = None  # the release that a scenario was added to, or dropped from
    scenarios: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)  # "schema.table" -> rows
    scores: dict[str, dict[str, float | None]] = field(
        default_factory=dict
    )  # table -> score -> value
    # table -> epsilon and delta of its training, and the total epsilon of its source so far
    dp: dict[str, dict[str, float | None]] = field(default_factory=dict)
    synthetic: str | None = None  # version ids of what was released
    evaluation: str | None = None
    problem: str | None = None


def releases(lake: Lake, dataset: str | None = None) -> list[ReleaseInfo]:
    """Releases of one dataset, or of all, each dataset's oldest first.

    Raises InputError for a dataset that has none.
    """
    known = released_datasets(lake)
    if dataset is not None:
        _check_dataset(dataset, known)
    return [
        _info(Release(version), version.id == current)
        for name in ([dataset] if dataset is not None else known)
        for current in [_current_id(lake, name)]
        for version in lake.versions(name, "release")
    ]


def rollback(lake: Lake, dataset: str, release_id: str | None = None) -> Version:
    """Put an earlier release in force (by default the one before the current) and publish it.

    Nothing is deleted, so a later release can be put back the same way. When publishing fails, the
    release that was in force stays so, and the warehouse is as it was.

    Raises:
        InputError: an unknown dataset or release, or there is none before the current one.
        ArtefactError: the release was damaged since, or the warehouse could not be rebuilt.
    """
    _check_dataset(dataset, released_datasets(lake))
    with exclusive(lake):
        target = _find_target(lake, dataset, release_id)
        target.verify()
        with lake.keeping_current(dataset, "release"):
            lake.point(target)
            rebuild(lake)
    return target


def _check_dataset(dataset: str, known: list[str]) -> None:
    if dataset not in known:
        raise InputError(f"dataset {dataset!r} has no release: {did_you_mean(dataset, known)}")


def _find_target(lake: Lake, dataset: str, release_id: str | None) -> Version:
    kept = lake.versions(dataset, "release")
    if release_id is not None:  # also where the pointer to the one in force was damaged
        for version in kept:
            if version.id == release_id:
                return version
        hint = did_you_mean(release_id, (v.id for v in kept))
        raise InputError(f"{dataset} has no release {release_id!r}: {hint}")
    current = lake.current(dataset, "release")
    earlier = kept[: [v.id for v in kept].index(current.id)]
    if not earlier:
        raise InputError(f"{dataset}: there is no release before {current.id} to go back to")
    return earlier[-1]


def _current_id(lake: Lake, dataset: str) -> str | None:
    try:
        return lake.current(dataset, "release").id
    except ArtefactError:  # the pointer was damaged: none is marked as in force
        return None


def _info(release: Release, is_current: bool) -> ReleaseInfo:
    try:
        inputs = release.version.manifest["inputs"]
        return ReleaseInfo(
            dataset=release.dataset,
            id=release.id,
            is_current=is_current,
            created_at=release.created_at,
            code_version=release.version.manifest["code_version"],
            seed=release.notes.seed,
            based_on=release.notes.based_on,
            scenarios=sorted(release.notes.scenarios),
            rows=release.notes.rows,
            scores={
                table: {name: score.get("value") for name, score in scores.items()}
                for table, scores in release.scores.items()
            },
            dp={name: spent.model_dump() for name, spent in release.notes.model.dp.items()},
            synthetic=inputs["synthetic"]["version"],
            evaluation=inputs["evaluation"]["version"],
        )
    except ArtefactError as error:
        return ReleaseInfo(release.dataset, release.id, is_current, problem=str(error))
