"""Evaluation and release: scores, gates, and the way into the warehouse."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from aigc_pipeline.evaluation import (
    QueryFidelity,
    check_gates,
    evaluate_queries,
    evaluate_relations,
    render_report,
    scored,
)
from aigc_pipeline.evaluation import evaluate as evaluate_table
from aigc_pipeline.evaluation.relational import entities_of
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.marts import read_marts
from aigc_pipeline.pages import Messages, isolated
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.relations import Graph
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, TableSpec
from aigc_pipeline.stages import pictures
from aigc_pipeline.stages.databases import is_database
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.stages.made import BASELINE, load_model, read_rows
from aigc_pipeline.stages.prepare import read_schema
from aigc_pipeline.stages.result import StageResult, check
from aigc_pipeline.stages.since import read_drift
from aigc_pipeline.tabular import TableModel
from aigc_pipeline.warehouse import create_release, publish, query
from aigc_pipeline.warehouse.duck import identifier

ENTITY = "(entity)"  # a column that says whose a row is, beside the table's own


def evaluate(
    lake: Lake, spec: DatasetSpec, *, seed: int | None = None, progress: Progress | None = None
) -> StageResult:
    """Score the synthetic tables against training and holdout rows, and judge the gates.

    A missed gate is the failed check `gates`; the evidence is written all the same.
    """
    synthetic = lake.current(spec.name, "synthetic")
    model = input_of(lake, synthetic, "model")
    validated = input_of(lake, model, "features", "validated")
    seed = spec.synthesis.seed if seed is None else seed
    tell = progress or silent
    graph = Graph(spec.tables)
    alone = not is_database(spec)  # else models know more than the rows that are judged
    models = {name: load_model(model, name) for name in spec.tables} if alone else {}
    tables = _read(validated, synthetic, spec)
    if graph.is_related:
        tables = tables.with_entities(graph, spec.tables)
    evaluations = {}
    for name, table in spec.tables.items():
        if table.keep:  # real by declaration
            continue
        schema, parts = tables.schemas[name], tables.of(name)
        subject = spec.privacy.subject if spec.privacy.subject in schema.names else None
        subject = ENTITY if ENTITY in parts[0].columns else subject
        evaluations[name] = evaluate_table(
            *parts,
            schema,
            target=table.target,
            min_subjects=spec.privacy.min_subjects,
            subject=subject,
            model=models.get(name),
            seed=(seed + zlib.crc32(name.encode())) % 2**32,
            progress=_told(tell, name),
        )
    relations = None
    if graph.is_related:
        relations = evaluate_relations(
            tables.train,
            tables.holdout,
            tables.synthetic,
            tables.schemas,
            graph,
            spec.tables,
            min_subjects=spec.privacy.min_subjects,
            seed=seed % 2**32,
            progress=_told(tell, "all tables"),
        )
    queries = _ask_queries(spec, tables, graph, seed % 2**32, _told(tell, "queries"))
    gates = check_gates(evaluations, spec.gates, relations, queries)
    inputs = {"validated": validated, "model": model, "synthetic": synthetic}
    with lake.writing(spec.name, "evaluation", inputs=inputs, spec_sha256=spec.sha256()) as draft:
        stored: dict[str, Any] = {
            "evaluations": {n: e.model_dump(mode="json") for n, e in evaluations.items()},
            "gates": [gate.model_dump(mode="json") for gate in gates],
            "queries": queries.model_dump(mode="json"),
        }
        if relations is not None:
            stored["relations"] = relations.model_dump(mode="json")
        draft.write_json("scores.json", stored)
        facts = _facts(spec, synthetic, model, models)
        drift = read_drift(validated)
        report = render_report(spec, evaluations, gates, facts, relations, queries, drift)
        (draft.path / "report.html").write_text(report, encoding="utf-8")
    assert draft.version is not None
    missed = [f"{gate.table}: {gate.message}" for gate in gates if not gate.passed]
    message = "; ".join(missed) or f"{len(gates)} gates passed"
    return StageResult(
        draft.version,
        {"scores": _figures(stored), "report": draft.version.path / "report.html"},
        [check("evaluation", "gates", not missed, message, gates=len(gates), missed=len(missed))],
        pictures.worst_columns(stored["evaluations"])
        | pictures.scores(scored(stored), stored["gates"]),
    )


def _figures(stored: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By table, the values of all scores that have one; `stored` is a `scores.json`."""
    return {
        name: {key: score["value"] for key, score in found.items() if score["value"] is not None}
        for name, found in scored(stored).items()
    }


def _ask_queries(
    spec: DatasetSpec, tables: Tables, graph: Graph, seed: int, tell: Callable[[str], None]
) -> QueryFidelity:
    """What BI would ask of all tables, marts included, answered by real and synthetic rows."""
    tell("asking what BI would ask")
    columns = {name: schema.names for name, schema in tables.schemas.items()}
    train, holdout, synthetic = (
        {name: part[name].select(names) for name, names in columns.items()}
        for part in (tables.train, tables.holdout, tables.synthetic)
    )
    kept = {name: synthetic[name] for name in spec.kept}  # whole, and released as they are
    return evaluate_queries(
        train | kept,
        holdout | kept,
        synthetic,
        tables.schemas,
        graph,
        read_marts(spec),
        dataset=spec.name,
        min_subjects=spec.privacy.min_subjects,
        subject=spec.privacy.subject,
        seed=seed,
    )


@dataclass(frozen=True)
class Tables:
    """All tables of a dataset by name: training, holdout and synthetic rows."""

    train: dict[str, pl.DataFrame]
    holdout: dict[str, pl.DataFrame]
    synthetic: dict[str, pl.DataFrame]
    schemas: dict[str, TableSchema]

    def of(self, table: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """One table's three parts."""
        return self.train[table], self.holdout[table], self.synthetic[table]

    def with_entities(self, graph: Graph, specs: Mapping[str, TableSpec]) -> Tables:
        """The same with the column ENTITY in every table whose rows another one owns."""

        def marked(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
            whose = entities_of(tables, self.schemas, graph, specs)
            return tables | {n: tables[n].with_columns(w.alias(ENTITY)) for n, w in whose.items()}

        return replace(
            self,
            train=marked(self.train),
            holdout=marked(self.holdout),
            synthetic=marked(self.synthetic),
        )


def _read(validated: Version, synthetic: Version, spec: DatasetSpec) -> Tables:
    """All tables, kept ones too."""
    train, holdout = (
        {name: read_parquet(validated.file(f"{name}/{side}.parquet")) for name in spec.tables}
        for side in ("train", "holdout")
    )
    made = {name: read_rows(synthetic, BASELINE, name) for name in spec.tables}
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    return Tables(train, holdout, made, schemas)


def _told(progress: Progress, name: str) -> Callable[[str], None]:
    return lambda message: progress(f"{name}, {message}", None)


def _facts(
    spec: DatasetSpec, synthetic: Version, model: Version, models: dict[str, TableModel]
) -> dict[str, str]:
    """Provenance lines for the report."""
    text = Messages(spec.locale)
    families = dict.fromkeys(fitted.card["family"] for fitted in models.values())
    families = families or {spec.generator.family: None}
    warnings = [
        f"{name}: {warning}"
        for name, fitted in models.items()
        for warning in fitted.card["history"].get("warnings", [])
    ]
    learned_by = {
        "families": ", ".join(families),
        "quality": model.meta["quality"],
        "version": model.id,
    }
    facts: dict[str, str] = {
        "dataset": spec.name,
        "version": synthetic.id,
        "made_at": synthetic.manifest["created_at"],
        "seed": str(synthetic.meta["seed"]),
        "model": text("facts.model_text", **learned_by),
        "protected": text("facts.protected_text", least=spec.privacy.min_subjects),
        "dp": _dp(spec, model, text),
        "code": synthetic.manifest["code_version"],
    }
    facts |= {"warnings": text.reason("; ".join(warnings))} if warnings else {}
    return {text(f"facts.{key}"): value for key, value in facts.items()}


def _dp(spec: DatasetSpec, model: Version, text: Messages) -> str:
    """What the models' training guarantees, in words."""
    spent = model.meta.get("dp", {})
    if not spent:
        return text("facts.dp_none")
    budgets = [
        text("facts.dp_table", table=isolated(table), epsilon=dp["epsilon"], delta=dp["delta"])
        for table, dp in spent.items()
    ]
    whom = isolated(spec.privacy.subject) if spec.privacy.subject else text("facts.dp_row")
    return text("facts.dp_text", budgets=text("page.stop").join(budgets), whom=whom)


def release(lake: Lake, spec: DatasetSpec) -> StageResult:
    """Approve the judged rows and rebuild the warehouse around them.

    Raises GateRefused or ArtefactError, before anything is written, when a gate is missed or what
    would be released is not, byte for byte, what was judged.
    """
    synthetic = lake.current(spec.name, "synthetic")
    evaluation = lake.current(spec.name, "evaluation")
    validated = input_of(lake, evaluation, "validated")
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    with lake.keeping_current(spec.name, "release"):
        approved = create_release(
            lake, spec, synthetic=synthetic, evaluation=evaluation, schemas=schemas
        )
        warehouse = publish(lake, keep={spec.name: spec.releases.keep})
    rows = {}
    for name in spec.tables:
        counted = query(lake, f"SELECT count(*) FROM {identifier(spec.name, name)}")
        rows[name] = int(counted.frame.item())
    expected = synthetic.meta["rows"][BASELINE]
    answers = check(
        "release",
        "warehouse_answers",
        rows == expected,
        f"{sum(rows.values()):,} rows answer in schema {spec.name!r}"
        if rows == expected
        else f"the warehouse has {rows} rows, the release {expected}",
    )
    pages = {
        name.partition(".")[0]: approved.path / name
        for name in ("report.html", "dictionary.html", "contract.odcs.yaml")
        if name in approved.files()
    }
    metadata = {"rows": rows, "schema": schemas, "warehouse": warehouse, "release": approved.id}
    metadata |= pages | {"scores": _figures(approved.read_json("scores.json"))}
    return StageResult(approved, metadata, [answers])
