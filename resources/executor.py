"""How a run's steps are executed: one setting, `AIGC_EXECUTOR`."""

from __future__ import annotations

import os

import dagster as dg

from aigc_pipeline.errors import InputError, did_you_mean

EXECUTORS = ("multiprocess", "in_process", "ray", "k8s")


def executor_from_env() -> dg.ExecutorDefinition:
    """The executor that `AIGC_EXECUTOR` names; `multiprocess` by default.

    multiprocess: a process a step on this machine. in_process: all steps in the run's own process.
    ray: a Ray job a step. k8s: a Kubernetes job a step. The last two need their extra.
    Raises InputError for another name or a missing extra.
    """
    name = os.environ.get("AIGC_EXECUTOR") or "multiprocess"
    if name == "multiprocess":
        # Polars' threads do not survive a fork, so the server that forks imports Dagster alone.
        server = {"start_method": {"forkserver": {"preload_modules": ["dagster"]}}}
        return dg.multiprocess_executor.configured(server, name="multiprocess")
    if name == "in_process":
        return dg.in_process_executor
    if name == "ray":
        try:
            from dagster_ray import ray_executor
        except ImportError as error:
            raise _missing(name, "dagster-ray") from error
        return ray_executor
    if name == "k8s":
        try:
            from dagster_k8s import k8s_job_executor
        except ImportError as error:
            raise _missing(name, "dagster-k8s") from error
        return k8s_job_executor
    raise InputError(f"AIGC_EXECUTOR={name!r} is no executor: {did_you_mean(name, EXECUTORS)}")


def _missing(name: str, package: str) -> InputError:
    return InputError(
        f"AIGC_EXECUTOR={name} needs the package {package}: pip install 'aigc-pipeline[{name}]'"
    )
