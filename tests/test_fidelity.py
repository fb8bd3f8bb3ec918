"""Shape, trend and null rates are SDMetrics' own, and charts stay within the protected range."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from evaluation_kit import cellar_of, halves, schema_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aigc_pipeline.evaluation import Evaluation, evaluate
from aigc_pipeline.evaluation.distributions import bin_edges
from aigc_pipeline.evaluation.fidelity import correlations, cramers_v, ks_distance
from aigc_pipeline.evaluation.tables import plain_values
from aigc_pipeline.features.category import OTHER
from aigc_pipeline.schema import TableSchema


@pytest.fixture(scope="module")
def cellar(wine: pl.DataFrame) -> pl.DataFrame:
    return cellar_of(wine)


def sdmetrics_details(
    real: pl.DataFrame, other: pl.DataFrame, schema: TableSchema
) -> tuple[dict[str, float], dict[frozenset[str], float]]:
    """Similarities by column and by pair after SDMetrics, thresholds 0, all rows."""
    from sdmetrics.reports import SingleTableQualityReport

    report = SingleTableQualityReport()
    report.num_rows_subsample = None
    report.real_correlation_threshold = 0
    report.real_association_threshold = 0
    kinds = {
        c.name: {"sdtype": "numerical" if c.is_numeric else "categorical"} for c in schema.judged
    }
    filled = [
        t.with_columns(pl.col(pl.String).fill_null("missing")).to_pandas() for t in (real, other)
    ]
    report.generate(*filled, {"columns": kinds}, verbose=False)
    shapes = report.get_details("Column Shapes")
    trends = report.get_details("Column Pair Trends")
    pairs = zip(trends["Column 1"], trends["Column 2"], trends["Score"], strict=True)
    return dict(zip(shapes["Column"], shapes["Score"], strict=True)), {
        frozenset((a, b)): score for a, b, score in pairs
    }


def agree(found: Evaluation, shapes: dict[str, float], trends: dict[frozenset[str], float]) -> None:
    for column in found.columns:
        assert column.shape_error == pytest.approx(1 - shapes[column.column], abs=1e-6)
    for pair in found.pairs:
        similarity = trends[frozenset(pair.columns)]
        if pair.trend_error is None:
            assert np.isnan(similarity), pair
        else:
            assert pair.trend_error == pytest.approx(1 - similarity, abs=1e-6), pair
    mean = np.nanmean(list(trends.values()))
    assert found.scores["trend_error"].value == pytest.approx(1 - mean, abs=1e-6)
    mean = np.mean(list(shapes.values()))
    assert found.scores["shape_error"].value == pytest.approx(1 - mean, abs=1e-6)


DEPRECATED = pytest.mark.filterwarnings("ignore:The single table quality report:FutureWarning")


@DEPRECATED
def test_shape_and_trend_are_those_of_sdmetrics(cellar: pl.DataFrame) -> None:
    train, other = halves(cellar)
    schema = schema_of(cellar)
    found = evaluate(train, other, other, schema, min_subjects=1)
    assert len(found.pairs) == 17 * 16 / 2
    agree(
        found, *sdmetrics_details(plain_values(train, schema), plain_values(other, schema), schema)
    )


@DEPRECATED
def test_with_rare_values_protected_they_are_those_of_the_protected_tables(
    cellar: pl.DataFrame,
) -> None:
    schema = schema_of(cellar)
    train, other = halves(cellar)
    found = evaluate(train, other, other, schema, min_subjects=5)

    def protect(df: pl.DataFrame) -> pl.DataFrame:
        plain, real = plain_values(df, schema), plain_values(train, schema)
        for column in schema.judged:
            values = real[column.name].drop_nulls()
            if column.is_numeric:
                ordered = values.sort()
                kept = pl.col(column.name).clip(ordered[4], ordered[-5])
            else:
                frequent = [v for v, n in values.value_counts().iter_rows() if n >= 5]
                rare = ~pl.col(column.name).is_in(frequent)
                kept = pl.when(rare).then(pl.lit(OTHER)).otherwise(pl.col(column.name))
            plain = plain.with_columns(kept.alias(column.name))
        return plain

    agree(found, *sdmetrics_details(protect(train), protect(other), schema))


@settings(max_examples=40, deadline=None)
@given(
    arrays(float, st.integers(3, 30), elements=st.integers(-5, 5).map(float)),
    arrays(float, st.integers(3, 30), elements=st.integers(-5, 5).map(float)),
)
def test_ks_distance_is_scipys_statistic(first: np.ndarray, second: np.ndarray) -> None:
    from scipy.stats import ks_2samp

    expected = ks_2samp(first, second, method="asymp").statistic
    assert ks_distance(np.sort(first), np.sort(second)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 25), st.integers(2, 4)),
              elements=st.one_of(st.just(np.nan), st.integers(-9, 9).map(float),
                                 st.sampled_from([1e9, 1e9 + 1, 1e-7]))))  # fmt: skip
def test_correlations_are_those_of_each_pair_alone(numbers: np.ndarray) -> None:
    found = correlations(numbers)
    for i in range(numbers.shape[1]):
        for j in range(i):
            both = ~np.isnan(numbers[:, [i, j]]).any(1)
            a, b = numbers[both, i], numbers[both, j]
            if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
                assert np.isnan(found[i, j])
            else:
                expected = np.clip(np.corrcoef(a, b)[0, 1], -1, 1)
                assert found[i, j] == pytest.approx(expected, abs=1e-5)


def test_the_same_rows_differ_in_nothing(cellar: pl.DataFrame) -> None:
    train, holdout = halves(cellar)
    scores = evaluate(train, holdout, train, schema_of(cellar)).scores
    for name in ("shape_error", "trend_error", "null_rate_error"):
        assert scores[name].value == pytest.approx(0, abs=1e-12)
    assert scores["copied_rows"].value == 1.0
    assert scores["replayed_rows"].value == 1.0
    assert scores["dcr_share"].value == pytest.approx(1.0)
    assert scores["copied_rows"].reference == 0.0


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.integers(10, 60), elements=st.floats(-1e12, 1e12, allow_subnormal=False)),
    st.booleans(),
)
def test_bins_are_few_round_and_within_the_protected_range(values: np.ndarray, whole: bool) -> None:
    values = np.round(values) if whole else values
    edges = bin_edges(values, 5, whole=whole)
    assert 2 <= len(edges) <= 32 and (np.diff(edges) > 0).all()
    ordered = np.sort(values)
    width = np.diff(edges).max()
    assert edges[0] >= ordered[4] - 1.01 * width and edges[-1] <= ordered[-5] + 1.01 * width


@given(arrays(np.int64, (3, 4), elements=st.integers(1, 50)))
@settings(max_examples=25, deadline=None)
def test_the_strength_of_a_cross_table_is_scipys(counts: np.ndarray) -> None:
    from scipy.stats.contingency import association

    assert cramers_v(counts / counts.sum()) == pytest.approx(association(counts), abs=1e-9)


def test_a_cross_table_of_one_value_has_no_strength_and_a_rule_has_all() -> None:
    assert np.isnan(cramers_v(np.array([[0.3, 0.7], [0.0, 0.0]])))
    assert cramers_v(np.diag([0.2, 0.3, 0.5])) == pytest.approx(1)


def test_strengths_and_means_are_those_of_the_two_tables(cellar: pl.DataFrame) -> None:
    train, other = halves(cellar)
    found = evaluate(train, other, other, schema_of(cellar), min_subjects=1)
    pair = next(p for p in found.pairs if set(p.columns) == {"alcohol", "hue"})
    for table, strength in ((train, pair.real), (other, pair.synthetic)):
        assert strength == pytest.approx(table.select(pl.corr("alcohol", "hue")).item(), abs=1e-9)
    shown = next(c.distribution for c in found.columns if c.column == "alcohol")
    assert shown is not None and shown.means is not None
    assert shown.means == pytest.approx(
        (train["alcohol"].mean(), other["alcohol"].mean()), abs=1e-9
    )
