"""Level 3 tables in the registry's own database, from the outside."""

import pytest
import sqlalchemy as sa
from astropy.table import Table

from quantumio import Butler

from .conftest import DATASET_TYPES

STARS = Table({"star": [1, 2, 3]})


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where the registry is: its URL for a Butler, None for its file; and for plain SQL."""
    if request.param == "sqlite":
        return None, f"sqlite:///{tmp_path / 'night' / 'registry.sqlite3'}"
    url = request.getfixturevalue("postgresql_database")
    return url, url


def opened(tmp_path, url, to):
    level3 = {"kind": "database", "url": "registry"}
    config = {"destinations": {"level3": level3}, "rules": [{"datasets": "source", "to": to}]}
    with Butler.create(tmp_path / "night", config, registry=url) as created:
        for dataset_type in DATASET_TYPES:
            created.register_dataset_type(dataset_type)
    return Butler(tmp_path / "night", instrument="ST8", run="r")


def seen(url):
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    view = "source" if url.startswith("sqlite") else "level3.source"
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"SELECT visit, version, star FROM {view} ORDER BY star").all()


def test_rows_are_seen_as_soon_as_their_commit_is_acknowledged(tmp_path, place):
    url, plain = place
    with opened(tmp_path, url, ["local", "level3"]) as butler:
        with butler.context() as ctx:
            ctx.put(STARS, "source", visit=7, detector=0)
            ctx.put({"a": 1}, "stats", visit=7)
        assert seen(plain) == [(7, 1, star) for star in (1, 2, 3)]
        (repository,) = butler._session.repositories
        butler.drain()
        assert repository.catalog.outbox() == []
        assert (butler.get("source", visit=7, detector=0) == STARS).all()
    with Butler(tmp_path / "night", instrument="ST8", run="r") as butler:
        assert butler.recover().items == []
        with pytest.raises(ZeroDivisionError), butler.context() as ctx:
            ctx.put(STARS, "source", visit=8, detector=0)
            raise ZeroDivisionError
    assert len(seen(plain)) == 3


def test_rows_alone_are_read_from_the_registrys_database(tmp_path, place):
    url, plain = place
    with opened(tmp_path, url, ["level3"]) as butler:
        with butler.context() as ctx:
            ctx.put(STARS, "source", visit=7, detector=0)
        assert (butler.get("source", visit=7, detector=0) == STARS).all()
        assert len(seen(plain)) == 3


def test_best_effort_rows_are_seen_when_they_are_settled(tmp_path, place):
    url, plain = place
    with opened(tmp_path, url, ["local", "level3?"]) as butler:
        with butler.context(ack="settled") as ctx:
            ctx.put(STARS, "source", visit=7, detector=0)
        assert seen(plain) == [(7, 1, star) for star in (1, 2, 3)]
