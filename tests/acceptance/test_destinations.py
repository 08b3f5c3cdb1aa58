"""Outputs go where the policy says: files, objects, workspace, Level 3 database, several at once."""

import sqlite3

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from quantumio import Butler, CommitFailedError, CommitParkedError, DestinationError, InvalidInputError
from tests.acceptance.night import assert_same_image, catalogue, files_of, image

pytestmark = pytest.mark.on_disk


def places(butler, ref):
    return [location.destination for location in butler.where_is(ref)]


def test_rules_send_outputs_and_say_why(make_butler):
    butler = make_butler(
        config={
            "destinations": {
                "archive": {"kind": "objects", "root": "memory://rules-archive"},
                "level3": {"kind": "database", "url": "sqlite:///level3.db"},
            },
            "policies": {
                "catalogues": {"to": ["local", "level3", "archive?"], "formats": {"local": "parquet"}}
            },
            "rules": [
                {"datasets": "st*", "to": "temporary"},
                {"datasets": "source", "to": "catalogues"},
                {"datasets": "*", "to": ["local", "archive"]},
            ],
        },
        run="r",
    )
    with butler.context(ack="settled") as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0)
        ctx.put(catalogue(), "source", visit=1, detector=0)
        ctx.put({}, "stats", visit=1)
    calexp, source, _ = ctx.refs
    assert places(butler, calexp) == ["local", "archive"]
    assert places(butler, source) == ["local", "level3", "archive"]
    assert not butler.exists("stats", visit=1)
    explained = butler.explain_put("source", visit=1, detector=0)
    assert [str(target) for target in explained.targets] == ["local", "level3", "archive?"]
    assert "repository rule 2" in explained.why["to"]
    assert_same_image(butler.get(calexp), image())


def test_put_overrides_rules_and_a_locked_operator_rule_overrides_the_put(make_butler, tmp_path):
    butler = make_butler(
        config={"destinations": {"other": {"kind": "files", "root": "other"}}, "rules": [{"to": "other"}]},
        run="r",
    )
    assert str(butler.explain_put("stats").targets[0]) == "other"
    assert str(butler.explain_put("stats", to="local").targets[0]) == "local"
    policy = tmp_path / "operator.toml"
    policy.write_text('[[rules]]\ndatasets = "stats"\nlocked = true\nto = "temporary"\n')
    with Butler(tmp_path / "night", run="r", policy=policy, instrument="ST8") as operated:
        assert str(operated.explain_put("stats", to="local").targets[0]) == "temporary"
        assert "locked" in operated.explain_put("stats", to="local").why["to"]
        assert str(operated.explain_put("log").targets[0]) == "other"


def test_operator_policy_by_environment(make_butler, tmp_path, monkeypatch):
    make_butler().close()
    policy = tmp_path / "operator.toml"
    policy.write_text("[[rules]]\nmode = 'immediate'\n")
    monkeypatch.setenv("QUANTUMIO_POLICY", str(policy))
    with Butler(tmp_path / "night", run="r") as butler:
        assert butler.explain_put("stats").mode == "immediate"


def test_real_s3(make_butler, s3_server, s3_bucket):
    butler = make_butler(
        config={
            "destinations": {
                "archive": {
                    "kind": "objects",
                    "root": f"s3://{s3_bucket}/night",
                    "endpoint": s3_server.endpoint_url,
                    "insecure": True,
                }
            },
            "rules": [{"to": "archive"}],
        },
        run="r",
    )
    with butler.context() as ctx:
        for detector in range(5):
            ctx.put(image(detector), "calexp", visit=1, detector=detector)
    for detector in range(5):
        assert_same_image(butler.get("calexp", visit=1, detector=detector), image(detector))
    assert files_of(butler) == []
    (location,) = butler.where_is(ctx.refs[0])
    assert location.url.startswith(f"s3://{s3_bucket}/night/calexp/")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_level3_rows_appear_with_the_commit(make_butler, request, engine, tmp_path):
    url = "sqlite:///level3.db"
    if engine == "postgresql":
        url = request.getfixturevalue("postgresql_database")
    butler = make_butler(
        config={
            "destinations": {"level3": {"kind": "database", "url": url, "insecure": True}}
            if engine == "postgresql"
            else {"level3": {"kind": "database", "url": url}},
            "rules": [{"datasets": "source", "to": ["level3"]}],
        },
        run="r",
    )
    reader = sa.create_engine(url if engine == "postgresql" else f"sqlite:///{tmp_path}/night/level3.db")

    def rows():
        with reader.connect() as connection:
            return connection.execute(sa.text("SELECT version, flux FROM source")).fetchall()

    for version in (1, 2):
        with butler.context(ack="settled") as ctx:
            ctx.put(catalogue(seed=version), "source", visit=1, detector=0)
        assert sum(row[0] == version for row in rows()) == 20
    with pytest.raises(ZeroDivisionError), butler.context() as ctx:
        ctx.put(catalogue(), "source", visit=2, detector=0)
        raise ZeroDivisionError
    assert len(rows()) == 40
    arrow = butler.get("source", visit=1, detector=0, as_="arrow")
    assert isinstance(arrow, pa.Table)
    table = butler.get("source", visit=1, detector=0)
    expected = catalogue(seed=2)
    assert (table["flux"] == expected["flux"]).all()
    assert table["flux"].unit == expected["flux"].unit
    assert table.meta == expected.meta
    reader.dispose()


def test_workspace_has_the_user_in_its_root(make_butler, tmp_path):
    import getpass

    root = f"file://{tmp_path}/ws/{{user}}"
    butler = make_butler(
        config={"destinations": {"ws": {"kind": "workspace", "root": root, "quota": "1 MiB"}}}, run="r"
    )
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0, to="ws")
    assert_same_image(butler.get(ctx.refs[0]), image())
    assert f"/ws/{getpass.getuser()}/" in butler.where_is(ctx.refs[0])[0].url
    with pytest.raises(CommitFailedError, match="quota"), butler.context() as ctx:
        ctx.put(np.zeros(1 << 20, dtype=np.uint16), "pixels", visit=1, detector=0, to="ws")


def test_failing_best_effort_copy_does_not_fail_the_commit_but_reaches_the_user(make_butler):
    butler = make_butler(
        config={
            "destinations": {
                "away": {
                    "kind": "objects",
                    "root": "s3://nobody/night",
                    "endpoint": "http://127.0.0.1:9",
                    "insecure": True,
                    "timeout_s": 1,
                }
            }
        },
        run="r",
    )
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1, to=["local", "away?"])
    assert butler.get("stats", visit=1) == {}
    with pytest.raises(ExceptionGroup) as caught:
        butler.drain()
    assert "away" in str(caught.value.exceptions[0].__notes__)
    assert butler.errors(acknowledge=True)[0].destination == "away"
    butler.drain()


def test_required_destination_that_cannot_be_reached_parks_the_commit_whole(make_butler):
    butler = make_butler(
        config={"destinations": {"shut": {"kind": "files", "root": "/proc/quantumio"}}}, run="r"
    )
    with pytest.raises(CommitParkedError, match="shut"), butler.context() as ctx:
        ctx.put({}, "stats", visit=1, to=["local", "shut"])
        ctx.put("x", "log", visit=1)
    assert butler.query("*").count() == 0
    assert [item.action for item in butler.recover().items] == ["parked"]
    assert butler.query("*").count() == 0
    butler.errors(acknowledge=True)


def test_damaged_file_is_never_parsed_and_another_copy_is_read(make_butler, tmp_path):
    butler = make_butler(config={"destinations": {"second": {"kind": "files", "root": "second"}}}, run="r")
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0, to=["local", "second"])
    (path,) = files_of(butler)
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)
    assert_same_image(butler.get(ctx.refs[0]), image())
    (second,) = (tmp_path / "night" / "second").rglob("*.fits")
    second.unlink()
    with pytest.raises(DestinationError):
        butler.get(ctx.refs[0])


def test_image_cannot_go_to_a_table(make_butler):
    butler = make_butler(
        config={"destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.db"}}}, run="r"
    )
    with butler.context() as ctx:
        with pytest.raises(InvalidInputError, match="level3"):
            ctx.put(image(), "calexp", visit=1, detector=0, to="level3")
        ctx.abort()


def test_secrets_are_refused_in_the_configuration(tmp_path):
    for url in ("postgresql://ada:hunter2@host/db", "s3://key:hunter2@bucket/x"):
        kind = "database" if url.startswith("postgresql") else "objects"
        key = "url" if kind == "database" else "root"
        with pytest.raises(InvalidInputError) as caught:
            Butler.create(tmp_path / "r", {"destinations": {"x": {"kind": kind, key: url}}})
        assert "hunter2" not in str(caught.value)


def test_registry_is_plain_sqlite(butler, tmp_path):
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1)
    connection = sqlite3.connect(f"file:{tmp_path}/night/registry.sqlite3?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM txn WHERE state = 'COMMITTED'").fetchone() == (1,)
    connection.close()
