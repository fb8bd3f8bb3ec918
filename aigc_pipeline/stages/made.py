"""Synthetic tables, plain and under what-ifs: made by trained models, written and looked over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from aigc_pipeline import __version__
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.generators.training import Progress
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.parquet import ShardWriter, read_parquet
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import DatasetSpec, Scenario
from aigc_pipeline.stages.databases import Databases, is_database, rules_hold
from aigc_pipeline.stages.inputs import input_of
from aigc_pipeline.stages.prepare import read_schema, scenario_tables
from aigc_pipeline.tabular import TableModel

BASELINE = "baseline"
SLICE = 65_536  # rows of a table in memory that are written at a time


@dataclass(frozen=True)
class MadeTable:
    """A synthetic table to be written: its rows in batches, and what must hold in each of them."""

    dataset: str
    scenario: str
    table: str
    seed: int
    batches: Iterable[pl.DataFrame]
    schema: TableSchema
    holds: pl.Expr
    model_sha256: str
    kept: bool = False  # rows of the source, released as they are

    def write(self, folder: Path) -> int:
        """Write the rows as shards and read them back; returns how many there are.

        Raises InputError where no row meets the conditions, and ArtefactError where the files have
        other columns than the source, or a row that breaks a rule or a condition.
        """
        notes = {
            "synthetic": "true",
            "dataset": self.dataset,
            "table": self.table,
            "scenario": self.scenario,
            "seed": str(self.seed),
            "model_sha256": self.model_sha256,
            "code_version": __version__,
        }
        if self.kept:  # rows of the source, public by declaration
            notes |= {"synthetic": "false"}
        told = {c.name: c.description for c in self.schema.columns if c.description}
        try:
            with ShardWriter(folder, metadata=notes, descriptions=told) as writer:
                for batch in self.batches:
                    writer.write(batch)
        except InputError as error:
            raise InputError(
                f"scenario {self.scenario!r}, table {self.table!r}: {error}"
            ) from error
        odd, broken = self._inspect(writer.paths)
        found = [*odd, *([f"{broken} rows"] if broken else [])]
        if found:  # a defect of ours: evidence is not worth keeping
            place = f"{self.scenario}/{self.table}"
            raise ArtefactError(f"{place}: synthetic rows break their own contract: {found}")
        return writer.rows

    def _inspect(self, shards: list[Path]) -> tuple[list[str], int]:
        """What the files themselves say: columns off the schema, rows that break a rule."""
        odd: list[str] = []
        broken = 0
        for shard in shards:
            df = read_parquet(shard)
            expected = {c.name: c.dtype for c in self.schema.columns}
            found = {name: str(dtype) for name, dtype in df.schema.items()}
            odd += [
                f"{c}: {found.get(c)} for {t}" for c, t in expected.items() if found.get(c) != t
            ]
            broken += df.select((~self.holds).sum()).item()
        return odd, broken


def make_tables(
    lake: Lake,
    spec: DatasetSpec,
    model: Version,
    scenarios: Mapping[str, Scenario | None],
    *,
    rows: int | None,
    seed: int,
    progress: Progress,
) -> Iterator[MadeTable]:
    """The tables of some scenarios, by the models of one version; a baseline has no Scenario.

    Tables that refer to each other are made together, parents first, in memory; others one by one
    in constant memory.
    """
    make = _make_databases if is_database(spec) else _make_alone
    return make(lake, spec, model, scenarios, rows, seed, progress)


def _make_alone(
    lake: Lake,
    spec: DatasetSpec,
    model: Version,
    scenarios: Mapping[str, Scenario | None],
    rows: int | None,
    seed: int,
    progress: Progress,
) -> Iterator[MadeTable]:
    models = {name: load_model(model, name) for name in spec.tables}
    schemas = {name: m.schema for name, m in models.items()}
    raw = input_of(lake, model, "features", "validated", "raw")
    weights = weights_sha256(model)
    for name, scenario in scenarios.items():
        fitting = list(spec.tables) if scenario is None else scenario_tables(scenario, schemas)
        for table in fitting:
            where = scenario.where if scenario else None
            batches = models[table].sample_batches(
                (scenario.rows if scenario else None)
                or rows
                or spec.synthesis.rows
                or raw.meta["rows"][table],
                seed=seed,
                where=where,
                balance=scenario.balance if scenario else None,
                stream=f"{name}/{table}",
                progress=_named(progress, f"{name}: {table}"),
            )
            holds = models[table].codec.satisfied(where)
            schema = schemas[table]
            yield MadeTable(spec.name, name, table, seed, batches, schema, holds, weights)


def _make_databases(
    lake: Lake,
    spec: DatasetSpec,
    model: Version,
    scenarios: Mapping[str, Scenario | None],
    rows: int | None,
    seed: int,
    progress: Progress,
) -> Iterator[MadeTable]:
    validated = input_of(lake, model, "features", "validated")
    schemas = {name: read_schema(validated, name) for name in spec.tables}
    models = {name: load_model(model, name) for name in learned_tables(model)}
    weights = weights_sha256(model)
    databases = Databases(lake, spec, model, models, schemas, validated)
    for name, scenario in scenarios.items():
        told = _named(progress, name)
        for table, frame in databases.tables(name, scenario, rows, seed, told):
            holds = rules_hold(spec.tables[table], schemas[table])
            yield MadeTable(
                dataset=spec.name,
                scenario=name,
                table=table,
                seed=seed,
                batches=frame.iter_slices(SLICE),
                schema=schemas[table],
                holds=holds,
                model_sha256=weights,
                kept=spec.tables[table].keep,
            )


def load_model(model: Version, table: str) -> TableModel:
    """A table's model, once the version's files are known to be whole."""
    model.verify()
    return TableModel.load(model.path / table)


def learned_tables(version: Version) -> list[str]:
    """The tables that a features or model version has codecs of, parents first."""
    if "plans.json" in version.files():
        return list(version.read_json("plans.json"))
    return [name.rpartition("/")[0] for name in version.files() if name.endswith("/codecs.json")]


def weights_sha256(model: Version) -> str:
    """A hash of what a model's rows depend on, its weights and codecs, and of nothing else.

    Unlike the version's own, it does not change with the time that the training took.
    """
    digest = hashlib.sha256()
    for name, entry in sorted(model.manifest["files"].items()):
        if name.endswith((".safetensors", "/codecs.json")):
            digest.update(f"{name} {entry['sha256']}\n".encode())
    return digest.hexdigest()


def read_rows(synthetic: Version, scenario: str, table: str) -> pl.DataFrame:
    """All synthetic rows of a table in one frame."""
    return pl.concat(
        read_parquet(synthetic.file(name)) for name in synthetic.files(f"{scenario}/{table}/")
    )


def _named(progress: Progress, name: str) -> Progress:
    return lambda message, done: progress(f"{name}, {message}", done)
