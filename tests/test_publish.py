"""Publishing: the warehouse file is whole or not replaced, whatever happens meanwhile."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from warehouse_kit import everything, python, release, rows_of, shop, state

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish, query, releases, rollback


@pytest.fixture
def published(lake: Lake) -> Lake:
    """A lake with one release of the shop in its warehouse."""
    release(lake, shop())
    publish(lake)
    return lake


def test_rebuilding_changes_no_answer_and_leaves_nothing_behind(published: Lake) -> None:
    before = everything(published)
    publish(published)
    assert everything(published) == before
    left = {path.name for path in published.home.iterdir()}
    assert left == {".warehouse.lock", "shop", "warehouse.duckdb"}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(published.warehouse.stat().st_mode) == 0o666 & ~umask


def test_what_dead_publishers_left_is_swept(published: Lake) -> None:
    (published.home / "warehouse.duckdb.next-1-00000000").write_bytes(b"half a file")
    (published.home / "warehouse.duckdb.next-1-00000000.wal").write_bytes(b"half a log")
    (published.home / "warehouse.duckdb.next-1-00000000-spill").mkdir()
    publish(published)
    left = {path.name for path in published.home.iterdir()}
    assert left == {".warehouse.lock", "shop", "warehouse.duckdb"}


def test_changes_made_by_hand_are_not_replayed(published: Lake) -> None:
    """A log left by a writer that died belongs to the old file alone."""
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "c.execute('DELETE FROM shop.orders'); os._exit(0)"
    )
    python(code, published.warehouse).communicate(timeout=60)
    assert (published.home / "warehouse.duckdb.wal").exists()
    publish(published)
    assert rows_of(published, "SELECT count(*) FROM shop.orders") == [(10,)]


def test_a_lake_without_releases(lake: Lake) -> None:
    with pytest.raises(InputError, match="no dataset has a release yet; run `aigc run DATASET`"):
        publish(lake)
    assert not lake.warehouse.exists()
    with pytest.raises(InputError, match="there is no warehouse yet; run `aigc run DATASET`"):
        query(lake, "SELECT 1")
    assert releases(lake) == []


@pytest.mark.parametrize("harm", ["shard edited", "shard deleted", "schema edited", "pointer"])
def test_a_damaged_release_leaves_the_old_file(published: Lake, harm: str) -> None:
    version = release(published, shop(), 2)
    shard = version.path / "data/shop/orders/part-00002.parquet"
    if harm == "shard edited":
        data = bytearray(shard.read_bytes())
        data[-20] ^= 1
        shard.write_bytes(data)
    elif harm == "shard deleted":
        shard.unlink()
    elif harm == "schema edited":
        (version.path / "schemas/orders.json").write_text("{}")
    else:
        (version.path.parent / "CURRENT").write_text("v00009-00000000\n")
    before = state(published.home)
    with pytest.raises(ArtefactError, match=r"bytes changed|not readable|no release version"):
        publish(published)
    assert state(published.home) == before


def test_another_publisher_is_waited_for(published: Lake) -> None:
    before = state(published.home)
    with FileLock(published.home / ".warehouse.lock"):
        with pytest.raises(
            ArtefactError, match=r"another run has been publishing for more than 0.1"
        ):
            publish(published, timeout=0.1)
    assert state(published.home) == before
    publish(published, timeout=0.1)


def test_publishers_take_turns(published: Lake) -> None:
    made = [published.current("shop", "release"), release(published, shop(), 2)]
    with ThreadPoolExecutor(4) as pool:
        turns = [pool.submit(publish, published) for _ in range(4)]
        turns += [pool.submit(rollback, published, "shop", v.id) for v in made]  # type: ignore
        for turn in turns:
            turn.result(timeout=60)
    [(generation,)] = rows_of(published, "SELECT DISTINCT generation FROM shop.orders")
    assert made[generation - 1] == published.current("shop", "release")


DISK_FULL = """
import resource, sys
from aigc_pipeline.errors import ArtefactError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish, rollback

lake, limit = Lake(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for attempt in (lambda: publish(lake), lambda: rollback(lake, "shop")):
    try:
        attempt()
    except ArtefactError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [5_000, 50_000, 500_000])
def test_a_disk_that_refuses_to_write(published: Lake, limit: int) -> None:
    release(published, shop(), 2, rows=200)
    before = state(published.home)
    out, trouble = python(DISK_FULL, published.home, str(limit)).communicate(timeout=60)
    assert out.count("could not be rebuilt") == 2, trouble
    assert out.count("File too large); the old one is untouched") == 2
    assert state(published.home) == before
