"""`aigc plan`: what a run would do, before it does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigc_pipeline.errors import AigcError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from aigc_pipeline.lake import Lake
    from aigc_pipeline.schema import TableSchema
    from aigc_pipeline.spec import DatasetSpec, TableSpec


def plan(
    dataset: Annotated[
        str, typer.Argument(help="Name of a dataset: the `name` in datasets/*.yaml.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what a run of a dataset would do, stage by stage, without doing it.

    Reads the source, so it also says whether the source can be read, how many rows it has, and
    which tables and columns a release would add, lose or change for those who read the warehouse.
    Nothing is written.

    Exit code 2 when a source cannot be read or does not fit its dataset file.

    Examples:
      aigc plan loans
      aigc plan loans --json
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.dataset_file import find_dataset
    from aigc_pipeline.lake import Lake
    from aigc_pipeline.project import Project

    project, lake = Project.from_env(), Lake.from_env()
    spec = find_dataset(dataset, project.datasets)
    frames: dict[str, pl.DataFrame] = {}
    schemas: dict[str, TableSchema] = {}
    tables = [_plan_table(spec, name, project.root, frames, schemas) for name in spec.tables]
    news = _news(lake, spec, schemas)
    stages = _plan_stages(lake, spec, tables)
    relations = _relations(spec, frames) if len(frames) == len(tables) else []
    marts = _plan_marts(spec)
    if as_json:
        told = {"tables": tables, "relations": relations, "marts": marts, "stages": stages}
        schema = {"schema": news and news | {"changes": [c.model_dump() for c in news["changes"]]}}
        show.print_json({"dataset": spec.name, **told, **schema})
    else:
        _show(spec, tables, relations, marts, stages)
        _show_news(news)
    unreadable = [t for t in tables if t["error"]]
    if unreadable:
        lines = [f"{t['table']}: {t['error']}" for t in unreadable]
        raise InputError("\n".join([f"{spec.name}: a run would stop at its source", *lines]))
    from aigc_pipeline.dataset_file import pointing_into
    from aigc_pipeline.marts import check_marts

    with pointing_into(spec):
        check_marts(spec, frames)


def _plan_marts(spec: DatasetSpec) -> list[dict[str, Any]]:
    """The marts a release would have, each with what it reads."""
    from aigc_pipeline.marts import read_marts

    return [
        {"mart": mart.name, "title": mart.title, "kind": mart.kind, "reads": list(mart.needs)}
        for mart in read_marts(spec)
    ]


def _news(
    lake: Lake, spec: DatasetSpec, schemas: Mapping[str, TableSchema]
) -> dict[str, Any] | None:
    """What a release would change for readers, against the one in force; None without one.

    A table whose source cannot be read is left out.
    """
    from aigc_pipeline.schema import schema_changes
    from aigc_pipeline.stages.since import released_schemas

    released = released_schemas(lake, spec.name)
    if released is None:
        return None
    release, before = released
    known = {n: schema for n, schema in before.items() if n in schemas or n not in spec.tables}
    return {"release": release, "changes": schema_changes(known, schemas)}


def _show_news(news: dict[str, Any] | None) -> None:
    from aigc_pipeline.commands import show

    if news is None:
        show.say("\nSchema: there is no release yet")
    elif not news["changes"]:
        show.say(f"\nSchema: the tables and columns of release {news['release']}")
    else:
        show.table(
            ["table", "column", f"release {news['release']}", "a run's release"],
            [[c.table, c.column or "(all)", c.before, c.after] for c in news["changes"]],
            title="Schema: what changes for readers",
        )


def _plan_table(
    spec: DatasetSpec,
    name: str,
    base_dir: Path,
    frames: dict[str, pl.DataFrame],
    schemas: dict[str, TableSchema],
) -> dict[str, Any]:
    """One table's source: readable or not, and its size.

    frames, schemas: get the table, with what is derived, as the marts will find it.
    """
    from aigc_pipeline.sources import apply_derive, infer_schema, read_table
    from aigc_pipeline.sources.clean import MIN_ROWS

    table = spec.tables[name]
    told: dict[str, Any] = {
        "table": name,
        "source": source_label(table),
        "rows": None,
        "columns": None,
        "error": None,
    }
    try:
        df = read_table(table.source, base_dir, name=name, min_rows=1 if table.keep else MIN_ROWS)
        schema = infer_schema(df, name, table, kept=spec.kept)
        frames[name] = apply_derive(df, table)
        schemas[name] = schema
    except AigcError as error:
        return {**told, "error": str(error)}
    return {**told, "rows": df.height, "columns": len(schema.columns)}


def _relations(spec: DatasetSpec, frames: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """What the rows say of each relation. Raises InputError where a run would refuse them."""
    from aigc_pipeline.dataset_file import pointing_into
    from aigc_pipeline.relations import drop_orphans, graph_of, inspect_relations

    with pointing_into(spec):
        graph = graph_of(spec)
        return [fact.to_json() for fact in inspect_relations(drop_orphans(frames, graph), graph)]


def source_label(table: TableSpec) -> str:
    """A source in a few words. Of a database only its kind, for a URL may hold a password."""
    source = table.source
    if source.sql is not None:
        kind = source.sql.partition(":")[0]
        return f"{kind} {'query' if source.query else f'table {source.table}'}"
    if source.file is not None:
        from aigc_pipeline.sources.download import public_url

        return public_url(source.file) if "://" in source.file else source.file
    return f"sample {source.sample}"


def _plan_stages(
    lake: Lake, spec: DatasetSpec, tables: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each stage: what it would do, and the version now in force."""
    from aigc_pipeline.lake import STAGES

    rules = sum(len(table.expect) for table in spec.tables.values())
    limit = f", at most {spec.generator.time_limit:g} s" if spec.generator.time_limit else ""
    wanted = spec.synthesis.rows
    scenarios = ", ".join(
        f"{name} {scenario.rows or wanted or ''}".strip()
        for name, scenario in spec.synthesis.scenarios.items()
    )
    rows = f"{wanted:,} rows of each table" if wanted else "as many rows as the source has"
    gates = ", ".join(f"{name} {_limits(gate)}" for name, gate in spec.gates.items())
    does = {
        "raw": f"read {', '.join(t['source'] for t in tables)}",
        "validated": f"hold it to its schema and {rules} expectations,"
        f" split off a holdout of {spec.evaluation.holdout:.0%}",
        "features": f"fit codecs; what fewer than {spec.privacy.min_subjects} subjects share"
        " is not learned",
        "model": f"train {spec.generator.family}, quality {spec.generator.quality}{limit}",
        "synthetic": f"sample {rows} from seed {spec.synthesis.seed}"
        + (f"; scenarios: {scenarios}" if scenarios else ""),
        "evaluation": f"score it; gates: {gates or 'none'}",
        "release": f"publish to {lake.warehouse}{_with_marts(spec)} if every gate passes",
    }
    current = {stage: lake.find_current(spec.name, stage) for stage in STAGES}
    return [
        {"stage": stage, "does": does[stage], "current": version.id if version else None}
        for stage, version in current.items()
    ]


def _limits(gate: Any) -> str:
    ends = [("at least", gate.min), ("at most", gate.max)]
    words = [
        f"{word} {'what fresh real rows get' if end == 'holdout' else f'{end:g}'}"
        for word, end in ends
        if end is not None
    ]
    return " and ".join(words)


def _with_marts(spec: DatasetSpec) -> str:
    count = len(spec.marts)
    return f" with {count} mart{'' if count == 1 else 's'}" if count else ""


def _show(
    spec: DatasetSpec,
    tables: list[dict[str, Any]],
    relations: list[dict[str, Any]],
    marts: list[dict[str, Any]],
    stages: list[dict[str, Any]],
) -> None:
    from aigc_pipeline.commands import show

    show.table(
        ["table", "source", "rows", "columns", ""],
        [
            [t["table"], t["source"], t["rows"], t["columns"], "cannot be read" * bool(t["error"])]
            for t in tables
        ],
        title=spec.title or spec.name,
    )
    if relations:
        counted = ["rows", "nulls", "orphans", "parents", "most"]
        show.table(
            ["relation", "rows", "without a parent", "orphans", "parents", "most rows of one"],
            [[r["relation"], *(r[count] for count in counted)] for r in relations],
        )
    if marts:
        show.table(
            ["mart", "title", "kind", "reads"],
            [[m["mart"], m["title"], m["kind"], ", ".join(m["reads"])] for m in marts],
        )
    show.table(
        ["stage", "what a run would do", "in force"],
        [[s["stage"], s["does"], s["current"]] for s in stages],
    )
