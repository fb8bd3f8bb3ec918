"""The README's own examples: the dataset file runs to a release, and the Python code runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from aigc_pipeline.cli import app
from aigc_pipeline.sources import read_table
from aigc_pipeline.spec import Source

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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


def test_every_file_the_readme_links_is_there() -> None:
    root = Path(__file__).parents[1]
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (root / link).exists(), link
