"""Model and synthetic: training on tokens, and sampling every scenario to Parquet shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.privacy.budget import Budget
from aigc_pipeline.privacy.ledger import check_ledger, note_training, place_of
from aigc_pipeline.relations import graph_of
from aigc_pipeline.relations.plan import TablePlan
from aigc_pipeline.relations.settle import owners_of, settle
from aigc_pipeline.spec import DatasetSpec, Scenario
from aigc_pipeline.stages import pictures
from aigc_pipeline.stages.databases import train_rows
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.stages.made import BASELINE, learned_tables, make_tables
from aigc_pipeline.stages.prepare import read_schema
from aigc_pipeline.stages.result import StageResult, check
from aigc_pipeline.tabular import train_model


def train(
    lake: Lake,
    spec: DatasetSpec,
    *,
    seed: int | None = None,
    quality: str | None = None,
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> StageResult:
    """Train one generator a table; seed and quality default to the dataset file's."""
    features = lake.current(spec.name, "features")
    generator = spec.generator.model_copy(update={"quality": quality} if quality else {})
    seed = spec.synthesis.seed if seed is None else seed
    losses: dict[str, dict[str, Any]] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    spent: dict[str, dict[str, float]] = {}
    cut_short = []
    plans = _plans(features)
    owners = _owners(lake, spec, features, plans)
    dp = spec.privacy.dp
    sources = {} if dp is None else _sources(lake, spec, features)
    for name, source in sources.items():
        check_ledger(lake, dp, name, *source)  # type: ignore[arg-type]
    with lake.writing(
        spec.name, "model", inputs={"features": features}, spec_sha256=spec.sha256()
    ) as draft:
        if plans:
            draft.write_json("plans.json", features.read_json("plans.json"))
        for name in learned_tables(features):
            codec = TableCodec.from_json(features.read_json(f"{name}/codecs.json"))
            tokens = read_parquet(features.file(f"{name}/tokens.parquet")).to_numpy()
            model = train_model(
                codec,
                tokens,
                generator,
                spec.privacy,
                budget=_budget(features, name),
                context=_context(features, name),
                groups=_entities(features, name),
                seed=seed,
                compute=compute,
                checkpoint=lake.checkpoint(spec.name, name),
                progress=progress or silent,
            )
            if name in owners:
                (progress or silent)(f"{name}, settling", None)
                settle(plans[name], spec.tables[name], model, owners[name], seed=seed)
            if dp is not None and model.card["dp"] is not None:
                spent[name] = {key: model.card["dp"][key] for key in ("epsilon", "delta")}
                place, content = sources[name]
                total = note_training(
                    lake,
                    dp,
                    dataset=spec.name,
                    table=name,
                    place=place,
                    content=content,
                    **spent[name],
                )
                model.card["dp"]["epsilon_of_source"] = spent[name]["total"] = total
            model.save(draft.path / name)
            history = model.card["history"]
            curves[name] = history["looks"]
            losses[name] = {
                "held_out_loss": history["best_loss"],
                "steps": history["steps"],
                "seconds": history["seconds"],
                "stopped_by": history["stopped_by"],
            }
            if history["stopped_by"] == "time limit":
                cut_short.append(f"{name} after {history['steps']} steps")
        draft.meta.update(seed=seed, quality=generator.quality, losses=losses, dp=spent)
    lake.clear_checkpoints(spec.name)
    message = (
        "training used its whole schedule, or stopped once the held-out loss did not fall"
        if not cut_short
        else f"the time limit cut training short ({', '.join(cut_short)}): fidelity suffers and "
        "another run may differ; raise generator.time_limit or lower the quality"
    )
    checks = [check("model", "trained_to_convergence", not cut_short, message)]
    metadata = {"losses": losses, "seed": seed} | ({"dp": spent} if spent else {})
    return StageResult(draft.version, metadata, checks, pictures.losses(curves))


def _sources(lake: Lake, spec: DatasetSpec, features: Version) -> dict[str, tuple[str, str]]:
    """Where each table's source is and what was in it, as the ledger has them."""
    raw = input_of(lake, features, "validated", "raw")
    return {
        name: (place_of(table.source), raw.meta["source_sha256"][name])
        for name, table in spec.tables.items()
    }


def _plans(features: Version) -> dict[str, TablePlan]:
    """How each table of a database is made; empty where tables are made one by one."""
    if "plans.json" not in features.files():
        return {}
    stored = features.read_json("plans.json")
    return {name: TablePlan.model_validate(plan) for name, plan in stored.items()}


def _owners(
    lake: Lake, spec: DatasetSpec, features: Version, plans: Mapping[str, TablePlan]
) -> dict[str, pl.DataFrame]:
    """The owners of tables whose rows are made one after the other, by table.

    Taken from the validated rows: the features stage keeps no value of them.
    """
    if not plans:
        return {}
    frames = train_rows(input_of(lake, features, "validated"), spec)
    found = {name: owners_of(plan, frames, graph_of(spec)) for name, plan in plans.items()}
    return {name: owners for name, owners in found.items() if owners is not None}


def _entities(features: Version, table: str) -> np.ndarray | None:
    """The root entity of each row of tokens, int64 [rows]; None where each row is its own."""
    name = f"{table}/entities.parquet"
    if name not in features.files():
        return None
    return read_parquet(features.file(name)).to_series().to_numpy()


def _context(features: Version, table: str) -> np.ndarray | None:
    """What is known of each row of tokens besides them, float32 [rows, features], if anything."""
    name = f"{table}/context.parquet"
    if name not in features.files():
        return None
    return read_parquet(features.file(name)).to_numpy()


def _budget(features: Version, table: str) -> Budget | None:
    """What a table's codecs spent of a privacy budget; None where they were fitted without one."""
    name = f"{table}/accountant.json"
    return Budget.from_json(features.read_json(name)) if name in features.files() else None


def synthesize(
    lake: Lake,
    spec: DatasetSpec,
    *,
    rows: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> StageResult:
    """Sample the baseline and every scenario to Parquet shards.

    Single tables need constant memory, a database of related ones what its rows need.
    """
    model = lake.current(spec.name, "model")
    seed = spec.synthesis.seed if seed is None else seed
    tell = progress or silent
    scenarios: dict[str, Scenario | None] = {BASELINE: None, **spec.synthesis.scenarios}
    made: dict[str, dict[str, int]] = {}
    with lake.writing(
        spec.name, "synthetic", inputs={"model": model}, spec_sha256=spec.sha256()
    ) as draft:
        for table in make_tables(lake, spec, model, scenarios, rows=rows, seed=seed, progress=tell):
            written = table.write(draft.path / table.scenario / table.table)
            made.setdefault(table.scenario, {})[table.table] = written
        draft.meta.update(seed=seed, rows=made)
    checks = [  # `MadeTable.write` raises where one of them does not hold
        check("synthetic", "schema_kept", True, "columns and types are the source's own"),
        check("synthetic", "constraints_hold", True, "every row keeps every rule"),
    ]
    validated = input_of(lake, model, "features", "validated")
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    metadata = {"rows": made[BASELINE], "schema": schemas, "scenarios": made, "seed": seed}
    rows_made = [(name, *each) for name, tables in made.items() for each in tables.items()]
    shown = {"made": pictures.table(("scenario", "table", "rows"), rows_made)}
    return StageResult(draft.version, metadata, checks, shown)
