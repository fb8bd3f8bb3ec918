"""`aigc init` and `aigc schema`: writing a dataset file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from aigc_pipeline.errors import InputError


def init(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="CSV, Parquet, JSON lines or Excel files, or a database:"
            " sqlite:///file.db, postgresql://user:${PASSWORD}@host/db.",
            metavar="SOURCE...",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset.  By default the file's.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of the database (all by default), or name for the file's table; repeat it"
            " for several."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset file.")] = False,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the text instead of writing a file.")
    ] = False,
) -> None:
    """Write a commented dataset file from one table or several: datasets/NAME.yaml.

    The tables are read, each column's type is inferred, and what the pipeline would guess is
    written out, so that a wrong guess can be put right. Of several tables it also says which
    refer to which, as their names and values suggest. No value of a table is copied.

    Examples:
      aigc init data/customers.csv
      aigc init "data/2026-*.parquet" --name sales
      aigc init sqlite:///shop.db --table orders --stdout
      aigc init data/customers.csv data/orders.csv --name shop
    """
    from aigc_pipeline.commands import show
    from aigc_pipeline.durable import write_atomically
    from aigc_pipeline.project import Project
    from aigc_pipeline.sources import suggest_dataset
    from aigc_pipeline.spec import check_name

    project = Project.from_env()
    if name is not None:
        try:
            check_name(name)
        except ValueError as error:
            raise InputError(f"--name: {error}") from None
    named = [_source(source, project.root) for source in sources]
    text = suggest_dataset(named, name=name, tables=table or [])
    if stdout:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    found = re.search(r"^name:\s*(\S+)", text, re.MULTILINE)
    assert found is not None  # the text is our own
    path = project.datasets / f"{found[1]}.yaml"
    if path.exists() and not force:
        raise InputError(
            f"{path}: this dataset file exists; choose another --name, or replace it with --force"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    show.say(f"wrote {path}")
    show.say(f"  look it over, then: aigc plan {found[1]}   and: aigc run {found[1]}")


def _source(source: str, root: Path) -> str:
    """The source as the dataset file should name it: relative paths start at the project's root."""
    if "://" in source or os.path.isabs(source) or Path.cwd() == root:
        return source
    return str(Path.cwd() / source)


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.  By default stdout.")
    ] = None,
) -> None:
    """Print the JSON Schema of dataset files, for editors and other programs.

    Examples:
      aigc schema
      aigc schema --output docs/dataset.schema.json
    """
    import json

    from aigc_pipeline.commands import show
    from aigc_pipeline.dataset_file import json_schema
    from aigc_pipeline.durable import write_atomically

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        raise InputError(f"--output: {output}: cannot be written ({error.strerror})") from None
    show.note(f"wrote {output}")
