"""The releases kept, and going back to one."""

from __future__ import annotations

from datetime import UTC

import pytest
from warehouse_kit import everything, release, rows_of, shop, state

from aigc_pipeline.errors import ArtefactError, InputError
from aigc_pipeline.lake import Lake
from aigc_pipeline.warehouse import publish, releases, rollback


@pytest.fixture
def published(lake: Lake) -> Lake:
    """A lake with one release of the shop in its warehouse."""
    release(lake, shop())
    publish(lake)
    return lake


def test_rolling_back_and_forth(published: Lake) -> None:
    first = published.current("shop", "release")
    answers = everything(published)
    second = release(published, shop(), 2)
    publish(published)
    assert rows_of(published, "SELECT DISTINCT generation FROM shop.orders") == [(2,)]
    kept = {name: state(version.path) for name, version in (("1", first), ("2", second))}

    assert rollback(published, "shop").id == first.id
    found = everything(published)
    tables = [name for name in answers if not name.startswith(("catalog.", "comments"))]
    assert {name: found[name] for name in tables} == {name: answers[name] for name in tables}
    assert rows_of(published, "SELECT release FROM catalog.releases WHERE is_current") == [
        (first.id,)
    ]
    assert rollback(published, "shop", second.id).id == second.id
    assert rows_of(published, "SELECT DISTINCT generation FROM shop.orders") == [(2,)]
    assert rollback(published, "shop", first.id).id == first.id
    assert everything(published) == found
    assert {"1": state(first.path), "2": state(second.path)} == kept


def test_there_is_nothing_to_roll_back_to(published: Lake) -> None:
    current = published.current("shop", "release").id
    before = state(published.home)
    with pytest.raises(InputError, match=rf"no release before {current} to go back to"):
        rollback(published, "shop")
    with pytest.raises(InputError, match=f"no release 'v1': there are: {current}"):
        rollback(published, "shop", "v1")
    with pytest.raises(InputError, match=r"'shpo' has no release: did you mean 'shop'?"):
        rollback(published, "shpo")
    with pytest.raises(InputError, match=r"'../shop' has no release"):
        rollback(published, "../shop")
    assert state(published.home) == before


def test_a_damaged_release_is_not_rolled_back_to(published: Lake) -> None:
    first = published.current("shop", "release")
    release(published, shop(), 2)
    publish(published)
    (first.path / "report.html").write_text("<h1>Better scores</h1>")
    before = state(published.home)
    with pytest.raises(ArtefactError, match=r"report.html: its bytes changed"):
        rollback(published, "shop")
    assert state(published.home) == before


def test_a_roll_back_that_cannot_be_published_is_undone(published: Lake) -> None:
    release(published, shop(), 2)
    other = release(published, shop("annex"), 3)
    publish(published)
    (other.path / "data/annex/orders/part-00000.parquet").unlink()
    before = state(published.home)
    with pytest.raises(ArtefactError, match=r"annex/release/.*not readable"):
        rollback(published, "shop")
    assert state(published.home) == before


def test_releases_are_listed(published: Lake) -> None:
    second = release(published, shop(), 2, auc=0.6)
    release(published, shop("annex"), 3)
    found = releases(published)
    assert [(r.dataset, r.is_current) for r in found] == [
        ("annex", True), ("shop", False), ("shop", True),
    ]  # fmt: skip
    assert releases(published, "shop") == found[1:]
    last = found[-1]
    assert last.id == second.id and last.seed == 7 and last.problem is None
    assert last.rows["shop.orders"] == 10 and last.rows["shop__crisis.orders"] == 3
    assert last.scores["orders"] == {"detection_auc": 0.6, "utility_gap": None}
    assert last.created_at is not None and last.created_at.tzinfo is UTC
    assert last.synthetic == published.current("shop", "synthetic").id
    assert last.evaluation == published.current("shop", "evaluation").id
    with pytest.raises(InputError, match=r"'shpo' has no release: did you mean 'shop'?"):
        releases(published, "shpo")
