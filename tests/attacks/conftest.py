"""A released dataset with canaries and secrets in it, and all that was written of it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from canaries_kit import bytes_of, orders, people
from endpoint_kit import CANARY, SECONDS, Endpoint
from server_kit import published, serving

from aigc_pipeline.dataset_file import find_dataset
from aigc_pipeline.definitions import compose
from aigc_pipeline.durable import sha256_file
from aigc_pipeline.lake import Lake
from resources import LogReporter

TOKEN = "tkncanary7f3a"  # in a URL's query
PASSWORD = "pwdcanary91be"  # in a variable that a URL names
AMBIENT = "envcanary55d0"  # in the environment, where nothing asks for it
SECRETS = {"URL": TOKEN, "password": PASSWORD, "environment": AMBIENT}

DATASET = """
name: canaries
tables:
  people:
    source: {{file: "{url}/people.csv?token={token}", sha256: {sha256}}}
    key: person_id
    columns: {{mail: {{pii: email}}, phone: {{pii: phone}}, account: {{type: id}}}}
  orders:
    source: {{file: data/orders.csv}}
    key: order_id
    parents: [{{column: person_id, table: people}}]
    order_by: day
generator: {{quality: draft, time_limit: 20s}}
gates: {{null_rate_error: {{max: 0.9}}}}
"""


@dataclass
class Attacked:
    """A project that ran once: its lake, Dagster's folder, and what was printed."""

    root: Path
    instance: Path
    failed: list[str] = field(default_factory=list)

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "lake")

    def run(self, dataset: str) -> Any:
        """Run a dataset's whole graph; Dagster keeps what it does in SQLite files."""
        spec = find_dataset(dataset, self.root / "datasets")
        job = compose([spec], self.root, LogReporter(every=0)).resolve_job_def(f"{dataset}_job")
        with dg.DagsterInstance.local_temp(str(self.instance)) as instance:
            result = job.execute_in_process(instance=instance, raise_on_error=False)
            self.failed += [
                event.event_specific_data.error_display_string  # type: ignore[union-attr]
                for event in result.all_events
                if event.is_step_failure
            ]
            log = [entry.to_json() for entry in instance.all_logs(result.run_id)]
            (self.instance / f"{dataset}.log.json").write_text("\n".join(log))
        return result

    def published(self) -> list[tuple[str, bytes]]:
        """All bytes that are no copy of the source: the lake behind `validated`, and Dagster's."""
        real = [self.lake.stage_dir("canaries", stage) for stage in ("raw", "validated")]
        return [
            (place, data)
            for folder in (self.lake.home, self.instance)
            for place, data in bytes_of(folder)
            if not any(place.startswith(str(path)) for path in real)
        ]

    def everything(self) -> list[tuple[str, bytes]]:
        """All bytes of the lake and of Dagster's folder."""
        return [*bytes_of(self.lake.home), *bytes_of(self.instance)]


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server on loopback, and the folder it serves; /to?URL redirects."""
    folder = tmp_path_factory.mktemp("web")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            if self.path.startswith("/to?"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/to?"))
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()


@pytest.fixture(scope="session")
def attacked(web: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Canaries planted, learned, judged and released: once for all tests that search."""
    url, served = web
    root = tmp_path_factory.mktemp("attacked")
    persons = people()
    persons.write_csv(served / "people.csv")
    (root / "data").mkdir()
    (root / "datasets").mkdir()
    orders(persons).write_csv(root / "data" / "orders.csv")
    text = DATASET.format(url=url, token=TOKEN, sha256=sha256_file(served / "people.csv"))
    (root / "datasets" / "canaries.yaml").write_text(text)
    (root / "datasets" / "lost.yaml").write_text(
        "name: lost\ntables:\n  t:\n    source:\n"
        f'      sql: "postgresql://reader:${{CANARY_PASSWORD}}@127.0.0.1:1/x?sslmode={TOKEN}"\n'
        "      table: t\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_ALLOWED_HOSTS", "127.0.0.1")
        patch.setenv("CANARY_PASSWORD", PASSWORD)
        patch.setenv("CANARY_AMBIENT", AMBIENT)
        patch.setenv("AIGC_HOME", str(root / "lake"))
        patch.chdir(root)
        made = Attacked(root, tmp_path_factory.mktemp("instance"))
        assert made.run("canaries").success, made.failed
        assert not made.run("lost").success
        yield made


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server with small limits, and something in its environment that nobody may see."""
    folder = tmp_path_factory.mktemp("endpoint")
    lake = published(folder)
    limits = ("--timeout", str(SECONDS), "--max-rows", "100", "--memory", "128")
    with serving(lake, *limits, AIGC_CANARY=CANARY) as url:
        yield Endpoint(url, folder)
