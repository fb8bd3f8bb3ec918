"""The GAN on real tables: it learns, repeats itself, obeys conditions, and says when it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators import checkpoint, gan
from aigc_pipeline.generators.gan import GAN
from aigc_pipeline.generators.hardware import Compute
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import Between, GeneratorSpec, Source, TableSpec
from aigc_pipeline.tabular import TableModel, fit_table

TABLE = TableSpec(source={"file": "x"})
DRAFT = GeneratorSpec(family="gan", quality="draft")
SHORT = GeneratorSpec(family="gan", quality="high")  # which is short here, see `few_steps`


COLUMNS = [
    "churn", "contract", "internet_service", "senior_citizen", "payment_method",
    "tenure", "monthly_charges", "total_charges",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Enough steps to compare weights, and no time limit that a busy machine could hit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(gan.QUALITY, "high", (600, 0.08e12, 600.0))
        patch.setitem(gan.SIZES, "high", gan.SIZES["draft"])
        yield


@pytest.fixture(scope="module")
def telco() -> pl.DataFrame:
    """Eight columns of the churn sample: 7,043 customers."""
    rows = read_table(Source(sample="modeldata/wa_churn"), Path("."), name="churn")
    return rows.select(COLUMNS)


@pytest.fixture(scope="module")
def model(telco: pl.DataFrame) -> TableModel:
    return fit_table(telco, TABLE, name="churn", generator=DRAFT, seed=3)


def weights(model: TableModel) -> dict[str, bytes]:
    assert isinstance(model.generator, GAN)
    return {k: v.numpy().tobytes() for k, v in model.generator.net.state_dict().items()}


def test_training_brings_rows_closer_to_held_out_ones(model: TableModel) -> None:
    history = model.card["history"]
    assert history["best_loss"] < history["first_loss"]
    assert history["stopped_by"] in ("schedule", "held-out score")


def test_rows_come_in_the_sources_schema(model: TableModel, telco: pl.DataFrame) -> None:
    rows = model.sample(1000, seed=1)
    assert rows.schema == telco.schema and len(rows) == 1000
    assert rows["contract"].is_in(telco["contract"].unique().to_list()).all()


def test_dependences_and_shares_are_learned(model: TableModel, telco: pl.DataFrame) -> None:
    rows = model.sample(5000, seed=1)
    assert rows.select(pl.corr("tenure", "total_charges")).item() > 0.6
    # A customer by the month leaves far more often, and seldom stays for years.
    for frame in (rows, telco):
        by_month = pl.col("contract") == "Month-to-month"
        left = frame.group_by(by_month).agg((pl.col("churn") == "Yes").mean()).sort("contract")
        assert left["churn"][1] > 2 * left["churn"][0]
    real = telco["payment_method"].value_counts(normalize=True)
    made = rows["payment_method"].value_counts(normalize=True)
    both = real.join(made, on="payment_method")
    assert (both["proportion"] - both["proportion_right"]).abs().max() < 0.03


def test_the_same_seed_gives_the_same_rows(model: TableModel) -> None:
    first, again, other = (model.sample(500, seed=s) for s in (7, 7, 8))
    assert first.equals(again, null_equal=True)
    assert not first.equals(other, null_equal=True)
    assert model.sample(100, seed=7).equals(first[:100], null_equal=True)


def test_save_and_load_give_the_same_rows(model: TableModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = TableModel.load(tmp_path / "m")
    assert isinstance(loaded.generator, GAN)
    assert loaded.sample(300, seed=2).equals(model.sample(300, seed=2), null_equal=True)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.json", lambda d: {**d, "format": 99}, "format 99.*fit it again"),
        ("model.json", lambda d: {**d, "family": "vae"}, "a vae model.*reads gan"),
        ("codecs.json", lambda d: {**d, "codecs": d["codecs"][1:]}, "does not belong"),
        ("weights.safetensors", None, "cannot be read"),
    ],
)
def test_a_folder_of_another_version_is_refused(
    model: TableModel, tmp_path: Path, file: str, change, message: str
) -> None:
    model.save(tmp_path / "m")
    path = tmp_path / "m" / file
    if change is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtefactError, match=message):
        TableModel.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"contract": ["One year", "Two year"], "senior_citizen": 1},
         pl.col("contract").is_in(["One year", "Two year"]) & (pl.col("senior_citizen") == 1)),
        ({"tenure": Between(min=10, max=20)}, pl.col("tenure").is_between(10, 20)),
        ({"monthly_charges": Between(max=33.33)}, pl.col("monthly_charges") <= 33.33),
        ({"total_charges": None}, pl.col("total_charges").is_null()),
    ],
)  # fmt: skip
def test_every_row_meets_its_condition(model: TableModel, where, meets: pl.Expr) -> None:
    rows = model.sample(400, seed=5, where=where)
    assert len(rows) == 400 and rows.select(meets.all()).item()


def test_a_condition_leaves_the_models_own_conditional(model: TableModel) -> None:
    """As if rows were drawn freely and all but those that meet it thrown away."""
    free = model.sample(40_000, seed=6)
    kept = free.filter(pl.col("churn") == "Yes", pl.col("tenure") >= 24)
    rows = model.sample(6000, seed=5, where={"churn": "Yes", "tenure": Between(min=24)})
    assert len(kept) > 1000
    for column in ("contract", "internet_service", "payment_method"):
        shares = kept[column].value_counts(normalize=True).join(
            rows[column].value_counts(normalize=True), on=column, how="full", coalesce=True
        ).fill_null(0)  # fmt: skip
        assert (shares["proportion"] - shares["proportion_right"]).abs().max() < 0.05, column
    assert abs(rows["tenure"].mean() - kept["tenure"].mean()) < 1.5


def test_a_condition_no_row_meets_is_an_error(model: TableModel) -> None:
    with pytest.raises(InputError, match="no value that was learned meets the condition"):
        model.sample(100, where={"contract": "Weekly"})


def test_there_is_no_likelihood(model: TableModel, telco: pl.DataFrame) -> None:
    with pytest.raises(InputError, match="a gan model has no likelihood of a row"):
        model.log_prob(telco[:5])


@pytest.fixture(scope="module")
def short(diabetes: pl.DataFrame) -> TableModel:
    """A short training that nothing interrupted, on one thread."""
    return fit_table(diabetes, TABLE, generator=SHORT, compute=Compute(threads=1))


def test_weights_do_not_depend_on_threads_but_on_the_seed(
    diabetes: pl.DataFrame, short: TableModel
) -> None:
    two = fit_table(diabetes, TABLE, generator=SHORT, compute=Compute(threads=2))
    assert weights(two) == weights(short)
    other = fit_table(diabetes, TABLE, generator=SHORT, seed=1)
    assert weights(other) != weights(short)


def test_an_interrupted_training_goes_on_to_the_same_weights(
    diabetes: pl.DataFrame, short: TableModel, tmp_path: Path, monkeypatch
) -> None:
    class Killed(BaseException):
        pass

    save = checkpoint.Checkpoint.save

    def save_and_stop(self: checkpoint.Checkpoint, tensors, values) -> None:
        save(self, tensors, values)
        if values["history"]["steps"] == 15:
            raise Killed

    monkeypatch.setattr(checkpoint.Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    at, said = tmp_path / "checkpoint", []
    with pytest.raises(Killed):
        fit_table(diabetes, TABLE, generator=SHORT, checkpoint=at)
    model = fit_table(
        diabetes, TABLE, generator=SHORT, checkpoint=at,
        progress=lambda message, done: said.append(message),
    )  # fmt: skip
    assert "going on from step 15 of an interrupted training" in said
    assert weights(model) == weights(short)
    looks = ("looks", "best_loss", "stopped_by")
    assert all(model.card["history"][k] == short.card["history"][k] for k in looks)
    assert not list(tmp_path.iterdir())


def test_several_devices_are_refused(diabetes: pl.DataFrame) -> None:
    with pytest.raises(InputError, match="devices 2: a gan trains on one"):
        fit_table(diabetes, TABLE, generator=SHORT, compute=Compute(devices=2))


def test_a_collapse_is_told() -> None:
    """Two columns of forty values, each of one the other's match: too much for 400 rows."""
    rng = np.random.default_rng(0)
    match, first = rng.permutation(40), rng.integers(0, 40, 400)
    df = pl.DataFrame({"a": [f"a{i}" for i in first], "b": [f"b{match[i]}" for i in first]})
    said: list[str] = []
    model = fit_table(
        df, TABLE, generator=SHORT, progress=lambda message, done: said.append(message)
    )
    (warning,) = model.card["history"]["warnings"]
    assert "training collapsed" in warning and "family: autoregressive" in warning
    assert warning in said


def test_no_alarm_where_dependence_is_learned_or_there_is_none() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 2000)
    colour = np.where(rng.random(2000) < 0.95, kind, rng.integers(0, 3, 2000))
    tied = pl.DataFrame({"kind": kind, "colour": colour}).cast(pl.String)
    model = fit_table(tied, TABLE, generator=DRAFT)
    assert model.card["history"]["warnings"] == []
    rows = model.sample(4000)
    assert (rows["kind"] == rows["colour"]).mean() > 0.8
    free = tied.with_columns(pl.col("colour").shuffle(seed=1))
    assert fit_table(free, TABLE, generator=SHORT).card["history"]["warnings"] == []


def test_tiny_and_odd_tables_train_too() -> None:
    rng = np.random.default_rng(0)
    df = pl.DataFrame(
        {
            "constant": ["x"] * 40,
            "nothing": pl.Series([None] * 40, dtype=pl.String),
            "unique": rng.normal(size=40),
            "kind": rng.choice(["甲", "乙"], 40),
        }
    )
    for table in (df, df.select("kind")):
        rows = fit_table(table, TABLE, generator=SHORT).sample(100)
        assert rows.schema == table.schema and rows["kind"].n_unique() == 2


def test_rows_follow_their_context(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    context = rng.normal(size=(3000, 2)).astype(np.float32)
    df = pl.DataFrame(
        {
            "kind": np.where(context[:, 0] > 0, "high", "low"),
            "amount": (100 + 20 * context[:, 1] + rng.normal(0, 2, 3000)).round(1),
        }
    )
    codec = TableCodec.fit(df, infer_schema(df, "children", TABLE), TABLE)
    generator = GAN()
    generator.fit(codec, codec.encode(df), context=context, quality="draft")
    fresh = rng.normal(size=(3000, 2)).astype(np.float32)
    draw = generator.sample(3000, seed=[0], context=fresh)
    rows = codec.decode(draw.tokens, rng)
    assert ((rows["kind"] == "high").to_numpy() == (fresh[:, 0] > 0)).mean() > 0.85
    assert np.corrcoef(rows["amount"].to_numpy(), fresh[:, 1])[0, 1] > 0.65
    generator.save(tmp_path)
    again = GAN.load(tmp_path, codec).sample(3000, seed=[0], context=fresh)
    assert np.array_equal(again.tokens, draw.tokens)
