"""The VAE on real tables: it learns, repeats itself, obeys conditions, and says when it fails."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.generators import checkpoint, latent_training, vae
from aigc_pipeline.spec import Between, GeneratorSpec, TableSpec
from aigc_pipeline.tabular import TableModel, encode_table, fit_table

DRAFT = GeneratorSpec(family="vae", quality="draft")
COLUMNS = [
    "churn", "contract", "internet_service", "online_security", "phone_service",
    "multiple_lines", "payment_method", "tenure", "monthly_charges", "total_charges",
]  # fmt: skip


@pytest.fixture(scope="module")
def telco() -> pl.DataFrame:
    """Ten columns of 4,000 rows of the churn sample."""
    from aigc_pipeline.sources import read_table
    from aigc_pipeline.spec import Source

    rows = read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")
    return rows.select(COLUMNS).head(4000)


@pytest.fixture(scope="module")
def model(telco: pl.DataFrame) -> TableModel:
    return fit_table(telco, TableSpec(source={"file": "x"}), generator=DRAFT, seed=3)


def test_training_lowers_the_held_out_loss(model: TableModel) -> None:
    history = model.card["history"]
    assert history["best_loss"] < history["first_loss"] - 0.3
    assert history["stopped_by"] in ("schedule", "held-out loss")
    assert history["warnings"] == []
    assert model.card["family"] == "vae"


def test_rows_come_in_the_sources_schema_and_by_seed(model: TableModel, telco) -> None:
    first, again, other = (model.sample(500, seed=s) for s in (7, 7, 8))
    assert first.schema == telco.schema and len(first) == 500
    assert first.equals(again, null_equal=True)
    assert not first.equals(other, null_equal=True)


def test_marginals_and_dependences_are_learned(model: TableModel, telco) -> None:
    rows = model.sample(4000, seed=1)
    for column in ("contract", "payment_method", "churn"):
        assert distance(rows, telco, column) < 0.02, column
    # No internet service means no online security, in the data without exception.
    none = rows.filter(pl.col("internet_service") == "No")
    assert (none["online_security"] == "No internet service").mean() > 0.98
    assert rows.select(pl.corr("tenure", "total_charges")).item() > 0.7
    loyal = rows.group_by("contract").agg(pl.col("tenure").mean()).sort("tenure")
    assert loyal["contract"].to_list() == ["Month-to-month", "One year", "Two year"]


def test_the_same_weights_whatever_the_threads(telco: pl.DataFrame, monkeypatch) -> None:
    monkeypatch.setattr(latent_training, "LEAST_SHARD", 16)
    codec, tokens = encoded(telco[:600])
    drawn = []
    for threads, seed in ((1, 0), (2, 0), (1, 1)):
        generator = vae.VAE()
        compute = vae.Compute(accelerator="cpu", threads=threads)
        generator.fit(codec, tokens, quality="draft", seed=seed, compute=compute)
        drawn.append(generator.sample(200, seed=[1]).tokens)
    assert (drawn[0] == drawn[1]).all()
    assert not (drawn[0] == drawn[2]).all()


def test_save_and_load_give_the_same_rows(model: TableModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = TableModel.load(tmp_path / "m")
    assert loaded.sample(300, seed=2).equals(model.sample(300, seed=2), null_equal=True)
    weights = tmp_path / "m" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ArtefactError, match=r"cannot be read.*fit it again"):
        TableModel.load(tmp_path / "m")
    settings = tmp_path / "m" / "model.json"
    settings.write_text(settings.read_text().replace('"vae"', '"autoregressive"'))
    with pytest.raises(ArtefactError, match="this version reads vae"):
        TableModel.load(tmp_path / "m")


class Killed(BaseException):
    """What stops a training in this process, as a signal would."""


@pytest.mark.parametrize("last_look", [9, 30])  # in the first stage, and in the second
def test_a_killed_training_goes_on_to_the_same_weights(
    diabetes: pl.DataFrame, tmp_path: Path, monkeypatch, last_look: int
) -> None:
    asked = itertools.count(1)
    monkeypatch.setattr(checkpoint.Checkpoint, "due", lambda self: next(asked) % 25 == 0)
    codec, tokens = encoded(diabetes.select("age", "sex", "bmi", "target"))
    looks = itertools.count(1)

    def kill(message: str, done: float | None) -> None:
        if next(looks) == last_look:
            raise Killed

    with pytest.raises(Killed):
        vae.VAE().fit(codec, tokens, quality="draft", checkpoint=tmp_path / "c", progress=kill)
    assert any(tmp_path.iterdir())
    drawn, told = [], []
    for at in (tmp_path / "c", None):
        generator = vae.VAE()
        generator.fit(
            codec, tokens, quality="draft", checkpoint=at, progress=lambda m, done: told.append(m)
        )
        drawn.append(generator.sample(200, seed=[1]).tokens)
    assert (drawn[0] == drawn[1]).all()
    assert not any(tmp_path.iterdir())
    assert any("going on from step" in message for message in told)


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"contract": ["One year", "Two year"], "phone_service": 1},
         pl.col("contract").is_in(["One year", "Two year"]) & (pl.col("phone_service") == 1)),
        ({"monthly_charges": Between(max=33.33)}, pl.col("monthly_charges") <= 33.33),
    ],
)  # fmt: skip
def test_every_row_meets_its_condition(model: TableModel, where, meets: pl.Expr) -> None:
    rows = model.sample(400, seed=5, where=where)
    assert len(rows) == 400 and rows.select(meets.all()).item()


def test_the_other_columns_follow_the_real_conditional(model: TableModel, telco) -> None:
    where = {"contract": "Month-to-month", "internet_service": "DSL"}
    rows = model.sample(4000, seed=5, where=where)
    real = telco.filter(pl.col("contract") == "Month-to-month", pl.col("internet_service") == "DSL")
    for column in ("churn", "payment_method", "online_security", "multiple_lines"):
        # Far from what they are in the whole table, near to what they are in the slice.
        assert distance(rows, real, column) < 0.07, column
    assert abs(rows["tenure"].mean() - real["tenure"].mean()) < 0.15 * telco["tenure"].std()
    assert distance(telco, real, "payment_method") > 0.1


def test_given_tokens_are_kept_and_weighted_by_their_probability(model, telco) -> None:
    codec, generator, tokens = model.codec, model.generator, model.codec.encode(telco)
    at = next(j for j, c in enumerate(codec.codecs) if c.columns == ["contract"])
    to = next(j for j, c in enumerate(codec.codecs) if c.columns == ["payment_method"])
    given = np.full((6000, len(codec.sizes)), -1, dtype=np.int32)
    given[:, at] = np.arange(6000) % 3
    draw = generator.sample(6000, seed=[4], given=given)
    assert (draw.tokens[:, at] == given[:, at]).all()
    assert (draw.log_weight <= 0).all()
    for token in range(3):
        here = draw.tokens[:, at] == token
        weight = np.exp(draw.log_weight[here])
        # The mean weight is the model's probability of what was given.
        assert abs(weight.mean() - codec.codecs[at].marginal[token]) < 0.03
        shares = np.bincount(draw.tokens[here, to], weight, codec.sizes[to]) / weight.sum()
        real = tokens[tokens[:, at] == token, to]
        truth = np.bincount(real, minlength=codec.sizes[to]) / len(real)
        assert np.abs(shares - truth).sum() / 2 < 0.07


def test_a_context_is_followed(telco: pl.DataFrame) -> None:
    telco = telco[:2000]
    codec, tokens = encoded(telco.drop("contract"))
    contract = telco["contract"].rank("dense")
    context = (contract.to_numpy()[:, None] == np.arange(1, 4)).astype(np.float32)
    generator = vae.VAE()
    generator.fit(codec, tokens, context=context, quality="draft")
    at = next(j for j, c in enumerate(codec.codecs) if c.columns == ["churn"])
    drawn = generator.sample(len(telco), seed=[1], context=context).tokens[:, at]
    for kind in range(3):
        here = context[:, kind] == 1
        assert abs(drawn[here].mean() - tokens[here, at].mean()) < 0.05


def test_a_collapsed_training_is_told(telco: pl.DataFrame, monkeypatch) -> None:
    # Latents this dear are never used: the posterior falls onto the prior.
    monkeypatch.setattr(latent_training, "KL_WEIGHT", 50.0)
    told: list[str] = []
    codec, tokens = encoded(telco[:1500])
    history = vae.VAE().fit(
        codec, tokens, quality="draft", progress=lambda message, done: told.append(message)
    )
    assert len(history.warnings) == 1
    assert "training collapsed" in history.warnings[0] and history.warnings[0] in told


def test_independent_columns_are_no_collapse() -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({name: rng.integers(0, 5, 1000) for name in "abcd"})
    model = fit_table(table, TableSpec(source={"file": "x"}), generator=DRAFT)
    assert model.card["history"]["warnings"] == []


def test_a_likelihood_is_not_claimed(model: TableModel, telco) -> None:
    with pytest.raises(InputError, match="a vae model has no likelihood"):
        model.log_prob(telco)


def test_tiny_and_odd_tables_train_too() -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "constant": ["x"] * 60,
            "nothing": pl.Series([None] * 60, dtype=pl.String),
            "unique": rng.normal(size=60),
        }
    )
    rows = fit_table(table, TableSpec(source={"file": "x"}), generator=DRAFT).sample(100)
    assert rows.schema == table.schema
    assert rows["constant"].unique().to_list() == ["x"] and rows["nothing"].is_null().all()


def encoded(table: pl.DataFrame):
    """Codecs and tokens of a table."""
    from aigc_pipeline.sources import infer_schema
    from aigc_pipeline.spec import PrivacySpec

    spec = TableSpec(source={"file": "x"})
    codec, tokens, _ = encode_table(table, infer_schema(table, "t", spec), spec, PrivacySpec())
    return codec, tokens


def distance(first: pl.DataFrame, second: pl.DataFrame, column: str) -> float:
    """Total variation distance between a column's shares in two tables."""
    shares = first[column].value_counts(normalize=True).join(
        second[column].value_counts(normalize=True), on=column, how="full", coalesce=True
    ).fill_null(0)  # fmt: skip
    return (shares["proportion"] - shares["proportion_right"]).abs().sum() / 2
