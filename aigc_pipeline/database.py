"""Related tables' models in scikit-learn's habits: `Synthesizer` for a whole database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from aigc_pipeline.durable import replacing_folder
from aigc_pipeline.errors import UNREADABLE, ArtefactError, InputError, did_you_mean
from aigc_pipeline.generators.training import Progress, silent
from aigc_pipeline.parquet import read_parquet, write_parquet
from aigc_pipeline.relations import check_owner_columns, drop_orphans, graph_of, inspect_relations
from aigc_pipeline.relations.frames import widen
from aigc_pipeline.relations.plan import TablePlan
from aigc_pipeline.relations.requests import DatabaseMaker, Size
from aigc_pipeline.relations.sampling import DatabaseSampler
from aigc_pipeline.relations.selection import by_table
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import apply_derive, infer_schema
from aigc_pipeline.sources.clean import MIN_ROWS, clean
from aigc_pipeline.spec import DatasetSpec, GeneratorSpec, PrivacySpec, TableSpec, Where
from aigc_pipeline.synthesizer import NotFittedError, as_polars, checked
from aigc_pipeline.tabular import TableModel
from aigc_pipeline.wide import fit_tables

if TYPE_CHECKING:
    from aigc_pipeline.synthesizer import Frame

FILE = "database.json"


class DatabaseSynthesizer:
    """Learns tables that refer to each other, and makes synthetic databases of them.

    tables: by name, what a dataset file says of a table, as a `TableSpec` or a mapping such as
    {"key": "order_id", "parents": [{"column": "customer_id", "table": "customers"}]}; sources may
    be left out. generator, privacy: what a dataset file has under these names.

    Frames are Polars or pandas; samples come in the kind that `fit` was given (Polars after
    `load`).

    Attributes after `fit`: `maker_` (the `DatabaseMaker`), `schemas_` and `cards_`, both by table.

    Raises InputError where what is said of the tables does not go together.
    """

    def __init__(
        self,
        tables: Mapping[str, TableSpec | Mapping[str, Any]],
        *,
        generator: GeneratorSpec | Mapping[str, Any] | None = None,
        privacy: PrivacySpec | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        given = {
            name: each if isinstance(each, TableSpec) else {"source": {"file": name}, **each}
            for name, each in tables.items()
        }
        settings: dict[str, Any] = {"name": "database", "tables": given}
        settings |= {"generator": generator or {}, "privacy": privacy or {}}
        self.spec, self.seed = checked(DatasetSpec, settings), seed
        self.graph = graph_of(self.spec)
        if not self.graph.is_related and not self.spec.kept:
            raise InputError(
                "no table refers to another one or is kept; say `parents`, or learn each by itself"
                " with Synthesizer"
            )

    def fit(
        self, frames: Mapping[str, Frame], *, progress: Progress = silent
    ) -> DatabaseSynthesizer:
        """Learn all rows of all tables.

        Raises InputError where a table is missing, or tables and what is said of them do not fit
        together: references without a parent that are not declared, for one.
        """
        tables = self._read(frames)
        specs, kept = self.spec.tables, self.spec.kept
        schemas = {n: infer_schema(tables[n], n, t, kept=kept) for n, t in specs.items()}
        check_owner_columns(schemas, self.graph)
        tables = drop_orphans(tables, self.graph)
        inspect_relations(tables, self.graph)
        tables = {name: apply_derive(tables[name], table) for name, table in specs.items()}
        privacy = self.spec.privacy
        wide = widen(tables, self.graph, schemas, whole=tables, min_subjects=privacy.min_subjects)
        models = fit_tables(
            wide,
            tables,
            self.graph,
            self.spec.generator,
            privacy,
            seed=self.seed,
            progress=progress,
        )
        plans = {name: each.plan for name, each in wide.items()}
        sampler = DatabaseSampler(self.graph, plans, models, {n: tables[n] for n in kept})
        self.maker_ = DatabaseMaker(sampler, schemas, {n: len(df) for n, df in tables.items()})
        self._models = models
        self._pandas = any(as_polars(frame)[1] for frame in frames.values())
        return self

    def sample(
        self,
        rows: Size = None,
        *,
        where: Where | None = None,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> dict[str, Frame]:
        """All tables, every key in place; the same seed gives the same database.

        rows: of each table that owns others, or by table; as many as `fit` was given by default.
        where: conditions by column, `customers.region` or `region` alone: value, list of values,
        Between or None. Under one on a table with an owner, a single number is that of its rows
        (a few more are made). Raises InputError for a condition that cannot be met.
        """
        maker = self._fitted()
        asked = by_table(where or {}, maker.schemas, maker.graph, ("where",))
        wanted = rows if asked and isinstance(rows, int) else None
        made = maker.make(
            rows if wanted is None else None,
            where=asked,
            wanted=wanted,
            seed=self.seed if seed is None else seed,
            progress=progress,
        )
        return {n: df.to_pandas() if self._pandas else df for n, df in made.items()}

    def save(self, folder: Path | str) -> None:
        """Write database.json, a model for each table, and the rows of kept tables to a folder.

        The folder appears once it is whole; a database that was there is replaced, and stays if the
        saving fails. Raises InputError where anything else is in the way.
        """
        maker, folder = self._fitted(), Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / FILE).exists():
            raise InputError(f"{folder}: there are files here that are no model; name a new folder")
        with replacing_folder(folder) as draft:
            for name, model in self._models.items():
                model.save(draft / "models" / name)
            for name, df in maker.sampler.kept.items():
                write_parquet(df, draft / "kept" / f"{name}.parquet")
            (draft / FILE).write_text(json.dumps(self._facts(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> DatabaseSynthesizer:
        """Read what `save` wrote. Raises ArtefactError for a damaged or older folder."""
        folder = Path(folder)
        try:
            facts = json.loads((folder / FILE).read_bytes())
            spec = DatasetSpec.model_validate(facts["spec"])
            plans = {n: TablePlan.model_validate(plan) for n, plan in facts["plans"].items()}
            schemas = {n: TableSchema.model_validate(each) for n, each in facts["schemas"].items()}
            rows, seed = facts["rows"], facts["seed"]
        except UNREADABLE as error:
            kind = type(error).__name__
            raise ArtefactError(f"{folder}: no database can be read here ({kind})") from error
        loaded = cls(spec.tables, generator=spec.generator, privacy=spec.privacy, seed=seed)
        loaded._models = {name: TableModel.load(folder / "models" / name) for name in plans}
        kept = {name: read_parquet(folder / "kept" / f"{name}.parquet") for name in spec.kept}
        sampler = DatabaseSampler(loaded.graph, plans, loaded._models, kept)
        loaded.maker_, loaded._pandas = DatabaseMaker(sampler, schemas, rows), False
        return loaded

    @property
    def schemas_(self) -> Mapping[str, TableSchema]:
        """The tables' columns, by table."""
        return self._fitted().schemas

    @property
    def cards_(self) -> dict[str, dict[str, Any]]:
        """How each table's model came to be; a lookup table that is kept has none."""
        self._fitted()
        return {name: model.card for name, model in self._models.items()}

    def _read(self, frames: Mapping[str, Frame]) -> dict[str, pl.DataFrame]:
        """The frames as clean tables."""
        for name in [*frames, *self.spec.tables]:
            if name not in self.spec.tables:
                hint = did_you_mean(name, self.spec.tables)
                raise InputError(f"nothing is said of a table {name!r}; {hint}")
            if name not in frames:
                raise InputError(f"table {name!r} is missing; give the rows of every table")
        return {
            name: clean(as_polars(frames[name])[0], name, min_rows=1 if table.keep else MIN_ROWS)
            for name, table in self.spec.tables.items()
        }

    def _facts(self) -> dict[str, Any]:
        """What `load` needs besides models and kept rows. A source may hold a password."""
        maker = self._fitted()
        spec = self.spec.model_dump(mode="json", exclude_unset=True)
        for name, table in spec["tables"].items():
            table["source"] = {"file": name}
        return {
            "spec": spec,
            "seed": self.seed,
            "rows": dict(maker.source_rows),
            "plans": {n: plan.model_dump(mode="json") for n, plan in maker.sampler.plans.items()},
            "schemas": {n: each.model_dump(mode="json") for n, each in maker.schemas.items()},
        }

    def _fitted(self) -> DatabaseMaker:
        maker: DatabaseMaker | None = getattr(self, "maker_", None)
        if maker is None:
            raise NotFittedError(
                "this DatabaseSynthesizer is not fitted yet; call fit or load first"
            )
        return maker
