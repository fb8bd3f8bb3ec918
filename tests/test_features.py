"""Codecs: what they keep exactly, what they protect, and that nothing is lost on the way back."""

from __future__ import annotations

import json
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.features.category import OTHER, CategoryCodec
from aigc_pipeline.features.codec import Subjects, codec_from_json
from aigc_pipeline.features.grid import Grid, find_decimals
from aigc_pipeline.features.number import NumberCodec
from aigc_pipeline.features.parts import Relation
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.spec import Between, Constraint, Kind, TableSpec


def number(values: pl.Series, *, kind: Kind = Kind.NUMBER, k: int = 5, **extra) -> NumberCodec:
    column = ColumnSchema(
        name="x", kind=kind, dtype=str(values.dtype), nullable=values.null_count() > 0, **extra
    )
    return NumberCodec.fit(pl.DataFrame({"x": values}), column, Subjects(k), max_bins=50)


def round_trip(codec: NumberCodec, values: pl.Series, seed: int = 0) -> pl.Series:
    df = pl.DataFrame({"x": values})
    again = codec_from_json(json.loads(json.dumps(codec.to_json())))
    decoded = []
    for each in (codec, again):
        roundness = None if each.roundness is None else each.roundness.encode(df)
        tokens = each.encode(df)
        rng = np.random.default_rng(seed)
        decoded.append(each.decode(tokens, rng, df, roundness=roundness)["x"])
    assert decoded[0].equals(decoded[1], null_equal=True)
    return decoded[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.none()
        | st.integers(-(10**9), 10**9).map(float)
        | st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))
        | st.sampled_from([0.0, 1.0, -5.5]),
        min_size=1,
        max_size=300,
    )
)
def test_any_numbers_come_back_in_range_on_the_grid_with_their_nulls(
    values: list[float | None],
) -> None:
    series = pl.Series("x", values, dtype=pl.Float64)
    codec = number(series)
    decoded = round_trip(codec, series)
    assert decoded.dtype == pl.Float64
    if len(codec.spans):
        assert decoded.is_null().to_list() == series.is_null().to_list()
    present, out = series.drop_nulls().to_numpy(), decoded.drop_nulls().to_numpy()
    if len(out):
        step = codec.grid.unit / 10**codec.grid.decimals
        assert out.min() >= present.min() - step and out.max() <= present.max() + step
        assert np.allclose(out, np.round(out, codec.grid.decimals), rtol=0, atol=1e-9)
        # Nothing can be said of the marginal of an unseen state, but it never vanishes.
        assert codec.marginal.min() > 0 and codec.marginal.sum() == pytest.approx(1)


def test_frequent_values_are_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    values = pl.Series(
        "x", np.where(rng.random(5000) < 0.4, 0.0, rng.gamma(2, 1000, 5000).round(2))
    )
    decoded = round_trip(number(values), values)
    assert ((decoded == 0) == (values == 0)).all()
    # A value drawn within its bin keeps its place: ranks agree almost perfectly.
    assert np.corrcoef(decoded.rank(), values.rank())[0, 1] > 0.999


def test_small_integers_are_all_states_of_their_own() -> None:
    values = pl.Series("x", np.random.default_rng(0).integers(0, 12, 2000))
    assert round_trip(number(values, kind=Kind.INTEGER), values).equals(values)


def test_extremes_and_rare_values_are_not_learned() -> None:
    body = np.random.default_rng(0).normal(50_000, 9_000, 4000).round(0)
    values = pl.Series("x", np.append(body, 9_876_543.0))
    codec = number(values)
    fifth = float(np.sort(body)[-4])
    assert codec.spans.high.max() <= fifth
    assert round_trip(codec, values).max() <= fifth
    assert "9876543" not in json.dumps(codec.to_json())


@pytest.mark.parametrize("values", [[1, 2, 2, 2, 2], [1, 1, 1, 1, 2], [-9, 4, 4, 4, 4]])
def test_a_bin_of_few_values_lies_between_the_outermost(values: list[int]) -> None:
    codec = number(pl.Series("x", values), kind=Kind.INTEGER)
    assert len(codec.spans) == 1
    assert min(values) <= codec.spans.low[0] < codec.spans.high[0] <= max(values)


def test_a_few_whole_numbers_make_no_grid_of_whole_numbers() -> None:
    values = np.array([0.0, 1.0, -1.767847418785095, 2.718281828459045])
    grid = Grid.fit(values)
    assert grid.unit == 1 and grid.to_values(grid.to_units(values)) == pytest.approx(values)


def test_a_column_with_values_of_too_few_subjects_is_left_missing() -> None:
    values = pl.Series("x", [31.5, 77.25, 90.75] + [None] * 97)
    codec = number(values)
    assert round_trip(codec, values).is_null().all()
    assert not {"31", "77", "90"} & set(json.dumps(codec.to_json()).replace(".", " ").split())


def test_rarity_is_counted_in_subjects() -> None:
    # One customer with 50 rows of a value nobody else has is still one customer.
    values = ["gold"] * 50 + ["silver"] * 50
    who = np.array([0] * 50 + list(range(1, 51)))
    df = pl.DataFrame({"x": values})
    column = ColumnSchema(name="x", kind=Kind.CATEGORY, dtype="String", nullable=False)
    assert CategoryCodec.fit(df, [column], Subjects(5, who)).values == [["silver"]]
    assert CategoryCodec.fit(df, [column], Subjects(5)).values == [["gold"], ["silver"]]
    amounts = pl.DataFrame({"x": [777_777.0] * 50 + list(np.linspace(1, 50, 50))})
    column = ColumnSchema(name="x", kind=Kind.NUMBER, dtype="Float64", nullable=False)
    codec = NumberCodec.fit(amounts, column, Subjects(5, who))
    assert 777_777 not in (codec.spans.frequent / 10**codec.grid.decimals)


def test_rare_categories_become_other_where_the_column_can_say_so() -> None:
    df = pl.DataFrame({"x": ["a"] * 20 + ["b"] * 10 + ["secret", "hidden", None, None]})
    column = ColumnSchema(name="x", kind=Kind.CATEGORY, dtype="String", nullable=True)
    codec = CategoryCodec.fit(df, [column], Subjects(5))
    decoded = codec.decode(codec.encode(df), np.random.default_rng(0))["x"]
    assert decoded.to_list() == ["a"] * 20 + ["b"] * 10 + [OTHER, OTHER, None, None]
    assert "secret" not in json.dumps(codec.to_json())
    assert codec.emitted().all()


def test_rare_values_of_a_coded_column_are_never_sampled() -> None:
    df = pl.DataFrame({"x": [1] * 20 + [2] * 10 + [3]})
    column = ColumnSchema(name="x", kind=Kind.CATEGORY, dtype="Int64", nullable=False)
    codec = CategoryCodec.fit(df, [column], Subjects(5))
    assert codec.emitted().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("series", "kind", "format"),
    [
        (pl.Series([date(2020, 1, d) for d in range(1, 29)] * 4), Kind.DATETIME, None),
        (pl.Series([datetime(2020, 1, 1, h, 30) for h in range(24)] * 4), Kind.DATETIME, None),
        (pl.Series(["Jan-2018", "Feb-2018", "Mar-2018"] * 9), Kind.DATETIME, "%b-%Y"),
        (pl.Series([1, 2, 3, None] * 9, dtype=pl.Int16), Kind.INTEGER, None),
        (pl.Series([0.5, 1.5] * 9, dtype=pl.Float32), Kind.NUMBER, None),
    ],
)
def test_the_sources_dtype_and_format_come_back(series: pl.Series, kind: Kind, format) -> None:
    series = series.alias("x")
    decoded = round_trip(number(series, kind=kind, format=format, k=2), series)
    assert decoded.dtype == series.dtype
    assert decoded.equals(series, null_equal=True)


@pytest.mark.parametrize(
    ("values", "decimals", "unit"),
    [
        ([0.25, 1.5, 3.75], 2, 25),
        ([100.0, 250.0, 1000.0], 0, 50),
        ([0.1, 0.2, 0.30], 1, 1),
        ([499.6666667, 12.0], 7, 1),
        ([0.000001], 6, 1),
        ([0.99999], 5, 99999),
        ([5.0, 1e-17], 0, 5),
    ],
)
def test_the_grid_is_found(values: list[float], decimals: int, unit: int) -> None:
    grid = Grid.fit(np.array(values))
    assert (grid.decimals, grid.unit) == (decimals, unit)
    assert find_decimals(np.array(values)) == decimals


def test_round_numbers_stay_as_common_as_they_were() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(20_000, 90_000, 6000)
    values = np.where(rng.random(6000) < 0.7, values // 1000 * 1000, values)
    series = pl.Series("x", values)
    decoded = round_trip(number(series, kind=Kind.INTEGER), series)
    real, made = (series % 500 == 0).mean(), (decoded % 500 == 0).mean()
    assert made == pytest.approx(real, abs=0.04)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.text(max_size=6), min_size=1, max_size=80), st.integers(1, 4))
def test_any_texts_survive_json(values: list[str | None], minimum: int) -> None:
    df = pl.DataFrame({"x": pl.Series(values, dtype=pl.String)})
    column = ColumnSchema(name="x", kind=Kind.CATEGORY, dtype="String", nullable=True)
    codec = CategoryCodec.fit(df, [column], Subjects(minimum))
    again = codec_from_json(json.loads(json.dumps(codec.to_json())))
    tokens = codec.encode(df)
    assert np.array_equal(again.encode(df), tokens)
    decoded = again.decode(tokens, np.random.default_rng(0))["x"]
    counts = {v: values.count(v) for v in values}
    expected = [v if v is None or counts[v] >= minimum else OTHER for v in values]
    assert decoded.to_list() == expected


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (3, [3]),
        ([1, 2], [1, 2]),
        (Between(min=8), [8, 9]),
        (Between(min=2, max=3), [2, 3]),
        (None, [None]),
        ([None, 4], [None, 4]),
        (77, []),
    ],
)
def test_allowed_tokens_are_those_that_can_meet_a_condition(condition, wanted) -> None:
    values = pl.Series("x", [*range(10), None] * 10)
    column = ColumnSchema(name="x", kind=Kind.INTEGER, dtype="Int64", nullable=True)
    codec = number(values, kind=Kind.INTEGER)
    tokens = np.flatnonzero(codec.allowed(column, condition))
    decoded = codec.decode(tokens, np.random.default_rng(0))["x"].to_list()
    assert sorted(decoded, key=str) == sorted(wanted, key=str)


def _table(df: pl.DataFrame, **spec) -> tuple[TableCodec, TableSchema]:
    kinds = {pl.String: Kind.CATEGORY, pl.Int64: Kind.INTEGER, pl.Float64: Kind.NUMBER}
    schema = TableSchema(
        name="t",
        columns=[
            ColumnSchema(
                name=name,
                kind=kinds[type(dtype)],
                dtype=str(dtype),
                nullable=False,
                key=name == "id",
            )
            for name, dtype in df.schema.items()
        ],
    )
    return TableCodec.fit(df, schema, TableSpec(source={"file": "x.csv"}, **spec)), schema


def test_fixed_combinations_give_only_pairs_that_were_seen() -> None:
    df = pl.DataFrame({"city": ["Bern", "Rome"] * 50, "land": ["CH", "IT"] * 50, "n": [1, 2] * 50})
    codec, _ = _table(df, constraints=[Constraint(fixed_combination=["city", "land"])])
    assert [c.columns for c in codec.codecs] == [["city", "land"], ["n"]]
    decoded = codec.decode(codec.encode(df), np.random.default_rng(0))
    assert decoded.select("city", "land").unique().height == 2


def test_keys_are_made_afresh_above_the_real_ones() -> None:
    df = pl.DataFrame({"id": list(range(1, 101)), "n": [1, 2] * 50})
    codec, schema = _table(df)
    rng = np.random.default_rng(0)
    frame = codec.complete(codec.decode(codec.encode(df), rng), 40, rng)
    assert frame.columns == schema.names
    assert frame["id"].to_list() == list(range(1041, 1141))


def test_fractions_stay_as_common_as_they_were() -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 7, 4000)
    values = pl.Series(
        "x", np.array([f"{v:.10g}" for v in rng.integers(1, 9000, 4000) / count], float)
    )
    codec = number(values)
    assert codec.grid.digits == 10
    decoded = round_trip(codec, values).to_numpy()
    for fraction in (1.0, 1 / 2, 1 / 3):
        real, made = (
            np.isclose(v / fraction, np.round(v / fraction), rtol=1e-9, atol=1e-9).mean()
            for v in (values.to_numpy(), decoded)
        )
        assert made == pytest.approx(real, abs=0.03)


def _decoded(codec: TableCodec, df: pl.DataFrame) -> list[pl.DataFrame]:
    """Rows of the same tokens, by the codec and by the one read back from its JSON."""
    again = TableCodec.from_json(json.loads(json.dumps(codec.to_json())))
    return [each.decode(each.encode(df), np.random.default_rng(0)) for each in (codec, again)]


def _relation(codec: TableCodec, column: str) -> Relation:
    found = [c for c in codec.codecs if isinstance(c, Relation) and c.columns == [column]]
    assert len(found) == 1
    return found[0]


def test_a_number_that_often_equals_another_columns_follows_it() -> None:
    rng = np.random.default_rng(0)
    bill = rng.gamma(2, 500, 3000).round(2)
    paid = np.where(rng.random(3000) < 0.3, bill, rng.gamma(2, 90, 3000).round(2))
    df = pl.DataFrame({"bill": bill, "paid": paid, "n": rng.integers(0, 5, 3000)})
    codec, _ = _table(df)
    assert {r.columns[0].name for r in _relation(codec, "paid").copies} == {"bill"}
    # Small integers agree by chance, which is no copy.
    assert not [c for c in codec.codecs if isinstance(c, Relation) and c.columns == ["n"]]
    for decoded in _decoded(codec, df):
        same = (decoded["paid"] == decoded["bill"]).to_numpy()
        assert np.array_equal(same, paid == bill)


def test_a_sum_of_two_columns_is_found_and_kept() -> None:
    rng = np.random.default_rng(0)
    net, tax = rng.gamma(2, 500, 3000).round(2), rng.gamma(2, 90, 3000).round(2)
    other = rng.gamma(2, 700, 3000).round(2)
    df = pl.DataFrame({"net": net, "tax": tax})
    df = df.with_columns(
        gross=pl.Series(np.where(rng.random(3000) < 0.8, (net + tax).round(2), other))
    )
    codec, _ = _table(df)
    holds = np.isclose(df["gross"], df["net"] + df["tax"], atol=1e-6)
    for decoded in _decoded(codec, df):
        assert np.array_equal(
            np.isclose(decoded["gross"], decoded["net"] + decoded["tax"], atol=1e-6), holds
        )


@pytest.mark.parametrize("ratio", [False, True])
def test_a_number_close_to_another_columns_keeps_its_distance(ratio: bool) -> None:
    rng = np.random.default_rng(0)
    first = rng.gamma(2, 40_000, 6000).round(0)
    close = first * rng.choice([0.05, 1.02], 6000) if ratio else first + rng.integers(5, 40, 6000)
    second = np.where(rng.random(6000) < 0.6, close.round(0), rng.gamma(2, 40_000, 6000).round(0))
    df = pl.DataFrame({"first": first, "second": second})
    codec, _ = _table(df)
    assert _relation(codec, "second").near[0][0].ratio == ratio

    def distance(frame: pl.DataFrame) -> np.ndarray:
        off = frame["second"] / frame["first"] if ratio else frame["second"] - frame["first"]
        return np.histogram(off, [0.049, 0.051, 1.0, 1.019, 1.021, 4.9, 15, 25, 40])[0] / 6000

    for decoded in _decoded(codec, df):
        assert np.abs(distance(decoded) - distance(df)).max() < 0.03
        ranks = np.corrcoef(decoded["second"].rank(), df["second"].rank())[0, 1]
        assert ranks > 0.999


def test_a_missing_number_follows_nothing() -> None:
    rng = np.random.default_rng(0)
    bill = rng.gamma(2, 500, 3000).round(2)
    paid = [b if keep else None for b, keep in zip(bill, rng.random(3000) < 0.5, strict=True)]
    codec, _ = _table(pl.DataFrame({"bill": bill, "paid": pl.Series(paid, dtype=pl.Float64)}))
    (rules,) = (g for j, g in codec.rules().items() if codec.codecs[j].columns == ["paid"])
    (allowed,) = (a for i, a in rules.items() if isinstance(codec.codecs[i], Relation))
    assert allowed[0].all() and not allowed[1:, 0].any() and allowed[1:, 1:].all()


def test_codecs_of_another_format_are_refused() -> None:
    codec, _ = _table(pl.DataFrame({"a": ["x", "y"] * 50, "b": [1, 2] * 50}))
    with pytest.raises(ArtefactError, match="format 99"):
        TableCodec.from_json({**codec.to_json(), "format": 99})


def test_a_step_of_three_tenths_has_no_halves_above_it() -> None:
    values = np.round(0.3 * np.random.default_rng(0).integers(1, 400, 3000), 1)
    grid = Grid.fit(values)
    assert grid.steps == [(3, 10)]
    levels = grid.with_levels(grid.to_units(values)).steps
    assert all(n * 10 % (d * 3) == 0 for n, d in levels)
