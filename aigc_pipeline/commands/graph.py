"""One run of a dataset's Dagster graph inside this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aigc_pipeline.commands.live import Display
from aigc_pipeline.errors import AigcError
from aigc_pipeline.spec import DatasetSpec


def run_graph(
    spec: DatasetSpec,
    base_dir: Path,
    display: Display,
    *,
    seed: int | None = None,
    rows: int | None = None,
    quality: str | None = None,
) -> None:
    """Materialise all stages of a dataset, each reporting to `display`, on a throw-away instance.

    It is the graph that the Dagster UI and the schedules run; only its log is quiet here.
    Raises the error of the stage that failed: AigcError, or whatever broke.
    """
    import dagster as dg

    from aigc_pipeline.definitions import compose

    job = compose([spec], base_dir, display).resolve_job_def(f"{spec.name}_job")
    with dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as instance:
        try:
            job.execute_in_process(
                instance=instance, run_config=_run_config(spec, seed, rows, quality)
            )
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            raise _original(error) from error


def _run_config(
    spec: DatasetSpec, seed: int | None, rows: int | None, quality: str | None
) -> dict[str, Any]:
    """What the launchpad would hold for these options."""
    ops: dict[str, dict[str, Any]] = {
        "model": {"seed": seed, "quality": quality},
        "synthetic": {"seed": seed, "rows": rows},
        "evaluation": {"seed": seed},
    }
    return {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "ops": {
            f"{spec.name}__{stage}": {"config": {k: v for k, v in config.items() if v is not None}}
            for stage, config in ops.items()
        },
    }


def _original(error: BaseException) -> BaseException:
    """The stage's own error behind what Dagster made of it."""
    import dagster as dg

    link: BaseException | None = error
    failure: dg.Failure | None = None
    while link is not None:
        if isinstance(link, AigcError | OSError):
            return link
        failure = failure or (link if isinstance(link, dg.Failure) else None)
        link = link.__cause__ or link.__context__
    return AigcError(failure.description) if failure is not None else error
