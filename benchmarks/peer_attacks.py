"""Singling out, linkability and inference: anonymeter's attacks, by the interpreter that has it.

    python benchmarks/peer_attacks.py train.parquet control.parquet synthetic.parquet

Files are Parquet or CSV. Nothing of this project is imported, so that anonymeter can live in an
environment of its own. Every attack is made on people who were trained on and on others, the
control: what succeeds on both alike is knowledge of the world and no leak. Giomi et al. (2023), "A
unified framework for quantifying privacy risk in synthetic data".
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import hypot
from pathlib import Path
from typing import Any

MISSING = "(missing)"  # a missing category, to attacks that compare rows
NEIGHBORS = (1, 10)  # of a person's either half; one in common links the two


@dataclass(frozen=True)
class Rate:
    """A share of attacks that succeed, and half the width of its 95 % confidence interval."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class Attack:
    """One attack: how often it succeeds on training rows, on the control, and by guessing."""

    name: str
    attacks: int
    main: Rate
    control: Rate
    baseline: Rate

    @property
    def excess(self) -> Rate:
        """What it gains on training rows over the control."""
        error = hypot(self.main.error, self.control.error)
        return Rate(self.main.value - self.control.value, error)

    @property
    def leaks(self) -> bool:
        """Whether training rows fare worse than the control beyond the confidence interval."""
        return self.excess.value > self.excess.error


@dataclass(frozen=True)
class Tables:
    """Training, control and synthetic rows as pandas frames with the same columns and types."""

    train: Any
    control: Any
    synthetic: Any

    def each(self, change: Any) -> Tables:
        return Tables(*(change(frame) for frame in vars(self).values()))


def read(paths: Sequence[str]) -> Tables:
    """The three files' common columns: numbers and dates as Float64, all else as text or None."""
    import polars as pl

    frames = [
        pl.read_csv(path, infer_schema_length=None, try_parse_dates=True)
        if Path(path).suffix == ".csv"
        else pl.read_parquet(path)
        for path in paths
    ]
    made = []
    columns = [name for name in frames[0].columns if all(name in f.columns for f in frames)]
    for frame in frames:
        parts: list[Any] = []
        for name in columns:
            kinds = [other.schema[name] for other in frames]
            if all(kind in (pl.Date, pl.Datetime) for kind in kinds):
                parts.append(pl.col(name).cast(pl.Datetime("us")).dt.timestamp("us") / 1e6)
            elif all(kind.is_numeric() for kind in kinds):
                parts.append(pl.col(name).cast(pl.Float64).fill_nan(None))
            else:
                parts.append(pl.col(name).cast(pl.String))
        selected = frame.select(parts)
        types = {n: "Float64" if t == pl.Float64 else object for n, t in selected.schema.items()}
        made.append(selected.to_pandas().astype(types))
    return Tables(*made)


def comparable(tables: Tables) -> Tables:
    """The same without nulls, which distances know nothing of: a missing number lies below all."""

    def filled(frame: Any) -> Any:
        frame = frame.copy()
        for name in frame:
            if frame[name].dtype == "Float64":
                low, high = tables.train[name].min(), tables.train[name].max()
                frame[name] = frame[name].fillna(low - max(high - low, 1.0) / 2).astype(float)
            else:
                frame[name] = frame[name].fillna(MISSING).astype(object)
        return frame

    return tables.each(filled)


def singling_out(tables: Tables, options: argparse.Namespace) -> Iterator[Attack]:
    """Predicates that one synthetic row meets: does exactly one person meet them?

    How many do depends on the number of people. So training and control rows are cut down to
    equally many different ones, where anonymeter would extrapolate from the control.
    """
    from anonymeter.evaluators import SinglingOutEvaluator

    train, control = tables.train.drop_duplicates(), tables.control.drop_duplicates()
    rows = min(len(train), len(control))
    train, control = (f.sample(rows, random_state=options.seed) for f in (train, control))
    for mode, columns in [("univariate", 1), *(("multivariate", n) for n in options.columns)]:
        if columns > train.shape[1]:
            continue
        evaluator = SinglingOutEvaluator(
            ori=train,
            syn=tables.synthetic,
            control=control,
            n_attacks=options.attacks,
            n_cols=columns,
            max_attempts=200 * options.attacks,
            seed=options.seed,
        )
        what = "" if columns == 1 else f", {columns} columns"
        yield _found(f"singling out, {mode}{what}", evaluator.evaluate(mode=mode).results())


def linkability(tables: Tables, options: argparse.Namespace) -> Iterator[Attack]:
    """Two halves of a person's columns: do they lie nearest to the same synthetic row?"""
    import numpy as np
    from anonymeter.evaluators import LinkabilityEvaluator

    names = np.random.default_rng(options.seed).permutation(list(tables.train)).tolist()
    if len(names) < 2:
        return
    evaluator = LinkabilityEvaluator(
        ori=tables.train,
        syn=tables.synthetic,
        control=tables.control,
        aux_cols=(names[::2], names[1::2]),
        n_attacks=min(options.attacks, len(tables.train), len(tables.control)),
        n_neighbors=max(NEIGHBORS),
    )
    evaluator.evaluate(n_jobs=1)
    for near in NEIGHBORS:
        words = "the nearest row" if near == 1 else f"{near} nearest rows"
        yield _found(f"linkability, {words}", evaluator.results(n_neighbors=near))


def inference(tables: Tables, options: argparse.Namespace) -> Iterator[Attack]:
    """One column guessed from all others: as the nearest synthetic row has it.

    A number is guessed where it is within 5 %. The baseline, a random synthetic row, is our own:
    anonymeter 1.1.0 matches guesses to people by row number and loses most of them.
    """
    import pandas as pd
    from anonymeter.evaluators import InferenceEvaluator
    from anonymeter.evaluators.inference_evaluator import evaluate_inference_guesses
    from anonymeter.stats.confidence import success_rate

    plain = comparable(tables)
    for secret in options.secrets or list(tables.train):
        others = [name for name in tables.train if name != secret]
        numeric = tables.train[secret].dtype == "Float64"
        given = plain
        if numeric:
            # Missing stays missing, and nothing is negative, or the relative error would be.
            least = min(float(frame[secret].min()) for frame in vars(tables).values())
            above = {
                part: frame.assign(
                    **{secret: getattr(tables, part)[secret].astype(float) - min(least, 0.0)}
                )
                for part, frame in vars(plain).items()
            }
            given = Tables(**above)
        attacks = min(options.attacks, len(given.train), len(given.control))
        evaluator = InferenceEvaluator(
            ori=given.train,
            syn=given.synthetic,
            control=given.control,
            aux_cols=others,
            secret=secret,
            regression=numeric,
            n_attacks=attacks,
        )
        with warnings.catch_warnings():  # of its own baseline
            warnings.simplefilter("ignore")
            found = evaluator.evaluate(n_jobs=1).results()
        truth = given.train[secret].sample(attacks, random_state=options.seed)
        drawn = given.synthetic[secret].sample(attacks, replace=True, random_state=options.seed)
        drawn = pd.Series(drawn.to_numpy(), index=truth.index)
        hits = int(evaluate_inference_guesses(drawn, truth, regression=numeric).sum())
        by_chance = success_rate(attacks, hits, 0.95)
        yield _found(f"inference of {secret}", found, Rate(by_chance.value, by_chance.error))


def _found(name: str, results: Any, baseline: Rate | None = None) -> Attack:
    rates = (results.attack_rate, results.control_rate, results.baseline_rate)
    main, control, guessed = (Rate(float(rate.value), float(rate.error)) for rate in rates)
    return Attack(name, results.n_attacks_ori, main, control, baseline or guessed)


def table_of(found: Sequence[Attack]) -> str:
    """The attacks as a Markdown table."""
    lines = [
        "| attack | attacks | training rows | control | guessing | more than on the control |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        verdict = "**yes**" if each.leaks else "no"
        cells = (each.name, f"{each.attacks:,}", each.main, each.control, each.baseline)
        lines.append("| " + " | ".join(map(str, cells)) + f" | {verdict}: {each.excess} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("train", "control", "synthetic"):
        parser.add_argument(name, help=f"{name} rows, Parquet or CSV")
    parser.add_argument("--attacks", type=int, default=2_000, help="of each kind")
    parser.add_argument("--columns", type=int, nargs="+", default=[3, 6], help="of a predicate")
    parser.add_argument("--secrets", nargs="+", help="columns to guess; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rates as JSON")
    options = parser.parse_args(arguments)
    import numpy as np

    np.random.seed(options.seed)  # which people are attacked
    tables = read([options.train, options.control, options.synthetic])
    found = [
        *singling_out(tables, options),
        *linkability(comparable(tables), options),
        *inference(tables, options),
    ]
    if options.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        print(table_of(found))


if __name__ == "__main__":
    main()
