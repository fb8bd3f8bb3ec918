"""The sensor that notices new source files."""

from __future__ import annotations

import glob
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from aigc_pipeline.spec import DatasetSpec

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

# A file touched more recently may still be being written.
SETTLE_SECONDS = 5.0


def source_sensor(
    spec: DatasetSpec, base_dir: Path, job: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition | None:
    """A sensor that runs `job` when a dataset's local source files changed; None where it has none.

    Each tick looks at names, sizes and times alone. The files are read and hashed only when those
    changed, and the hash is the run key: a file that was merely touched starts nothing.
    """
    patterns = {
        name: table.source.file
        for name, table in sorted(spec.tables.items())
        if table.source.file and not table.source.file.startswith(("http://", "https://"))
    }
    if not patterns:
        return None

    @dg.sensor(
        name=f"{spec.name}_source_sensor",
        job=job,
        minimum_interval_seconds=60,
        description=f"Runs {spec.name} when the contents of its source files changed.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = {name: _look(base_dir, pattern) for name, pattern in patterns.items()}
        missing = [name for name, files in found.items() if not files]
        if missing:
            return dg.SkipReason(f"no source file yet for {', '.join(missing)}")
        age = time.time() - max(mtime for files in found.values() for _, _, mtime in files) / 1e9
        if age < SETTLE_SECONDS:
            return dg.SkipReason("a source file changed just now and may still be being written")
        looks = json.dumps(found)
        if looks == context.cursor:
            return dg.SkipReason("no source file changed")

        from aigc_pipeline.sources import content_hash

        hashes = [content_hash(spec.tables[name].source, base_dir) for name in patterns]
        run_key = f"{spec.name}-{'-'.join(digest[:16] for digest in hashes)}"
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=looks)

    return sensor


def _look(base_dir: Path, pattern: str) -> list[tuple[str, int, int]]:
    """Path, bytes and modification time in nanoseconds of the files that a pattern names."""
    named = base_dir / Path(pattern).expanduser()
    found = [named] if named.is_file() else map(Path, glob.glob(str(named), recursive=True))
    stats = [(path, path.stat()) for path in sorted(found) if path.is_file()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
