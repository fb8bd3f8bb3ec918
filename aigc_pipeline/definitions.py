"""The composition root: every dataset file becomes a part of the Dagster graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from aigc_pipeline.dataset_file import load_datasets
from aigc_pipeline.project import Project
from aigc_pipeline.spec import DatasetSpec
from assets import build_dataset
from resources import ComputeResource, LakeResource, LogReporter, Reporter, WarehouseResource
from resources.executor import executor_from_env


@dg.definitions
def defs() -> dg.Definitions:
    """All datasets of the project, with the resources and the executor they run on.

    One broken dataset file stops the loading with an error that names it: a graph that silently
    lacks a dataset would be worse than none.
    """
    project = Project.from_env()
    graph = compose(load_datasets(project.datasets), project.root, LogReporter())
    return dg.Definitions.merge(graph, dg.Definitions(executor=executor_from_env()))


def compose(specs: Iterable[DatasetSpec], base_dir: Path, reporter: Reporter) -> dg.Definitions:
    """The graph of some datasets with its resources; stages tell `reporter` how far they are."""
    lake = LakeResource()
    resources = {
        "lake": lake,
        "warehouse": WarehouseResource(lake=lake),
        "compute": ComputeResource(),
        "reporter": reporter,
    }
    parts = (build_dataset(spec, base_dir) for spec in specs)
    return dg.Definitions.merge(dg.Definitions(resources=resources), *parts)
