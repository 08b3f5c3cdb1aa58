"""Looking back, through a Butler."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from astropy.time import Time

from quantumio import ErrorKind, InvalidInputError, NotFoundError


@pytest.fixture
def moments(butler):
    """Commit twice, and return the number of each commit."""
    numbers = []
    for value in (1, 2):
        with butler.context() as context:
            context.put({"value": value}, "stats", visit=1)
        catalog = butler._session.repositories[0].catalog
        numbers.append(catalog.moment((1 << 63) - 1))
    return numbers


def remove(butler, ref):
    """Let a dataset be removed: its row stays, its file goes."""
    (location,) = butler.where_is(ref)
    catalog = butler._session.repositories[0].catalog
    known = catalog.dataset_type(ref.dataset_type.name)
    table = catalog._tables.group(known.dimensions).dataset
    with catalog._database.edit("removing") as connection:
        edit = catalog._clock.advance(connection)
        connection.execute(sa.update(table).where(table.c.id == ref.id).values(removed_seq=edit.seq))
    return location


def test_each_moment_has_its_own_answer(butler, moments):
    first, second = moments
    assert butler.get("stats", visit=1, as_of=first) == {"value": 1}
    assert butler.get("stats", visit=1, as_of=second) == butler.get("stats", visit=1) == {"value": 2}
    assert butler.find("stats", visit=1, as_of=first).version == 1
    assert [one.ref.version for one in butler.versions("stats", visit=1, as_of=first)] == [1]
    assert [one.ref.version for one in butler.versions("stats", visit=1)] == [1, 2]
    assert [one.ref.version for one in butler.versions("stats", visit=1, run="r", as_of=second)] == [1, 2]
    query = butler.query("stats", as_of=first, collections="r")
    assert [ref.version for ref in query] == [1]
    assert query.table(columns=["version"]).to_pylist() == [{"version": 1}]
    assert query.exists()
    assert query.count() == 1
    for now in (datetime.now(UTC), Time.now()):
        assert butler.find("stats", visit=1, as_of=now).version == 2
    for wrong in (-1, 1 << 40, True, 2.5):
        with pytest.raises(InvalidInputError) as error:
            butler.find("stats", visit=1, as_of=wrong)
        assert error.value.kind is ErrorKind.MOMENT
    with pytest.raises(NotFoundError, match="no snapshot 'dr1'"):
        butler.query("stats", as_of="dr1").count()


def test_a_run_that_was_not_yet_there_is_empty(butler, moments):
    later = "later"
    first, _ = moments
    with butler.context(run=later) as context:
        context.put({"value": 3}, "stats", visit=1)
    assert butler.exists("stats", visit=1, collections=["r"], as_of=first)
    with pytest.raises(NotFoundError):
        butler.find("stats", visit=1, collections=["nothing"], as_of=first)


def test_removed_data_are_told_apart_from_lost_ones(butler, moments):
    first, second = moments
    ref = butler.find("stats", visit=1)
    location = remove(butler, ref)
    assert butler.find("stats", visit=1).version == 1
    assert butler.find("stats", visit=1, as_of=second) == ref
    assert butler.get("stats", visit=1, as_of=second) == {"value": 2}
    Path(location.url.removeprefix("file://")).unlink()
    with pytest.raises(NotFoundError, match="was removed since") as error:
        butler.get("stats", visit=1, as_of=second)
    assert error.value.kind is ErrorKind.REMOVED
    kept = butler.find("stats", visit=1)
    (location,) = butler.where_is(kept)
    Path(location.url.removeprefix("file://")).unlink()
    with pytest.raises(Exception) as lost:  # noqa: PT011  whatever says that a file is missing
        butler.get("stats", visit=1, as_of=first)
    assert lost.value.kind is not ErrorKind.REMOVED


def test_several_repositories_look_back_each_for_itself(butler, moments, make_root, open_butler):
    second = make_root("second")
    with open_butler(second, run="r") as other, other.context() as context:
        context.put({"value": 9}, "stats", visit=9)
    both = open_butler([butler._session.repositories[0].root, second], run="r")
    now = Time.now()
    assert both.query("stats", as_of=now).count() == 2
    assert both.find("stats", visit=9, as_of=now).version == 1
