"""Which releases are kept, and with them what they were made from.

A run's release and those that add scenarios to it count as one: they rest on the same evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import STAGES, Lake, Version
from aigc_pipeline.warehouse.record import Release, trace


def superseded(lake: Lake, dataset: str, keep: int) -> list[Version]:
    """The releases beyond those of the last `keep` runs, oldest first.

    The release in force and the one before it are never among them.
    """
    versions = lake.versions(dataset, "release")
    current = lake.current(dataset, "release")
    at = [version.id for version in versions].index(current.id)
    spared = {version.id for version in versions[max(at - 1, 0) : at + 1]}
    runs: list[str] = []
    gone = []
    for version in reversed(versions):
        run = _run_of(version)
        if run not in runs:
            runs.append(run)
        if runs.index(run) >= keep and version.id not in spared:
            gone.append(version)
    return gone[::-1]


def remove(lake: Lake, dataset: str, gone: Sequence[Version]) -> None:
    """Delete releases, then what no release that is left was made from.

    That is whatever of the other stages is older than all of these releases, and neither in force
    nor among what the versions in force were made from. Nothing more is deleted while a release is
    damaged, for then nobody knows what it needs. What the disk does not let go stays until the next
    time.
    """
    try:
        for version in gone:
            lake.remove(version)
        for version in _unneeded(lake, dataset) if gone else ():
            lake.remove(version)
    except (OSError, ArtefactError):
        return  # what was to be published is; the rest is removed with the next release


def _run_of(version: Version) -> str:
    """What tells the run that a release is from: its evaluation, or itself where it is damaged."""
    try:
        return str(version.manifest["inputs"]["evaluation"]["sha256"])
    except (ArtefactError, KeyError):
        return version.id


def _unneeded(lake: Lake, dataset: str) -> list[Version]:
    kept = [Release(version) for version in lake.versions(dataset, "release")]
    oldest = min(release.version.manifest["created_at"] for release in kept)
    edges = [edge for release in kept for edge in release.lineage]
    in_force = [v for stage in STAGES if (v := lake.find_current(dataset, stage)) is not None]
    edges += trace(lake, *in_force)
    needed = {(edge["from_stage"], edge["from_version"]) for edge in edges}
    needed |= {(version.stage, version.id) for version in in_force}
    return [
        version
        for stage in STAGES[:-1]
        for version in lake.versions(dataset, stage)
        if (stage, version.id) not in needed and version.manifest["created_at"] < oldest
    ]
