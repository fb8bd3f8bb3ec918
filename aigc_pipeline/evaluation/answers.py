"""How far one answer to a query is from another: groups matched by key, errors relative."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from sqlglot import exp, parse_one

from aigc_pipeline.evaluation.workload import Query
from aigc_pipeline.marts import Mart


def relative_error(
    query: Query, reference: pl.DataFrame, answer: pl.DataFrame, *, min_rows: int
) -> float | None:
    """The sum of the differences over the sum of the reference's values, over all groups.

    A group that is missing counts as 0, an extra one in full. Groups of fewer than `min_rows` rows
    are one group where values add up and ignored where they do not; averages are weighted by rows.
    The mean over a query's measures; None where nothing can be compared.
    """
    min_rows = 0 if query.rows is None else min_rows  # how many rows a group has is not known
    found = [
        (_added if additive else _averaged)(pl.col(f"x {i}"), pl.col(f"y {i}"), min_rows)
        for i, additive in enumerate(query.measures.values())
    ]
    # Two plans for all: there are thousands of small answers, and each plan costs a millisecond.
    # One would not keep the order, and sums would differ in the last bit from run to run.
    both = _match(query, reference, answer).collect()
    row = both.select(error.alias(str(i)) for i, error in enumerate(found)).row(0)
    errors = [error for error in row if error is not None]
    return sum(errors) / len(errors) if errors else None


def enough(query: Query, answer: pl.DataFrame, *, min_rows: int) -> bool:
    """Whether an answer has rows enough for its groups to be more than chance."""
    if query.rows is None or query.rows not in answer.columns:
        return answer.height > 0
    rows = answer[query.rows].cast(pl.Int64).fill_null(0)
    return bool((rows.sum() >= 4 * min_rows) and (rows >= min_rows).any())


def _match(query: Query, reference: pl.DataFrame, answer: pl.DataFrame) -> pl.LazyFrame:
    """Groups side by side: "x 0" and "y 0" are the values of the first measure, nx and ny rows.

    In order of their keys.
    """
    keys = {f"key {i}": pl.col(key) for i, key in enumerate(query.keys)} or {"key 0": pl.lit(0)}

    def part(df: pl.DataFrame, side: str) -> pl.LazyFrame:
        count = pl.lit(1.0) if query.rows is None else pl.col(query.rows).cast(pl.Float64)
        values = {
            f"{side} {i}": pl.col(measure).cast(pl.Float64).fill_nan(None)
            for i, measure in enumerate(query.measures)
        }
        return df.lazy().select(**keys, **values, **{f"n{side}": count})

    both = part(reference, "x").join(
        part(answer, "y"), on=list(keys), how="full", nulls_equal=True, coalesce=True
    )
    return both.with_columns(pl.exclude(*keys).fill_null(0.0)).sort(list(keys))


def _added(x: pl.Expr, y: pl.Expr, min_rows: int) -> pl.Expr:
    small = (pl.col("nx") < min_rows) & (pl.col("ny") < min_rows)
    few = [values.filter(small).sum() for values in (x, y)]
    whole = x.filter(~small).abs().sum() + few[0].abs()
    apart = (x - y).filter(~small).abs().sum() + (few[0] - few[1]).abs()
    return pl.when(whole > 0).then(apart / whole)


def _averaged(x: pl.Expr, y: pl.Expr, min_rows: int) -> pl.Expr:
    # An extra group has no rows in the reference, so it weighs by its own.
    weight = pl.when(pl.col("nx") > 0).then("nx").otherwise("ny")
    shown = weight >= min_rows
    whole = (weight * x.abs()).filter(shown).sum()
    return pl.when(whole > 0).then((weight * (x - y).abs()).filter(shown).sum() / whole)


def mart_query(whole: Query, mart: Mart, answer: pl.DataFrame) -> Query:
    """How two answers of a mart are compared, told by its SQL and one answer.

    Keys are what its GROUP BY shows; without one, columns that are no numbers, and whole numbers as
    far as it takes to tell rows apart. A count of rows says how many a group has.
    """
    shown = _projections(mart)
    counts = [c for c, made in shown.items() if _is_row_count(made)]
    averages = {c for c, made in shown.items() if not isinstance(made, exp.Sum | exp.Count)}
    numbers = [c for c, dtype in answer.schema.items() if dtype.is_numeric()]
    keys = [c for c in answer.columns if c not in numbers]
    for column in [c for c in numbers if answer.schema[c].is_integer() and c not in counts]:
        grouped = column in shown and not any(shown[column].find_all(exp.AggFunc))
        apart = answer.height <= 1 or bool(keys and answer.select(keys).is_unique().all())
        if grouped or (not shown and not apart):
            keys.append(column)
            numbers.remove(column)
    return replace(
        whole,
        keys=tuple(keys),
        measures={c: c not in averages for c in numbers},
        rows=counts[0] if counts else None,
    )


def _projections(mart: Mart) -> dict[str, exp.Expr]:
    """What the columns of a grouped mart are made of; empty for any other."""
    tree = parse_one(mart.statement, read="duckdb")
    if not isinstance(tree, exp.Select) or tree.args.get("group") is None:
        return {}
    return {made.alias_or_name: _uncast(made.unalias()) for made in tree.selects}


def _uncast(made: exp.Expr) -> exp.Expr:
    """What a cast is of: a sum stays one in another type."""
    return _uncast(made.this) if isinstance(made, exp.Cast) else made


def _is_row_count(made: exp.Expr) -> bool:
    return isinstance(made, exp.Count) and isinstance(made.this, exp.Star)


def shared_keys(query: Query, first: pl.DataFrame, second: pl.DataFrame) -> float:
    """The share of an answer's rows whose keys, unique ones, another answer has too."""
    keys = list(query.keys)
    if not keys:
        return 1.0 if first.height == 1 else 0.0
    if not first.select(keys).is_unique().all():
        return 0.0
    return first.join(second, on=keys, how="semi", nulls_equal=True).height / first.height


def summarised(whole: Query, answer: pl.DataFrame) -> Query:
    """For a mart whose rows are entities: how many there are, and the averages of its numbers."""
    inner = parse_one(whole.sql, read="duckdb")
    assert isinstance(inner, exp.Query)
    select = exp.select(exp.alias_(exp.Count(this=exp.Star()), "rows", quoted=True))
    measures = {"rows": True}
    for column in (c for c, dtype in answer.schema.items() if dtype.is_numeric()):
        mean = exp.Avg(this=exp.column(column, quoted=True))
        select = select.select(exp.alias_(mean, f"average {column}", quoted=True))
        measures[f"average {column}"] = False
    sql = select.from_(inner.subquery("mart")).sql(dialect="duckdb")
    return replace(whole, sql=sql, keys=(), measures=measures, rows="rows")
