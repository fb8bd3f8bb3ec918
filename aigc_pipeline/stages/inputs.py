"""The versions that a version was made from."""

from __future__ import annotations

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake, Version


def input_of(lake: Lake, version: Version, *stages: str) -> Version:
    """The very version another one was made from; several stages lead further back.

    Raises ArtefactError where it has changed since.
    """
    for stage in stages:
        given = version.manifest["inputs"][stage]
        found = lake.version(version.dataset, stage, given["version"])
        if found.sha256 != given["sha256"]:
            raise ArtefactError(
                f"{found.path}: changed since {version.stage} {version.id} was made"
            )
        version = found
    return version
