"""The README's own examples: the dataset file runs to a release, and the Python code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from aigc_pipeline.cli import app
from aigc_pipeline.dataset_file import find_dataset, load_dataset
from aigc_pipeline.relations import graph_of
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import Source

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RELATIONS = (ROOT / "docs" / "relations.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose one table has the columns that the README's examples name."""
    churn = read_table(Source(sample="modeldata/wa_churn"), tmp_path, name="churn")
    rng = np.random.default_rng(0)
    started = rng.integers(2010, 2020, len(churn))
    customers = pl.DataFrame(
        {
            "customer_id": np.arange(len(churn)),
            "email": [f"person{i}@example.org" for i in range(len(churn))],
            "tier": churn["contract"].replace_strict(
                {"Month-to-month": "silver", "One year": "gold", "Two year": "platinum"}
            ),
            "visits": churn["tenure"],
            "spend": churn["total_charges"],
            "first_order": started,
            "last_order": started + rng.integers(0, 5, len(churn)),
            "churned": churn["churn"],
        }
    )
    (tmp_path / "data").mkdir()
    customers.write_csv(tmp_path / "data" / "customers.csv")
    customers.write_csv(tmp_path / "customers.csv")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "customers.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIGC_HOME", raising=False)
    monkeypatch.setenv("AIGC_DATASETS", str(tmp_path / "datasets"))
    return tmp_path


@pytest.mark.slow
def test_the_examples_run(project: Path) -> None:
    done = CliRunner().invoke(app, ["run", "customers"])
    assert done.exit_code == 0, done.output
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})
    real = pl.read_csv(project / "customers.csv")
    shards = sorted(project.glob("lake/customers/release/*/data/customers/customers/*.parquet"))
    made = pl.concat(pl.read_parquet(p) for p in shards)
    assert made.columns == [*real.columns, "spend_per_visit"]
    assert (made["first_order"] <= made["last_order"]).all()
    assert not set(made["email"]) & set(real["email"])
    assert not set(made["customer_id"]) & set(real["customer_id"])


def test_the_examples_on_relations_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = find_dataset("shop", ROOT / "datasets")
    customers, orders = (
        read_table(shop.tables[name].source, tmp_path, name=name)
        for name in ("customers", "orders")
    )
    customers = customers.head(150)
    orders = orders.join(customers, on="customer_id", how="semi")
    customers.write_csv(tmp_path / "customers.csv")
    orders.write_csv(tmp_path / "orders.csv")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in blocks("python", RELATIONS):
        exec(compile(code, "relations.md", "exec"), names)
    made, small, large = names["made"], names["small"], names["large"]
    assert len(made["customers"]) == 150 and len(small["customers"]) == 100
    assert len(large["orders"]) >= 50 and large["orders"]["dollar_value"].min() >= 50
    assert all(names["same"][name].equals(df) for name, df in small.items())
    both = made["orders"].join(made["customers"], on="customer_id")
    assert len(both) == len(made["orders"]) and (both["first_purchase"] <= both["date"]).all()


def test_the_dataset_files_on_relations_are_read(tmp_path: Path) -> None:
    whole, scenarios = blocks("yaml", RELATIONS)
    (tmp_path / "clinic.yaml").write_text(whole + scenarios, encoding="utf-8")
    assert graph_of(load_dataset(tmp_path / "clinic.yaml")).order == ["wards", "patients", "visits"]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/catalog.md", "docs/relations.md", "docs/method.md"]
)
def test_every_file_that_is_linked_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        assert ((ROOT / page).parent / link).exists(), link
