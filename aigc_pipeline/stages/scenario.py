"""Scenarios made from a released model: no training, and all that was approved stays as it is."""

from __future__ import annotations

from pathlib import Path

from aigc_pipeline.dataset_file import pointing_into
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.relations import graph_of
from aigc_pipeline.spec import DatasetSpec, Scenario, check_scenario_name
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.stages.made import make_tables
from aigc_pipeline.stages.prepare import check_scenarios
from aigc_pipeline.warehouse.amend import amend, check_released
from aigc_pipeline.warehouse.record import Release, released_datasets, scenario_notes


def add_scenario(
    lake: Lake,
    spec: DatasetSpec,
    name: str,
    scenario: Scenario | None = None,
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Version:
    """Make a scenario's tables from the model of the release in force, and publish them with it.

    What comes of it is a release of its own: the one in force, and the scenario. It lasts until the
    next run, whose release has the dataset file's scenarios alone. A scenario of the same name that
    was made so before is replaced.

    scenario: its conditions and shares; by default those that the dataset file has under the name.
    seed: by default that of the release, so the same conditions in the dataset file would have
    given the same rows.

    Raises InputError where there is no release, the conditions are met by no row, or the tables are
    not those released; ArtefactError where the lake no longer has the model. Nothing is published
    then.
    """
    try:
        check_scenario_name(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    declared = spec.synthesis.scenarios.get(name)
    if scenario is None and declared is None:
        raise InputError(
            f"the dataset file of {spec.name} has no scenario {name!r}; give its conditions"
        )
    if scenario is not None and declared is not None:
        raise InputError(
            f"the dataset file of {spec.name} has a scenario {name!r} with conditions of its own;"
            " change them there, or choose another name"
        )
    wanted = scenario or declared
    assert wanted is not None
    base = _released(lake, spec.name)
    if declared is None and (known := base.notes.scenarios.get(name)) and not known.ad_hoc:
        raise InputError(
            f"release {base.id} of {spec.name} has a scenario {name!r} from its dataset file;"
            " choose another name"
        )
    synthesis = spec.synthesis.model_copy(update={"scenarios": {name: wanted}})
    asked = spec.model_copy(update={"synthesis": synthesis})
    asked._file = spec._file if scenario is None else None
    with pointing_into(asked):
        graph = graph_of(asked)
        _check_tables(base, spec)
        check_scenarios(asked, base.schemas, graph)
    try:
        model = input_of(lake, base.version, "evaluation", "model")
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; without the model of release {base.id} nothing can be made:"
            f" run {spec.name} again"
        ) from error

    def write(folder: Path) -> None:
        tables = make_tables(
            lake,
            asked,
            model,
            {name: wanted},
            rows=None,
            seed=base.notes.seed if seed is None else seed,
            progress=progress or silent,
        )
        for table in tables:
            table.write(folder / table.table)

    notes = scenario_notes(wanted, ad_hoc=declared is None)
    return amend(lake, base, name, notes, write, model=model)


def drop_scenario(lake: Lake, dataset: str, name: str) -> Version:
    """Publish a release without one of the scenarios of the release in force.

    One that the dataset file has comes back with the next run. Raises InputError where there is
    none of that name.
    """
    base = _released(lake, dataset)
    check_released(base, name)
    return amend(lake, base, name, None)


def _released(lake: Lake, dataset: str) -> Release:
    if dataset not in released_datasets(lake):
        raise InputError(
            f"{dataset} has no release, so there is no model that may be published from;"
            f" run `aigc run {dataset}` first"
        )
    return Release(lake.current(dataset, "release"))


def _check_tables(base: Release, spec: DatasetSpec) -> None:
    """Raise InputError where the dataset file's tables hang together otherwise than those released.

    Their columns are the model's own, whatever the dataset file says of them by now.
    """
    now = {(r.child, r.columns, r.parent, r.key, r.optional) for r in graph_of(spec).relations}
    then = {
        (r.child, tuple(r.columns), r.parent, tuple(r.key), r.optional)
        for r in base.notes.relations
    }
    if base.schemas.keys() != spec.tables.keys() or now != then:
        raise InputError(
            f"the dataset file of {spec.name} has other tables or relations than release {base.id};"
            f" run `aigc run {spec.name}` first"
        )
