"""The `aigc` command: its parts, and how an error ends it.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 a gate refused.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer
from rich.markup import escape

from aigc_pipeline.commands import (
    dashboard,
    dataset,
    diff,
    doctor,
    evaluate,
    plan,
    repair,
    run,
    scenario,
    serve,
    tabular,
    warehouse,
)
from aigc_pipeline.errors import AigcError

app = typer.Typer(
    name="aigc",
    help="Synthetic business tables: learned, judged, and published to a DuckDB warehouse.\n\n"
    "Start with `aigc init FILE`, then `aigc plan` and `aigc run`; or, on plain files,"
    " `aigc fit`, `aigc sample` and `aigc evaluate`.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 a gate refused.",
    epilog="AIGC_HOME: the lake (./lake).  AIGC_DATASETS: the dataset files (./datasets)."
    "  AIGC_DEBUG=1: errors with their traceback.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(command: Callable[..., None]) -> str:
    """A command's docstring with its prose as long lines, which the terminal then wraps."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    prose = (p if p.startswith("Examples:") else p.replace("\n", " ") for p in paragraphs)
    return escape("\n\n".join(prose))


DATASETS, FILES, WAREHOUSE, HERE = "Datasets", "Plain files", "Warehouse", "This installation"
for panel, command in (
    (DATASETS, dataset.init),
    (DATASETS, plan.plan),
    (DATASETS, run.run),
    (FILES, tabular.fit),
    (FILES, tabular.sample),
    (FILES, evaluate.evaluate),
    (FILES, repair.impute),
    (FILES, repair.outliers),
    (WAREHOUSE, warehouse.query),
    (WAREHOUSE, scenario.scenario),
    (WAREHOUSE, warehouse.releases),
    (WAREHOUSE, diff.diff),
    (WAREHOUSE, warehouse.rollback),
    (WAREHOUSE, serve.serve),
    (WAREHOUSE, dashboard.dashboard),
    (HERE, doctor.doctor),
    (HERE, dataset.schema),
):
    app.command(rich_help_panel=panel, help=_help(command))(command)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code; an error becomes one clear block on stderr."""
    try:
        app(arguments)
    except AigcError as error:
        _complain(str(error), error)
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), error)
        sys.exit(1)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # An unforeseen error's message may quote rows of a real table.
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        what = f"unexpected {type(error).__name__} in {place}"
        _complain(f"{what}; AIGC_DEBUG=1 shows it whole", error)
        sys.exit(1)


def _complain(message: str, error: BaseException) -> None:
    """The message on stderr; with AIGC_DEBUG=1 the traceback before it."""
    if os.environ.get("AIGC_DEBUG"):
        traceback.print_exception(error)
    first, *more = message.splitlines() or [""]
    print(f"aigc: {first}", *(f"      {line.strip()}" for line in more), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
