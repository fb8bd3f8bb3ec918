"""What a release says of itself: the notes in its manifest, and its scores, checks and lineage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from aigc_pipeline.drift import TableDrift, as_score
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.pages import Locale
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.spec import Scenario, check_name

BASELINE = "baseline"  # the scenario of rows sampled under no condition


def schema_name(dataset: str, scenario: str) -> str:
    """The warehouse schema of a scenario: the dataset's own name for the baseline."""
    return dataset if scenario == BASELINE else f"{dataset}__{scenario}"


class _Notes(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ReleasedTable(_Notes):
    """One synthetic table of a release: its place in the warehouse and its shards."""

    scenario: str
    schema_name: str
    table: str
    rows: int
    columns: list[tuple[str, str]]  # name, DuckDB type
    shards: list[str]  # names of the release's files

    @property
    def name(self) -> tuple[str, str]:
        """Schema and table in the warehouse."""
        return self.schema_name, self.table


class ScenarioNotes(_Notes):
    """A what-if as the dataset file had it; `where` and `balance` are as the user wrote them."""

    description: str | None = None
    where: dict[str, Any] = {}
    balance: dict[str, dict[str, float]] = {}
    ad_hoc: bool = False  # made from a released model and not in the dataset file


def scenario_notes(scenario: Scenario, *, ad_hoc: bool = False) -> ScenarioNotes:
    """What a release notes of a scenario."""
    return ScenarioNotes(
        description=scenario.description,
        where=scenario.model_dump(mode="json", exclude_unset=True).get("where", {}),
        balance=scenario.model_dump(mode="json").get("balance", {}),
        ad_hoc=ad_hoc,
    )


class TableNotes(_Notes):
    """What the dataset file said of a table."""

    description: str | None = None
    key: str | None = None
    target: str | None = None


class RelationNotes(_Notes):
    """Rows of `child` refer to rows of `parent`: child[columns] = parent[key]."""

    child: str
    columns: list[str]
    parent: str
    key: list[str]
    optional: bool


class MartNotes(_Notes):
    """A mart: the query as its author wrote it, and the statement that builds it here."""

    name: str
    title: str | None = None
    description: str | None = None
    kind: Literal["view", "table"]
    sql: str
    statement: str
    columns: list[tuple[str, str]]  # name, DuckDB type


class Spent(_Notes):
    """What a table's training spent of differential privacy.

    total: epsilon of all trainings on its source so far, this one included.
    """

    epsilon: float
    delta: float
    total: float | None = None


class ModelNotes(_Notes):
    """Which model made the rows; `trained_at` is None where the lake no longer has the model.

    dp: by table, where it was trained with differential privacy.
    """

    family: str
    quality: str
    version: str | None = None
    trained_at: datetime | None = None
    dp: dict[str, Spent] = {}


class ReleaseNotes(_Notes):
    """The `meta` of a release's manifest."""

    title: str | None
    description: str | None
    domain: str | None
    owners: list[str]
    seed: int
    rows: dict[str, int]  # "schema.table" -> rows
    model: ModelNotes
    privacy: dict[str, Any]
    scenarios: dict[str, ScenarioNotes]
    about: dict[str, TableNotes]
    tables: list[ReleasedTable]
    relations: list[RelationNotes] = []
    marts: list[MartNotes] = []  # each after those it reads
    locale: Locale = "en"  # of its dictionary
    based_on: str | None = None  # the release that this one adds a scenario to, or drops one from


@dataclass(frozen=True)
class Release:
    """A release with its evidence, each file checked against the manifest as it is read.

    The properties raise ArtefactError for whatever is missing, changed or of another format.
    """

    version: Version

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.version.dataset

    @property
    def id(self) -> str:
        """Version id, e.g. v00003-0f0f0f0f."""
        return self.version.id

    @property
    def created_at(self) -> datetime:
        """When it was approved, in UTC."""
        return datetime.fromisoformat(self.version.manifest["created_at"]).astimezone(UTC)

    @cached_property
    def notes(self) -> ReleaseNotes:
        """The manifest's notes."""
        try:
            return ReleaseNotes.model_validate(self.version.meta)
        except ValidationError as error:
            raise ArtefactError(
                f"{self.version.path}: its notes are of another shape; release {self.dataset} again"
            ) from error

    @property
    def baseline_rows(self) -> int:
        """Rows of all baseline tables."""
        return sum(t.rows for t in self.notes.tables if t.scenario == BASELINE)

    @cached_property
    def _scores(self) -> dict[str, Any]:
        return self.version.read_json("scores.json")

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Table -> its Evaluation as plain data."""
        return self._scores["evaluations"]

    @property
    def scores(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Table, or what stands for all tables together -> its scores as plain data."""
        from aigc_pipeline.evaluation import scored

        found = scored(self._scores)
        for table, drift in self.drift.items():
            found.setdefault(table, {})["source_drift"] = as_score(drift)
        return found

    @cached_property
    def drift(self) -> dict[str, TableDrift]:
        """Table -> how far its source moved since the run before; empty where that is not known."""
        if "drift.json" not in self.version.files():
            return {}
        stored = self.version.read_json("drift.json")
        return {name: TableDrift.model_validate(each) for name, each in stored.items()}

    @property
    def gates(self) -> list[dict[str, Any]]:
        """The GateResults it was approved on, as plain data."""
        return self._scores["gates"]

    @cached_property
    def schemas(self) -> dict[str, TableSchema]:
        """Table -> its columns."""
        names = {t.table for t in self.notes.tables}
        return {
            name: TableSchema.model_validate(self.version.read_json(f"schemas/{name}.json"))
            for name in sorted(names)
        }

    @cached_property
    def validation(self) -> dict[str, list[dict[str, Any]]]:
        """Table -> outcomes of the rules its real rows were held to; empty where none were kept."""
        return (
            self.version.read_json("validation.json")
            if "validation.json" in self.version.files()
            else {}
        )

    @cached_property
    def lineage(self) -> list[dict[str, str]]:
        """What it was made from: one edge per artefact and input, the release's own first."""
        own = [
            edge(self.version.stage, self.version, stage, given)
            for stage, given in sorted(self.version.manifest["inputs"].items())
        ]
        return own + self.version.read_json("lineage.json")


def edge(stage: str, version: Version, input_stage: str, given: dict[str, str]) -> dict[str, str]:
    """One line of the lineage: an artefact and one of its inputs."""
    return {
        "from_stage": input_stage,
        "from_version": given["version"],
        "from_sha256": given["sha256"],
        "to_stage": stage,
        "to_version": version.id,
        "to_sha256": version.sha256,
    }


def find_input(lake: Lake, version: Version, stage: str) -> Version | None:
    """The artefact a version was made from, or None where the lake no longer has that very one."""
    given = version.manifest["inputs"].get(stage)
    if given is None:
        return None
    found = next(
        (v for v in lake.versions(version.dataset, stage) if v.id == given["version"]), None
    )
    return found if found is not None and found.sha256 == given["sha256"] else None


def trace(lake: Lake, *versions: Version) -> list[dict[str, str]]:
    """The lineage of some versions, back to the sources, as far as the lake still has it."""
    edges, seen, waiting = [], set(), list(versions)
    while waiting:
        version = waiting.pop(0)
        if (version.stage, version.id) in seen:
            continue
        seen.add((version.stage, version.id))
        for stage, given in sorted(version.manifest["inputs"].items()):
            edges.append(edge(version.stage, version, stage, given))
            if (found := find_input(lake, version, stage)) is not None:
                waiting.append(found)
    return edges


def released_datasets(lake: Lake) -> list[str]:
    """Datasets that have a release in force, sorted."""
    named = [name for name in lake.datasets() if _is_name(name)]
    return [name for name in named if (lake.stage_dir(name, "release") / "CURRENT").exists()]


def _is_name(name: str) -> bool:
    # Other tools may keep folders of their own beside the datasets'.
    try:
        check_name(name)
    except ValueError:
        return False
    return True
