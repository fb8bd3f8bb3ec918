"""Readers of the warehouse see whole releases, while it is replaced and publishers are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
from warehouse_kit import COMMENTS, TABLE, python, release, rows_of, shop

from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish
from aigc_pipeline.warehouse.duck import identifier

pytestmark = pytest.mark.slow

RELEASES = 50
KILLS = 20
KEEP = 3

# A join of two tables and a scenario, and what the catalogue and a comment call the release.
READER = f"""
import duckdb, sys
sql = '''SELECT min(a.generation), max(a.generation), min(b.generation), max(b.generation),
         count(*),
         (SELECT release FROM catalog.releases WHERE is_current),
         (SELECT regexp_extract(comment, 'release (v[0-9a-f-]+)', 1) FROM duckdb_tables()
          WHERE schema_name = 'shop' AND table_name = 'orders')
         FROM shop.orders a JOIN shop__crisis.orders c USING (generation)
         JOIN shop.{identifier(TABLE)} b ON a.order_id = b.order_id'''
print("ready", flush=True)
while True:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        print(*connection.execute(sql).fetchall()[0], flush=True)
"""


def test_readers_see_whole_releases_only(lake: Lake) -> None:
    """Fifty releases one after another, old ones deleted as they go, and a reader all the time."""
    versions = [release(lake, shop(), 1)]
    publish(lake)
    reader = python(READER, lake.warehouse)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n", reader.communicate()
    for generation in range(2, RELEASES + 1):
        versions.append(release(lake, shop(), generation))
        publish(lake, keep={"shop": KEEP})
    assert reader.poll() is None, reader.communicate()
    reader.send_signal(signal.SIGKILL)
    out, trouble = reader.communicate(timeout=60)
    answers = {tuple(line.split()) for line in out.splitlines(keepends=True) if line.endswith("\n")}
    assert trouble == ""
    ids = {str(number): version.id for number, version in enumerate(versions, 1)}
    assert len(answers) >= 10  # it met many of them
    for low, high, other_low, other_high, count, catalogue, comment in answers:
        assert low == high == other_low == other_high and count == "30"
        assert ids[low] == catalogue == comment
    assert [v.id for v in lake.versions("shop", "release")] == [v.id for v in versions[-KEEP:]]


# Forks a publisher for each line it reads: starting Python twenty times would take longer.
PUBLISHERS = """
import os, signal, sys
import duckdb, polars, pyarrow.parquet
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import catalog, publish

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
lake = Lake(sys.argv[1])
made = lake.versions("shop", "release")
print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        for turn in range(10_000):
            lake.point(made[turn % 2])
            publish(lake)
    print(child, flush=True)
"""


def test_a_publisher_killed_at_any_moment_leaves_a_whole_file(lake: Lake) -> None:
    release(lake, shop(), 1)
    began = time.monotonic()
    publish(lake)
    one = time.monotonic() - began
    release(lake, shop(), 2)
    source = random.Random(7)
    in_the_middle = 0
    publishers = python(PUBLISHERS, lake.home, stdin=subprocess.PIPE)
    assert publishers.stdout is not None and publishers.stdin is not None
    assert publishers.stdout.readline() == "ready\n", publishers.communicate()
    for _ in range(KILLS):
        print(file=publishers.stdin, flush=True)
        child = int(publishers.stdout.readline())
        time.sleep(source.uniform(0, 3 * one))
        os.kill(child, signal.SIGKILL)
        wait_for(child)
        in_the_middle += any(lake.home.glob("warehouse.duckdb.next-*"))
        [(generation, least, count)] = rows_of(
            lake, "SELECT max(generation), min(generation), count(*) FROM shop.orders"
        )
        assert generation in (1, 2) and least == generation and count == 10
        text = rows_of(lake, COMMENTS)
        assert all(comment.startswith("Synthetic") for *_, comment in text)
    publishers.communicate(timeout=60)
    assert in_the_middle  # else nothing was put to the test
    publish(lake, timeout=5)  # the dead hold no lock
    assert not list(lake.home.glob("warehouse.duckdb.next-*"))


def wait_for(child: int) -> None:
    """Until a killed process is gone."""
    for _ in range(1000):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("the killed publisher lives on")
