"""Raw, validated, features: from a source to tokens a model can learn."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import polars as pl

from aigc_pipeline.dataset_file import pointing_into
from aigc_pipeline.drift import TableDrift, compare_tables
from aigc_pipeline.errors import ArtefactError, FieldError, InputError, did_you_mean
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.conditions import check_where
from aigc_pipeline.lake import Draft, Lake, Version
from aigc_pipeline.marts import check_marts
from aigc_pipeline.parquet import read_parquet, write_parquet
from aigc_pipeline.privacy.budget import Budget, check_dp
from aigc_pipeline.relations import (
    Graph,
    RelationFacts,
    check_owner_columns,
    drop_orphans,
    graph_of,
    inspect_relations,
    split_tables,
)
from aigc_pipeline.relations.plan import ENTITY
from aigc_pipeline.relations.selection import by_table
from aigc_pipeline.relations.so_far import context_of
from aigc_pipeline.relations.split import draw_rows
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import (
    apply_derive,
    derive_agreement,
    infer_schema,
    read_table_and_hash,
)
from aigc_pipeline.sources.clean import MIN_ROWS, check_size
from aigc_pipeline.spec import DatasetSpec, Scenario, Severity, TableSpec
from aigc_pipeline.stages.databases import is_database, wide_tables
from aigc_pipeline.stages.pictures import broken_rules, missing_values
from aigc_pipeline.stages.result import Check, StageResult, check
from aigc_pipeline.stages.since import drift_check, earlier_rows, schema_check
from aigc_pipeline.synthesis.balance import check_balance
from aigc_pipeline.tabular import encode_table
from aigc_pipeline.validation import ValidationReport
from aigc_pipeline.validation import validate as validate_table
from aigc_pipeline.wide import encode_wide


def ingest(lake: Lake, spec: DatasetSpec, base_dir: Path) -> StageResult:
    """Read every table of a dataset from its source into the lake, unchanged but for clean types.

    Relative paths in the dataset file start at `base_dir`. Raises InputError for an unreadable or
    unusable source; nothing is written then.
    """
    read = {
        name: read_table_and_hash(table.source, base_dir, name=name, min_rows=least_rows(table))
        for name, table in spec.tables.items()
    }
    frames = {name: df for name, (df, _) in read.items()}
    columns = {
        name: {c: str(dtype) for c, dtype in df.schema.items()} for name, df in frames.items()
    }
    before = _earlier_columns(lake, spec.name)
    changes = [] if before is None else schema_changes(before, columns)
    with lake.writing(spec.name, "raw", spec_sha256=spec.sha256()) as draft:
        for name, df in frames.items():
            write_parquet(df, draft.path / f"{name}.parquet")
        draft.meta.update(
            columns=columns,
            rows={name: len(df) for name, df in frames.items()},
            source_sha256={name: sha256 for name, (_, sha256) in read.items()},
        )
    unchanged = check(
        "raw",
        "schema_unchanged",
        not changes,
        "; ".join(changes) or "the same columns and types as in the last run",
    )
    rows = {name: len(df) for name, df in frames.items()}
    counts = {name: df.width for name, df in frames.items()}
    return StageResult(draft.version, {"rows": rows, "columns": counts}, [unchanged])


def _earlier_columns(lake: Lake, dataset: str) -> dict[str, dict[str, str]] | None:
    """Table -> column -> dtype of the last run; None where there was none, or it was damaged."""
    try:
        version = lake.find_current(dataset, "raw")
        return None if version is None else version.meta["columns"]
    except ArtefactError:
        return None


def least_rows(table: TableSpec) -> int:
    """The fewest rows a table needs: one where nothing is learned from it."""
    return 1 if table.keep else MIN_ROWS


def schema_changes(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    """What differs between two schemas (table -> column -> dtype), in words."""
    changes = [f"table {name!r} is new" for name in now if name not in before]
    changes += [f"table {name!r} is gone" for name in before if name not in now]
    for name in now.keys() & before.keys():
        old, new = before[name], now[name]
        changes += [f"{name}: column {c!r} was added" for c in new if c not in old]
        changes += [f"{name}: column {c!r} is gone" for c in old if c not in new]
        changes += [
            f"{name}: column {c!r} changed from {old[c]} to {new[c]}"
            for c in new
            if c in old and old[c] != new[c]
        ]
    return sorted(changes)


def validate(lake: Lake, spec: DatasetSpec) -> StageResult:
    """Hold the raw tables to their contract, add derived columns, and set the holdout aside.

    Rows that refer to a missing parent are left out first, where the dataset file says so. A failed
    critical rule is returned as the failed check `contract` and nothing is written.
    """
    raw = lake.current(spec.name, "raw")
    frames, schemas = {}, {}
    with pointing_into(spec):  # errors name the dataset file's line
        graph = graph_of(spec)
        for name, table in spec.tables.items():
            df = read_parquet(raw.file(f"{name}.parquet"))
            schemas[name] = infer_schema(df, name, table, kept=spec.kept)
            frames[name] = df
        check_scenarios(spec, schemas, graph)
        check_owner_columns(schemas, graph)
        frames, dropped = _without_orphans(frames, graph, spec)
        facts = inspect_relations(frames, graph)
    reports: dict[str, ValidationReport] = {}
    drifts: dict[str, TableDrift] = {}
    disagreements = []
    for name, table in spec.tables.items():
        for column, (same, of) in derive_agreement(frames[name], table).items():
            if same < of:
                disagreements.append(
                    f"{name}.{column} as derived differs in {of - same} of {of} rows"
                )
        frames[name] = apply_derive(frames[name], table)
        earlier = earlier_rows(lake, spec.name, name)
        if earlier is not None:
            both = (earlier[1], schemas[name])
            drifts[name] = compare_tables(earlier[0], frames[name], both)
        reports[name] = validate_table(
            frames[name],
            schemas[name],
            table.expect,
            table=name,
            earlier=None if earlier is None else earlier[0],
        )
    with pointing_into(spec):
        check_marts(spec, frames)
    checks = [
        _contract(reports, Severity.CRITICAL),
        _contract(reports, Severity.WARNING),
        _references(facts, dropped),
        schema_check(lake, spec.name, schemas),
        drift_check(drifts),
        check(
            "validated",
            "derived_columns_agree",
            not disagreements,
            "; ".join(disagreements) or "derived columns agree with the source",
        ),
    ]
    rows = {name: len(df) for name, df in frames.items()}
    shown = broken_rules(reports) | missing_values(_missing(frames))
    held_out: dict[str, int] = {}
    metadata = {
        "rows": rows,
        "schema": schemas,
        "rules": {name: len(report.results) for name, report in reports.items()},
        "holdout_rows": held_out,
        "relations": [fact.to_json() for fact in facts],
        "source_drift": {name: drift.largest for name, drift in drifts.items()},
    }
    if not checks[0].passed:
        return StageResult(None, metadata, checks, shown)
    with lake.writing(
        spec.name, "validated", inputs={"raw": raw}, spec_sha256=spec.sha256()
    ) as draft:
        train, holdout = _split(frames, graph, spec)
        for name in frames:
            held_out[name] = len(holdout[name])
            write_parquet(train[name], draft.path / name / "train.parquet")
            write_parquet(holdout[name], draft.path / name / "holdout.parquet")
            draft.write_json(f"{name}/schema.json", schemas[name].model_dump(mode="json"))
            draft.write_json(f"{name}/validation.json", reports[name].model_dump(mode="json"))
        draft.write_json("drift.json", {n: d.model_dump(mode="json") for n, d in drifts.items()})
        draft.meta.update(rows=rows, relations=metadata["relations"], dropped=dropped)
    return StageResult(draft.version, metadata, checks, shown)


def _missing(frames: dict[str, pl.DataFrame]) -> dict[str, float]:
    """The share of missing values of every column, as `table.column` where there are several."""
    return {
        column if len(frames) == 1 else f"{name}.{column}": count / max(len(df), 1)
        for name, df in frames.items()
        for column, count in zip(df.columns, df.null_count().row(0), strict=True)
    }


def check_scenarios(spec: DatasetSpec, schemas: dict[str, TableSchema], graph: Graph) -> None:
    """Raise FieldError for a scenario whose columns fit no table, and for an unknown subject."""
    known = [c for schema in schemas.values() for c in schema.names]
    for scenario, what_if in spec.synthesis.scenarios.items():
        at = ("synthesis", "scenarios", scenario)
        if is_database(spec):
            by_table(what_if.where, schemas, graph, (*at, "where"))
            continue
        fitting = scenario_tables(what_if, schemas)
        if not fitting:
            named = [("where", c) for c in what_if.where] + [
                ("balance", c) for c in what_if.balance
            ]
            unknown = next((place for place in named if place[1] not in known), None)
            if unknown is None:
                text = f"no single table has all of {', '.join(c for _, c in named)}"
                raise FieldError([(at, text)])
            text = f"unknown column {unknown[1]!r}; {did_you_mean(unknown[1], known)}"
            raise FieldError([((*at, *unknown), text)])
        for name in fitting:
            check_where(what_if.where, schemas[name], (*at, "where"))
            check_balance(what_if.balance, schemas[name], (*at, "balance"))
    subject = spec.privacy.subject
    if subject is not None and subject not in known:
        text = f"unknown column {subject!r}; {did_you_mean(subject, known)}"
        raise FieldError([(("privacy", "subject"), text)])


def scenario_tables(scenario: Scenario, schemas: dict[str, TableSchema]) -> list[str]:
    """Tables that have all the columns a scenario names."""
    return [name for name, schema in schemas.items() if scenario.columns <= set(schema.names)]


def _without_orphans(
    frames: dict[str, pl.DataFrame], graph: Graph, spec: DatasetSpec
) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """The tables without the orphans to drop, and how many rows each lost; 0 is not listed."""
    left = drop_orphans(frames, graph)
    dropped = {name: len(df) - len(left[name]) for name, df in frames.items()}
    for name, df in left.items():
        check_size(df, f"{name} (without orphans)", min_rows=least_rows(spec.tables[name]))
    return left, {name: rows for name, rows in dropped.items() if rows}


def _split(
    frames: dict[str, pl.DataFrame], graph: Graph, spec: DatasetSpec
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Training and holdout rows by table; related tables are split by what owns the rest."""
    if graph.is_related or spec.kept:
        return split_tables(frames, graph, spec)
    parts = {name: split_holdout(df, spec, name) for name, df in frames.items()}
    train = {name: kept for name, (kept, _) in parts.items()}
    return train, {name: held for name, (_, held) in parts.items()}


def split_holdout(
    df: pl.DataFrame, spec: DatasetSpec, name: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training and holdout rows, at random; all rows of a subject go to the same side."""
    rng = np.random.default_rng([spec.synthesis.seed, zlib.crc32(name.encode())])
    subject = spec.privacy.subject
    if subject is not None and subject in df.columns:
        codes = df[subject].rank("dense").fill_null(0).to_numpy().astype(np.int64)
        chosen = rng.random(int(codes.max()) + 1) < spec.evaluation.holdout
        held = chosen[codes]
    else:
        held = draw_rows(len(df), spec.evaluation.holdout, rng)
    if held.all() or not held.any():
        raise InputError(
            f"{name}: {len(df)} rows of too few subjects to hold some back for judging; "
            "bring more rows or lower evaluation.holdout"
        )
    mask = pl.Series(held)
    return df.filter(~mask), df.filter(mask)


def _contract(reports: dict[str, ValidationReport], severity: Severity) -> Check:
    failed = [
        f"{table}: {rule.describe()}"
        for table, report in reports.items()
        for rule in report.failed(severity)
    ]
    total = sum(r.severity == severity for report in reports.values() for r in report.results)
    name = "contract" if severity == Severity.CRITICAL else "contract_warnings"
    message = "; ".join(failed) or f"{total} rules hold"
    return check("validated", name, not failed, message, rules=total, failed=len(failed))


def _references(facts: list[RelationFacts], dropped: dict[str, int]) -> Check:
    """What each relation is like. That rows were dropped, as was asked for, is worth a warning."""
    words = [f"{rows} rows of {name} were dropped, orphans" for name, rows in dropped.items()]
    words += [fact.describe() for fact in facts]
    message = "; ".join(words) or "no table refers to another"
    rates = {f"orphans, {fact.relation.name}": fact.orphan_rate for fact in facts}
    return check("validated", "references_hold", not dropped, message, **rates)


def featurize(lake: Lake, spec: DatasetSpec) -> StageResult:
    """Fit the codecs on training rows and encode these rows as tokens.

    With differential privacy the codecs spend a part of the budget; `accountant.json` says which.
    """
    check_dp(spec.generator, spec.privacy)
    validated = lake.current(spec.name, "validated")
    sizes: dict[str, dict[str, int]] = {}
    with lake.writing(
        spec.name, "features", inputs={"validated": validated}, spec_sha256=spec.sha256()
    ) as draft:
        schemas = {name: read_schema(validated, name) for name in spec.tables}
        if is_database(spec):
            wide = wide_tables(validated, spec, schemas)
            draft.write_json(
                "plans.json", {n: w.plan.model_dump(mode="json") for n, w in wide.items()}
            )
            for name, each in wide.items():
                entities = pl.DataFrame(each.frame[ENTITY])
                write_parquet(entities, draft.path / name / "entities.parquet")
                encoded = encode_wide(each, spec.privacy, lead=_named(spec))
                sizes[name] = _write_features(draft, name, *encoded)
                context = context_of(each.frame, each.plan, encoded[0])
                if context is not None:
                    write_parquet(pl.DataFrame(context), draft.path / name / "context.parquet")
        else:
            for name, table in spec.tables.items():
                train = read_parquet(validated.file(f"{name}/train.parquet"))
                encoded = _encode(train, schemas[name], table, spec)
                sizes[name] = _write_features(draft, name, *encoded)
        draft.meta["sizes"] = sizes
    return StageResult(draft.version, {"sizes": sizes})


def _write_features(
    draft: Draft, name: str, codec: TableCodec, encoded: np.ndarray, budget: Budget | None
) -> dict[str, int]:
    """A table's codecs and tokens as files; returns how large they are."""
    # A number may have several columns of tokens, so its name alone would not do.
    names = [f"{i}: {' + '.join(c.columns)}" for i, c in enumerate(codec.codecs)]
    write_parquet(pl.DataFrame(encoded, schema=names), draft.path / name / "tokens.parquet")
    if budget is not None:
        draft.write_json(f"{name}/accountant.json", budget.to_json())
    draft.write_json(f"{name}/codecs.json", codec.to_json())
    return {
        "learned_columns": len(codec.codecs) - codec.known_tokens,
        "tokens": sum(codec.sizes[codec.known_tokens :]),
        "rows": len(encoded),
    }


def read_schema(validated: Version, table: str) -> TableSchema:
    """A table's schema as the validated stage wrote it."""
    return TableSchema.model_validate(validated.read_json(f"{table}/schema.json"))


def _encode(
    train: pl.DataFrame, schema: TableSchema, table: TableSpec, spec: DatasetSpec
) -> tuple[TableCodec, np.ndarray, Budget | None]:
    """Codecs and tokens of a single table's training rows."""
    subject = spec.privacy.subject if spec.privacy.subject in schema.names else None
    privacy = spec.privacy.model_copy(update={"subject": subject})
    return encode_table(train, schema, table, privacy, lead=_named(spec))


def _named(spec: DatasetSpec) -> list[str]:
    """The columns that scenarios name: they come first in a model."""
    columns = {c for scenario in spec.synthesis.scenarios.values() for c in scenario.columns}
    return sorted({column.rpartition(".")[2] for column in columns})
