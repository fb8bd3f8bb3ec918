"""Model and synthetic: training on tokens, and sampling every scenario to Parquet shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline import __version__
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.training import Compute, Progress, silent
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import ShardWriter, read_parquet
from aigc_pipeline.privacy.budget import Budget
from aigc_pipeline.privacy.ledger import check_ledger, note_training, place_of
from aigc_pipeline.relations.plan import TablePlan
from aigc_pipeline.relations.settle import owners_of, settle
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.stages import pictures
from aigc_pipeline.stages.databases import Databases, is_database, rules_hold, wide_tables
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.stages.prepare import read_schema, scenario_tables
from aigc_pipeline.stages.result import StageResult, check
from aigc_pipeline.tabular import TableModel, train_model

BASELINE = "baseline"
SLICE = 65_536  # rows of a table in memory that are written at a time


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
    owners = _owners(lake, spec, features)
    dp = spec.privacy.dp
    sources = {} if dp is None else _sources(lake, spec, features)
    for name, source in sources.items():
        check_ledger(lake, dp, name, *source)  # type: ignore[arg-type]
    with lake.writing(
        spec.name, "model", inputs={"features": features}, spec_sha256=spec.sha256()
    ) as draft:
        if "plans.json" in features.files():
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
                plan = TablePlan.model_validate(features.read_json("plans.json")[name])
                (progress or silent)(f"{name}, settling", None)
                settle(plan, spec.tables[name], model, owners[name], seed=seed)
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


def weights_sha256(model: Version) -> str:
    """A hash of what a model's rows depend on, its weights and codecs, and of nothing else.

    Unlike the version's own, it does not change with the time that the training took.
    """
    digest = hashlib.sha256()
    for name, entry in sorted(model.manifest["files"].items()):
        if name.endswith((".safetensors", "/codecs.json")):
            digest.update(f"{name} {entry['sha256']}\n".encode())
    return digest.hexdigest()


def learned_tables(version: Version) -> list[str]:
    """The tables that a features or model version has codecs of, parents first."""
    if "plans.json" in version.files():
        return list(version.read_json("plans.json"))
    return [name.rpartition("/")[0] for name in version.files() if name.endswith("/codecs.json")]


def _sources(lake: Lake, spec: DatasetSpec, features: Version) -> dict[str, tuple[str, str]]:
    """Where each table's source is and what was in it, as the ledger has them."""
    raw = input_of(lake, features, "validated", "raw")
    return {
        name: (place_of(table.source), raw.meta["source_sha256"][name])
        for name, table in spec.tables.items()
    }


def _owners(lake: Lake, spec: DatasetSpec, features: Version) -> dict[str, pl.DataFrame]:
    """The owners of tables whose rows are made one after the other, by table.

    Taken from the validated rows again: the features stage keeps no value of them.
    """
    if "plans.json" not in features.files():
        return {}
    validated = input_of(lake, features, "validated")
    wide = wide_tables(
        validated, spec, {name: read_schema(validated, name) for name in spec.tables}
    )
    found = {name: owners_of(each.frame, each.plan) for name, each in wide.items()}
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
    make = _make_databases if is_database(spec) else _make_tables
    weights = weights_sha256(model)
    made: dict[str, dict[str, int]] = {}
    odd: list[str] = []
    broken: list[str] = []
    with lake.writing(
        spec.name, "synthetic", inputs={"model": model}, spec_sha256=spec.sha256()
    ) as draft:
        for each in make(lake, spec, model, rows, seed, tell):
            notes = {
                "synthetic": "true",
                "dataset": spec.name,
                "table": each.table,
                "scenario": each.scenario,
                "seed": str(seed),
                "model_sha256": weights,
                "code_version": __version__,
            }
            if spec.tables[each.table].keep:  # rows of the source, public by declaration
                notes |= {"synthetic": "false"}
            place = f"{each.scenario}/{each.table}"
            told = {c.name: c.description for c in each.schema.columns if c.description}
            try:
                with ShardWriter(draft.path / place, metadata=notes, descriptions=told) as writer:
                    for batch in each.batches:
                        writer.write(batch)
            except InputError as error:
                raise InputError(
                    f"scenario {each.scenario!r}, table {each.table!r}: {error}"
                ) from error
            made.setdefault(each.scenario, {})[each.table] = writer.rows
            found_odd, found_broken = _inspect(writer.paths, each)
            odd += [f"{place}: {what}" for what in found_odd]
            broken += [f"{place}: {found_broken} rows"] if found_broken else []
        draft.meta.update(seed=seed, rows=made)
        if odd or broken:  # a defect of ours: evidence is not worth keeping
            raise ArtefactError(f"synthetic rows break their own contract: {odd + broken}")
    checks = [
        check("synthetic", "schema_kept", not odd, "columns and types are the source's own"),
        check("synthetic", "constraints_hold", not broken, "every row keeps every rule"),
    ]
    validated = input_of(lake, model, "features", "validated")
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    metadata = {"rows": made[BASELINE], "schema": schemas, "scenarios": made, "seed": seed}
    rows_made = [(name, *each) for name, tables in made.items() for each in tables.items()]
    shown = {"made": pictures.table(("scenario", "table", "rows"), rows_made)}
    return StageResult(draft.version, metadata, checks, shown)


@dataclass(frozen=True)
class _Table:
    """A synthetic table to be written: its rows in batches, and what must hold in each of them."""

    scenario: str
    table: str
    batches: Iterable[pl.DataFrame]
    schema: TableSchema
    holds: pl.Expr


def _make_tables(
    lake: Lake, spec: DatasetSpec, model: Version, rows: int | None, seed: int, tell: Progress
) -> Iterator[_Table]:
    """Tables made one by one, each by its own model, in constant memory."""
    models = {name: load_model(model, name) for name in spec.tables}
    schemas = {name: m.schema for name, m in models.items()}
    for scenario, table, count in _orders(lake, spec, schemas, rows):
        what_if = spec.synthesis.scenarios.get(scenario)
        where = what_if.where if what_if else None
        batches = models[table].sample_batches(
            count,
            seed=seed,
            where=where,
            balance=what_if.balance if what_if else None,
            stream=f"{scenario}/{table}",
            progress=_named(tell, f"{scenario}: {table}"),
        )
        holds = models[table].codec.satisfied(where)
        yield _Table(scenario, table, batches, schemas[table], holds)


def _make_databases(
    lake: Lake, spec: DatasetSpec, model: Version, rows: int | None, seed: int, tell: Progress
) -> Iterator[_Table]:
    """Whole databases, parents first, in memory."""
    validated = input_of(lake, model, "features", "validated")
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    models = {name: load_model(model, name) for name in learned_tables(model)}
    databases = Databases(lake, spec, model, models, schemas, validated)
    for scenario in (BASELINE, *spec.synthesis.scenarios):
        what_if = spec.synthesis.scenarios.get(scenario)
        told = _named(tell, scenario)
        for table, frame in databases.tables(scenario, what_if, rows, seed, told):
            holds = rules_hold(spec.tables[table], schemas[table])
            yield _Table(scenario, table, frame.iter_slices(SLICE), schemas[table], holds)


def load_model(model: Version, table: str) -> TableModel:
    """A table's model, once the version's files are known to be whole."""
    model.verify()
    return TableModel.load(model.path / table)


def _orders(
    lake: Lake, spec: DatasetSpec, schemas: dict[str, TableSchema], rows: int | None
) -> list[tuple[str, str, int]]:
    """What to sample: scenario, table, rows."""
    source_rows = lake.current(spec.name, "raw").meta["rows"]
    orders: list[tuple[str, str, int]] = []
    for table in spec.tables:
        count = rows or spec.synthesis.rows or source_rows[table]
        orders.append((BASELINE, table, count))
    for name, scenario in spec.synthesis.scenarios.items():
        for table in scenario_tables(scenario, schemas):
            count = scenario.rows or rows or spec.synthesis.rows or source_rows[table]
            orders.append((name, table, count))
    return orders


def _named(progress: Progress, name: str) -> Progress:
    return lambda message, done: progress(f"{name}, {message}", done)


def _inspect(shards: list[Path], table: _Table) -> tuple[list[str], int]:
    """What the files themselves say: columns off the schema, rows that break a rule."""
    odd: list[str] = []
    broken = 0
    for shard in shards:
        df = read_parquet(shard)
        expected = {c.name: c.dtype for c in table.schema.columns}
        found = {name: str(dtype) for name, dtype in df.schema.items()}
        odd += [f"{c}: {found.get(c)} for {t}" for c, t in expected.items() if found.get(c) != t]
        broken += df.select((~table.holds).sum()).item()
    return odd, broken


def read_rows(synthetic: Version, scenario: str, table: str) -> pl.DataFrame:
    """All synthetic rows of a table in one frame."""
    return pl.concat(
        read_parquet(synthetic.file(name)) for name in synthetic.files(f"{scenario}/{table}/")
    )
