"""Which releases are kept, what goes with those that are not, and that nothing else does."""

from __future__ import annotations

import os
import signal
import time

import pytest
from pydantic import ValidationError
from warehouse_kit import python, release, rows_of, shop, state

from aigc_pipeline.lake import Lake, Version
from aigc_pipeline.warehouse import publish, releases, rollback


def make_releases(lake: Lake, count: int) -> list[Version]:
    """Releases of the shop, one after another."""
    return [release(lake, shop(), generation) for generation in range(1, count + 1)]


def ids(lake: Lake, stage: str = "release") -> list[str]:
    return [version.id for version in lake.versions("shop", stage)]


def test_the_last_runs_are_kept_and_the_catalogue_lists_no_other(lake: Lake) -> None:
    made = make_releases(lake, 5)
    publish(lake, keep={"shop": 3})
    kept = [version.id for version in made[2:]]
    assert ids(lake) == kept
    assert rows_of(lake, "SELECT release FROM catalog.releases ORDER BY ALL") == [
        (i,) for i in kept
    ]
    assert rows_of(lake, "SELECT count(DISTINCT release) FROM catalog.scores") == [(3,)]
    assert [info.id for info in releases(lake, "shop")] == kept
    publish(lake)  # says nothing of keeping: all stay
    assert ids(lake) == kept


def test_the_release_in_force_and_the_one_before_it_stay(lake: Lake) -> None:
    made = make_releases(lake, 6)
    publish(lake)
    rollback(lake, "shop", made[1].id)
    publish(lake, keep={"shop": 2})
    assert ids(lake) == [made[i].id for i in (0, 1, 4, 5)]
    assert rollback(lake, "shop").id == made[0].id
    assert rollback(lake, "shop", made[5].id).id == made[5].id


def test_what_no_kept_release_was_made_from_goes_too(lake: Lake) -> None:
    stages = ("validated", "model", "synthetic", "evaluation")
    first = release(lake, shop(), 1)
    time.sleep(1.1)  # manifests tell seconds, and what is as young as a kept release is let be
    made = [release(lake, shop(), generation) for generation in (2, 3)]
    stray = {stage: ids(lake, stage)[0] for stage in stages}
    publish(lake, keep={"shop": 2})
    assert ids(lake) == [version.id for version in made] and not first.path.exists()
    for stage in stages:
        assert len(ids(lake, stage)) == 2 and stray[stage] not in ids(lake, stage)
    rollback(lake, "shop")
    assert rows_of(lake, "SELECT DISTINCT generation FROM shop.orders") == [(2,)]


KILLED = """
import os, shutil, signal, sys
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish

real = shutil.rmtree

def killed(path, **options):
    if any(part.startswith("v0") for part in os.listdir(path)):  # a release being deleted
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, **options)

shutil.rmtree = killed
publish(Lake(sys.argv[1]), keep={"shop": 2})
"""


def test_a_killed_deletion_leaves_no_half_release(lake: Lake) -> None:
    make_releases(lake, 4)
    publisher = python(KILLED, lake.home)
    _, trouble = publisher.communicate(timeout=60)
    assert publisher.returncode == -signal.SIGKILL, trouble
    folder = lake.stage_dir("shop", "release")
    assert list(folder.glob(".draft-*"))
    assert len(ids(lake)) == 3  # one is gone, none is half gone
    for version in lake.versions("shop", "release"):
        version.verify()
    assert rows_of(lake, "SELECT DISTINCT generation FROM shop.orders") == [(4,)]
    publish(lake, keep={"shop": 2})
    assert len(ids(lake)) == 2 and not list(folder.glob(".draft-*"))


def test_a_disk_that_lets_nothing_go_does_not_stop_a_release(lake: Lake, monkeypatch) -> None:
    made = make_releases(lake, 4)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    publish(lake, keep={"shop": 2})
    monkeypatch.undo()
    assert rows_of(lake, "SELECT DISTINCT generation FROM shop.orders") == [(4,)]
    assert ids(lake) == [version.id for version in made]


def test_a_publish_that_fails_deletes_nothing(lake: Lake) -> None:
    from aigc_pipeline.errors import ArtefactError

    made = make_releases(lake, 4)
    (made[-1].path / "data/shop/orders/part-00000.parquet").unlink()
    before = state(lake.home)
    with pytest.raises(ArtefactError):
        publish(lake, keep={"shop": 2})
    assert state(lake.home) == before


def test_two_runs_are_the_least_to_keep() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        shop(releases={"keep": 1})
    assert shop(releases={"keep": 2}).releases.keep == 2
