"""`family: auto`: every family is tried, held-out rows choose, and what was seen is on the card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cli_kit import aigc

from aigc_pipeline.choice import Candidate, choose
from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import DpSpec, GeneratorSpec, PrivacySpec, Source, TableSpec
from aigc_pipeline.tabular import FAMILIES, TableModel, find_family, fit_table

TABLE = TableSpec(source=Source(sample="modeldata/wa_churn"), target="churn")


class Confused(find_family("autoregressive")):  # type: ignore[misc]
    """A generator whose rows are torn apart: each column by itself is as it should be."""

    def sample(self, rows, **options):
        draw = super().sample(rows, **options)
        for column in range(draw.tokens.shape[1]):
            draw.tokens[:, column] = np.roll(draw.tokens[:, column], 37 * column)
        return draw


class Broken(Confused):
    """A generator that cannot be trained."""

    def fit(self, *args, **options):
        raise ZeroDivisionError("Mrs Miller, 42 Elm Street")


@pytest.fixture(scope="module")
def churn() -> pl.DataFrame:
    """1,500 customers, 8 columns."""
    df = read_table(TABLE.source, Path("."), name="churn")
    columns = ["tenure", "contract", "internet_service", "online_security", "payment_method",
               "monthly_charges", "total_charges", "churn"]  # fmt: skip
    return df.select(columns).head(1500)


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families to try: one whose rows are torn, one that breaks, and the default."""
    monkeypatch.delitem(FAMILIES, "diffusion")
    monkeypatch.setitem(FAMILIES, "gan", f"{__name__}:Broken")
    monkeypatch.setitem(FAMILIES, "vae", f"{__name__}:Confused")


@pytest.fixture
def encoded(churn: pl.DataFrame) -> tuple:
    schema = infer_schema(churn, "churn", TABLE)
    codec = TableCodec.fit(churn, schema, TABLE)
    return codec, codec.encode(churn)


def test_the_best_family_is_kept_and_what_was_seen_is_told(families, churn, tmp_path) -> None:
    heard: list[str] = []
    model = fit_table(
        churn,
        TABLE,
        generator=GeneratorSpec(family="auto", quality="draft"),
        progress=lambda message, done: heard.append(message),
    )
    seen = {each["family"]: each for each in model.card["choice"]}
    assert list(seen) == ["autoregressive", "vae", "gan"]
    assert model.card["family"] == "autoregressive" and seen["autoregressive"]["chosen"]
    assert seen["vae"]["detection_auc"] > seen["autoregressive"]["detection_auc"] + 0.1
    assert seen["vae"]["utility_gap"] > seen["autoregressive"]["utility_gap"]
    # A library's message may quote a value, so it is not kept.
    assert seen["gan"]["failed"] == "ZeroDivisionError" and seen["gan"]["detection_auc"] is None
    assert "Miller" not in json.dumps(model.card)
    assert sum(each["chosen"] for each in seen.values()) == 1
    assert model.card["rows"] == len(churn)  # all of them train the winner
    assert any(m.startswith("trying vae: ") for m in heard)
    model.save(tmp_path / "m")
    assert TableModel.load(tmp_path / "m").sample(50, seed=1).equals(model.sample(50, seed=1))


def test_the_command_says_what_it_saw(families, churn, tmp_path) -> None:
    churn.write_csv(tmp_path / "churn.csv")
    done = aigc("fit", tmp_path / "churn.csv", "--model", tmp_path / "m", "--target", "churn",
                "--family", "auto", "--quality", "draft", "--seed", 2)  # fmt: skip
    assert done.code == 0, done.err
    said = done.out.splitlines()
    assert re.fullmatch(
        r"  autoregressive: detection AUC 0\.\d{3}, utility gap .*, chosen", said[1]
    )
    assert re.fullmatch(r"  vae: detection AUC 0\.\d{3}, utility gap .* s", said[2])
    assert said[3] == "  gan: failed (ZeroDivisionError)"


def test_the_order_of_families_does_not_decide(families, encoded) -> None:
    found = choose(*encoded, quality="draft", families=["vae", "autoregressive"])
    assert [each.chosen for each in found] == [False, True]


def test_the_same_seed_sees_the_same(families, encoded) -> None:
    once, again = (
        choose(*encoded, quality="draft", seed=4, families=["autoregressive"]) for _ in range(2)
    )
    assert once[0].detection_auc == again[0].detection_auc
    assert once[0].utility_gap == again[0].utility_gap


def test_a_family_cut_short_is_said_to_be(families, encoded) -> None:
    found = choose(*encoded, quality="draft", time_limit=0.05, families=["autoregressive"])
    assert found[0].cut_short and found[0].chosen


def test_no_family_at_all_is_an_error_with_the_reasons(families, encoded, monkeypatch) -> None:
    monkeypatch.setitem(FAMILIES, "vae", "no.such.module:Model")
    with pytest.raises(ArtefactError, match="vae: ModuleNotFoundError; gan: ZeroDivisionError"):
        choose(*encoded, families=["vae", "gan"])


def test_too_few_rows_judge_nobody(encoded) -> None:
    codec, tokens = encoded
    assert choose(codec, tokens[:300]) == [Candidate("autoregressive", 0.0, chosen=True)]


def test_a_cost_is_what_detection_and_utility_show() -> None:
    plain = Candidate("vae", 1.0, detection_auc=0.48, utility_gap=-0.01)
    assert plain.cost == 0.0
    assert Candidate("vae", 1.0, detection_auc=0.7, utility_gap=0.05).cost == pytest.approx(0.25)
    assert Candidate("vae", 1.0, detection_auc=0.7).cost == pytest.approx(0.2)
    assert Candidate("vae", 1.0, failed="MemoryError").cost == float("inf")


def test_differential_privacy_leaves_no_choice(churn) -> None:
    with pytest.raises(InputError, match="cannot be trained with differential privacy"):
        fit_table(
            churn,
            TABLE,
            generator=GeneratorSpec(family="auto"),
            privacy=PrivacySpec(dp=DpSpec(epsilon=3)),
        )


def test_one_family_needs_no_choice(churn) -> None:
    model = fit_table(churn.head(300), TABLE, generator=GeneratorSpec(quality="draft"))
    assert model.card["choice"] == [] and model.card["family"] == "autoregressive"
