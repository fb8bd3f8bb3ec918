"""Differential privacy: what is spent, what noise it buys, and what a private model may hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from opacus.accountants import RDPAccountant
from scipy.stats import norm

from aigc_pipeline import stages
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.privacy.budget import FOR_SETS, ORDERS, Budget, check_dp
from aigc_pipeline.privacy.columns import fit_codec_privately, one_row_each
from aigc_pipeline.privacy.histograms import NUMBER_RELEASES, Releases, stand_in
from aigc_pipeline.privacy.training import QUALITY, NoisyOptimizer
from aigc_pipeline.schema import ColumnSchema
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import (
    DatasetSpec,
    DpSpec,
    GeneratorSpec,
    Kind,
    PrivacySpec,
    Source,
    TableSpec,
)
from aigc_pipeline.tabular import TableModel, encode_table, fit_table, train_model
from aigc_pipeline.warehouse import query

DRAFT = GeneratorSpec(quality="draft")
PRIVATE = PrivacySpec(dp=DpSpec(epsilon=8))
TABLE = TableSpec(source={"file": "x.csv"})
COLUMNS = ["contract", "churn", "tenure", "monthly_charges", "customer_id"]


@pytest.fixture(scope="module")
def telco() -> pl.DataFrame:
    """The churn sample: 7,043 customers; four of its columns, and an id."""
    table = read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")
    numbers = pl.int_range(1000, 1000 + pl.len())
    return table.with_columns(customer_id=pl.format("C{}", numbers)).select(COLUMNS)


@pytest.fixture(scope="module")
def model(telco: pl.DataFrame) -> TableModel:
    return fit_table(telco, TABLE, generator=DRAFT, privacy=PRIVATE)


def spent(history: list, delta: float) -> float:
    """What opacus' own accountant makes of a history."""
    accountant = RDPAccountant()
    accountant.history = [tuple(release) for release in history]
    return accountant.get_epsilon(delta, alphas=ORDERS)


def test_less_epsilon_takes_more_noise() -> None:
    noise = [Budget(e, 1e-5).noise(rate=0.05, steps=300) for e in (1.0, 3.0, 9.0)]
    assert noise == sorted(noise, reverse=True)
    budget = Budget(3.0, 1e-5)
    budget.spend(budget.noise(steps=10, share=0.5), steps=10)
    epsilons = [budget.spent]
    assert epsilons[0] <= 1.5
    least = budget.noise(rate=0.05, steps=300)
    assert least > noise[1]  # what is spent is not there any more
    for _ in range(3):
        budget.spend(least, rate=0.05, steps=100)
        epsilons.append(budget.spent)
    assert epsilons == sorted(epsilons)
    assert 0.98 * 3.0 < epsilons[-1] <= 3.0
    assert math.isclose(budget.spent, spent(budget.history, (1 - FOR_SETS) * 1e-5))


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(InputError, match=r"privacy\.dp\.epsilon is 1e-06: too little"):
        Budget(1e-6, 1e-5).noise(steps=50)
    with pytest.raises(InputError, match=r"privacy\.dp\.delta is 0\.01; with 1000 rows"):
        Budget.start(DpSpec(epsilon=1, delta=0.01), 1000)


def test_a_state_that_does_not_add_up_is_refused() -> None:
    budget = Budget(3.0, 1e-5)
    budget.spend(2.0, rate=0.1, steps=50)
    state = budget.to_json()
    assert Budget.from_json(json.loads(json.dumps(state))).spent == budget.spent
    with pytest.raises(ArtefactError, match="does not give its epsilon"):
        Budget.from_json({**state, "history": [[2.0, 0.1, 10]]})


def make_releases(noise: float, seed: int = 0) -> Releases:
    budget = Budget(1.0, 1e-5)
    return Releases(budget, noise, budget.threshold(noise, 4), np.random.default_rng(seed))


def test_counts_have_the_noise_that_is_accounted() -> None:
    releases = make_releases(5.0)
    cells = np.repeat(np.arange(2000), 3)
    off = releases.counts(cells, 2000) - 3
    assert off.std() == pytest.approx(5.0, rel=0.08) and abs(off.mean()) < 0.5
    assert releases.budget.history == [(5.0, 1.0, 1)]


def test_a_row_more_changes_one_count_by_one() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 50, 900).round(1), np.full(90, np.nan), [0.0] * 50])
    column = ColumnSchema(name="x", kind=Kind.NUMBER, dtype="Float64", nullable=True)

    class Watched(Releases):
        def counts(self, cells: np.ndarray, size: int) -> np.ndarray:
            assert cells.ndim == 1 and len(cells) <= len(values)  # a row is in one cell at most
            return super().counts(cells, size)

    budget = Budget(1.0, 1e-5)
    watched = Watched(budget, 2.0, budget.threshold(2.0, 1), np.random.default_rng(0))
    stand_in(values, column, watched)
    assert budget.history == [(2.0, 1.0, NUMBER_RELEASES)]
    # The same noise with and without a row: all that differs is one count.
    cells = rng.integers(0, 9, 500)
    with_it, without = (make_releases(4.0, seed=3).counts(c, 9) for c in (cells, cells[1:]))
    assert sorted(np.round(with_it - without, 6)) == [0.0] * 8 + [1.0]


def test_a_value_of_one_row_stays_below_the_threshold() -> None:
    budget = Budget(3.0, 1e-5)
    for sets in (1, 20):
        over = norm.sf((budget.threshold(7.0, sets) - 1) / 7.0)
        assert over * sets == pytest.approx(FOR_SETS * 1e-5)


def test_gradients_get_the_noise_that_is_accounted_once_a_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(300, 100))
    done: list[float] = []
    optimizer = NoisyOptimizer(
        torch.optim.SGD([weight], lr=1.0),
        noise_multiplier=3.0,
        max_grad_norm=0.5,
        expected_batch_size=10,
        rng=np.random.default_rng(0),
    )
    optimizer.attach_step_hook(lambda step: done.append(step.noise_multiplier))
    weight.grad = torch.full_like(weight, 20.0)
    optimizer.step()
    assert done == [3.0]
    assert weight.detach().std().item() == pytest.approx(3.0 * 0.5 / 10, rel=0.03)
    assert weight.detach().mean().item() == pytest.approx(-20.0 / 10, abs=0.005)


def test_the_card_has_the_accountants_epsilon(model: TableModel, telco: pl.DataFrame) -> None:
    dp = model.card["dp"]
    assert dp["delta"] == pytest.approx(len(telco) ** -1.1) and dp["epsilon_allowed"] == 8.0
    assert dp["epsilon"] == spent(dp["history"], dp["delta"] - dp["delta_for_sets"])
    assert 7.8 < dp["epsilon"] <= 8.0
    columns, network = dp["history"]
    # Two categories, two numbers, the share of missing ids; then all the steps.
    assert columns[1:] == [1.0, 2 + 2 * NUMBER_RELEASES + 1]
    assert network[1:] == [QUALITY["draft"].batch / len(telco), QUALITY["draft"].steps]
    # Nothing else that the training rows decide: no hash of them, no loss.
    assert model.card["tokens_sha256"] is None
    history = model.card["history"]
    assert (history["best_loss"], history["first_loss"], history["looks"]) == (None, None, [])
    assert set(model.card) <= {
        "family", "choice", "quality", "table", "rows", "columns", "outliers", "tokens_sha256",
        "seed", "min_subjects", "subject", "dp", "trained_at", "code_version", "history",
    }  # fmt: skip


def test_a_private_model_is_still_of_use(model: TableModel, telco: pl.DataFrame) -> None:
    rows = model.sample(4000, seed=1)
    assert rows.schema == telco.schema
    for kind in telco["contract"].unique():
        shares = [(t["contract"] == kind).mean() for t in (rows, telco)]
        assert abs(shares[0] - shares[1]) < 0.05
    churn = pl.col("churn") == "Yes"
    by = [t.filter(pl.col("contract") == "Month-to-month") for t in (rows, telco)]
    assert abs(by[0].select(churn.mean()).item() - by[1].select(churn.mean()).item()) < 0.15
    assert rows["customer_id"].n_unique() == 4000
    assert set(rows["customer_id"]).isdisjoint(telco["customer_id"])


def test_noise_is_never_the_same(telco: pl.DataFrame) -> None:
    few = telco[:1000]
    schema = infer_schema(few, "churn", TABLE)
    (codec, tokens, budget), (other, *_) = (
        encode_table(few, schema, TABLE, PRIVATE) for _ in range(2)
    )
    assert codec.to_json() != other.to_json() and budget is not None
    first_step = GeneratorSpec(quality="draft", time_limit=0.01)
    weights = []
    for _ in range(2):
        paid = Budget.from_json(budget.to_json())
        trained = train_model(codec, tokens, first_step, PRIVATE, budget=paid, seed=3)
        weights.append(trained.generator.net.columns[0].block_in.bias)  # type: ignore[attr-defined]
    assert not torch.equal(*weights)


def test_what_one_person_has_is_in_no_codec(telco: pl.DataFrame) -> None:
    person = {"contract": "Zorro", "churn": None, "tenure": 7_654_321, "monthly_charges": 2.12345}
    odd = telco.with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(pl.lit(v)).otherwise(pl.col(c)).alias(c)
        for c, v in person.items()
    )
    schema = infer_schema(odd, "churn", TABLE)
    assert schema["churn"].nullable
    for seed in range(5):
        codec, _ = fit_codec_privately(odd, schema, TABLE, PRIVATE, rng=np.random.default_rng(seed))
        text = json.dumps(codec.to_json())
        assert "Zorro" not in text and "7654321" not in text and "2.12345" not in text
        assert not codec.schema["churn"].nullable
        plain = json.loads(text)
        [tenure] = [c for c in plain["codecs"] if c.get("column", {}).get("name") == "tenure"]
        assert max(tenure["high"]) < 200


def test_a_subject_counts_once() -> None:
    visits = pl.DataFrame({"who": ["a"] * 50 + ["b", "c"] + [None] * 9, "day": range(61)})
    rng = np.random.default_rng(0)
    drawn = [one_row_each(visits, "who", rng) for _ in range(40)]
    assert all(sorted(d["who"].to_list(), key=str) == [None, "a", "b", "c"] for d in drawn)
    assert pl.concat(drawn).filter(pl.col("who") == "a")["day"].n_unique() > 15
    assert one_row_each(visits, None) is visits
    with pytest.raises(InputError, match=r"privacy\.subject: unknown column 'wo'.*who"):
        one_row_each(visits, "wo")
    schema = infer_schema(visits, "visits", TABLE)
    privacy = PrivacySpec(dp=DpSpec(epsilon=3), subject="who")
    _, tokens, budget = encode_table(visits, schema, TABLE, privacy)
    assert len(tokens) == 4 and budget is not None
    assert budget.delta == pytest.approx(4**-1.1)


def test_too_little_to_tell_is_no_error() -> None:
    few = pl.DataFrame({"kind": ["a", "b"] * 20, "amount": np.linspace(0, 1, 40), "n": range(40)})
    model = fit_table(few, TABLE, generator=DRAFT, privacy=PrivacySpec(dp=DpSpec(epsilon=0.3)))
    rows = model.sample(20)
    assert rows.schema == few.schema
    assert model.card["dp"]["epsilon"] <= 0.3


@pytest.mark.parametrize("family", ["diffusion", "vae", "gan", "auto"])
def test_other_families_are_refused(telco: pl.DataFrame, family: str) -> None:
    generator = GeneratorSpec(family=family)
    with pytest.raises(InputError, match=f"a {family} model cannot be trained"):
        check_dp(generator, PRIVATE)
    with pytest.raises(InputError, match=r"set generator\.family to autoregressive"):
        fit_table(telco, TABLE, generator=generator, privacy=PRIVATE)
    with pytest.raises(ValueError, match=r"privacy\.dp does not go with generator\.family"):
        DatasetSpec(name="churn", tables={"t": TABLE}, generator=generator, privacy=PRIVATE)


def test_codecs_without_privacy_are_refused(telco: pl.DataFrame) -> None:
    few = telco[:500]
    codec, tokens, budget = encode_table(few, infer_schema(few, "t", TABLE), TABLE, PrivacySpec())
    assert budget is None
    with pytest.raises(InputError, match="fitted without differential privacy"):
        train_model(codec, tokens, DRAFT, PRIVATE)
    with pytest.raises(InputError, match="fitted with another budget"):
        train_model(codec, tokens, DRAFT, PRIVATE, budget=Budget(2.0, 500**-1.1))


def test_an_interrupted_training_leaves_nothing(telco: pl.DataFrame, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def stop(message: str, done: float | None) -> None:
        if done is not None and done > 0.1:
            raise Killed

    at = tmp_path / "checkpoint"
    settings = {"generator": DRAFT, "privacy": PRIVATE, "checkpoint": at}
    with pytest.raises(Killed):
        fit_table(telco[:500], TABLE, **settings, progress=stop)
    assert not list(tmp_path.iterdir())
    again = fit_table(telco[:500], TABLE, **settings)
    assert again.card["history"]["steps"] == QUALITY["draft"].steps
    assert again.card["dp"]["history"][-1][2] == QUALITY["draft"].steps


def test_the_time_limit_spends_what_was_done(telco: pl.DataFrame) -> None:
    generator = GeneratorSpec(quality="draft", time_limit=0.01)
    card = fit_table(telco[:500], TABLE, generator=generator, privacy=PRIVATE).card
    assert card["history"]["stopped_by"] == "time limit"
    assert card["history"]["steps"] == card["dp"]["history"][-1][2] < QUALITY["draft"].steps
    assert card["dp"]["epsilon"] < 8.0


def test_a_release_says_what_it_spent(telco: pl.DataFrame, tmp_path: Path) -> None:
    telco[:2000].write_parquet(tmp_path / "churn.parquet")
    spec = DatasetSpec(
        name="churn",
        tables={"customers": TableSpec(source={"file": "churn.parquet"}, key="customer_id")},
        generator=DRAFT,
        privacy=PrivacySpec(dp=DpSpec(epsilon=3)),
    )
    lake = Lake(tmp_path / "lake")
    stages.ingest(lake, spec, tmp_path)
    stages.validate(lake, spec)
    stages.featurize(lake, spec)
    paid = Budget.from_json(
        lake.current("churn", "features").read_json("customers/accountant.json")
    )
    trained = stages.train(lake, spec)
    card = lake.current("churn", "model").read_json("customers/card.json")
    assert card["dp"]["history"][0] == list(paid.history[0]) and 0 < paid.spent < 3
    assert trained.metadata["dp"] == {
        "customers": {
            "epsilon": card["dp"]["epsilon"],
            "delta": card["dp"]["delta"],
            "total": card["dp"]["epsilon_of_source"],
        }
    }
    stages.synthesize(lake, spec)
    report = stages.evaluate(lake, spec).metadata["report"].read_text(encoding="utf-8")
    assert f": epsilon {card['dp']['epsilon']:.3f}, delta" in report
    stages.release(lake, spec)
    told = query(lake, "SELECT epsilon, delta FROM catalog.tables").frame
    assert told.row(0) == (card["dp"]["epsilon"], card["dp"]["delta"])
    # The rows of another budget are not what these codecs were made for.
    wider = spec.model_copy(update={"privacy": PrivacySpec(dp=DpSpec(epsilon=9))})
    with pytest.raises(InputError, match="make the features anew"):
        stages.train(lake, wider)


def test_every_kind_of_column_has_a_private_codec() -> None:
    rng = np.random.default_rng(0)
    count = 2000
    at = rng.integers(0, 3, count)
    day = pl.Series(np.datetime64("2020-01-01") + rng.integers(0, 900, count))
    df = pl.DataFrame(
        {
            "order": range(1, count + 1),
            "city": np.array(["Bern", "Lyon", "Genoa"])[at],
            "country": np.array(["CH", "FR", "IT"])[at],
            "paid": rng.random(count) < 0.3,
            "day": day,
            "month": day.dt.strftime("%b-%Y"),
            "net": np.where(rng.random(count) < 0.2, np.nan, rng.lognormal(4, 1, count).round(2)),
            "pieces": pl.Series(rng.poisson(3, count), dtype=pl.Int8),
        }
    ).with_columns(pl.col("net").fill_nan(None))
    table = TableSpec(
        source={"file": "orders.csv"},
        key="order",
        derive={"gross": "net * 1.2"},
        constraints=[{"fixed_combination": ["city", "country"]}],
    )
    model = fit_table(df, table, generator=DRAFT, privacy=PrivacySpec(dp=DpSpec(epsilon=20)))
    rows = model.sample(1000)
    assert rows.drop("gross").schema == df.schema
    assert set(rows.select("city", "country").rows()) == set(df.select("city", "country").rows())
    assert 0.1 < rows["net"].null_count() / 1000 < 0.3
    assert rows["day"].dt.year().is_in([2019, 2020, 2021, 2022, 2023]).mean() > 0.97
    assert rows["month"].str.contains(r"^[A-Z][a-z]{2}-20\d\d$").mean() > 0.9
    assert rows["pieces"].median() in (2, 3, 4) and rows["net"].median() < 200
    assert rows.filter(pl.col("gross") - pl.col("net") * 1.2 > 1e-9).is_empty()
