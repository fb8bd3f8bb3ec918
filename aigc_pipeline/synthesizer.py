"""A table's model in scikit-learn's habits: parameters first, then `fit`, `sample` and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from aigc_pipeline.errors import AigcError, InputError, did_you_mean, dotted
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources.clean import clean
from aigc_pipeline.spec import MIN_SUBJECTS, Balance, GeneratorSpec, PrivacySpec, TableSpec, Where
from aigc_pipeline.tabular import TableModel, fit_table

if TYPE_CHECKING:
    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pd.DataFrame

NAME = "table"
Spec = TypeVar("Spec", bound=BaseModel)


class NotFittedError(AigcError, ValueError, AttributeError):
    """A synthesizer was asked for something before `fit` or `load`."""


@dataclass(kw_only=True, repr=False, eq=False)
class Synthesizer:
    """Learns one table, and makes synthetic rows of it.

    family: autoregressive, diffusion, vae, gan, or auto, which tries them and keeps the best.
    quality: draft, standard or high. min_subjects: values that fewer subjects share are not
    learned. subject: the column that names the subject; each row is its own by default. epsilon:
    differential privacy with this budget. time_limit: seconds of training. outliers: share of rows,
    the least likely, that are left out of training.

    Frames are Polars or pandas; an answer comes in the kind of its question, and samples in the
    kind that `fit` was given (Polars after `load`).

    Attributes after `fit`: `model_` (the `TableModel`), `schema_` and `card_`.
    """

    family: str = "autoregressive"
    quality: str = "standard"
    min_subjects: int = MIN_SUBJECTS
    subject: str | None = None
    epsilon: float | None = None
    time_limit: float | None = None
    outliers: float = 0.0
    seed: int = 0

    def fit(self, table: Frame, spec: TableSpec | Mapping[str, Any] | None = None) -> Synthesizer:
        """Learn a table.

        spec: what a dataset file says of a table, as a `TableSpec` or a mapping such as
        {"key": "customer_id"}; the source may be left out. Raises InputError for bad parameters,
        or where table and spec do not fit together.
        """
        generator, privacy = self._settings()
        frame, pandas = as_polars(table)
        self.model_ = fit_table(
            clean(frame, NAME),
            _table_spec(spec),
            name=NAME,
            generator=generator,
            privacy=privacy,
            seed=self.seed,
        )
        self._pandas = pandas
        return self

    def sample(
        self,
        n: int | None = None,
        *,
        where: Where | None = None,
        conditions: Frame | None = None,
        balance: Balance | None = None,
        seed: int | None = None,
    ) -> Frame:
        """`n` synthetic rows; the same seed gives the same rows.

        where: what all rows meet: {column: value, list of values, Between or None}. conditions: a
        frame with one row for each row to make, with the values of some columns; null is missing
        there, a column left out is free, and `n` is the number of its rows. balance: {column:
        {value: share}}; other values keep their proportions. Raises InputError for a condition that
        cannot be met.
        """
        rows = self._fitted().sample(
            n,
            seed=self.seed if seed is None else seed,
            where=where,
            balance=balance,
            conditions=None if conditions is None else as_polars(conditions)[0],
        )
        return rows.to_pandas() if self._pandas else rows

    def log_prob(self, table: Frame) -> pl.Series | pd.Series:
        """Log-likelihood of each row in nats: low means implausible.

        Raises InputError in a family without a likelihood.
        """
        frame, pandas = as_polars(table)
        found = self._fitted().log_prob(frame)
        return found.to_pandas() if pandas else found

    def find_outliers(self, table: Frame, n: int = 20) -> Frame:
        """The `n` least plausible rows, lowest first: row (from 1), log_prob, columns."""
        frame, pandas = as_polars(table)
        found = self._fitted().find_outliers(frame, n)
        return found.to_pandas() if pandas else found

    def impute(
        self, table: Frame, *, columns: Sequence[str] | None = None, seed: int | None = None
    ) -> Frame:
        """The table with its missing cells (of `columns`) filled; all others are as they were."""
        frame, pandas = as_polars(table)
        seed = self.seed if seed is None else seed
        filled = self._fitted().impute(frame, columns=columns, seed=seed)
        return filled.to_pandas() if pandas else filled

    def save(self, folder: Path | str) -> None:
        """Write the model to a folder (`TableModel.save`)."""
        self._fitted().save(folder)

    @classmethod
    def load(cls, folder: Path | str) -> Synthesizer:
        """Read what `save` wrote. Raises ArtefactError for a damaged or older folder."""
        model = TableModel.load(folder)
        card, dp = model.card, model.card["dp"]
        loaded = cls(
            family=card["family"],
            quality=card["quality"],
            min_subjects=card["min_subjects"],
            subject=card["subject"],
            epsilon=dp and dp["epsilon_allowed"],
            seed=card["seed"],
        )
        loaded.model_, loaded._pandas = model, False
        return loaded

    @property
    def schema_(self) -> TableSchema:
        """The columns that were learned or are made: a `TableSchema`."""
        return self._fitted().schema

    @property
    def card_(self) -> dict[str, Any]:
        """How the model came to be: data, settings, losses, privacy."""
        return self._fitted().card

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def set_params(self, **params: Any) -> Synthesizer:
        """Change parameters. Raises InputError for an unknown one."""
        for name, value in params.items():
            if name not in self.get_params():
                hint = did_you_mean(name, self.get_params())
                raise InputError(f"there is no parameter {name!r}; {hint}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def _fitted(self) -> TableModel:
        model: TableModel | None = getattr(self, "model_", None)
        if model is None:
            raise NotFittedError("this Synthesizer is not fitted yet; call fit or load first")
        return model

    def _settings(self) -> tuple[GeneratorSpec, PrivacySpec]:
        """The parameters as a dataset file would have them."""
        dp = None if self.epsilon is None else {"epsilon": self.epsilon}
        generator = {
            name: getattr(self, name) for name in ("family", "quality", "time_limit", "outliers")
        }
        privacy = {"min_subjects": self.min_subjects, "subject": self.subject, "dp": dp}
        return checked(GeneratorSpec, generator), checked(PrivacySpec, privacy)


def as_polars(frame: Frame) -> tuple[pl.DataFrame, bool]:
    """A frame as Polars has it, and whether it was a pandas one."""
    if isinstance(frame, pl.DataFrame):
        return frame, False
    try:
        return pl.from_pandas(frame), True
    except (TypeError, pl.exceptions.PolarsError):
        raise InputError(
            f"a Polars or pandas frame is needed, not {type(frame).__name__}"
        ) from None


def _table_spec(spec: TableSpec | Mapping[str, Any] | None) -> TableSpec:
    if isinstance(spec, TableSpec):
        return spec
    return checked(TableSpec, {"source": {"file": NAME}, **(spec or {})})


def checked(kind: type[Spec], values: dict[str, Any]) -> Spec:
    """A part of a dataset file. Raises InputError that names what is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        texts = (f"{dotted(e['loc'])}: {e['msg']}" for e in error.errors(include_input=False))
        raise InputError("; ".join(texts)) from None
