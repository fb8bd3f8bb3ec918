"""Related tables on their way through the stage, the gates and the report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError
from relational_kit import Related, Tables, chain, hospital
from test_report import Page

from aigc_pipeline import stages
from aigc_pipeline.commands.run import read_scores
from aigc_pipeline.evaluation import (
    RELATIONS,
    RelationalEvaluation,
    check_gates,
    evaluate_relations,
    render_report,
)
from aigc_pipeline.lake import Lake
from aigc_pipeline.pages import markdown
from aigc_pipeline.parquet import write_parquet
from aigc_pipeline.spec import RELATIONAL_SCORES, DatasetSpec, Gate
from aigc_pipeline.warehouse import evidence
from assets.metadata import result_metadata

GATES = {
    "integrity": {"min": 1},
    "real_keys": {"max": 0},
    "copied_entities": {"max": "holdout"},
    "copied_rows": {"max": 1},
    "entity_membership_auc": {"max": 0.6},
}


def spec_of(data: Related, **gates: dict) -> DatasetSpec:
    tables = {name: spec.model_dump() for name, spec in data.specs.items()}
    return DatasetSpec.model_validate({"name": "shop", "tables": tables, "gates": gates})


def write(lake: Lake, data: Related, train: Tables, holdout: Tables, made: Tables) -> None:
    """What the stages before the evaluation leave, as far as it reads them."""
    with lake.writing("shop", "validated") as draft:
        for name, schema in data.schemas.items():
            write_parquet(train[name], draft.path / name / "train.parquet")
            write_parquet(holdout[name], draft.path / name / "holdout.parquet")
            draft.write_json(f"{name}/schema.json", schema.model_dump(mode="json"))
    version = draft.version
    for stage, before in (("features", "validated"), ("model", "features"), ("synthetic", "model")):
        with lake.writing("shop", stage, inputs={before: version}) as draft:
            draft.meta.update(seed=0, quality="draft")
            if stage == "synthetic":
                for name, df in made.items():
                    write_parquet(df, draft.path / "baseline" / name / "part-00000.parquet")
        version = draft.version


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory):
    data, other = chain(), chain(seed=1)
    train, holdout = data.split(0.7, 0.3)
    lake = Lake(tmp_path_factory.mktemp("lake"))
    write(lake, data, train, holdout, other.fresh(other.tables))
    spec = spec_of(data, **GATES)
    return data, lake, spec, stages.evaluate(lake, spec)


def test_all_tables_are_judged_and_all_of_them_together(judged) -> None:
    *_, result = judged
    stored = result.version.read_json("scores.json")
    assert set(stored["evaluations"]) == {"customers", "orders", "items"}  # the others are kept
    relations = RelationalEvaluation.model_validate(stored["relations"])
    assert set(relations.scores) == set(RELATIONAL_SCORES)
    verdicts = {(g["score"], g["table"]): g["passed"] for g in stored["gates"]}
    assert len(verdicts) == 4 + 3  # one for all tables, or one each
    assert all(verdicts.values()) and ("integrity", RELATIONS) in verdicts
    assert result.checks[0].passed
    # An item is no subject of its own: detectors keep an owner's rows together.
    auc = stored["evaluations"]["items"]["scores"]["detection_auc"]
    assert abs(auc["reference"] - 0.5) < 3 * auc["reference_error"]


def test_what_reads_the_scores_sees_them_too(judged) -> None:
    data, lake, spec, result = judged
    rows, _ = read_scores(result.version)
    assert {row["table"] for row in rows} == {
        "customers",
        "orders",
        "items",
        RELATIONS,
        "(queries)",
    }
    assert len([r for r in rows if r["table"] == RELATIONS]) == len(RELATIONAL_SCORES)
    metadata = result_metadata(spec, "evaluation", result)
    assert (
        f"| {markdown(RELATIONS)} | integrity | 1 | 1 | ✓ at least 1 |" in metadata["scores"].value
    )
    assert metadata[f"scores.{RELATIONS}.real_keys"] == 0
    # The release judges anew, by what was stored.
    synthetic = lake.current("shop", "synthetic")
    stricter = spec_of(data, parent_detection_auc={"max": 0.1})
    [verdict], _ = evidence.judge(stricter, synthetic, result.version, data.schemas)
    assert verdict.table == RELATIONS and not verdict.passed


def test_a_broken_reference_is_refused_and_the_page_says_so(tmp_path: Path, judged) -> None:
    data, *_ = judged
    other = chain(seed=1)
    made = other.fresh(other.tables)
    lost = pl.when(pl.int_range(pl.len()) == 5).then(-1).otherwise(pl.col("customer"))
    broken = made | {"orders": made["orders"].with_columns(lost.alias("customer"))}
    train, holdout = data.split(0.7, 0.3)
    lake = Lake(tmp_path)
    write(lake, data, train, holdout, broken)
    result = stages.evaluate(lake, spec_of(data, integrity={"min": 1}))
    assert not result.checks[0].passed
    assert "(relations): integrity is 0.99" in result.checks[0].message
    page = Page((result.version.path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    words = page.text()
    assert words.index("Refused") < words.index("Across tables") < words.index("Relations")
    for text in (
        "Do the tables hang together?",
        "orders.customer -> customers",
        "items → orders → customers",
        "orders by day",
        "What gives customers with all their rows away",
        "orphans declared",
    ):
        assert text in words, text
    assert "Their order and what several rows say of one customer are not looked at" not in words


def test_names_in_the_page_are_escaped() -> None:
    data = hospital()
    train, holdout, other = data.split(0.38, 0.17, 0.45)
    evil = "<script>alert(1)</script>"
    for side in (train, holdout, other):
        side["visits"] = side["visits"].rename({"bili": evil})
    renamed = Related(
        {
            "patients": data.tables["patients"],
            "visits": data.tables["visits"].rename({"bili": evil}),
        },
        **{n: s.model_dump(exclude={"source"}) for n, s in data.specs.items()},
    )
    found = evaluate_relations(
        train, holdout, data.fresh(other), renamed.schemas, renamed.graph, renamed.specs
    )
    spec = spec_of(renamed, integrity={"min": 1})
    html = render_report(spec, {}, check_gates({}, spec.gates, found), {}, found)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert Page(html).open == []


def test_gates_across_tables() -> None:
    data = hospital()
    with pytest.raises(ValidationError, match="the gate integrity judges how tables refer"):
        DatasetSpec.model_validate(
            {
                "name": "shop",
                "tables": {"patients": data.specs["patients"].model_dump()},
                "gates": {"integrity": {"min": 1}},
            }
        )
    with pytest.raises(ValidationError, match="did you mean 'cardinality_error'"):
        spec_of(data, cardinality_eror={"max": 0.1})
    [verdict] = check_gates({}, {"integrity": Gate(min=1)})
    assert verdict.table == RELATIONS and not verdict.passed
    assert "it is missing from the evaluation" in verdict.message
