"""Dashboards as code: an Evidence project (https://docs.evidence.dev) for one dataset.

Everything in it comes from the catalogue: a page for each mart with its title, description, table
and a chart where its first columns make one, a page of scores over all releases, and an index. The
same warehouse gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_pipeline.errors import ArtefactError, InputError, did_you_mean
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse.duck import identifier, literal
from aigc_pipeline.warehouse.query import query

MANIFEST = ".aigc-dashboard.json"  # what was written here, by path and hash
# The versions whose formats these are.
_PACKAGES = {
    "@evidence-dev/core-components": "5.4.2",
    "@evidence-dev/duckdb": "2.0.1",
    "@evidence-dev/evidence": "40.1.8",
    "typescript": "5.4.2",  # Evidence's peers do not agree on a newer one
}
_SAFE = re.compile(r"[a-z][a-z0-9_]{0,60}")
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\)")
_MOMENT = re.compile(r"DATE|TIMESTAMP( WITH TIME ZONE|_S|_MS|_NS)?")
_KEPT = re.compile(rf"{_NUMBER.pattern}|{_MOMENT.pattern}|VARCHAR|BOOLEAN")
_CHARTED = ("detection_auc", "shape_error", "query_error_ratio", "membership_auc")
_SCORES = """SELECT released_at, release, is_current, table_name, score, value, reference, better,
    description
FROM catalog.scores
WHERE dataset = {dataset}
ORDER BY released_at, release, table_name, score"""
_TABLES = """SELECT schema_name, table_name, description, rows, columns
FROM catalog.tables
WHERE dataset = {dataset}
ORDER BY schema_name, table_name"""


@dataclass(frozen=True)
class _Column:
    name: str  # in the warehouse
    shown: str  # in the project: a name that needs no quotes
    type: str


def write_dashboard(lake: Lake, dataset: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the project of a dataset in the warehouse; returns the files that were written.

    A file that is there already is only replaced if this function wrote it and nobody changed it
    since, or with `force`. What an earlier call wrote for a mart that is gone is removed.

    Raises:
        InputError: no such dataset, or a file that is not ours to replace. Nothing was written.
        ArtefactError: the disk refuses.
    """
    files = {name: text.encode() for name, text in _project(lake, dataset, folder).items()}
    known = _written_before(folder)
    taken = [name for name in files if not force and _is_foreign(folder, name, known)]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise InputError(
            f"{folder / taken[0]}{more}: was not written by `aigc dashboard`, or has been changed"
            " since; choose another folder, or replace it with --force"
        )
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    listed = json.dumps(hashes, indent=2) + "\n"
    try:
        for name in known.keys() - files.keys():
            if not _is_foreign(folder, name, known):
                (folder / name).unlink(missing_ok=True)
        for name, data in (*files.items(), (MANIFEST, listed.encode())):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return [folder / name for name in files]


def _project(lake: Lake, dataset: str, folder: Path) -> dict[str, str]:
    datasets = _rows(lake, "FROM catalog.datasets ORDER BY dataset")
    about = next((row for row in datasets if row["dataset"] == dataset), None)
    if about is None:
        hint = did_you_mean(dataset, [row["dataset"] for row in datasets])
        raise InputError(f"dataset {dataset!r} is not in the warehouse; {hint}")
    of = {"dataset": literal(dataset)}
    marts = _rows(lake, "FROM catalog.marts WHERE dataset = {dataset} ORDER BY name".format(**of))
    home = folder.resolve() / "sources" / dataset
    warehouse = Path(os.path.relpath(lake.warehouse.resolve(), home)).as_posix()
    files = {
        "package.json": _package(dataset),
        "evidence.config.yaml": _config(),
        ".gitignore": "node_modules/\n.evidence/\nbuild/\n",
        f"sources/{dataset}/connection.yaml": (
            f"name: {json.dumps(dataset)}\ntype: duckdb\noptions:\n"
            f"  filename: {json.dumps(warehouse)}\n"
        ),
        f"sources/{dataset}/scores.sql": _SCORES.format(**of) + "\n",
        f"sources/{dataset}/tables.sql": _TABLES.format(**of) + "\n",
        "pages/scores.md": _scores_page(dataset, _scored(lake, dataset)),
    }
    links = []
    for number, mart in enumerate(marts, 1):
        name = mart["name"] if _SAFE.fullmatch(mart["name"]) else f"mart_{number}"
        place = identifier(mart["schema_name"], mart["name"])
        columns = _columns(lake, place)
        files[f"sources/{dataset}/mart_{name}.sql"] = _source(place, columns)
        files[f"pages/marts/{name}.md"] = _mart_page(dataset, name, mart, columns)
        links.append((f"/marts/{name}", mart))
    files["pages/index.md"] = _index_page(about, links)
    return files


def _package(dataset: str) -> str:
    scripts = {name: f"evidence {name}" for name in ("sources", "dev", "build")}
    package = {
        "name": f"{dataset.replace('_', '-')}-dashboard",
        "private": True,
        "type": "module",
        "scripts": scripts,
        "dependencies": _PACKAGES,
    }
    return json.dumps(package, indent=2) + "\n"


def _config() -> str:
    return (
        'plugins:\n  components:\n    "@evidence-dev/core-components": {}\n'
        '  datasources:\n    "@evidence-dev/duckdb": {}\n'
        "appearance:\n  default: system\n  switcher: true\n"
    )


def _index_page(about: dict[str, Any], links: list[tuple[str, dict[str, Any]]]) -> str:
    dataset = about["dataset"]
    return _page(
        about["title"] or dataset,
        about["description"],
        f"All rows are synthetic. Release `{about['release']}`.",
        "\n".join(
            f"- [{_text(mart['title'] or mart['name'])}]({link})"
            + (f": {_text(mart['description'])}" if mart["description"] else "")
            for link, mart in (*links, ("/scores", {"title": "Scores", "description": None}))
        ),
        _query("tables", f"SELECT * FROM {identifier(dataset, 'tables')}"),
        "<DataTable data={tables} rows=20/>",
    )


def _mart_page(dataset: str, name: str, mart: dict[str, Any], columns: list[_Column]) -> str:
    return _page(
        mart["title"] or mart["name"],
        mart["description"],
        _query("rows", f"SELECT * FROM {identifier(dataset, f'mart_{name}')}"),
        _chart("rows", columns),
        "<DataTable data={rows} rows=20 search=true/>",
    )


def _scores_page(dataset: str, scored: list[str]) -> str:
    source = identifier(dataset, "scores")
    parts = [
        _query(
            "current",
            "SELECT table_name, score, value, reference, better, description\n"
            f"FROM {source}\nWHERE is_current",
        ),
        "<DataTable data={current} rows=50 search=true/>",
    ]
    for score in scored:
        parts += [
            f"## {_text(score)}",
            _query(
                score,
                f"SELECT released_at, table_name, value\nFROM {source}\n"
                f"WHERE score = {literal(score)} AND value IS NOT NULL\nORDER BY released_at",
            ),
            f"<LineChart data={{{score}}} x=released_at y=value series=table_name markers=true/>",
        ]
    about = "What this release scored beside fresh real rows (reference), and how it was before."
    return _page("Scores", about, *parts)


def _chart(data: str, columns: list[_Column]) -> str | None:
    """A chart of the first column and the first number after it, where the two make one."""
    if len(columns) < 2:
        return None
    first = columns[0]
    measure = next((c for c in columns[1:] if _NUMBER.fullmatch(c.type)), None)
    if measure is None:
        return None
    kind = "LineChart" if _MOMENT.fullmatch(first.type) else "BarChart"
    return f"<{kind} data={{{data}}} x={first.shown} y={measure.shown}/>"


def _page(title: str, description: str | None, *parts: str | None) -> str:
    blocks = [f"# {_text(title)}", description and _text(description), *parts]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _query(name: str, sql: str) -> str:
    return f"```sql {name}\n{sql}\n```"


def _text(text: str) -> str:
    """A text that is neither Markdown, HTML nor a Svelte expression."""
    line = " ".join(text.split())
    line = re.sub(r"[^\w\s,.]|_", lambda found: f"&#{ord(found[0])};", line)
    return re.sub(r"^(\d+)\.", r"\1&#46;", line)  # not the first of a list


def _columns(lake: Lake, place: str) -> list[_Column]:
    described = _rows(lake, f"DESCRIBE FROM {place}")
    columns, used = [], set()
    for number, row in enumerate(described, 1):
        shown = row["column_name"]
        if not _SAFE.fullmatch(shown) or shown in used:
            shown = f"column_{number}"
        used.add(shown)
        columns.append(_Column(row["column_name"], shown, row["column_type"]))
    return columns


def _source(place: str, columns: list[_Column]) -> str:
    """All rows of a mart, under names and in types that Evidence takes."""
    listed = ",\n    ".join(
        (
            identifier(column.name)
            if _KEPT.fullmatch(column.type)
            else f"CAST({identifier(column.name)} AS VARCHAR)"
        )
        + f" AS {identifier(column.shown)}"
        for column in columns
    )
    return f"SELECT\n    {listed}\nFROM {place}\n"


def _scored(lake: Lake, dataset: str) -> list[str]:
    found = _rows(
        lake, f"SELECT DISTINCT score FROM catalog.scores WHERE dataset = {literal(dataset)}"
    )
    names = {row["score"] for row in found}
    return [score for score in _CHARTED if score in names]


def _rows(lake: Lake, sql: str) -> list[dict[str, Any]]:
    return query(lake, sql, limit=None).frame.rows(named=True)


def _written_before(folder: Path) -> dict[str, str]:
    """Path and hash of what an earlier call wrote; paths that lead elsewhere are left out."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(listed, dict):
        return {}
    return {name: found for name, found in listed.items() if ".." not in Path(name).parts
            and not Path(name).is_absolute()}  # fmt: skip


def _is_foreign(folder: Path, name: str, known: dict[str, str]) -> bool:
    """Whether a file is there that an earlier call did not leave like this."""
    path = folder / name
    if not (path.exists() or path.is_symlink()):
        return False
    if not path.is_file() or path.is_symlink():
        return True
    return hashlib.sha256(path.read_bytes()).hexdigest() != known.get(name)
