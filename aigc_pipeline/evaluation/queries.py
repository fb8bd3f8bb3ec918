"""Query fidelity: do the synthetic tables answer BI's questions as fresh real tables would?

Three databases of the same number of entities answer the same queries: A, the holdout; B, real
entities of the training part; S, synthetic ones. How far B's answers are from A's is what chance
alone does to a sample of that size. S's error beside B's tells what the synthesis adds to that.
Parts are drawn several times, since a single one is luck too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from aigc_pipeline.duck import connect, identifier, lock_down, run
from aigc_pipeline.evaluation.answers import (
    enough,
    mart_query,
    relative_error,
    shared_keys,
    summarised,
)
from aigc_pipeline.evaluation.facts import fold, independent, know
from aigc_pipeline.evaluation.result import QueryFidelity, QueryScore, Score, not_evaluated
from aigc_pipeline.evaluation.workload import Query, workload
from aigc_pipeline.marts import Mart, create_mart, create_tables, marts_schema
from aigc_pipeline.relations import Graph
from aigc_pipeline.relations.subset import Entities
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import MIN_SUBJECTS

ROUNDS = 5
_TRIES = 5  # candidates looked at for each query wanted
_TELLING = 1.5  # times chance: how far independent columns must be off for a query to be telling
_QUERY_ERROR = "Median relative error of BI queries against unseen real rows"
_RATIO = "Query error of the synthetic rows over that of as many fresh real rows; 1 is ideal"


def evaluate_queries(
    real: Mapping[str, pl.DataFrame],
    holdout: Mapping[str, pl.DataFrame],
    synthetic: Mapping[str, pl.DataFrame],
    schemas: Mapping[str, TableSchema],
    graph: Graph,
    marts: Sequence[Mart] = (),
    *,
    dataset: str = "main",
    queries: int = 60,
    min_subjects: int = MIN_SUBJECTS,
    subject: str | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> QueryFidelity:
    """Judge a dataset's synthetic tables by the answers they give.

    Args:
        real: the tables that were learned from; holdout: real ones that were not, split from them
            by entity; synthetic: the made ones. All have the columns of `schemas`.
        graph: how the tables are related.
        marts: of the dataset, each after those it reads; they are asked as well.
        dataset: the schema that SQL names the tables in.
        queries: how many to generate; small tables may have fewer worth asking.
        min_subjects: rarer values and extremes are folded in all three alike, and groups of fewer
            rows are not told apart.
        subject: column that names the person behind rows; by default entities are counted.
        rounds: how many times parts are drawn.

    Raises nothing for tables that are too small: the scores then say why they have no value.
    """
    known = Entities.of(real, graph)
    facts = know(known, schemas, min_subjects=min_subjects, subject=subject)
    folded = [fold(tables, facts) for tables in (_whole(holdout, real, graph), real, synthetic)]
    unseen, train, made = (Entities.of(tables, graph) for tables in folded)
    sizes = {
        root: min(unseen.counts[root], n, made.counts[root]) for root, n in train.counts.items()
    }
    settings = {"entities": sizes, "rounds": rounds, "min_subjects": min_subjects, "seed": seed}
    if not sizes or not min(sizes.values()):
        why = "a table has no rows in one of the parts, so there is nothing to compare"
        return QueryFidelity(scores=_not_scored(why), queries=[], **settings)
    panel = _Panel(dataset, list(marts))
    rng = np.random.default_rng([seed, 1])
    drawn = workload(graph, facts, dataset=dataset, seed=seed)
    candidates = [query for _, query in zip(range(_TRIES * queries), drawn, strict=False)]
    # Chosen by training rows alone: what A and B agree on by luck must not decide what is asked.
    parts = [train.sample(sizes, rng) for _ in range(2)]
    with panel.open(parts[0]) as a, panel.open(parts[1]) as b:
        with panel.open(independent(parts[1], facts, rng)) as c:
            asked = _choose(candidates, (a, b, c), queries, min_subjects)
        with panel.open(unseen.sample(sizes, rng)) as other:
            asked_marts, not_compared = panel.comparable_marts(other, a)
    asked += asked_marts
    errors = np.full((rounds, 2, len(asked)), np.nan)
    for number in range(rounds):
        with panel.open(unseen.sample(sizes, rng)) as a:
            references = [_ask(a, query) for query in asked]
        for side, entities in enumerate((train, made)):
            with panel.open(entities.sample(sizes, rng)) as other:
                for i, (query, reference) in enumerate(zip(asked, references, strict=True)):
                    error = _error(query, reference, _ask(other, query), min_subjects)
                    errors[number, side, i] = np.nan if error is None else error
    compared = ~np.isnan(errors).all(axis=0).any(axis=0)
    mean = np.nanmean(errors[:, :, compared], axis=0) if compared.any() else errors[0, :, :0]
    shown = [query for query, known in zip(asked, compared, strict=True) if known]
    return QueryFidelity(
        scores=_scores(mean, seed),
        queries=[
            QueryScore(
                kind=query.kind,
                name=query.tables[0] if query.kind == "mart" else None,
                tables=list(query.tables),
                sql=query.sql,
                error=made_error,
                reference=real_error,
            )
            for query, real_error, made_error in zip(shown, *mean.tolist(), strict=True)
        ],
        **settings,
        not_compared=not_compared,
    )


@dataclass(frozen=True)
class _Panel:
    """The databases that are asked: the dataset's tables and marts, in memory, locked down."""

    dataset: str
    marts: list[Mart]

    @contextmanager
    def open(self, tables: Mapping[str, pl.DataFrame]) -> Iterator[duckdb.DuckDBPyConnection]:
        with connect() as connection:
            # Sums of floats depend on how threads share the work, and scores should not.
            run(connection, "SET threads = 1")
            create_tables(connection, self.dataset, tables)
            lock_down(connection)
            run(connection, f"CREATE SCHEMA {identifier(marts_schema(self.dataset))}")
            for mart in self.marts:
                # One that fails on these rows has no answer, and neither have those that read it.
                with suppress(duckdb.Error):
                    create_mart(connection, self._place(mart), "view", mart.statement)
            yield connection

    def comparable_marts(
        self, a: duckdb.DuckDBPyConnection, b: duckdb.DuckDBPyConnection
    ) -> tuple[list[Query], list[str]]:
        """How each mart is compared, and those that cannot be.

        Where the rows of two real parts, without an entity in common, share no keys, a mart's rows
        are entities: then its size
        and averages are compared.
        """
        asked, left_out = [], []
        for mart in self.marts:
            rows = Query("mart", (mart.name,), f"SELECT * FROM {identifier(*self._place(mart))}")
            first, second = _ask(a, rows), _ask(b, rows)
            if first is None or second is None or not first.height:
                left_out.append(f"{mart.name}: it has no rows on the holdout, or fails there")
                continue
            query = mart_query(rows, mart, first)
            if shared_keys(query, first, second) < 0.5:
                query = summarised(query, first)
            if not query.measures:
                left_out.append(f"{mart.name}: it has no number to compare")
                continue
            asked.append(query)
        return asked, left_out

    def _place(self, mart: Mart) -> tuple[str, str]:
        return marts_schema(self.dataset), mart.name


def _choose(
    candidates: Iterable[Query],
    databases: Sequence[duckdb.DuckDBPyConnection],
    wanted: int,
    min_rows: int,
) -> list[Query]:
    """The first candidates with rows enough in two real parts, most of them telling.

    databases: a part, another one, and that one with its columns made independent. A query that
    the last answers as well as the second says little of how columns go together; of these there
    is one in four, and more only where nothing else is found.
    """
    telling: list[Query] = []
    plain: list[Query] = []
    for query in candidates:
        first = _ask(databases[0], query)
        if first is None or not enough(query, first, min_rows=min_rows):
            continue
        answers = [_ask(database, query) for database in databases[1:]]
        chance, unlike = (_error(query, first, other, min_rows) for other in answers)
        if chance is not None and unlike is not None and unlike > _TELLING * chance:
            telling.append(query)
        else:
            plain.append(query)
        if len(telling) + min(len(plain), wanted // 4) >= wanted:
            break
    few = plain[: max(wanted // 4, wanted - len(telling))]
    return telling[: wanted - len(few)] + few


def _ask(connection: duckdb.DuckDBPyConnection, query: Query) -> pl.DataFrame | None:
    """The answer, or None where the query fails on these rows."""
    try:
        return connection.sql(query.sql).pl()
    except (duckdb.Error, pl.exceptions.PolarsError):
        return None


def _error(
    query: Query, reference: pl.DataFrame | None, answer: pl.DataFrame | None, min_rows: int
) -> float | None:
    if reference is None:
        return None
    if answer is None:
        return 1.0  # no answer where there is one
    return relative_error(query, reference, answer, min_rows=min_rows)


def _whole(
    holdout: Mapping[str, pl.DataFrame], real: Mapping[str, pl.DataFrame], graph: Graph
) -> dict[str, pl.DataFrame]:
    """The holdout with kept tables whole: they are the same in every part."""
    return {
        name: real[name] if graph.tables[name].keep and df.height < real[name].height else df
        for name, df in holdout.items()
    }


def _scores(errors: np.ndarray, seed: int) -> dict[str, Score]:
    """Medians over queries, and their standard errors by bootstrapping the queries.

    errors: float64 [2, queries], those of fresh real rows first.
    """
    if errors.shape[1] < 3:
        why = "fewer than 3 queries have an answer on the holdout; keep more rows back"
        return _not_scored(why)
    real, made = (float(np.median(row)) for row in errors)
    picks = np.random.default_rng([seed, 2]).integers(errors.shape[1], size=(500, errors.shape[1]))
    spread = np.median(errors[:, picks], axis=2)  # [2, 500]
    query_error = Score(
        value=made,
        reference=real,
        better="low",
        description=_QUERY_ERROR,
        error=float(spread[1].std()),
        reference_error=float(spread[0].std()),
    )
    if not real:
        ratio = not_evaluated("low", "fresh real rows answer without any error", _RATIO)
    else:
        error = float((spread[1] / np.maximum(spread[0], real / 10)).std())
        ratio = Score(
            value=made / real,
            reference=1.0,
            better="low",
            description=_RATIO,
            error=error,
            reference_error=error,
        )
    return {"query_error": query_error, "query_error_ratio": ratio}


def _not_scored(why: str) -> dict[str, Score]:
    return {
        "query_error": not_evaluated("low", why, _QUERY_ERROR),
        "query_error_ratio": not_evaluated("low", why, _RATIO),
    }
