"""Releases: evidence bound to rows by hash, gates judged anew, all copied or nothing."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError
from warehouse_kit import (
    SECRET,
    TABLE,
    every_type,
    make,
    odd_shop,
    python,
    release,
    shop,
    state,
)

from aigc_pipeline.durable import sha256_file
from aigc_pipeline.errors import ArtefactError, GateRefused
from aigc_pipeline.lake import Lake
from aigc_pipeline.parquet import read_parquet
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.warehouse import create_release, publish


def test_a_release_holds_rows_scores_schemas_and_report(lake: Lake) -> None:
    spec = shop()
    made = make(lake, spec, rows=10)
    version = create_release(lake, spec, **vars(made))

    assert lake.current("shop", "release").id == version.id
    version.verify()
    assert version.files("data/") == [
        f"data/{schema}/{table}/part-0000{part}.parquet"
        for schema, parts in (("shop", 3), ("shop__crisis", 1))
        for table in (TABLE, "orders")
        for part in range(parts)
    ]
    for scenario, schema in (("baseline", "shop"), ("crisis", "shop__crisis")):
        for name in made.synthetic.files(f"{scenario}/"):
            copy = version.file(f"data/{schema}/{name.removeprefix(f'{scenario}/')}")
            assert sha256_file(copy) == made.synthetic.manifest["files"][name]["sha256"]
            assert copy.stat().st_ino != (made.synthetic.path / name).stat().st_ino
    assert version.file("report.html").read_bytes() == b"<h1>Scores</h1>"
    assert (
        TableSchema.model_validate(version.read_json("schemas/orders.json"))
        == (made.schemas["orders"])
    )
    scores = version.read_json("scores.json")
    assert scores["evaluations"] == made.evaluation.read_json("scores.json")["evaluations"]
    assert [(g["table"], g["score"], g["passed"]) for g in scores["gates"]] == [
        (table, "detection_auc", True) for table in sorted(made.schemas)
    ]

    meta, model = version.meta, lake.current("shop", "model")
    assert meta["title"] == "A shop's orders"
    assert meta["seed"] == 7
    assert meta["rows"] == {
        f"{schema}.{table}": rows
        for schema, rows in (("shop", 10), ("shop__crisis", 3))
        for table in made.schemas
    }
    assert meta["model"]["version"] == model.id
    assert datetime.fromisoformat(meta["model"]["trained_at"]) == (
        datetime.fromisoformat(model.manifest["created_at"])
    )
    assert version.manifest["spec_sha256"] == spec.sha256()
    assert set(version.manifest["inputs"]) == {"synthetic", "evaluation"}


def test_a_release_stands_alone(lake: Lake) -> None:
    version = release(lake, shop())
    for stage in ("validated", "model", "synthetic", "evaluation"):
        shutil.rmtree(lake.stage_dir("shop", stage))
    version.verify()
    publish(lake)
    stages = {edge["from_stage"] for edge in version.read_json("lineage.json")}
    assert stages == {"validated", "model", "synthetic"}


def test_earlier_stages_may_be_gone(lake: Lake) -> None:
    spec = shop()
    made = make(lake, spec)
    shutil.rmtree(lake.stage_dir("shop", "validated"))
    shutil.rmtree(lake.stage_dir("shop", "model"))
    version = create_release(lake, spec, **vars(made))
    assert version.meta["model"]["family"] == "autoregressive"
    assert version.meta["model"]["quality"] == "standard"
    assert version.meta["model"]["trained_at"] is None
    assert "validation.json" not in version.files()
    publish(lake)


def test_what_rules_saw_is_kept_without_their_messages(lake: Lake) -> None:
    version = release(lake, shop())
    [rule] = version.read_json("validation.json")["orders"]
    assert rule["rule"] == "expect_column_values_to_be_between" and rule["failed_rows"] == 2
    publish(lake)
    for file in (lake.warehouse, *(version.path / name for name in version.manifest["files"])):
        assert SECRET.encode() not in file.read_bytes()


def test_releasing_the_same_again_returns_the_one_in_force(lake: Lake) -> None:
    spec = shop()
    made = make(lake, spec)
    first = create_release(lake, spec, **vars(made))
    before = state(lake.home)
    left = first.path.parent / ".draft-of-a-dead-run"  # killed once the pointer had moved
    left.mkdir()
    assert create_release(lake, spec, **vars(made)) == first
    assert state(lake.home) == before and not left.exists()

    second = create_release(lake, shop(title="New title"), **vars(made))
    assert second.id.startswith("v00002-")
    assert second.meta["title"] == "New title"
    assert {k: v for k, v in state(lake.home).items() if k in before and "CURRENT" not in k} == {
        k: v for k, v in before.items() if "CURRENT" not in k
    }


def test_a_damaged_release_in_force_is_replaced(lake: Lake) -> None:
    spec = shop()
    made = make(lake, spec)
    first = create_release(lake, spec, **vars(made))
    (first.path / "data/shop/orders/part-00000.parquet").write_bytes(b"PAR1")
    second = create_release(lake, spec, **vars(made))
    assert second.id != first.id
    second.verify()


def test_a_gate_in_the_dataset_file_counts_as_it_is_now(lake: Lake) -> None:
    release(lake, shop())
    publish(lake)
    made = make(lake, shop(), 2, auc=0.61)
    before = state(lake.home)
    with pytest.raises(GateRefused) as refused:
        create_release(lake, shop(gates={"detection_auc": {"max": 0.4}}), **vars(made))
    message = str(refused.value)
    current = lake.current("shop", "release").id
    assert f"shop: not released, 2 gates refuse it; release {current} and the warehouse" in message
    assert "orders" in message and TABLE in message
    assert "detection_auc" in message and "0.61" in message and "0.4" in message
    assert refused.value.exit_code == 3
    assert state(lake.home) == before
    # Nothing of the stored verdicts is believed: with a wider gate the same scores pass.
    create_release(lake, shop(gates={"detection_auc": {"max": 0.7}}), **vars(made))


def test_a_first_release_may_be_refused_too(lake: Lake) -> None:
    made = make(lake, shop())
    with pytest.raises(GateRefused, match="there is no earlier release"):
        create_release(lake, shop(gates={"detection_auc": {"max": 0.4}}), **vars(made))
    assert not (lake.home / "shop" / "release").exists()


def test_a_score_that_was_not_evaluated_meets_no_gate(lake: Lake) -> None:
    spec = shop(gates={"utility_gap": {"max": 0.05}})
    made = make(lake, spec)
    with pytest.raises(GateRefused, match="utility_gap"):
        create_release(lake, spec, **vars(made))


def refused_release(lake: Lake, message: str, **arguments: object) -> None:
    """A release that is refused, and leaves everything as it was."""
    before = state(lake.home)
    given = {"spec": shop(), **arguments}
    with pytest.raises(ArtefactError, match=message):
        create_release(lake, **given)
    assert state(lake.home) == before


def test_an_evaluation_of_other_rows_is_refused(lake: Lake) -> None:
    first, second = make(lake, shop(), 1), make(lake, shop(), 2)
    refused_release(
        lake,
        f"evaluation {first.evaluation.id} judged other rows .synthetic {first.synthetic.id}",
        synthetic=second.synthetic,
        evaluation=first.evaluation,
        schemas=second.schemas,
    )


def test_rows_replaced_under_the_same_id_are_refused(lake: Lake) -> None:
    """Somebody who edits a shard and mends manifest and checksum to match still does not pass."""
    made = make(lake, shop())
    name = "baseline/orders/part-00000.parquet"
    edited = read_parquet(made.synthetic.path / name).with_columns(generation=pl.lit(9))
    edited.write_parquet(made.synthetic.path / name)
    manifest = json.loads((made.synthetic.path / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = sha256_file(made.synthetic.path / name)
    (made.synthetic.path / "manifest.json").write_text(json.dumps(manifest))
    checksum = sha256_file(made.synthetic.path / "manifest.json")
    (made.synthetic.path / "manifest.sha256").write_text(f"{checksum}  manifest.json\n")
    synthetic = lake.version("shop", "synthetic", made.synthetic.id)
    given = {**vars(made), "synthetic": synthetic}
    refused_release(lake, "judged other rows", **given)


def test_versions_of_another_dataset_or_stage_are_refused(lake: Lake) -> None:
    mine, other = make(lake, shop()), make(lake, shop("other"))
    given = {**vars(mine), "synthetic": other.synthetic}
    refused_release(lake, "other/synthetic, not of shop/synthetic", **given)
    given = {**vars(mine), "evaluation": mine.synthetic}
    refused_release(lake, "shop/synthetic, not of shop/evaluation", **given)


@pytest.mark.parametrize(
    "name", ["baseline/orders/part-00001.parquet", "crisis/orders/part-00000.parquet"]
)
@pytest.mark.parametrize("harm", ["edited", "deleted"])
def test_an_edited_or_deleted_shard_is_refused(lake: Lake, name: str, harm: str) -> None:
    release(lake, shop())
    publish(lake)
    made = make(lake, shop(), 2)
    shard = made.synthetic.path / name
    if harm == "edited":
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
        message = f"{name}: its bytes changed since it was written"
    else:
        shard.unlink()
        message = f"{name}: listed in the manifest but not readable"
    refused_release(lake, message, **vars(made))


def test_edited_scores_are_refused(lake: Lake) -> None:
    made = make(lake, shop(), auc=0.9)
    file = made.evaluation.path / "scores.json"
    file.write_text(file.read_text().replace("0.9", "0.5"))
    refused_release(lake, "scores.json: its bytes changed", **vars(made))


def test_an_edited_report_is_refused(lake: Lake) -> None:
    made = make(lake, shop())
    (made.evaluation.path / "report.html").write_text("<h1>Better scores</h1>")
    refused_release(lake, "report.html: its bytes changed", **vars(made))


def test_a_table_without_scores_is_refused(lake: Lake) -> None:
    made = make(lake, shop())
    schemas = {**made.schemas, "extra": TableSchema(name="extra", columns=[])}
    refused_release(lake, "has no scores of extra", **{**vars(made), "schemas": schemas})


def test_scores_in_another_shape_are_refused(lake: Lake) -> None:
    made = make(lake, shop())
    with lake.writing("shop", "evaluation", inputs={"synthetic": made.synthetic}) as draft:
        draft.write_json("scores.json", {"evaluations": {"orders": {"auc": 0.5}}})
    given = {**vars(made), "evaluation": draft.version}
    refused_release(lake, "not in the shape that this version reads", **given)


def test_a_table_without_rows_is_refused(lake: Lake) -> None:
    frames = {"orders": pl.DataFrame({"generation": [1]})}
    made = make(lake, shop(), tables=frames)
    refused_release(lake, "there are no rows of table", **vars(made))


@pytest.mark.parametrize("name", ["catalog", "main", "memory", "warehouse", "temp"])
def test_names_of_the_warehouse_itself_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is taken by the warehouse itself"):
        shop(name)


def test_other_columns_than_the_schema_has_are_refused(lake: Lake) -> None:
    frame = pl.DataFrame({"a": [1], "b": [2]})
    given = odd_shop(lake, frame, ["a", "c"])
    refused_release(lake, "not those of 'odd' .missing or extra: 'b', 'c'", **given)
    refused_release(lake, "the order differs", **odd_shop(lake, frame, ["b", "a"]))


def test_columns_that_sql_cannot_tell_apart_are_refused(lake: Lake) -> None:
    given = odd_shop(lake, pl.DataFrame({"Total": [1], "total": [2]}))
    refused_release(lake, 'cannot become a warehouse table .*"total" already exists', **given)


def test_a_type_that_duckdb_does_not_keep_is_refused(lake: Lake) -> None:
    half = pl.DataFrame({"x": [0.5]}).with_columns(pl.col("x").cast(pl.Float16))
    refused_release(lake, "column 'x' is of type halffloat, which DuckDB", **odd_shop(lake, half))


def test_every_type_arrives_with_its_values(lake: Lake) -> None:
    frame = every_type()
    given = odd_shop(lake, frame)
    create_release(lake, **given)
    publish(lake)
    with duckdb.connect(str(lake.warehouse), read_only=True) as connection:
        found = connection.sql("SELECT * REPLACE (span::VARCHAR AS span) FROM odd.odd").pl()
    assert found.columns == frame.columns
    assert found["span"].to_list() == ["-02:59:59.999999", None]
    assert found["hour"].to_list() == frame["hour"].to_list()
    apart = ["span", "nothing", "decimal", "zoned"]
    assert_frame_equal(found.drop(apart), frame.drop(apart))
    assert found["nothing"].to_list() == [None, None]
    assert found["decimal"].to_list() == frame["decimal"].to_list()
    assert found["zoned"].dt.epoch("us").to_list() == frame["zoned"].dt.epoch("us").to_list()


DISK_FULL = """
import resource, sys
from warehouse_kit import Made, shop, shop_schemas
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import create_release

lake, spec = Lake(sys.argv[1]), shop()
made = Made(lake.current("shop", "synthetic"), lake.current("shop", "evaluation"), shop_schemas())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    create_release(lake, spec, **vars(made))
except ArtefactError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100, 3000])
def test_a_disk_that_refuses_to_write(lake: Lake, limit: int) -> None:
    release(lake, shop())
    publish(lake)
    make(lake, shop(), 2)
    before = state(lake.home)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{DISK_FULL}"
    out, trouble = python(code, lake.home, str(limit)).communicate(timeout=60)
    assert "the release could not be written (File too large); the last one stays" in out, trouble
    assert state(lake.home) == before
    assert not list((lake.home / "shop" / "release").glob(".draft-*"))
