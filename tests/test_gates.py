"""When a score meets its gate, when it does not, and what is said then."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc_pipeline.evaluation import Evaluation, GateResult, Score, check_gates
from aigc_pipeline.evaluation.result import Settings
from aigc_pipeline.spec import Gate


def evaluation(table: str = "loans", target: str | None = "grade", **scores: Score) -> Evaluation:
    made = Settings(train_rows=800, holdout_rows=200, synthetic_rows=800, target=target)
    return Evaluation(table=table, scores=scores, columns=[], pairs=[], settings=made)


def score(value: float | None = 0.6, **fields: object) -> Score:
    return Score.model_validate({"value": value, "better": "low", **fields})


def judge(found: Score, gate: Gate, name: str = "detection_auc") -> GateResult:
    [result] = check_gates({"loans": evaluation(**{name: found})}, {name: gate})
    return result


@pytest.mark.parametrize(
    ("value", "gate", "passed", "words"),
    [
        (0.64, Gate(max=0.65), True, "within at most 0.65"),
        (0.65, Gate(max=0.65), True, "within at most 0.65"),
        (0.71, Gate(max=0.65), False, "detection_auc is 0.71, not at most 0.65"),
        (0.65000001, Gate(max=0.65), False, "is 0.65000001, not at most 0.65"),
        (0.2, Gate(min=0.3), False, "not at least 0.3"),
        (0.5, Gate(min=0.4, max=0.6), True, "within at least 0.4 and at most 0.6"),
        (0.3, Gate(min=0.4, max=0.6), False, "not at least 0.4 and at most 0.6"),
    ],
)
def test_ranges_include_their_ends(value: float, gate: Gate, passed: bool, words: str) -> None:
    result = judge(score(value, reference=0.51), gate)
    assert result.passed is passed and result.value == value
    assert words in result.message and "fresh real rows get 0.51" in result.message


def test_holdout_is_the_reference_and_two_standard_errors() -> None:
    fresh = {"reference": 0.02, "reference_error": 0.003}
    assert judge(score(0.026, **fresh), Gate(max="holdout")).passed
    refused = judge(score(0.0261, **fresh), Gate(max="holdout"))
    assert not refused.passed and refused.limit == "at most 0.026 (holdout)"
    assert judge(score(0.014, **fresh), Gate(min="holdout")).passed
    assert not judge(score(0.0139, **fresh), Gate(min="holdout")).passed


def test_where_no_fresh_row_shows_it_the_rule_of_three_is_the_limit() -> None:
    fresh = {"reference": 0.0, "reference_error": 0.0, "reference_rows": 2_000}
    gate = Gate(max="holdout")
    assert judge(score(0.0, **fresh), gate, "copied_rows").passed
    assert judge(score(0.0015, **fresh), gate, "copied_rows").passed
    assert not judge(score(0.0016, **fresh), gate, "copied_rows").passed


def test_a_maximum_is_held_against_the_upper_confidence_bound() -> None:
    sure = {"error": 0.01, "upper": 0.5464, "reference": 0.5, "reference_error": 0.01}
    passed = judge(score(0.53, **sure), Gate(max=0.55), "membership_auc")
    assert passed.passed and passed.value == 0.5464
    assert passed.limit == "at most 0.55 (upper confidence bound)"
    few = judge(score(0.53, **sure | {"upper": 0.57}), Gate(max=0.55), "membership_auc")
    assert not few.passed and few.value == 0.57
    assert "is 0.53, its upper confidence bound 0.57, not at most 0.55" in few.message
    # What the holdout gets has an error of its own, and a minimum is held against the value.
    assert judge(score(0.52, **sure), Gate(max="holdout"), "membership_auc").passed
    assert not judge(score(0.521, **sure), Gate(max="holdout"), "membership_auc").passed
    assert not judge(score(0.53, **sure), Gate(min=0.54, max=0.55), "membership_auc").passed


def test_holdout_without_a_reference_refuses() -> None:
    for fresh in ({}, {"reference": 0.02}):
        result = judge(score(0.0, **fresh), Gate(max="holdout"))
        assert not result.passed and "the holdout is too small" in result.message
        assert result.limit == "at most holdout"


def test_what_was_not_evaluated_refuses_and_says_why() -> None:
    result = judge(score(None, why_not="there are 12 rows"), Gate(max=0.65))
    assert not result.passed and result.value is None and result.limit == "at most 0.65"
    assert "detection_auc was not evaluated" in result.message
    assert "there are 12 rows" in result.message
    [result] = check_gates({"loans": evaluation()}, {"dcr_share": Gate(max=0.55)})
    assert not result.passed and "missing from the evaluation" in result.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_never_passes(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        score(value)
    found = Score.model_construct(value=value, reference=None, better="low", why_not=None)
    broken = Evaluation.model_construct(
        table="loans", scores={"shape_error": found}, settings=None, columns=[], pairs=[]
    )
    for gate in (Gate(max=1), Gate(min=-1), Gate(min=-1, max=1)):
        [result] = check_gates({"loans": broken}, {"shape_error": gate})
        assert not result.passed


def test_every_gate_is_judged_on_every_table() -> None:
    tables = {
        "a": evaluation("a", shape_error=score(0.01), detection_auc=score(0.9)),
        "b": evaluation("b", shape_error=score(0.2), detection_auc=score(0.5)),
    }
    gates = {"shape_error": Gate(max=0.03), "detection_auc": Gate(max=0.65)}
    verdicts = {(r.score, r.table): r.passed for r in check_gates(tables, gates)}
    assert verdicts == {
        ("shape_error", "a"): True,
        ("shape_error", "b"): False,
        ("detection_auc", "a"): False,
        ("detection_auc", "b"): True,
    }
    assert check_gates(tables, {}) == []


def test_a_table_without_a_target_is_passed_over_only_beside_one_that_has_one() -> None:
    gap = {"utility_gap": Gate(max=0.05)}
    none = score(None, why_not="the table has no target")
    with_one = evaluation("orders", utility_gap=score(0.01))
    without = evaluation("items", None, utility_gap=none)
    first, second = check_gates({"orders": with_one, "items": without}, gap)
    assert first.passed and first.value == 0.01
    assert second.passed and second.value is None and second.limit == "no target"
    assert second.message == "utility_gap is judged on orders; this table has no target"
    [alone] = check_gates({"items": without}, gap)
    assert not alone.passed and "has no target" in alone.message
    small = evaluation("small", utility_gap=score(None, why_not="12 rows"))
    verdicts = check_gates({"orders": with_one, "small": small}, gap)
    assert [v.passed for v in verdicts] == [True, False]


@given(st.floats(-1, 2), st.floats(0, 1), st.floats(0, 0.2), st.floats(0, 0.5))
def test_a_lower_score_never_fails_where_a_higher_one_passes(
    value: float, reference: float, error: float, less: float
) -> None:
    fresh = {"reference": reference, "reference_error": error, "reference_rows": 100}
    for end in ("holdout", reference):
        gate = Gate(max=end)
        if judge(score(value, **fresh), gate).passed:
            assert judge(score(value - less, **fresh), gate).passed
