"""A company's tables, six deep: composite keys, two parents, a row of its own table, a lookup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from aigc_pipeline.relations import Graph, split_tables
from aigc_pipeline.relations.frames import widen
from aigc_pipeline.relations.sampling import DatabaseSampler
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources import apply_derive, infer_schema
from aigc_pipeline.spec import DatasetSpec, GeneratorSpec, PrivacySpec
from aigc_pipeline.wide import fit_tables

Frames = dict[str, pl.DataFrame]

COMPANY: dict[str, Any] = {
    "name": "company",
    "tables": {
        "skills": {"source": {"file": "skills.csv"}, "key": "skill", "keep": True},
        "machines": {
            "source": {"file": "machines.csv"},
            "key": "machine_id",
            "columns": {"year": {"type": "integer"}},
        },
        "companies": {"source": {"file": "companies.csv"}, "key": "company_id"},
        "sites": {
            "source": {"file": "sites.csv"},
            "key": "site_id",
            "parents": [{"column": "company_id", "table": "companies"}],
        },
        "departments": {
            "source": {"file": "departments.csv"},
            "key": ["site_id", "number"],
            "parents": [{"column": "site_id", "table": "sites"}],
        },
        "employees": {
            "source": {"file": "employees.csv"},
            "key": "employee_id",
            "parents": [
                {"column": ["site_id", "department"], "table": "departments"},
                {"column": "manager_id", "table": "employees", "optional": True},
                {"column": "skill", "table": "skills"},
            ],
        },
        "shifts": {
            "source": {"file": "shifts.csv"},
            "key": "shift_id",
            "parents": [
                {"column": "employee_id", "table": "employees"},
                {
                    "column": "machine_id",
                    "table": "machines",
                    "optional": True,
                    "orphans": "reproduce",
                },
            ],
            "order_by": "start",
            "constraints": [{"less_equal": ["hours", "employees.contract_hours"]}],
        },
        "events": {
            "source": {"file": "events.csv"},
            "key": ["shift_id", "line"],
            "parents": [{"column": "shift_id", "table": "shifts"}],
        },
    },
}


def company(companies: int = 80, seed: int = 0) -> Frames:
    """The tables: welders work on presses, sites of a large company have more departments."""
    rng = np.random.default_rng(seed)
    skills = pl.DataFrame({"skill": ["weld", "turn", "plan"], "grade": [2, 3, 4]})
    kinds = np.array(["press", "lathe", "robot"])
    machines = pl.DataFrame(
        {
            "machine_id": [f"M{i:04d}" for i in range(150)],
            "kind": kinds[rng.choice(3, 150, p=[0.5, 0.3, 0.2])],
            "year": 1995 + rng.integers(0, 25, 150),
        }
    )
    tables: dict[str, list[dict[str, Any]]] = {
        n: [] for n in ("companies", "sites", "departments", "employees", "shifts", "events")
    }
    by_kind = {k: machines.filter(pl.col("kind") == k)["machine_id"].to_list() for k in kinds}
    for company_id in range(1, companies + 1):
        large = bool(rng.random() < 0.4)
        size = "large" if large else "small"
        tables["companies"].append({"company_id": company_id, "size": size})
        for _ in range(1 + rng.poisson(1.2 if large else 0.3)):
            site_id = f"S{len(tables['sites']):05d}"
            country = str(rng.choice(["DE", "FR", "PL"], p=[0.5, 0.3, 0.2]))
            site = {"site_id": site_id, "company_id": company_id, "country": country}
            tables["sites"].append(site)
            for number in range(1, 2 + int(rng.poisson(1.5 if large else 0.5))):
                _department(tables, rng, site_id, number, by_kind)
    made = {name: pl.DataFrame(rows) for name, rows in tables.items()}
    return {"skills": skills, "machines": machines, **made}


def _department(
    tables: dict[str, list[dict[str, Any]]],
    rng: np.random.Generator,
    site_id: str,
    number: int,
    by_kind: dict[str, list[str]],
) -> None:
    budget = round(float(rng.lognormal(3, 0.4)), 1)
    tables["departments"].append({"site_id": site_id, "number": number, "budget": budget})
    team: list[int] = []
    for _ in range(1 + rng.poisson(3)):
        employee_id = 1000 + len(tables["employees"])
        skill = str(rng.choice(["weld", "turn", "plan"], p=[0.5, 0.3, 0.2]))
        tables["employees"].append(
            {
                "employee_id": employee_id,
                "site_id": site_id,
                "department": number,
                "manager_id": int(rng.choice(team)) if team else None,
                "skill": skill,
                "contract_hours": int(rng.choice([6, 8, 10])),
            }
        )
        team.append(employee_id)
        _shifts(tables, rng, by_kind)


def _shifts(
    tables: dict[str, list[dict[str, Any]]],
    rng: np.random.Generator,
    by_kind: dict[str, list[str]],
) -> None:
    employee = tables["employees"][-1]
    start = datetime(2025, 1, 1) + timedelta(days=int(rng.integers(0, 60)), hours=6)
    usual = {"weld": "press", "turn": "lathe", "plan": "robot"}[employee["skill"]]
    for _ in range(rng.poisson(2)):
        machine: str | None = str(rng.choice(by_kind[usual]))
        luck = rng.random()
        if luck < 0.1:
            machine = None
        elif luck < 0.2:
            machine = f"X{rng.integers(0, 8):03d}"  # sold, and no longer listed
        shift_id = 1 + len(tables["shifts"])
        hours = int(rng.integers(3, employee["contract_hours"] + 1))
        tables["shifts"].append(
            {
                "shift_id": shift_id,
                "employee_id": employee["employee_id"],
                "machine_id": machine,
                "start": start,
                "hours": hours,
            }
        )
        start += timedelta(days=int(rng.choice([1, 2, 7], p=[0.6, 0.3, 0.1])))
        for line in range(1, 1 + int(rng.poisson(1.2))):
            kind = str(rng.choice(["stop", "fault"], p=[0.8, 0.2]))
            tables["events"].append({"shift_id": shift_id, "line": line, "kind": kind})


@dataclass(frozen=True)
class Learned:
    """A fitted database: its sampler, and the real rows."""

    sampler: DatabaseSampler
    graph: Graph
    schemas: dict[str, TableSchema]
    frames: Frames
    train: Frames


def learn(frames: Frames, dataset: dict[str, Any], quality: str = "draft") -> Learned:
    """Fit all tables of a dataset to the training part of its rows."""
    spec = DatasetSpec.model_validate(dataset)
    graph = Graph(spec.tables)
    schemas = {n: infer_schema(frames[n], n, t, kept=spec.kept) for n, t in spec.tables.items()}
    frames = {n: apply_derive(frames[n], t) for n, t in spec.tables.items()}
    train, _ = split_tables(frames, graph, spec)
    wide = widen(train, graph, schemas, whole=frames)
    models = fit_tables(wide, train, graph, GeneratorSpec(quality=quality), PrivacySpec())
    plans = {name: each.plan for name, each in wide.items()}
    sampler = DatabaseSampler(graph, plans, models, {n: frames[n] for n in spec.kept})
    return Learned(sampler, graph, schemas, frames, train)


def shuffled_rows(frame: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """The same rows in another order."""
    return frame[np.random.default_rng(seed).permutation(len(frame))]
