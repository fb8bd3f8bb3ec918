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
    errors = []
    min_rows = 0 if query.rows is None else min_rows  # how many rows a group has is not known
    for measure, additive in query.measures.items():
        both = _match(query, reference, answer, measure)
        error = _added(both, min_rows) if additive else _averaged(both, min_rows)
        if error is not None:
            errors.append(error)
    return sum(errors) / len(errors) if errors else None


def enough(query: Query, answer: pl.DataFrame, *, min_rows: int) -> bool:
    """Whether an answer has rows enough for its groups to be more than chance."""
    if query.rows is None or query.rows not in answer.columns:
        return answer.height > 0
    rows = answer[query.rows].cast(pl.Int64).fill_null(0)
    return bool((rows.sum() >= 4 * min_rows) and (rows >= min_rows).any())


def _match(
    query: Query, reference: pl.DataFrame, answer: pl.DataFrame, measure: str
) -> pl.DataFrame:
    """Groups side by side: x and y are the values, nx and ny the rows."""

    def part(df: pl.DataFrame, value: str, rows: str) -> pl.DataFrame:
        count = pl.lit(1.0) if query.rows is None else pl.col(query.rows).cast(pl.Float64)
        keys = [pl.col(key).alias(f"key {i}") for i, key in enumerate(query.keys)]
        if not keys:
            keys = [pl.lit(0).alias("key 0")]
        values = pl.col(measure).cast(pl.Float64).fill_nan(None)
        return df.select(*keys, values.alias(value), count.alias(rows))

    left, right = part(reference, "x", "nx"), part(answer, "y", "ny")
    keys = [name for name in left.columns if name.startswith("key ")]
    return left.join(right, on=keys, how="full", nulls_equal=True, coalesce=True).with_columns(
        pl.col("x", "y", "nx", "ny").fill_null(0.0)
    )


def _added(both: pl.DataFrame, min_rows: int) -> float | None:
    small = (pl.col("nx") < min_rows) & (pl.col("ny") < min_rows)
    few = both.filter(small).select(pl.col("x", "y").sum())
    many = both.filter(~small)
    whole = float(many["x"].abs().sum()) + abs(float(few["x"].sum()))
    if not whole:
        return None
    apart = float((many["x"] - many["y"]).abs().sum()) + abs(float((few["x"] - few["y"]).sum()))
    return apart / whole


def _averaged(both: pl.DataFrame, min_rows: int) -> float | None:
    # An extra group has no rows in the reference, so it weighs by its own.
    weight = pl.when(pl.col("nx") > 0).then(pl.col("nx")).otherwise(pl.col("ny"))
    shown = both.filter(weight >= min_rows).with_columns(weight.alias("weight"))
    whole = float((shown["weight"] * shown["x"].abs()).sum())
    if not whole:
        return None
    return float((shown["weight"] * (shown["x"] - shown["y"]).abs()).sum()) / whole


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
