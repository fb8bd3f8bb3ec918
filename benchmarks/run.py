"""Speed, memory and fidelity on real tables, each figure beside a peer's from the same run.

    python -m benchmarks.run [TABLE ...] [--families …] [--quality …] [--plot plot.png]

README.md in this folder says where tables and peers come from, and what a peer is given.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from aigc_pipeline.errors import InputError
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.tabular import FAMILIES
from benchmarks.engines import PEERS, Made, installed_peers, run_family, run_peer
from benchmarks.plot import draw
from benchmarks.scores import Scores, fidelity_speed, score, shuffle_columns
from benchmarks.tables import Bench, load_tables

SHOWN = {
    "fit_seconds": ("fit s", ",.0f"),
    "rows_per_second": ("rows/s", ",.0f"),
    "peak_mb": ("peak MB", ",.0f"),
    "shape_error": ("shape error", ".2%"),
    "trend_error": ("trend error", ".2%"),
    "detection_auc": ("detection AUC", ".3f"),
    "utility_gap": ("utility gap", ".3f"),
    "dcr_share": ("nearer to train", ".3f"),
}
# What a ratio to a peer is of. A utility gap can be zero or less, and 0.5 is best for the last.
RATIOS: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(list(SHOWN)[:5], float),
    "detection_auc": lambda auc: abs(auc - 0.5),
}


@dataclass(frozen=True)
class Run:
    """What one engine gave on one table; a figure that there is none of is None or left out."""

    table: str
    engine: str
    quality: str | None = None  # of a peer: of the run of ours whose seconds it was given
    seed: int | None = None
    figures: Scores = field(default_factory=dict)
    failed: str | None = None

    @property
    def label(self) -> str:
        """Engine and quality, as tables show them."""
        return f"{self.engine} {self.quality or ''}".rstrip()


def run_table(bench: Bench, options: argparse.Namespace) -> Iterator[Run]:
    """All runs on one table: fresh rows, shuffled columns, our families, their peers."""
    schema = infer_schema(bench.train, bench.name, bench.spec)
    shuffled = shuffle_columns(bench.train)
    scores, fresh = score(bench, shuffled, schema)
    scores["fidelity_speed"] = fidelity_speed(bench, shuffled, schema)
    yield Run(bench.name, "fresh real rows", figures=fresh)
    yield Run(bench.name, "shuffled columns", figures=scores)
    for seed in options.seed:
        for family in options.families:
            took: dict[str | None, float] = {}  # seconds by quality
            for quality in options.quality:
                run = Run(bench.name, family, quality, seed)
                run = _try(run, partial(run_family, bench, family, quality, seed), bench, schema)
                yield run
                if seconds := options.seconds or run.figures.get("fit_seconds"):
                    took[quality] = seconds
            peer = PEERS.get(family)
            if peer is None or peer not in options.found:
                continue
            given = {None: options.seconds} if peer == "mostlyai" else took
            for quality, seconds in given.items():
                run = Run(bench.name, peer, quality, seed)
                yield _try(
                    run, partial(run_peer, bench, schema, peer, seed, seconds), bench, schema
                )


def _try(run: Run, engine: Callable[[], Made], bench: Bench, schema: TableSchema) -> Run:
    try:
        rows, figures = engine()
        return replace(run, figures={**figures, **score(bench, rows, schema)[0]})
    except Exception as error:  # the other engines' figures shall not be lost with it
        return replace(run, failed=f"{type(error).__name__}: {error}")


def summarise(runs: list[Run]) -> list[Run]:
    """One run per table and engine with its quality: the median of the seeds' figures."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.failed is None:
            groups.setdefault((run.table, run.label), []).append(run)
    summary = []
    for same in groups.values():
        values = {
            name: [value for run in same if (value := run.figures.get(name)) is not None]
            for name in same[0].figures
        }
        figures: Scores = {name: median(found) for name, found in values.items() if found}
        summary.append(replace(same[0], seed=None, figures=figures))
    return summary


def ratios(ours: Run, peer: Run) -> dict[str, float]:
    """Our figures as multiples of a peer's: below 1 is better, but for rows a second."""
    found = {}
    for name, distance in RATIOS.items():
        own, other = ours.figures.get(name), peer.figures.get(name)
        if own is not None and other is not None and distance(other) > 0:
            found[name] = distance(own) / distance(other)
    return found


def table_of(runs: list[Run]) -> Table:
    """Summarised runs on one bench table, in Markdown; ratios follow where there is a peer."""
    shown = Table("engine", box=box.MARKDOWN)
    for heading, _ in SHOWN.values():
        shown.add_column(heading, justify="right")
    for run in runs:
        cells = ((run.figures.get(name), form) for name, (_, form) in SHOWN.items())
        shown.add_row(run.label, *("" if x is None else format(x, form) for x, form in cells))
    for ours in runs:
        for peer in runs:
            if peer.engine == PEERS.get(ours.engine) and peer.quality in (None, ours.quality):
                found = ratios(ours, peer)
                marks = (f"x {found[name]:.2g}" if name in found else "" for name in SHOWN)
                shown.add_row(f"{ours.label} / {peer.engine}", *marks)
    return shown


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="default: all there are")
    families, qualities = list(FAMILIES), ["draft", "standard", "high"]
    parser.add_argument("--families", nargs="+", choices=families, default=families)
    parser.add_argument("--quality", nargs="+", choices=qualities, default=["standard"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="several: medians")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seconds", type=float, help="a peer's, in place of those of our family")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run with its figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="PNG or SVG")
    options = parser.parse_args(arguments)
    if options.plot and options.plot.suffix not in (".png", ".svg"):
        parser.error(f"--plot {options.plot}: name a .png or .svg file")
    for file in (options.json, options.plot):
        if file and not file.absolute().parent.is_dir():
            parser.error(f"{file}: there is no folder {file.parent}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and show it. Exit code 1 where an engine failed, 2 for bad input."""
    options = parse(arguments)
    tell, out = Console(stderr=True).print, Console(width=150)
    try:
        options.found = installed_peers() if options.peers else {}
        benches = load_tables(options.tables)
    except InputError as error:
        tell(str(error), style="red", markup=False)
        return 2
    names = (f"{name} {version}" for name, version in options.found.items())
    tell(f"peers: {', '.join(names) or 'none'}")
    runs: list[Run] = []
    for bench in benches:
        first = len(runs)
        for run in run_table(bench, options):
            runs.append(run)
            tell(f"{bench.name}: {run.label}: {run.failed or 'done'}", markup=False)
            if options.json:  # after each run, so that a stopped benchmark has something to show
                _write(runs, options)
        title = f"{bench.name}: {len(bench.train):,} rows x {bench.train.width} columns"
        faster = runs[first + 1].figures["fidelity_speed"]
        out.print(f"{title}; shape and trend errors {faster:.0f} times as fast as sdmetrics'")
        out.print(table_of(summarise(runs[first:])))
    if options.plot:
        draw([asdict(run) for run in summarise(runs)], options.plot)
    return int(any(run.failed for run in runs))


def _write(runs: list[Run], options: argparse.Namespace) -> None:
    facts = {"cores": os.cpu_count(), "peers": options.found}
    text = json.dumps(facts | {"runs": [asdict(run) for run in runs]}, indent=1)
    options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
