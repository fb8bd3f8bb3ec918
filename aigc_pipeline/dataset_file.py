"""Dataset files: YAML into `DatasetSpec`, with every problem told by file, line and field."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from aigc_pipeline.errors import FieldError, FieldPath, InputError, did_you_mean, dotted
from aigc_pipeline.relations.declared import graph_of
from aigc_pipeline.spec import DatasetSpec, MartSpec, check_name
from aigc_pipeline.yaml_text import Document, read_yaml


def load_dataset(path: Path) -> DatasetSpec:
    """The dataset that a YAML file describes.

    Raises InputError with one line for each problem, such as
    "datasets/loans.yaml:12: tables.loans.columns.x.typ: no such field; did you mean 'type'?".
    """
    if not path.is_file():
        near = [p.name for p in _yaml_files(path.parent)]
        raise InputError(f"{path}: there is no such dataset file; {did_you_mean(path.name, near)}")
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise InputError(f"{path}:1: a dataset file is a mapping that starts with e.g. name: loans")
    try:
        spec = DatasetSpec.model_validate(document.data)
    except ValidationError as error:
        problems = _problems(error, document)
        raise InputError(_lines(path, document, problems)) from None
    try:
        graph_of(spec)
    except FieldError as error:
        raise InputError(_lines(path, document, error.problems)) from None
    spec._file = str(path)
    if spec.marts or mart_folder(path, spec.name).is_dir():
        spec = _with_marts(spec, path)
    return spec


def mart_folder(path: Path, name: str) -> Path:
    """Where a dataset file's marts are: every `*.sql` there is one, named after its file."""
    return path.parent / name / "marts"


def _with_marts(spec: DatasetSpec, path: Path) -> DatasetSpec:
    """The spec with the text of its marts' files, so that its hash covers them; all are checked."""
    from aigc_pipeline.mart_file import read_mart
    from aigc_pipeline.marts import read_marts

    files: dict[str, tuple[Path, MartSpec | None]] = {
        name: (path.parent / mart.file, mart) for name, mart in spec.marts.items() if mart.file
    }
    for file in sorted(mart_folder(path, spec.name).glob("*.sql")):
        if file.stem in spec.marts and files.get(file.stem, (None, None))[0] != file:
            raise InputError(f"{file}: {path} has a mart {file.stem!r} too; rename one")
        files.setdefault(file.stem, (file, None))
    for name, (file, _) in files.items():  # an error would quote whatever file that is
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise InputError(f"{path}: mart {name!r}: its file is not below {path.parent}")
    marts = dict(spec.marts) | {name: read_mart(*given) for name, given in files.items()}
    try:
        checked = DatasetSpec.model_validate({**dict(spec), "marts": marts})
    except ValidationError as error:
        raise InputError(_lines(path, read_yaml(path), _problems(error, read_yaml(path)))) from None
    checked._file = spec._file
    with pointing_into(checked):
        read_marts(checked)
    return checked


def load_datasets(folder: Path) -> list[DatasetSpec]:
    """All datasets of a folder's `*.yaml` files, by file name; no name may come twice."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; dataset files are kept in datasets/")
    specs: list[DatasetSpec] = []
    for path in _yaml_files(folder):
        spec = load_dataset(path)
        twin = next((s for s in specs if s.name == spec.name), None)
        if twin is not None:
            raise InputError(
                f"{path}: name: {spec.name!r} is the name of {twin._file} too; rename one"
            )
        specs.append(spec)
    return specs


def find_dataset(name: str, folder: Path) -> DatasetSpec:
    """The dataset of that name; its own file comes first, so another's faults do not matter."""
    try:
        check_name(name)
    except ValueError as error:
        raise InputError(f"dataset: {error}") from None
    own = folder / f"{name}.yaml"
    if own.is_file():
        spec = load_dataset(own)
        if spec.name == name:
            return spec
    specs = load_datasets(folder)
    for spec in specs:
        if spec.name == name:
            return spec
    raise InputError(
        f"dataset {name!r}: {folder} has none of that name;"
        f" {did_you_mean(name, (s.name for s in specs))}"
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a dataset file, for editors; `docs/dataset.schema.json` holds it."""
    schema = DatasetSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@contextmanager
def pointing_into(spec: DatasetSpec) -> Iterator[None]:
    """Add file and line of `spec`'s dataset file to every FieldError raised inside."""
    try:
        yield
    except FieldError as error:
        if spec._file is None or not Path(spec._file).is_file():
            raise
        raise located(error, Path(spec._file)) from error


def located(error: FieldError, path: Path) -> InputError:
    """The same problems, each with file and line of its field in a dataset file."""
    return InputError(_lines(path, read_yaml(path), error.problems))


def _yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.glob("*.yaml") if not p.name.startswith("."))


def _lines(path: Path, document: Document, problems: list[tuple[FieldPath, str]]) -> str:
    found = sorted((document.line(field), dotted(field), text) for field, text in problems)
    return "\n".join(
        f"{path}:{line}: {field}: {text}" if field else f"{path}:{line}: {text}"
        for line, field, text in dict.fromkeys(found)
    )


def _problems(error: ValidationError, document: Document) -> list[tuple[FieldPath, str]]:
    """Pydantic's errors by field, each in words that say what would be right."""
    by_field: dict[FieldPath, list[Any]] = {}
    for item in error.errors(include_url=False, include_context=False):
        by_field.setdefault(_field_of(item, document), []).append(item)
    # Where one form of several came further than the others, only its complaint helps.
    return [
        (field, _message(field, items, document))
        for field, items in by_field.items()
        if not any(len(other) > len(field) and other[: len(field)] == field for other in by_field)
        or all(item["type"] == "value_error" for item in items)
    ]


def _field_of(item: Any, document: Document) -> FieldPath:
    """A location without the names of union members, which are no part of the file."""
    location, value = item["loc"], document.data
    field: list[str | int] = []
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            if part == location[-1] and item["type"] in ("missing", "extra_forbidden"):
                field.append(part)
            continue
        field.append(part)
    return tuple(field)


def _message(field: FieldPath, items: list[Any], document: Document) -> str:
    first = items[0]
    if first["type"] == "extra_forbidden":
        valid = _fields_at(field[:-1])
        return f"no such field; {did_you_mean(str(field[-1]), valid)}"
    if first["type"] == "missing":
        return "is needed here"
    messages = [str(item["msg"]).removeprefix("Value error, ") for item in items]
    text = (
        messages[0]
        if len(messages) == 1
        else "fits no allowed form: " + "; or ".join(dict.fromkeys(messages))
    )
    value = document.value(field)
    if first["type"] == "value_error" or isinstance(value, (dict, list)) or "://" in str(value):
        return text  # in its own words already; or too much to show; or a URL with a password
    return f"{text} (found {value!r})"


def _fields_at(field: FieldPath) -> list[str]:
    """Field names of the model at a place of the dataset file."""
    annotation: Any = DatasetSpec
    for part in field:
        annotation = _step(annotation, part)
    models = [m for m in _members(annotation) if _is_model(m)]
    return [name for model in models for name in model.model_fields]


def _step(annotation: Any, part: str | int) -> Any:
    for member in _members(annotation):
        if _is_model(member) and part in member.model_fields:
            return member.model_fields[str(part)].annotation
        if get_origin(member) is dict:
            return get_args(member)[1]
        if get_origin(member) in (list, tuple) and isinstance(part, int):
            return get_args(member)[0]
    return None


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is typing.Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [m for arg in get_args(annotation) for m in _members(arg)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
