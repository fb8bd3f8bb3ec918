"""One dataset file's part of the graph: seven assets, a job, a schedule, a sensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from aigc_pipeline.errors import InputError
from aigc_pipeline.spec import DatasetSpec
from assets.evaluation import evaluation_asset
from assets.features import features_asset
from assets.model import model_asset
from assets.raw import raw_asset
from assets.release import release_asset
from assets.sensor import source_sensor
from assets.synthetic import synthetic_asset
from assets.validated import validated_asset

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )


def build_dataset(spec: DatasetSpec, base_dir: Path) -> dg.Definitions:
    """The definitions of one dataset. Relative source paths start at `base_dir`.

    The resources (lake, compute, reporter) are the caller's to add.
    Raises InputError when the schedule is no cron expression.
    """
    job = dg.define_asset_job(
        f"{spec.name}_job",
        selection=dg.AssetSelection.groups(spec.name),
        description=f"From the source tables of {spec.name} to a release in the warehouse.",
        tags={"dataset": spec.name},  # dagster.yaml lets one run a dataset through at a time
    )
    sensor = source_sensor(spec, base_dir, job)
    return dg.Definitions(
        assets=[
            raw_asset(spec, base_dir),
            validated_asset(spec),
            features_asset(spec),
            model_asset(spec),
            synthetic_asset(spec),
            evaluation_asset(spec),
            release_asset(spec),
        ],
        jobs=[job],
        schedules=_schedules(spec, job),
        sensors=[sensor] if sensor else [],
    )


def _schedules(spec: DatasetSpec, job: UnresolvedAssetJobDefinition) -> list[dg.ScheduleDefinition]:
    """The dataset's schedule, on from the start: whoever writes one wants it to run."""
    if spec.schedule is None:
        return []
    try:
        return [
            dg.ScheduleDefinition(
                name=f"{spec.name}_schedule",
                job=job,
                cron_schedule=spec.schedule,
                execution_timezone="UTC",
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description=f"Runs {spec.name} by the dataset file's schedule, in UTC.",
            )
        ]
    except dg.DagsterInvalidDefinitionError as error:
        raise InputError(
            f"dataset {spec.name}: schedule: {spec.schedule!r} is no cron expression;"
            " write e.g. '0 3 * * *' for three o'clock every night"
        ) from error
