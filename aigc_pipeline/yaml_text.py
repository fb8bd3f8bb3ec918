"""YAML text with the line of every field, read safely: no tags, no duplicate keys, no bombs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from aigc_pipeline.errors import FieldPath, InputError

MAX_BYTES = 2**20
MAX_NODES = 50_000  # counted with every alias written out

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*( [A-Za-z0-9_]+)*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Document:
    """A YAML file's data, and its nodes to tell the line of a field by."""

    data: Any
    root: Node | None

    def line(self, field: FieldPath) -> int:
        """Line of a field's key, from 1; of the nearest one around it where it is not there."""
        node, line = self.root, 1
        for part in field:
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
            line = mark.start_mark.line + 1
        return line

    def value(self, field: FieldPath) -> Any:
        """The data at a field."""
        value = self.data
        for part in field:
            value = value[part]
        return value


def read_yaml(path: Path) -> Document:
    """One YAML 1.2 document. Raises InputError with file and line for all that is wrong with it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes; no dataset file needs that")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: the text is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        problems: list[tuple[int, str]] = []
        if root is not None:
            _count(root, {}, path)
            _check_keys(root, (), set(), problems)
        if problems:
            raise InputError("\n".join(f"{path}:{line}: {text}" for line, text in sorted(problems)))
        return Document(YAML(typ="safe", pure=True).load(text), root)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise InputError(
            f"{path}:{line}: not valid YAML: {error.problem or error.context}"
        ) from None
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; no dataset file needs that") from None
    except ValueError as error:  # e.g. a date with a 13th month
        raise InputError(f"{path}: not valid YAML: {error}") from None


def scalar(text: str) -> str:
    """Any text as a YAML scalar that reads back as that very text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def _child(node: Node | None, part: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, MappingNode):
        return next(((k, v) for k, v in node.value if k.value == str(part)), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _count(node: Node, sizes: dict[int, int], path: Path) -> int:
    """Nodes below a node with aliases written out; refuses what never ends or is far too much."""
    known = sizes.get(id(node))
    if known == 0:
        raise InputError(
            f"{path}:{node.start_mark.line + 1}: an alias refers to what it is part of"
        )
    if known is not None:
        return known
    sizes[id(node)] = 0  # being counted
    total = 1
    if isinstance(node, MappingNode):
        total += sum(_count(k, sizes, path) + _count(v, sizes, path) for k, v in node.value)
    elif isinstance(node, SequenceNode):
        total += sum(_count(item, sizes, path) for item in node.value)
    if total > MAX_NODES:
        raise InputError(
            f"{path}: holds more than {MAX_NODES:,} values; no dataset file needs that"
        )
    sizes[id(node)] = total
    return total


def _check_keys(node: Node, at: FieldPath, seen: set[int], problems: list[tuple[int, str]]) -> None:
    """Collect keys that are used twice or are not text."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _check_keys(item, (*at, index), seen, problems)
    if not isinstance(node, MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            problems.append((line, f"{_shown(at)}: a field's name must be plain text"))
            continue
        field = (*at, key.value)
        if str(key.tag) not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            text = f"{_shown(field)}: YAML does not read this name as text; put it in quotes"
            problems.append((line, text))
        if key.value in lines:
            text = f"{_shown(field)}: given twice, first in line {lines[key.value]}; keep one"
            problems.append((line, text))
        lines.setdefault(key.value, line)
        _check_keys(value, field, seen, problems)


def _shown(field: FieldPath) -> str:
    return ".".join(map(str, field)) or "the file"
