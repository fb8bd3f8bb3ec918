"""A mart's SQL file: one SELECT, with `-- title:` and `-- description:` lines above it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from pydantic import ValidationError

from aigc_pipeline.errors import InputError, did_you_mean
from aigc_pipeline.spec import MartSpec

_FIELDS = ("title", "description", "materialize")
_LINE = re.compile(r"--\s*(?:(?P<field>[a-z_]+):\s)?\s*(?P<text>.*)")


def read_mart(file: Path, declared: MartSpec | None = None) -> MartSpec:
    """The mart in a file. What the dataset file declares of it comes before the file's own lines.

    Raises InputError, with file and line, for a file that cannot be read or a misspelt field.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: the text is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{file}: the mart cannot be read ({error.strerror})") from None
    fields = _header(file, text)
    if declared is not None:
        fields |= declared.model_dump(exclude_unset=True, exclude={"file"})
    try:
        mart = MartSpec.model_validate({**fields, "sql": text})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {where}: {first['msg']} (found {first['input']!r})") from None
    mart._file = str(file)
    return mart


def _header(file: Path, text: str) -> dict[str, str]:
    """The fields in the comment lines a file starts with; a line without one continues it."""
    fields: dict[str, str] = {}
    last = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            break
        if match["field"] is None:
            if last is not None:
                fields[last] = f"{fields[last]} {match['text'].strip()}".strip()
            continue
        last = match["field"] if match["field"] in _FIELDS else None
        if last is not None:
            fields[last] = match["text"].strip()
        elif difflib.get_close_matches(match["field"], _FIELDS, n=1, cutoff=0.6):
            hint = did_you_mean(match["field"], _FIELDS)
            raise InputError(f"{file}:{number}: a mart has no field {match['field']!r}; {hint}")
    return fields
