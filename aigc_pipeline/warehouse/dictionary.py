"""A release's data dictionary: every table and column in words, as HTML and as Markdown.

It says what the release's own files say, so it holds no real value: shown values and ranges are the
protected ones of the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_pipeline.evaluation.charts import tick
from aigc_pipeline.evaluation.wording import DASH
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.pages import Messages, markdown, percent, render
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Kind
from aigc_pipeline.warehouse.record import BASELINE, ReleasedTable, ReleaseNotes

VALUES = 5  # of a category, by name
SCORES = ("detection_auc", "utility_gap", "copied_rows", "membership_auc")


@dataclass(frozen=True)
class Entry:
    """One column as the dictionary and the data contract describe it; shares are 0 to 1.

    values: the most frequent synthetic values with their shares. low, high: ends of the central
    values of a number or time, as people read them.
    """

    schema: ColumnSchema
    data_type: str
    made: str  # learned, fresh, faked, computed, kept
    null_rate: float | None = None
    shape_error: float | None = None
    reference: float | None = None
    values: tuple[tuple[str, float], ...] = ()
    more: int = 0  # values that are not shown
    low: str | None = None
    high: str | None = None


def how_made(column: ColumnSchema) -> str:
    """How a column's values come about: kept, computed, faked, fresh or learned."""
    if column.kept:
        return "kept"
    if column.derived:
        return "computed"
    if column.pii:
        return "faked"
    return "fresh" if column.is_generated else "learned"


def entries(
    table: ReleasedTable, schema: TableSchema, evaluation: Mapping[str, Any] | None
) -> list[Entry]:
    """The columns of a table; `evaluation` is its Evaluation as plain data, if it has one."""
    judged = {c["column"]: c for c in evaluation["columns"]} if evaluation else {}
    types = dict(table.columns)
    return [_entry(c, types[c.name], judged.get(c.name, {})) for c in schema.columns]


def _entry(column: ColumnSchema, data_type: str, judged: Mapping[str, Any]) -> Entry:
    shown = judged.get("distribution") or {}
    labels = shown.get("labels") or []  # none for a histogram
    ranked = sorted(zip(labels, shown.get("synthetic", []), strict=False), key=lambda v: -v[1])
    named = [(label, share) for label, share in ranked if label != OTHER and share > 0]
    edges = shown.get("edges") or []
    ends = (edges[0], edges[-1]) if edges else None
    if ends and column.kind == Kind.INTEGER and ends[0] % 1:  # in the middle of their bins
        ends = (ends[0] + 0.5, ends[1] - 0.5)
    return Entry(
        schema=column,
        data_type=data_type,
        made=how_made(column),
        null_rate=judged.get("synthetic_null_rate"),
        shape_error=judged.get("shape_error"),
        reference=judged.get("reference"),
        values=tuple(named[:VALUES]),
        more=len(named[VALUES:]) + shown.get("folded", 0),
        low=tick(ends[0], column.kind) if ends else None,
        high=tick(ends[1], column.kind) if ends else None,
    )


def write_dictionary(
    folder: Path,
    dataset: str,
    notes: ReleaseNotes,
    schemas: Mapping[str, TableSchema],
    scores: Mapping[str, Any],
) -> None:
    """Write `dictionary.html` and `dictionary.md`; `scores` is the release's `scores.json`."""
    text = Messages(notes.locale)
    tables = [
        _table(table, notes, schemas[table.table], scores["evaluations"].get(table.table), text)
        for table in notes.tables
        if table.scenario == BASELINE
    ]
    page = {
        "title": notes.title or dataset,
        "dataset": dataset,
        "notes": notes,
        "tables": tables,
        "facts": _facts(dataset, notes, text),
        "scenarios": [
            {"name": f"{dataset}__{name}", "about": scenario.description or ""}
            for name, scenario in sorted(notes.scenarios.items())
        ],
    }
    templates = Path(__file__).parent / "templates"
    html = render(templates / "dictionary.html.j2", text, **page)
    (folder / "dictionary.html").write_text(html, encoding="utf-8")
    plain = _markdown(templates / "dictionary.md.j2", text, page)
    (folder / "dictionary.md").write_text(plain, encoding="utf-8")


def _markdown(template: Path, text: Messages, page: Mapping[str, Any]) -> str:
    """The page as Markdown: what HTML escapes by entities, Markdown escapes by backslashes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = markdown
    environment.globals.update(t=text)
    return environment.get_template(template.name).render(**page)


def _facts(dataset: str, notes: ReleaseNotes, text: Messages) -> dict[str, str]:
    model = notes.model
    made = {"families": model.family, "quality": model.quality, "version": model.version or DASH}
    facts = {
        "facts.dataset": dataset,
        "facts.owners": str(text("page.list")).join(notes.owners) if notes.owners else DASH,
        "facts.model": text("facts.model_text", **made),
        "dictionary.trained": str(model.trained_at or DASH),
        "facts.seed": str(notes.seed),
        "facts.protected": text(
            "facts.protected_text", least=notes.privacy.get("min_subjects", DASH)
        ),
    }
    return {text(key): str(value) for key, value in facts.items()}


def _table(
    table: ReleasedTable,
    notes: ReleaseNotes,
    schema: TableSchema,
    evaluation: Mapping[str, Any] | None,
    text: Messages,
) -> dict[str, Any]:
    about = notes.about.get(table.table)
    dp = notes.model.dp.get(table.table)
    found = evaluation["scores"] if evaluation else {}
    return {
        "name": table.table,
        "about": (about and about.description) or "",
        "key": (about and about.key) or "",
        "rows": table.rows,
        "epsilon": dp and dp.epsilon,
        "parents": [
            {"columns": ", ".join(r.columns), "parent": r.parent, "key": ", ".join(r.key)}
            for r in notes.relations
            if r.child == table.table
        ],
        "scores": [
            {
                "title": text(f"scores.{name}.title"),
                "value": _figure(name, found[name]["value"]),
                "fresh": _figure(name, found[name]["reference"]),
            }
            for name in SCORES
            if name in found and found[name]["value"] is not None
        ],
        "columns": [_column(e, text) for e in entries(table, schema, evaluation)],
    }


def _figure(score: str, value: float | None) -> str:
    if value is None:
        return DASH
    return percent(value) if score == "copied_rows" else f"{value:.3f}"


def _column(entry: Entry, text: Messages) -> dict[str, Any]:
    column = entry.schema
    return {
        "name": column.name,
        "about": column.description or "",
        "type": entry.data_type,
        "kind": text(f"kinds.{column.kind.value}"),
        "made": text(f"dictionary.made.{entry.made}"),
        "formula": column.derived or "",
        "missing": DASH if entry.null_rate is None else percent(entry.null_rate),
        "shown": [(label, percent(share)) for label, share in entry.values],
        "more": entry.more if entry.values else 0,
        "range": (entry.low, entry.high) if entry.low is not None else None,
        "off": DASH if entry.shape_error is None else percent(entry.shape_error),
        "fresh": DASH if entry.reference is None else percent(entry.reference),
    }
