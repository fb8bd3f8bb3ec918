"""The diffusion family: it learns, repeats itself, obeys conditions, and loads again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators.dense import Coordinate
from aigc_pipeline.generators.diffusion import Diffusion
from aigc_pipeline.generators.training import Compute
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import Between, GeneratorSpec, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

COLUMNS = ["contract", "internet_service", "online_security", "tenure", "monthly_charges",
           "total_charges", "churn"]  # fmt: skip
SPEC = TableSpec(source={"sample": "modeldata/wa_churn"})


@pytest.fixture(scope="module")
def churn() -> pl.DataFrame:
    """Seven columns of the churn sample: 7,043 customers."""
    from aigc_pipeline.sources import read_table

    return read_table(SPEC.source, Path("."), name="churn").select(COLUMNS)


@pytest.fixture(scope="module")
def model(churn: pl.DataFrame) -> TableModel:
    generator = GeneratorSpec(family="diffusion", quality="draft")
    return fit_table(churn, SPEC, name="churn", generator=generator, seed=3)


@pytest.fixture(scope="module")
def rows(model: TableModel) -> pl.DataFrame:
    return model.sample(6000, seed=1)


def test_training_lowers_the_held_out_loss(model: TableModel) -> None:
    history = model.card["history"]
    assert history["best_loss"] < history["first_loss"] - 0.3
    assert history["stopped_by"] in ("schedule", "held-out loss")
    # Both numbers with bins are coordinates, whose noise flows; the rest is masked.
    assert len(model.generator.net.coordinates) == 2


def test_rows_come_in_the_sources_schema(rows: pl.DataFrame, churn: pl.DataFrame) -> None:
    assert rows.schema == churn.schema
    assert rows["contract"].is_in(churn["contract"].unique().to_list()).all()


def test_marginals_and_dependences_are_learned(rows: pl.DataFrame, churn: pl.DataFrame) -> None:
    # No internet service means no online security, in the data without exception.
    none = rows.filter(pl.col("internet_service") == "No")
    assert (none["online_security"] == "No internet service").mean() > 0.98
    for a, b in (("tenure", "total_charges"), ("monthly_charges", "total_charges")):
        real, made = (frame.select(pl.corr(a, b)).item() for frame in (churn, rows))
        assert abs(real - made) < 0.1
    for column in ("tenure", "monthly_charges", "total_charges"):
        assert abs(rows[column].mean() - churn[column].mean()) < 0.06 * churn[column].std()


def test_the_same_seed_gives_the_same_rows(model: TableModel) -> None:
    generator = model.generator
    first, again, other = (generator.sample(700, seed=[s]).tokens for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_repeats_itself(churn: pl.DataFrame) -> None:
    some = churn.select("contract", "monthly_charges", "total_charges")[:800]
    codec = TableCodec.fit(some, infer_schema(some, "churn", SPEC), SPEC)
    tokens = codec.encode(some)
    drawn = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        generator = Diffusion()
        compute = Compute(threads=threads)
        generator.fit(codec, tokens, quality="draft", seed=seed, compute=compute)
        drawn.append(generator.net.entry.weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_save_and_load_give_the_same_rows(model: TableModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = TableModel.load(tmp_path / "m")
    drawn = [m.generator.sample(300, seed=[2]).tokens for m in (model, loaded)]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99.*fit it again"),
        ({"sizes": [2]}, "does not belong"),
        ({"shape": {"width": 7}}, "cannot be read"),
    ],
)
def test_a_model_of_another_kind_is_refused(model, tmp_path: Path, change, message: str) -> None:
    model.save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtefactError, match=message):
        TableModel.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"contract": "Two year", "internet_service": ["DSL", "No"]},
         (pl.col("contract") == "Two year") & pl.col("internet_service").is_in(["DSL", "No"])),
        ({"monthly_charges": Between(min=40, max=60.5)},
         pl.col("monthly_charges").is_between(40, 60.5)),
        ({"total_charges": None}, pl.col("total_charges").is_null()),
    ],
)  # fmt: skip
def test_every_row_meets_its_condition(model: TableModel, where, meets: pl.Expr) -> None:
    made = model.sample(200, seed=5, where=where)
    assert len(made) == 200 and made.select(meets.all()).item()


def test_the_other_columns_follow_the_real_conditional(model: TableModel, churn) -> None:
    where = {"internet_service": "DSL", "tenure": Between(min=20, max=60)}
    made = model.sample(3000, seed=5, where=where)
    real = churn.filter(pl.col("internet_service") == "DSL", pl.col("tenure").is_between(20, 60))
    for column in ("contract", "online_security", "churn"):
        shares = real[column].value_counts(normalize=True).join(
            made[column].value_counts(normalize=True), on=column, how="full", coalesce=True
        ).fill_null(0)  # fmt: skip
        distance = (shares["proportion"] - shares["proportion_right"]).abs().sum() / 2
        assert distance < 0.1, column
    for column in ("tenure", "monthly_charges", "total_charges"):
        assert abs(made[column].mean() - real[column].mean()) < 0.15 * churn[column].std(), column


def test_given_tokens_stand_and_are_weighed(model: TableModel, churn: pl.DataFrame) -> None:
    codec, generator = model.codec, model.generator
    given = codec.encode(churn[:1000])
    known = np.random.default_rng(0).random(given.shape) < 0.4
    draw = generator.sample(1000, seed=[1], given=np.where(known, given, -1))
    assert (draw.tokens[known] == given[known]).all()
    assert np.isfinite(draw.log_weight).all() and (draw.log_weight <= 0).all()
    # A single given token is as likely as it is frequent.
    at = next(i for i, c in enumerate(codec.codecs) if c.columns == ["contract"])
    one = np.full((3, len(codec.codecs)), -1)
    one[:, at] = np.arange(3)
    chance = np.exp(generator.sample(3, seed=[1], given=one).log_weight)
    assert np.allclose(chance, codec.codecs[at].marginal, atol=0.05)


def test_rows_follow_their_context(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    context = rng.normal(size=(2000, 2)).astype(np.float32)
    df = pl.DataFrame(
        {
            "kind": np.where(context[:, 0] > 0, "high", "low"),
            "amount": (100 + 20 * context[:, 1] + rng.normal(0, 2, 2000)).round(1),
            "other": (20 * context[:, 1] + rng.normal(0, 9, 2000)).round(1),
        }
    )
    codec = TableCodec.fit(df, infer_schema(df, "children", SPEC), SPEC)
    generator = Diffusion()
    generator.fit(codec, codec.encode(df), context=context, quality="draft")
    generator.save(tmp_path)
    draw = Diffusion.load(tmp_path, codec).sample(1000, seed=[0], context=context[:1000])
    made = codec.decode(draw.tokens, rng)
    assert ((made["kind"] == "high").to_numpy() == (context[:1000, 0] > 0)).mean() > 0.93
    assert np.corrcoef(made["amount"].to_numpy(), context[:1000, 1])[0, 1] > 0.9


def test_a_coordinate_knows_its_posterior() -> None:
    place = Coordinate(np.array([0.1, 0.5, 0.25, 0.15]))
    rng = torch.Generator().manual_seed(0)
    clean = torch.randn(1_000_000, generator=rng)
    noisy = clean + 0.5 * torch.randn(1_000_000, generator=rng)
    near = (noisy - 0.8).abs() < 0.05
    level = torch.tensor([0.5]).log()
    belief = place.belief(torch.tensor([0.8]), level)
    tokens = torch.searchsorted(place.edges[1:-1].contiguous(), clean[near])
    found = torch.bincount(tokens, minlength=4) / len(tokens)
    assert torch.allclose(belief.evidence.exp()[0], found, atol=0.02)
    mean = place.denoised(belief, belief.evidence.exp())
    assert torch.allclose(mean, clean[near].mean(), atol=0.02)
    placed = place.place(tokens, torch.rand(len(tokens), generator=rng))
    assert torch.equal(torch.searchsorted(place.edges[1:-1].contiguous(), placed), tokens)
