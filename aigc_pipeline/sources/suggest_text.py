"""The text of a suggested dataset file."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from aigc_pipeline.sources.clean import MIN_ROWS
from aigc_pipeline.sources.guess import Guess, guess_kind
from aigc_pipeline.sources.identifiers import Identifier, find_identifier, named_like_person
from aigc_pipeline.sources.suggest_relations import (
    SuggestedParent,
    suggest_keys,
    suggest_order,
    suggest_parents,
)
from aigc_pipeline.spec import MIN_SUBJECTS, Kind
from aigc_pipeline.yaml_text import scalar

ENOUGH_ROWS, SURE_ROWS = 2_500, 10_000  # to judge membership at all, and by the usual limit
_TARGET_NAMES = ("target", "label", "class", "outcome", "churn", "default", "y", "response")


@dataclass(frozen=True)
class TableDraft:
    """A table to be described: its rows, its source's fields, and remarks on these."""

    df: pl.DataFrame
    fields: dict[str, str | list[str]]
    remarks: list[str]


def render(name: str, title: str, drafts: dict[str, TableDraft]) -> str:
    """The whole file: commented YAML. No value of the tables is in it."""
    frames = {table: draft.df for table, draft in drafts.items()}
    guesses = {t: {c: guess_kind(df[c]) for c in df.columns} for t, df in frames.items()}
    keys = suggest_keys(frames, guesses)
    parents = suggest_parents(frames, keys)
    alone = len(drafts) == 1
    kept = set() if alone else {t for t, df in frames.items() if _is_lookup(df, parents[t])}
    rows = sum(df.height for df in frames.values())
    columns = sum(df.width for df in frames.values())
    lines = [
        "# yaml-language-server: $schema=../docs/dataset.schema.json",
        f"# A first version, made from {rows} rows and {columns} columns.",
        f"# Save it as datasets/{name}.yaml, look through it, then: aigc plan {name}",
        f"name: {name}",
        f"title: {scalar(title)}",
        "# description: what the table is about; BI users see it",
        "# domain: finance",
        "tables:",
    ]
    for table, draft in drafts.items():
        lines += _table(table, draft, guesses[table], keys.get(table), parents[table], kept)
    lines += [
        "generator: {family: autoregressive, quality: standard}",
        f"privacy: {{min_subjects: {MIN_SUBJECTS}}}  # values of fewer subjects are not learned",
        "synthesis:" if alone else "# synthesis: {rows: 10000}  # as many as there are by default",
        *([f"  rows: {rows}"] if alone else []),
        "gates:  # what misses one is not released",
        "  shape_error: {max: 0.03}",
        "  detection_auc: {max: 0.65}",
        "  copied_rows: {max: holdout}",
        _membership({t: f.height for t, f in frames.items() if t not in kept}, parents),
        "  null_rate_error: {max: 0.02}",
        "  # utility_gap: {max: 0.05}  # needs a target",
        '# schedule: "0 3 * * *"  # every night at three',
    ]
    return "\n".join(lines) + "\n"


def _table(
    table: str,
    draft: TableDraft,
    guesses: dict[str, Guess],
    key: str | None,
    parents: list[SuggestedParent],
    kept: set[str],
) -> list[str]:
    lines = [
        f"  {scalar(table)}:",
        "    source:",
        *(f"      {field}: {_value(value)}" for field, value in draft.fields.items()),
        *(f"      # {remark}" for remark in draft.remarks),
    ]
    if key is not None:
        lines.append(
            f"    key: {scalar(key)}  # different in every row; made afresh, never learned"
        )
    else:
        lines.append("    # key: the column that tells rows apart; made afresh, never learned")
    if parents:
        lines.append("    parents:  # the tables that rows belong to; the first one owns them")
        lines += [f"      - {_parent(parent)}" for parent in parents]
        if (order := suggest_order(guesses, parents)) is not None:
            lines.append(f"    order_by: {scalar(order)}  # orders the rows of an owner")
    else:
        lines.append("    # parents: [{column: customer_id, table: customers}]")
    if table in kept:
        lines.append("    keep: true  # too few rows to learn from: released as it is, if public")
    else:
        lines.append(f"    # target: {_target(draft.df, guesses)}  # its prediction tests utility")
    lines.append("    columns:  # types as inferred; what you leave out is inferred at every run")
    holds = {parent.column: parent.table for parent in parents}
    for column, guess in guesses.items():
        entry = _entry(draft.df[column], guess)
        if column in holds:
            entry = f"{_type(guess, holds[column], kept)}  # holds a key of {scalar(holds[column])}"
        elif table not in kept and column == key and guess.kind != Kind.ID:
            entry = "{type: id}  # the key; other tables refer to it"
        lines.append(f"      {scalar(column)}: {entry}")
    return [
        *lines,
        "    # derive: {total: 'price * quantity'}      # recomputed, so it holds in every row",
        "    # constraints: [{less_equal: [low, high]}]  # kept in every row",
        "    # expect:                                  # Great Expectations, by their own names",
        "    #   - {expect_column_values_to_not_be_null: {column: x}, severity: critical}",
    ]


def _membership(rows: dict[str, int], parents: dict[str, list[SuggestedParent]]) -> str:
    """The gate on finding out who was trained on, which catches an overfitted model.

    It judges an upper confidence bound: the fewer people are held out, the further above the
    attacker's true success that lies, and a sound model has to pass. So few rows get a wider limit,
    and very few none. Related tables are judged by whole entities.
    """
    related = any(parents[table] for table in rows)
    score = "entity_membership_auc" if related else "membership_auc"
    least = min((count for t, count in rows.items() if not (related and parents[t])), default=0)
    limit = 0.55 if least >= SURE_ROWS else 0.6
    gate = f"{score}: {{max: {limit}}}  # an attacker who tells who was trained on; a coin gets 0.5"
    return f"  {gate}" if least >= ENOUGH_ROWS else f"  # {gate}; needs {ENOUGH_ROWS:,} rows"


def _is_lookup(df: pl.DataFrame, parents: list[SuggestedParent]) -> bool:
    return df.height < MIN_ROWS and not parents


def _type(guess: Guess, parent: str, kept: set[str]) -> str:
    """Of a column that holds a parent's key: made afresh, or learned where the parent is kept."""
    if parent not in kept:
        return "{type: id}"
    return "{type: category}" if guess.kind == Kind.ID else f"{{type: {guess.kind}}}"


def _parent(parent: SuggestedParent) -> str:
    said = f"column: {scalar(parent.column)}, table: {scalar(parent.table)}"
    said += ", optional: true" if parent.nulls else ""
    said += ", orphans: reproduce" if parent.orphans else ""
    words = [f"missing in {parent.nulls} rows"] if parent.nulls else []
    words += [f"{parent.orphans} rows find no parent"] if parent.orphans else []
    return f"{{{said}}}  # {', '.join(words) or 'every row finds its parent'}"


def _entry(column: pl.Series, guess: Guess) -> str:
    format = f", format: {scalar(guess.format)}" if guess.format is not None else ""
    nulls = column.null_count()
    missing = f", missing in {nulls} rows" if 0 < nulls < len(column) else ""
    if guess.kind != Kind.DATETIME:
        found = find_identifier(column)
        if found is None and named_like_person(column):
            found = Identifier("people's names", "name", 1.0)
        if found is not None and found.pii is not None:
            return f"{{pii: {found.pii}}}  # looks like {found.what}: never learned, faked{missing}"
        if found is not None:
            return f"{{type: id}}  # looks like {found.what}: never learned, made afresh{missing}"
    return f"{{type: {guess.kind}{format}}}  # {guess.reason}{missing}"


def _target(df: pl.DataFrame, guesses: dict[str, Guess]) -> str:
    """A column that looks worth predicting: of few values, and named so if one is."""
    kinds = (Kind.CATEGORY, Kind.BOOLEAN, Kind.INTEGER)
    few = [
        c
        for c in df.columns
        if guesses[c].kind in kinds and 2 <= df[c].drop_nulls().n_unique() <= 20
    ]
    named = [c for c in few if c.lower().rpartition("_")[2] in _TARGET_NAMES]
    return scalar((named or few[-1:] or ["column"])[0])


def _value(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    return scalar(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
