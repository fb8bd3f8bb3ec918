"""Which columns inform which, as a fitted model has learned it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aigc_pipeline.evaluation.explain import explain
from aigc_pipeline.evaluation.result import Learned
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import Constraint, GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

COLUMNS = [
    "grade", "sub_grade", "interest_rate", "loan_amount", "paid_principal", "balance", "state",
    "term",
]  # fmt: skip
Split = tuple[TableModel, pl.DataFrame]


@pytest.fixture(scope="module")
def loans() -> Split:
    """A model of eight columns of openintro's loans and one of pure chance, and unseen rows."""
    df = read_table(Source(sample="openintro/loans_full_schema"), Path.cwd(), name="loans")
    df = df.select(COLUMNS).with_columns(pl.col("state").shuffle(seed=1).alias("chance"))
    df = df.sample(fraction=1.0, shuffle=True, seed=0)
    spec = TableSpec(
        source=Source(file="loans.csv"),
        constraints=[Constraint(fixed_combination=["grade", "sub_grade"])],
    )
    model = fit_table(df[:3_000], spec, generator=GeneratorSpec(quality="draft"))
    return model, df[3_000:5_000]


@pytest.fixture(scope="module")
def learned(loans: Split) -> Learned:
    return explain(*loans, seed=0)


def told(learned: Learned) -> dict[tuple[str, str], tuple[float, float]]:
    return {(i.column, i.informs): (i.nats, i.share) for i in learned.influences}


def test_what_sets_a_column_informs_it(learned: Learned) -> None:
    assert learned.rows == 1_000 and learned.why_not is None
    found = told(learned)
    nats, share = found["grade + sub_grade", "interest_rate"]  # the sub-grade sets the rate
    assert nats > 2.0 and share > 0.9
    assert ("loan_amount", "paid_principal") in found or ("paid_principal", "loan_amount") in found
    assert all(0 < nats and 0 < share <= 1 for nats, share in found.values())
    ordered = [i.nats for i in learned.influences]
    assert ordered == sorted(ordered, reverse=True)


def test_chance_informs_nothing(learned: Learned) -> None:
    found = told(learned)
    assert all(nats < 0.05 for pair, (nats, _) in found.items() if "chance" in pair)


def test_pairs_go_one_way_and_name_whole_columns(loans: Split, learned: Learned) -> None:
    model, _ = loans
    assert len(model.codec.codecs) > len(COLUMNS)  # some numbers have several tokens
    found = told(learned)
    assert not {pair[::-1] for pair in found} & set(found)
    names = {name for pair in found for name in pair}
    assert names <= {*COLUMNS[2:], "chance", "grade + sub_grade"}


def test_the_same_seed_explains_alike_and_another_nearly(loans: Split, learned: Learned) -> None:
    model, holdout = loans
    first, again, other = (explain(model, holdout[:200], seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    strongest = [{(i.column, i.informs) for i in e.influences[:2]} for e in (learned, first)]
    assert strongest[0] == strongest[1]


def test_few_rows_explain_nothing(loans: Split) -> None:
    model, holdout = loans
    few = explain(model, holdout[:49], seed=0)
    assert few.influences == [] and few.why_not == "it needs 50 holdout rows; there are 49"
    assert explain(model, holdout[:50], seed=0).rows == 50
