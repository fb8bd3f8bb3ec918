"""Databases: every key holds, and what goes together in real tables goes together in made ones."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from relations_kit import COMPANY, Learned, company, learn

from aigc_pipeline.relations.keys import inspect_relations
from aigc_pipeline.relations.links import find_depths, find_link
from aigc_pipeline.relations.selection import by_table, select


@pytest.fixture(scope="module")
def learned() -> Learned:
    return learn(company(), COMPANY)


@pytest.fixture(scope="module")
def made(learned: Learned) -> dict[str, pl.DataFrame]:
    return learned.sampler.sample({"companies": 120, "machines": 150}, seed=3)


def test_tables_look_like_the_real_ones(learned, made) -> None:
    for name, real in learned.frames.items():
        assert made[name].schema == real.schema, name
        assert 0.5 < len(made[name]) / len(real) < 3, name


def test_every_reference_hits_a_parent_but_for_declared_orphans(learned, made) -> None:
    for real, synthetic in zip(
        inspect_relations(learned.frames, learned.graph),
        inspect_relations(made, learned.graph),
        strict=True,
    ):
        assert synthetic.null_rate == pytest.approx(real.null_rate, abs=0.04), real.relation.name
        if real.relation.orphans == "refuse":
            assert synthetic.orphans == 0
        else:
            assert synthetic.orphan_rate == pytest.approx(real.orphan_rate, abs=0.04)


def test_keys_are_unique_and_fresh(learned, made) -> None:
    for name, spec in learned.graph.tables.items():
        keys = list(spec.keys)
        assert made[name].select(keys).is_duplicated().sum() == 0, name
        if not spec.keep:
            both = made[name].join(learned.frames[name], on=keys, how="semi")
            assert len(both) == 0, name


def test_a_kept_table_is_released_as_it_is(learned, made) -> None:
    assert made["skills"].equals(learned.frames["skills"])


def test_nobody_is_their_own_manager(learned, made) -> None:
    relation = next(r for r in learned.graph.relations if r.is_self)
    assert find_depths(find_link(made, relation)) is not None


def test_numbers_of_children_follow_the_parent(learned, made) -> None:
    def sites(frames: dict[str, pl.DataFrame]) -> dict[str, float]:
        counted = frames["companies"].join(
            frames["sites"].group_by("company_id").len(), on="company_id", how="left"
        )
        means = counted.group_by("size").agg(pl.col("len").fill_null(0).mean())
        return dict(means.rows())

    real, synthetic = sites(learned.frames), sites(made)
    assert synthetic["large"] > synthetic["small"] + 0.3
    assert synthetic["large"] == pytest.approx(real["large"], rel=0.35)


def test_two_parents_of_a_row_go_together(learned, made) -> None:
    """Welders work on presses: the employee and the machine of a shift are matched."""

    def agree(frames: dict[str, pl.DataFrame]) -> float:
        shifts = frames["shifts"].join(frames["employees"], on="employee_id")
        both = shifts.join(frames["machines"], on="machine_id")
        usual = {"weld": "press", "turn": "lathe", "plan": "robot"}
        return float((both["skill"].replace_strict(usual) == both["kind"]).mean())

    assert agree(learned.frames) == 1.0
    assert agree(made) > 0.9


def test_a_number_in_the_key_counts_the_rows_of_its_owner(made) -> None:
    lines = made["events"].sort("shift_id", "line").group_by("shift_id").agg("line")
    assert all(each == list(range(1, len(each) + 1)) for each in lines["line"].to_list())


def test_time_goes_on_under_an_owner_as_it_does_in_the_data(learned, made) -> None:
    def gaps(frames: dict[str, pl.DataFrame]) -> np.ndarray:
        rows = frames["shifts"].sort("employee_id", "start")
        return rows.select(
            pl.col("start").diff().over("employee_id").dt.total_days().drop_nulls()
        )["start"].to_numpy()

    assert set(gaps(made)) <= {1, 2, 7}
    real, synthetic = (np.mean(gaps(frames) == 1) for frames in (learned.frames, made))
    assert synthetic == pytest.approx(real, abs=0.1)


def test_a_rule_with_the_owner_holds_in_every_row(made) -> None:
    both = made["shifts"].join(made["employees"], on="employee_id")
    assert (both["hours"] <= both["contract_hours"]).all()


def test_the_same_seed_makes_the_same_database(learned, made) -> None:
    again = learned.sampler.sample({"companies": 120, "machines": 150}, seed=3)
    assert all(again[name].equals(frame) for name, frame in made.items())
    other = learned.sampler.sample({"companies": 120, "machines": 150}, seed=4)
    assert not other["employees"].equals(made["employees"])


def test_a_condition_on_a_root_carries_to_its_children(learned) -> None:
    where = by_table({"size": "large"}, learned.schemas, learned.graph, ("where",))
    assert list(where) == ["companies"]
    rows = {"companies": 40, "machines": 150}
    large = learned.sampler.sample(rows, seed=1, where=where)
    assert set(large["companies"]["size"]) == {"large"}
    assert len(large["sites"]) / 40 > 1.5


def test_a_condition_on_a_child_keeps_what_belongs_to_it(learned, made) -> None:
    where = by_table({"events.kind": "fault"}, learned.schemas, learned.graph, ("where",))
    chosen = select(made, where, learned.schemas, learned.graph)
    assert 0 < len(chosen["events"]) < len(made["events"])
    assert set(chosen["events"]["kind"]) == {"fault"}
    assert set(chosen["shifts"]["shift_id"]) == set(chosen["events"]["shift_id"])
    assert set(chosen["employees"]["employee_id"]) == set(chosen["shifts"]["employee_id"])
    assert len(chosen["machines"]) == len(made["machines"])


def test_a_condition_on_a_lookup_table_is_one_on_what_refers_to_it(learned, made) -> None:
    where = by_table({"grade": 2}, learned.schemas, learned.graph, ("where",))
    chosen = select(made, where, learned.schemas, learned.graph)
    assert set(chosen["employees"]["skill"]) == {"weld"}
    assert chosen["skills"].equals(made["skills"])
