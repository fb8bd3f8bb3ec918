"""Direct identifiers that a dataset file is silent about: suggested by init, refused by a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from faker import Faker

from aigc_pipeline.dataset_file import load_dataset
from aigc_pipeline.errors import InputError
from aigc_pipeline.sources import infer_schema, read_table, suggest_dataset
from aigc_pipeline.spec import Source, TableSpec

ROWS = 120


def made(kind: str) -> list[str]:
    """Identifiers of a kind, as they stand in real tables."""
    fake = Faker(["en_US", "de_DE", "fr_FR"])
    Faker.seed(4)
    makers: dict[str, Any] = {
        "mail": fake.email,
        "phone": fake["de_DE"].phone_number,
        "phone_us": lambda: fake["en_US"].numerify("(%##) ###-####").replace("(1", "(2"),
        "iban": fake.iban,
        "card": fake.credit_card_number,
        "ssn": fake["en_US"].ssn,
        "ip": fake.ipv4,
        "account": lambda: fake.bothify("AC-########"),
    }
    return [str(makers[kind]()) for _ in range(ROWS)]


def table(values: list[Any]) -> pl.DataFrame:
    """A table with these values, one missing and one twice: no key by itself."""
    amount = [float(i % 17) + 0.5 for i in range(ROWS)]
    return pl.DataFrame({"contact": [values[1], None, *values[2:]], "amount": amount})


def refused(df: pl.DataFrame, **columns: Any) -> str | None:
    spec = TableSpec.model_validate({"source": {"file": "t.csv"}, "columns": columns})
    try:
        infer_schema(df, "people", spec)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("kind", "what", "remedy"),
    [
        ("mail", "e-mail addresses", "pii: email"),
        ("phone", "phone numbers", "pii: phone"),
        ("phone_us", "phone numbers", "pii: phone"),
        ("iban", "IBANs", "pii: iban"),
        ("card", "card numbers", "type: id"),
        ("ssn", "social security numbers", "type: id"),
        ("ip", "IP addresses", "pii: ip"),
        ("account", "ids that nearly tell rows apart", "type: id"),
    ],
)
def test_an_undeclared_identifier_is_not_learned(
    kind: str, what: str, remedy: str, tmp_path: Path, tried: Any
) -> None:
    line = tried("Privacy", "a column of direct identifiers that the dataset file is silent about")
    values = made(kind)
    df = table(values)
    message = refused(df)
    assert message is not None and f"looks like {what}" in message and f"`{remedy}`" in message
    assert "tables.people.columns.contact" in message
    assert not any(value in message for value in values), "the error quotes a value"
    field, _, value = remedy.partition(": ")
    assert refused(df, contact={field: value}) is None  # as the error says
    assert refused(df, contact={"type": "category"}) is None  # explicitly allowed
    line.happened("refused: table, column, remedies and no value")

    df.write_csv(tmp_path / "people.csv")
    text = suggest_dataset(str(tmp_path / "people.csv"))
    assert f"contact: {{{remedy}}}" in text and not any(value in text for value in values)
    (tmp_path / "people.yaml").write_text(text)
    spec = load_dataset(tmp_path / "people.yaml").tables["people"]
    read = read_table(Source(file=str(tmp_path / "people.csv")), tmp_path, name="people")
    assert infer_schema(read, "people", spec)["contact"].is_generated
    line.happened("suggested by init, so that it is never learned")


def test_card_numbers_kept_as_numbers(tried: Any) -> None:
    line = tried("Privacy", "a column of direct identifiers that the dataset file is silent about")
    message = refused(table(cards()))
    assert message is not None and "card numbers" in message and "`type: id`" in message
    line.happened("refused: table, column, remedies and no value")


def cards() -> list[int]:
    """Card numbers of sixteen digits."""
    fake = Faker()
    Faker.seed(5)
    return [int(fake.credit_card_number("visa16")) for _ in range(ROWS)]


@pytest.mark.parametrize(
    "values",
    [
        [f"2023-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(ROWS)],
        [f"{i * 37 % 1000}.{i % 100:02}" for i in range(ROWS)],
        [f"{i % 9}.{i % 7}" for i in range(ROWS)],  # versions
        [f"{10000 + i * 731 % 80000}" for i in range(ROWS)],  # postcodes
        [f"{i % 24:02}:{i % 60:02}:{i * 7 % 60:02}" for i in range(ROWS)],
        [1_600_000_000_000 + i * 86_400_123 for i in range(ROWS)],  # milliseconds
        [i * 1009 for i in range(ROWS)],
        [f"{word} {i}" for i, word in enumerate(["red house", "blue lane"] * (ROWS // 2))],
        ["info@example.org", "sales@example.org"] * (ROWS // 2),  # shared: few values
    ],
)
def test_what_only_resembles_identifiers_is_learned(values: list[Any]) -> None:
    assert refused(table(values)) is None


def test_names_are_suggested(tmp_path: Path) -> None:
    fake = Faker()
    Faker.seed(6)
    names = [fake.name() for _ in range(ROWS)]
    df = table(names).rename({"contact": "customerName"})
    df.write_csv(tmp_path / "people.csv")
    assert "customerName: {pii: name}" in suggest_dataset(str(tmp_path / "people.csv"))
