"""Approving a release: gates are judged anew, and rows, scores and report are copied together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError, GateRefused
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.relations import Graph
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.warehouse.contract import contract_text
from aigc_pipeline.warehouse.dictionary import write_dictionary
from aigc_pipeline.warehouse.evidence import judge, read_tables
from aigc_pipeline.warehouse.lock import exclusive
from aigc_pipeline.warehouse.marts import plan_marts
from aigc_pipeline.warehouse.record import (
    MartNotes,
    ModelNotes,
    RelationNotes,
    ReleasedTable,
    ReleaseNotes,
    TableNotes,
    find_input,
    scenario_notes,
    trace,
)

if TYPE_CHECKING:
    from aigc_pipeline.evaluation import GateResult

CONTRACT = "contract.odcs.yaml"
# All that is kept of a rule's outcome: its message may quote bounds learned from real rows.
_RULE_FIELDS = ("rule", "column", "severity", "success", "rows_seen", "failed_rows", "origin")


def create_release(
    lake: Lake,
    spec: DatasetSpec,
    *,
    synthetic: Version,
    evaluation: Version,
    schemas: dict[str, TableSchema],
) -> Version:
    """A new release of a dataset, in force; `publish` then brings it into the warehouse.

    The evaluation must be of these very rows (by hash), nothing may have changed since, and every
    gate of `spec` must pass on the stored scores. Releasing what is already in force, under the
    same dataset file, returns that release.

    Args:
        lake: where all versions are.
        spec: the dataset file; its gates count as they are now.
        synthetic: the rows to release.
        evaluation: the scores of those rows.
        schemas: table -> columns, as the validated stage wrote them.

    Raises:
        ArtefactError: something is missing, changed or does not belong together, or the disk
            refuses.
        InputError: a mart does not work on the synthetic tables.
        GateRefused: a score misses its gate. In any of these cases nothing was written.
    """
    gates, scores = judge(spec, synthetic, evaluation, schemas)
    tables = read_tables(spec, synthetic, schemas)
    marts = plan_marts(spec, tables, schemas)
    if refused := [gate for gate in gates if not gate.passed]:
        raise GateRefused(_refusal(lake, spec, refused))
    try:
        with exclusive(lake):
            if (current := _in_force(lake, spec, synthetic, evaluation)) is not None:
                lake.sweep(spec.name, "release")
                return current
            inputs = {"synthetic": synthetic, "evaluation": evaluation}
            notes = _notes(lake, spec, synthetic, evaluation, tables, marts)
            with lake.writing(
                spec.name, "release", inputs=inputs, spec_sha256=spec.sha256()
            ) as draft:
                draft.meta.update(notes.model_dump(mode="json"))
                _copy(synthetic, evaluation, tables, draft.path)
                verdicts = [gate.model_dump(mode="json") for gate in gates]
                scores = {**scores, "gates": verdicts}
                draft.write_json("scores.json", scores)
                write_dictionary(draft.path, spec.name, notes, schemas, scores)
                contract = contract_text(spec, synthetic.id, notes, schemas, scores)
                (draft.path / CONTRACT).write_text(contract, encoding="utf-8")
                for name, schema in schemas.items():
                    draft.write_json(f"schemas/{name}.json", schema.model_dump(mode="json"))
                draft.write_json("lineage.json", trace(lake, synthetic, evaluation))
                if outcomes := _validation(lake, evaluation, schemas):
                    draft.write_json("validation.json", outcomes)
                if drift := _drift(lake, evaluation):
                    draft.write_json("drift.json", drift)
    except OSError as error:
        raise ArtefactError(
            f"{lake.stage_dir(spec.name, 'release')}: the release could not be written"
            f" ({error.strerror or error}); the last one stays in force"
        ) from error
    assert draft.version is not None
    return draft.version


def _refusal(lake: Lake, spec: DatasetSpec, refused: list[GateResult]) -> str:
    current = lake.find_current(spec.name, "release")
    kept = (
        f"release {current.id} and the warehouse stay as they were"
        if current
        else "there is no earlier release, and the warehouse stays as it was"
    )
    gates = "a gate refuses it" if len(refused) == 1 else f"{len(refused)} gates refuse it"
    lines = [f"  {gate.table}: {gate.message}" for gate in refused]
    return "\n".join([f"{spec.name}: not released, {gates}; {kept}", *lines])


def _in_force(
    lake: Lake, spec: DatasetSpec, synthetic: Version, evaluation: Version
) -> Version | None:
    """The current release, if it is whole and of the same rows, scores and dataset file."""
    try:
        current = lake.find_current(spec.name, "release")
        if current is None:
            return None
        given = {name: value["sha256"] for name, value in current.manifest["inputs"].items()}
        if given != {"synthetic": synthetic.sha256, "evaluation": evaluation.sha256}:
            return None
        if current.manifest["spec_sha256"] != spec.sha256():
            return None
        current.verify()
    except ArtefactError:  # damaged since: the same rows are released afresh
        return None
    return current


def _notes(
    lake: Lake,
    spec: DatasetSpec,
    synthetic: Version,
    evaluation: Version,
    tables: list[ReleasedTable],
    marts: list[MartNotes],
) -> ReleaseNotes:
    model = find_input(lake, evaluation, "model") or find_input(lake, synthetic, "model")
    made = {table.scenario for table in tables}
    return ReleaseNotes(
        title=spec.title,
        description=spec.description,
        domain=spec.domain,
        owners=spec.owners,
        seed=synthetic.meta.get("seed", spec.synthesis.seed),
        rows={".".join(table.name): table.rows for table in tables},
        model=ModelNotes(
            family=spec.generator.family,
            quality=(model.meta if model else {}).get("quality", spec.generator.quality),
            version=model.id if model else None,
            trained_at=model.manifest["created_at"] if model else None,
            dp=(model.meta if model else {}).get("dp", {}),
        ),
        privacy=spec.privacy.model_dump(mode="json"),
        locale=spec.locale,
        scenarios={
            name: scenario_notes(scenario)
            for name, scenario in spec.synthesis.scenarios.items()
            if name in made
        },
        about={
            name: TableNotes(
                description=table.description,
                key=", ".join(table.keys) or None,
                target=table.target,
            )
            for name, table in spec.tables.items()
        },
        tables=tables,
        relations=[
            RelationNotes(
                child=relation.child,
                columns=list(relation.columns),
                parent=relation.parent,
                key=list(relation.key),
                optional=relation.optional,
            )
            for relation in Graph(spec.tables).relations
        ],
        marts=marts,
    )


def _copy(
    synthetic: Version, evaluation: Version, tables: list[ReleasedTable], target: Path
) -> None:
    """The shards and the report, compared once more with what was judged as they are copied."""
    for table in tables:
        for shard in table.shards:
            name = f"{table.scenario}/{table.table}/{Path(shard).name}"
            copy = target / shard
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(synthetic.path / name, copy)
            if sha256_file(copy) != synthetic.manifest["files"][name]["sha256"]:
                raise ArtefactError(
                    f"{synthetic.path / name}: its bytes changed while it was being released"
                )
    if "report.html" in evaluation.files():
        shutil.copyfile(evaluation.file("report.html"), target / "report.html")


def _validation(
    lake: Lake, evaluation: Version, schemas: Mapping[str, TableSchema]
) -> dict[str, list[dict[str, Any]]]:
    """Outcomes of the rules that the real rows were held to, where the lake still has them."""
    validated = find_input(lake, evaluation, "validated")
    if validated is None:
        return {}
    listed = validated.files()
    return {
        name: [
            {key: rule.get(key) for key in _RULE_FIELDS}
            for rule in validated.read_json(f"{name}/validation.json")["results"]
        ]
        for name in schemas
        if f"{name}/validation.json" in listed
    }


def _drift(lake: Lake, evaluation: Version) -> dict[str, Any]:
    """How far the source moved since the run before, where that is known and the lake has it."""
    validated = find_input(lake, evaluation, "validated")
    if validated is None or "drift.json" not in validated.files():
        return {}
    return validated.read_json("drift.json")
