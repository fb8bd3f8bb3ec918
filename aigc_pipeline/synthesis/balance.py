"""Rebalancing: how many rows to draw with each value, so that columns have the shares asked for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.errors import FieldError, FieldPath, InputError
from aigc_pipeline.features.conditions import canonical_value, check_where, condition_expr
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Balance, Where

STEPS = 1000  # of proportional fitting
CLOSE = 1e-6


@dataclass(frozen=True)
class Cell:
    """Rows of one kind. where: the values they have; beside: values that they do not have."""

    share: float
    where: Where
    beside: Where


def find_cells(balance: Balance, sample: pl.DataFrame, schema: TableSchema) -> list[Cell]:
    """The kinds of row that a balance tells apart, with their shares.

    sample: unconditional rows of the model. With several columns the shares of combinations are
    those of the sample, fitted to what is asked for (iterative proportional fitting: Deming and
    Stephan 1940), so that the columns depend on each other as before. Raises InputError where the
    shares cannot be had.
    """
    check_balance(balance, schema)
    names = list(balance)
    states = np.zeros((len(sample), len(names)), dtype=np.int64)
    targets = []
    for at, (name, shares) in enumerate(balance.items()):
        for index, value in enumerate(shares, start=1):
            met = sample.select(condition_expr(schema[name], [value])).to_series().to_numpy()
            states[met, at] = index
        targets.append(np.array([max(1 - sum(shares.values()), 0.0), *shares.values()]))
    table = np.zeros([len(target) for target in targets])
    np.add.at(table, tuple(states.T), 1.0)
    if len(names) == 1:  # a listed value may be rare: it is drawn under its own condition
        rest = targets[0][0]
        if rest > CLOSE and not table[0]:
            raise InputError(
                f"balance.{names[0]}: the shares add up to {1 - rest:.3g}, and no other value is"
                " left for the remaining rows; make them add up to 1"
            )
        table = targets[0]
    else:
        table = _fitted(table / table.sum(), targets, names)
    cells = []
    for place in product(*(range(n) for n in table.shape)):
        where: dict[str, Any] = {}
        beside: dict[str, Any] = {}
        for name, index in zip(names, place, strict=True):
            values = list(balance[name])
            if index:
                where[name] = [values[index - 1]]
            else:
                beside[name] = values
        cells.append(Cell(float(table[place]), where, beside))
    return cells


def check_balance(balance: Balance, schema: TableSchema, at: FieldPath = ("balance",)) -> None:
    """Raise FieldError for an unknown column, a value it cannot take, or impossible shares."""
    check_where({name: list(shares) for name, shares in balance.items()}, schema, at)
    problems: list[tuple[FieldPath, str]] = []
    for name, shares in balance.items():
        plain = [None if v is None else canonical_value(schema[name], v) for v in shares]
        if len(set(plain)) < len(plain):
            problems.append(((*at, name), "a value has two shares; give it one"))
        if min(shares.values()) < 0 or sum(shares.values()) > 1 + CLOSE:
            text = "shares are 0 at least, and add up to 1 at most"
            problems.append(((*at, name), text))
    if problems:
        raise FieldError(problems)


def _fitted(table: np.ndarray, targets: list[np.ndarray], names: list[str]) -> np.ndarray:
    """A joint distribution scaled until its marginals are the targets."""
    for _ in range(STEPS):
        worst = 0.0
        for axis, target in enumerate(targets):
            others = tuple(i for i in range(table.ndim) if i != axis)
            now = table.sum(others)
            factor = np.divide(target, now, out=np.zeros_like(now), where=now > 0)
            worst = max(worst, float(np.abs(target - now).max()))
            table = table * np.expand_dims(factor, others)
        if worst < CLOSE:
            return table
    raise InputError(
        f"balance: {', '.join(names)} cannot have these shares at once, because some of the values"
        " (almost) never come together; change a share, or leave a column out"
    )


def whole_counts(shares: np.ndarray, rows: int) -> np.ndarray:
    """Whole numbers in proportion to shares, `rows` in all, by largest remainder; int64."""
    exact = shares / shares.sum() * rows
    counts = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(counts - exact, kind="stable")[: rows - counts.sum()]:
        counts[index] += 1
    return counts
