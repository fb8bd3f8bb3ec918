"""Dataset files: what is read, and how every fault is told by file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aigc_pipeline.dataset_file import (
    find_dataset,
    json_schema,
    load_dataset,
    load_datasets,
    pointing_into,
)
from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.yaml_text import MAX_BYTES, scalar

ROOT = Path(__file__).parents[1]
GOOD = """\
name: shop
tables:
  orders:
    source: {file: data/orders.csv}
    target: paid
    columns:
      paid: {type: boolean}
      day: {format: "%d.%m.%Y"}
    constraints:
      - {less_equal: [low, high]}
synthesis:
  scenarios:
    spring: {where: {day: {min: 2024-03-01, max: 2024-05-31}, size: [S, M], paid: true}}
generator: {time_limit: 90s}
gates:
  copied_rows: {max: holdout}
"""


def save(folder: Path, text: str, name: str = "shop.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """The error of a dataset file, without its folder."""
    with pytest.raises(InputError) as caught:
        load_dataset(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_good_file(tmp_path: Path) -> None:
    spec = load_dataset(save(tmp_path, GOOD))
    assert spec.name == "shop" and spec.tables["orders"].target == "paid"
    assert spec.generator.time_limit == 90.0
    assert spec.sha256() == load_dataset(save(tmp_path, "# a remark\n" + GOOD)).sha256()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "target: paid",
            "tarqet: paid",
            "shop.yaml:5: tables.orders.tarqet: no such field; did you mean 'target'?",
        ),
        (
            "{type: boolean}",
            "{typ: boolean}",
            "shop.yaml:7: tables.orders.columns.paid.typ: no such field; did you mean 'type'?",
        ),
        (
            "{type: boolean}",
            "{type: bool}",
            "shop.yaml:7: tables.orders.columns.paid.type: Input should be 'number', 'integer'",
        ),
        ("{type: boolean}", "{type: bool}", "(found 'bool')"),
        (
            "    source: {file: data/orders.csv}\n",
            "",
            "shop.yaml:3: tables.orders.source: is needed here",
        ),
        (
            "{file: data/orders.csv}",
            "{file: a.csv, sample: b/c}",
            "shop.yaml:4: tables.orders.source: name exactly one of file, sql, sample",
        ),
        (
            "{file: data/orders.csv}",
            "{file: 'https://h/a.csv'}",
            "shop.yaml:4: tables.orders.source: a file read from a URL needs its sha256",
        ),
        (
            "{file: data/orders.csv}",
            "{fiel: a.csv}",
            "tables.orders.source.fiel: no such field; did you mean 'file'?",
        ),
        (
            "less_equal: [low, high]",
            "less_equal: [low]",
            "shop.yaml:10: tables.orders.constraints.0.less_equal",
        ),
        (
            "less_equal: [low, high]",
            "less_eqal: [low, high]",
            "tables.orders.constraints.0.less_eqal: no such field; did you mean 'less_equal'?",
        ),
        (
            "min: 2024-03-01, ",
            "minn: 3, ",
            "shop.yaml:13: synthesis.scenarios.spring.where.day.minn: no such field; did you mean",
        ),
        (
            "where: {day",
            "balance: {size: {S: 0.5, M: 0.7}}, where: {day",
            "balance.size: give shares that add up to 1 at most",
        ),
        (
            "where: {day",
            "balance: {size: {S: 0.5}}, where: {day",
            "'size' has both a condition and shares; keep one of them",
        ),
        ("90s", "soon", "shop.yaml:14: generator.time_limit: 'soon' is no duration"),
        (
            "copied_rows",
            "copied_row",
            "shop.yaml:15: gates: unknown score 'copied_row': did you mean 'copied_rows'?",
        ),
        ("max: holdout", "max: hold", "shop.yaml:16: gates.copied_rows.max: fits no allowed form"),
        ("max: holdout", "", "shop.yaml:16: gates.copied_rows: a gate needs min, max or both"),
        ("name: shop", "name: ../shop", "shop.yaml:1: name: '../shop' cannot name a folder"),
        ("name: shop", "name: catalog", "shop.yaml:1: name: 'catalog' is taken by the warehouse"),
        ("name: shop\n", "", "shop.yaml:1: name: is needed here"),
        ("name: shop", "name: [1]", "shop.yaml:1: name: Input should be a valid string"),
        ("  orders:", '  "a/b":', "shop.yaml:2: tables: 'a/b' cannot name a table"),
        ("gates:", "gates:\n  utility_gap: {max: 0.1}", None),
    ],
)
def test_faults_are_told_by_line_and_field(
    tmp_path: Path, old: str, new: str, message: str | None
) -> None:
    assert old in GOOD
    path = save(tmp_path, GOOD.replace(old, new))
    if message is None:
        load_dataset(path)
    else:
        assert message in refusal(path)


def test_all_faults_come_at_once_one_a_line(tmp_path: Path) -> None:
    text = GOOD.replace("target:", "tarqet:").replace("type:", "typ:").replace("90s", "soon")
    lines = refusal(save(tmp_path, text)).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["shop.yaml:5", "shop.yaml:7", "shop.yaml:14"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "shop.yaml:1: a dataset file is a mapping"),
        ("- a\n- b\n", "shop.yaml:1: a dataset file is a mapping"),
        (
            "name: a\ntables:\n  t: {}\n  t: {}\n",
            "shop.yaml:4: tables.t: given twice, first in line 3; keep one",
        ),
        (
            "name: a\n2024: x\n",
            "shop.yaml:2: 2024: YAML does not read this name as text; put it in quotes",
        ),
        ("name: a\n? [b]\n: c\n", "shop.yaml:2: the file: a field's name must be plain text"),
        ("name: [a\nb: c\n", "shop.yaml:2: not valid YAML: expected ',' or ']'"),
        ("name:\n\tx: 1\n", "shop.yaml:2: not valid YAML: found character '\\t'"),
        ("name: a\n---\nname: b\n", "shop.yaml:2: not valid YAML: but found another document"),
        (
            "name: !!python/object:os.system x\n",
            "shop.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("name: \x07\n", "shop.yaml: not valid YAML: unacceptable character"),
        ("name: 2024-13-45\n", "shop.yaml: not valid YAML"),
        ("name: &n [*n]\n", "shop.yaml:1: an alias refers to what it is part of"),
        ("name: " + "[" * 5000, "shop.yaml: nested too deeply"),
    ],
)
def test_faulty_yaml(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(save(tmp_path, text))


def test_bombs_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "holds more than 50,000 values" in refusal(save(tmp_path, "\n".join(lines)))
    assert "larger than" in refusal(save(tmp_path, "#" * (MAX_BYTES + 1)))


def test_unreadable_files(tmp_path: Path) -> None:
    save(tmp_path, GOOD)
    assert refusal(tmp_path / "shpo.yaml").endswith("did you mean 'shop.yaml'?")
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: süß".encode("latin-1"))
    assert "the text is not UTF-8" in refusal(path)


def test_a_password_in_a_file_is_not_repeated(tmp_path: Path) -> None:
    url = "postgresql://bob:hush@host/db"
    for source in (
        f"'{url}'",
        f"{{sql: ['{url}'], table: t}}",
        f"{{sql: '{url}'}}",
        f"{{sqll: '{url}'}}",
    ):
        text = GOOD.replace("{file: data/orders.csv}", source)
        message = refusal(save(tmp_path, text))
        assert "tables.orders.source" in message and "hush" not in message
    spec = load_dataset(
        save(tmp_path, GOOD.replace("file: data/orders.csv", f"sql: '{url}', table: t"))
    )
    assert "hush" not in repr(spec)


# Finding datasets


def test_datasets_of_a_folder(tmp_path: Path) -> None:
    save(tmp_path, GOOD)
    save(tmp_path, GOOD.replace("name: shop", "name: archive"), "b.yaml")
    assert [s.name for s in load_datasets(tmp_path)] == ["archive", "shop"]
    assert find_dataset("archive", tmp_path).name == "archive"
    with pytest.raises(InputError, match="has none of that name; did you mean 'shop'"):
        find_dataset("shopp", tmp_path)
    save(tmp_path, "name: [broken", "c.yaml")
    assert find_dataset("shop", tmp_path).name == "shop"  # another file's fault is no matter
    with pytest.raises(InputError, match=r"c\.yaml:1"):
        load_datasets(tmp_path)
    save(tmp_path, GOOD, "c.yaml")
    with pytest.raises(InputError, match=r"name: 'shop' is the name of .*c\.yaml too; rename one"):
        load_datasets(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        load_datasets(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["../shop", "a/b", "/etc/passwd", "..", "", "Shop", "a\\b", "a__b"]
)
def test_a_name_with_a_path_in_it_is_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path, GOOD)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="cannot name a folder"):
        find_dataset(name, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_faults_found_in_the_data_get_their_line_too(tmp_path: Path) -> None:
    path = save(tmp_path, GOOD)
    spec = load_dataset(path)
    df = pl.DataFrame({"paid": [True, False] * 15, "dya": ["x"] * 30, "low": [1] * 30})
    with pytest.raises(InputError) as caught, pointing_into(spec):
        infer_schema(df, "orders", spec.tables["orders"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:8: tables.orders.columns.day: there is no column 'day'")
    assert lines[1].startswith(f"{path}:10: tables.orders.constraints.0.less_equal: there is no")
    path.unlink()
    with pytest.raises(InputError, match=r"^tables\.orders\.columns"), pointing_into(spec):
        infer_schema(df, "orders", spec.tables["orders"])


# The JSON Schema


def test_the_committed_schema_is_in_step() -> None:
    committed = (ROOT / "docs" / "dataset.schema.json").read_text(encoding="utf-8")
    assert committed == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", (
        "write it again: aigc schema --output docs/dataset.schema.json"
    )


@pytest.mark.parametrize("name", ["loans", "churn", "flights", "shop", "trial"])
def test_shipped_datasets_keep_the_schema(name: str) -> None:
    path = ROOT / "datasets" / f"{name}.yaml"
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=../docs/dataset.schema.json"
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(YAML(typ="safe").load(path), json_schema())
    assert load_dataset(path).name == name


def test_the_schema_allows_durations_and_refuses_unknown_fields() -> None:
    data = YAML(typ="safe").load(GOOD)
    for scenario in data["synthesis"]["scenarios"].values():
        del scenario["where"]["day"]  # JSON has no dates
    jsonschema.validate(data, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**data, "tabels": {}}, json_schema())


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_a_scalar(text: str) -> None:
    line = f"{scalar(text)}: {{x: {scalar(text)}}}"
    assert YAML(typ="safe", pure=True).load(line) == {text: {"x": text}}
