"""Related tables from their files to synthetic ones, baseline and scenarios, through the lake."""

from __future__ import annotations

from typing import Any

import pytest
from test_database_synthesizer import DRAFT, TABLES, hang_together, shop
from warehouse_kit import judge, rows_of

from aigc_pipeline import stages
from aigc_pipeline.errors import InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.spec import DatasetSpec, Scenario
from aigc_pipeline.stages.made import read_rows
from aigc_pipeline.stages.prepare import read_schema
from aigc_pipeline.warehouse import create_release, publish

SCENARIOS: dict[str, Any] = {
    "gold": {"where": {"tier": "gold"}, "rows": 30},
    "early": {"where": {"orders.day": {"max": 100}}, "rows": 40},
    "in_shops": {"where": {"channels.fee": 2}},
}


def make_spec(scenarios: dict[str, Any]) -> DatasetSpec:
    tables = {n: {"source": {"file": f"{n}.csv"}, **each} for n, each in TABLES.items()}
    synthesis = {"rows": 80, "scenarios": scenarios}
    return DatasetSpec.model_validate(
        {"name": "shop", "tables": tables, "generator": DRAFT, "synthesis": synthesis}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("source")
    for name, frame in shop().items():
        frame.write_csv(folder / f"{name}.csv")
    lake, spec = Lake(tmp_path_factory.mktemp("lake")), make_spec(SCENARIOS)
    for result in (
        stages.ingest(lake, spec, folder),
        stages.validate(lake, spec),
        stages.featurize(lake, spec),
        stages.train(lake, spec),
    ):
        assert result.version is not None
    return lake


def test_the_baseline_and_every_scenario_are_whole_databases(trained: Lake) -> None:
    version = stages.synthesize(trained, make_spec(SCENARIOS)).version
    assert version is not None
    made = {
        scenario: {table: read_rows(version, scenario, table) for table in TABLES}
        for scenario in ("baseline", *SCENARIOS)
    }
    assert all(hang_together(tables) for tables in made.values())
    assert len(made["baseline"]["customers"]) == 80
    gold = made["gold"]["customers"]
    assert len(gold) == 30 and set(gold["tier"]) == {"gold"}
    early = made["early"]["orders"]
    assert 40 <= len(early) < 80 and early["day"].max() <= 100
    assert set(made["in_shops"]["orders"]["channel"]) == {"shop"}
    assert len(made["in_shops"]["customers"]) < 80  # of as many as the baseline has


def test_a_scenario_that_no_row_meets_is_refused_by_name(trained: Lake) -> None:
    never = make_spec({"never": {"where": {"orders.day": {"min": 10_000}}, "rows": 5}})
    with pytest.raises(InputError, match="scenario 'never': no row of 'orders' met the condition"):
        stages.synthesize(trained, never)


def test_a_scenario_of_a_released_database_is_a_database(trained: Lake) -> None:
    spec = make_spec({})
    synthetic = stages.synthesize(trained, spec).version
    validated, model = (trained.current("shop", stage) for stage in ("validated", "model"))
    assert synthetic is not None
    inputs = {"synthetic": synthetic, "validated": validated, "model": model}
    schemas = {name: read_schema(validated, name) for name in TABLES}
    with trained.writing("shop", "evaluation", inputs=inputs) as draft:
        scores = {n: judge(s, 0.5).model_dump() for n, s in schemas.items() if n != "channels"}
        draft.write_json("scores.json", {"evaluations": scores, "gates": []})
    assert draft.version is not None
    create_release(trained, spec, synthetic=synthetic, evaluation=draft.version, schemas=schemas)
    publish(trained)
    stages.train(trained, spec, seed=9)  # a later model, which nobody approved
    early = Scenario.model_validate({"where": {"orders.day": {"max": 100}}, "rows": 40})
    version = stages.add_scenario(trained, spec, "early", early)
    assert version.manifest["inputs"]["model"]["version"] == model.id
    joined = "shop__early.orders o JOIN shop__early.customers USING (customer_id)"
    counted = f"SELECT count(*), max(day), min(day - joined) FROM {joined}"
    [(count, last, gap)] = rows_of(trained, counted)
    assert rows_of(trained, "SELECT count(*) FROM shop__early.orders") == [(count,)]
    assert count >= 40 and last <= 100 and gap >= 0
    compared = "SELECT count(*) FROM shop_marts.scenario_comparison WHERE scenario = 'early'"
    assert rows_of(trained, f"{compared} AND column_name = 'tier'")[0][0] >= 3
    never = Scenario.model_validate({"where": {"channels.fee": 99}, "rows": 5})
    with pytest.raises(InputError, match="scenario 'never': no value of fee in 'channels'"):
        stages.add_scenario(trained, spec, "never", never)
    shares = Scenario.model_validate({"balance": {"tier": {"gold": 0.5}}})
    with pytest.raises(InputError, match="take conditions only; say it with `where`"):
        stages.add_scenario(trained, spec, "half", shares)
    other = make_spec({}).model_copy(update={"tables": {"customers": spec.tables["customers"]}})
    with pytest.raises(InputError, match="other tables or relations than release"):
        stages.add_scenario(trained, other, "early", early)
