"""The lake: the one owner of every path, and of how an artefact comes to be.

`<home>/<dataset>/<stage>/<version>/` holds the files and a `manifest.json` with the sha256 of each,
the hashes of the inputs and the code's version; `manifest.sha256` holds the manifest's own. A
version is written in a hidden sibling, fsynced and renamed; the `CURRENT` pointer moves last.
Nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from aigc_pipeline import __version__
from aigc_pipeline.durable import draft_folder, fsync_path, replace_within, sha256_file, sweep
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.spec import check_name

STAGES = ("raw", "validated", "features", "model", "synthetic", "evaluation", "release")
# Bumped when artefacts change shape, so that an older one is refused and not misread.
FORMAT = 2
_VERSION_ID = re.compile(r"v(\d{5,})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Version:
    """One immutable version of a stage's output."""

    dataset: str
    stage: str
    id: str
    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The parsed manifest. Raises ArtefactError when missing, changed or of another format."""
        file = self.path / "manifest.json"
        try:
            data = file.read_bytes()
            manifest = json.loads(data)
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{file}: the manifest cannot be read ({error}); run the stage again"
            ) from error
        if manifest.get("format") != FORMAT:
            raise ArtefactError(
                f"{file}: written in format {manifest.get('format')}, this version reads {FORMAT}; "
                "run the stage again"
            )
        try:
            expected = (self.path / "manifest.sha256").read_bytes()
        except OSError as error:
            raise ArtefactError(
                f"{self.path}: the manifest's sha256 cannot be read ({error.strerror});"
                " run the stage again"
            ) from error
        if expected != _checksum(data):
            raise ArtefactError(
                f"{file}: its bytes changed since it was written; run the stage again"
            )
        return manifest

    @property
    def meta(self) -> dict[str, Any]:
        """What the stage noted of this version."""
        return self.manifest["meta"]

    @cached_property
    def sha256(self) -> str:
        """Hash of the manifest: it stands for every byte of the version."""
        return sha256_file(self.path / "manifest.json")

    def file(self, name: str) -> Path:
        """Path of a file the manifest lists, checked against its sha256."""
        if name not in self.manifest["files"]:
            raise ArtefactError(f"{self.path}: the manifest lists no file {name!r}")
        self._check(name)
        return self.path / name

    def files(self, under: str = "") -> list[str]:
        """Names of the listed files below a folder, sorted."""
        return sorted(name for name in self.manifest["files"] if name.startswith(under))

    def read_json(self, name: str) -> Any:
        """A listed JSON file, parsed."""
        return json.loads(self.file(name).read_bytes())

    def verify(self) -> None:
        """Raise ArtefactError unless every listed file is there with its sha256."""
        for name in self.manifest["files"]:
            self._check(name)

    def _check(self, name: str) -> None:
        if name.startswith("/") or ".." in name.split("/"):
            raise ArtefactError(f"{self.path}: the manifest names a file elsewhere")
        path, expected = self.path / name, self.manifest["files"][name]["sha256"]
        try:
            found = sha256_file(path)
        except OSError as error:
            raise ArtefactError(
                f"{path}: listed in the manifest but not readable ({error.strerror});"
                f" run {self.dataset}/{self.stage} again"
            ) from error
        if found != expected:
            raise ArtefactError(
                f"{path}: its bytes changed since it was written (sha256 differs from the"
                f" manifest); run {self.dataset}/{self.stage} again"
            )


def _checksum(manifest: bytes) -> bytes:
    """What `manifest.sha256` holds; `sha256sum -c` reads it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n".encode()


@dataclass(frozen=True)
class Named:
    """A version by its id and hash; the lake itself may no longer have it."""

    id: str
    sha256: str


@dataclass
class Draft:
    """A version being written: fill `path` and `meta`; `version` is set once it is published."""

    path: Path
    meta: dict[str, Any] = field(default_factory=dict)
    version: Version | None = None

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file below the draft."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )


class Lake:
    """The folder that holds everything. Files are 0600 in 0700 folders: they may be real data."""

    def __init__(self, home: Path | str) -> None:
        self.home = Path(home).expanduser().resolve()

    @classmethod
    def from_env(cls) -> Lake:
        """The lake at `$AIGC_HOME`, by default `./lake`."""
        return cls(os.environ.get("AIGC_HOME") or "lake")

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that BI opens."""
        return self.home / "warehouse.duckdb"

    @property
    def ledger(self) -> Path:
        """What differential privacy was spent on every source."""
        return self.home / "ledger.json"

    def stage_dir(self, dataset: str, stage: str) -> Path:
        """Folder of a stage's versions."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        return self.home / check_name(dataset) / stage

    def checkpoint(self, dataset: str, table: str) -> Path:
        """The file that an interrupted training of a table goes on from."""
        name = hashlib.sha256(table.encode()).hexdigest()[:16]
        return self.stage_dir(dataset, "model") / ".checkpoints" / f"{name}.safetensors"

    def clear_checkpoints(self, dataset: str) -> None:
        """Remove what killed trainings left, those of tables that are no more included."""
        shutil.rmtree(self.stage_dir(dataset, "model") / ".checkpoints", ignore_errors=True)

    def datasets(self) -> list[str]:
        """Datasets that have at least one folder in the lake."""
        if not self.home.is_dir():
            return []
        return sorted(
            p.name for p in self.home.iterdir() if p.is_dir() and not p.name.startswith(".")
        )

    def versions(self, dataset: str, stage: str) -> list[Version]:
        """All versions of a stage, oldest first."""
        folder = self.stage_dir(dataset, stage)
        if not folder.is_dir():
            return []
        found = [(int(m[1]), p) for p in folder.iterdir() if (m := _VERSION_ID.fullmatch(p.name))]
        return [Version(dataset, stage, p.name, p) for _, p in sorted(found)]

    def version(self, dataset: str, stage: str, version_id: str) -> Version:
        """One version by its id."""
        for version in self.versions(dataset, stage):
            if version.id == version_id:
                return version
        raise ArtefactError(f"{dataset}: there is no {stage} version {version_id!r}")

    def current(self, dataset: str, stage: str) -> Version:
        """The version in force."""
        pointer = self._pointer(dataset, stage)
        if (named := _content(pointer)) is None:
            raise ArtefactError(f"{dataset}: there is no {stage} yet; run that stage first")
        for version in self.versions(dataset, stage):
            if named == _pointing_at(version):
                return version
        remedy = "run the stage again"
        if stage == "release":
            remedy += f", or put one in force: aigc rollback {dataset} --to ID"
        shown = named[:40].decode(errors="replace").strip()
        raise ArtefactError(f"{pointer}: there is no {stage} version {shown!r}; {remedy}")

    def _pointer(self, dataset: str, stage: str) -> Path:
        return self.stage_dir(dataset, stage) / "CURRENT"

    def find_current(self, dataset: str, stage: str) -> Version | None:
        """The version in force, or None where the stage has none yet."""
        exists = self._pointer(dataset, stage).exists()
        return self.current(dataset, stage) if exists else None

    def point(self, version: Version) -> None:
        """Make a version the one in force."""
        folder = self.stage_dir(version.dataset, version.stage)
        replace_within(folder, "CURRENT", _pointing_at(version))

    def remove(self, version: Version) -> None:
        """Delete a version: it is gone at once, and its files as soon as may be.

        What a kill leaves of the files is swept with the drafts of the dead.
        """
        with draft_folder(version.path.parent) as gone:
            os.rename(version.path, gone / version.id)
            fsync_path(version.path.parent)

    def sweep(self, dataset: str, stage: str) -> None:
        """Remove the drafts that dead runs left, for who may not write one, which would do that."""
        sweep(self.stage_dir(dataset, stage))

    @contextmanager
    def keeping_current(self, dataset: str, stage: str) -> Iterator[None]:
        """Put the version in force back if the block fails; none, if there was none before.

        Also on an interrupt: what readers see and what is in force must not part.
        """
        pointer = self._pointer(dataset, stage)
        before = _content(pointer)
        done = False
        try:
            yield
            done = True
        finally:
            if not done and _content(pointer) != before:
                if before is None:
                    pointer.unlink(missing_ok=True)
                else:
                    replace_within(pointer.parent, pointer.name, before)

    @contextmanager
    def writing(
        self,
        dataset: str,
        stage: str,
        *,
        inputs: Mapping[str, Version | Named] | None = None,
        spec_sha256: str = "",
        set_current: bool = True,
    ) -> Iterator[Draft]:
        """Write a new version: all of it is published on leaving the block, or none of it.

        An exception inside the block removes the draft and leaves what was there untouched.
        """
        folder = self.stage_dir(dataset, stage)
        self._make_private(folder)
        with draft_folder(folder) as path:
            draft = Draft(path)
            yield draft
            manifest = {
                "format": FORMAT,
                "dataset": dataset,
                "stage": stage,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "code_version": __version__,
                "spec_sha256": spec_sha256,
                "inputs": {
                    k: {"version": v.id, "sha256": v.sha256} for k, v in (inputs or {}).items()
                },
                "meta": draft.meta,
                "files": self._seal(draft.path),
            }
            draft.version = self._publish(folder, draft.path, manifest)
            if set_current:
                self.point(draft.version)

    def _make_private(self, folder: Path) -> None:
        for path in (self.home, folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @staticmethod
    def _seal(draft: Path) -> dict[str, dict[str, Any]]:
        """Make all files private and durable; return the manifest's entries."""
        entries = {}
        for path in sorted(draft.rglob("*")):
            if path.is_dir():
                path.chmod(0o700)
            else:
                path.chmod(0o600)
                entries[path.relative_to(draft).as_posix()] = {
                    "sha256": sha256_file(path),
                    "bytes": path.stat().st_size,
                }
            fsync_path(path)
        return entries

    @staticmethod
    def _publish(folder: Path, draft: Path, manifest: dict[str, Any]) -> Version:
        content = json.dumps([manifest["files"], manifest["inputs"]], sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()[:8]
        while True:  # another run may take the number between the look and the rename
            taken = [int(m[1]) for p in folder.iterdir() if (m := _VERSION_ID.fullmatch(p.name))]
            version_id = f"v{max(taken, default=0) + 1:05d}-{digest}"
            text = json.dumps(
                {**manifest, "version": version_id}, indent=1, sort_keys=True, default=str
            )
            data = text.encode()
            for name, content in (("manifest.json", data), ("manifest.sha256", _checksum(data))):
                file = draft / name
                file.write_bytes(content)
                file.chmod(0o600)
                fsync_path(file)
            fsync_path(draft)
            final = folder / version_id
            try:
                os.rename(draft, final)
            except OSError:
                if final.exists():
                    continue
                raise
            fsync_path(folder)
            return Version(manifest["dataset"], manifest["stage"], version_id, final)


def _pointing_at(version: Version) -> bytes:
    """What CURRENT holds when a version is in force."""
    return f"{version.id}\n".encode()


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
