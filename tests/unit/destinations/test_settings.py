"""Settings are checked before anything is opened, and never hold a secret."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.destinations import check_settings
from quantumio.destinations._secrets import Secret, resolve_credentials, scrub
from quantumio.errors import InvalidInputError
from quantumio.model import DestinationSettings

CANARY = "c4n4ry-s3cret"


def settings(kind, name="place", **options):
    return DestinationSettings(name=name, kind=kind, options=options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("files", {"root": "data"}),
        ("files", {"root": "file:///data", "format": "parquet"}),
        ("memory", {}),
        ("objects", {"root": "s3://survey/night1", "credentials": "archive", "timeout_s": 5}),
        ("objects", {"root": "s3://survey", "endpoint": "http://localhost:9000", "insecure": True}),
        ("objects", {"root": "s3://survey", "endpoint": "https://store.example", "region": "eu"}),
        ("workspace", {"root": "file:///ws/{user}", "quota": "20 GiB"}),
        ("workspace", {"root": "s3://ws/{user}/x", "quota": 1000}),
        ("database", {"url": "sqlite:///level3.db"}),
        ("database", {"url": "postgresql:///level3"}),
        ("database", {"url": "postgresql://ada@db.example/level3?sslmode=verify-full"}),
        ("database", {"url": "postgresql://db.example/level3?sslmode=require", "insecure": True}),
    ],
)
def test_good_settings_are_accepted(kind, options):
    check_settings(settings(kind, **options))


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        ("files", {}, "root"),
        ("files", {"root": 7}, "root"),
        ("files", {"root": ""}, "root"),
        ("files", {"root": "s3://bucket"}, "root"),
        ("files", {"root": "file://host/data"}, "root"),
        ("files", {"root": "simplecache::s3://b"}, "root"),
        ("files", {"root": "data", "quota": "1 GB"}, "quota"),
        ("memory", {"root": "x"}, "root"),
        ("objects", {"root": "data"}, "root"),
        ("objects", {"root": "s3://[bucket"}, "is no URL"),
        ("memory", {"format": ""}, "format"),
        ("objects", {"root": "s3://b", "timeout_s": 0}, "timeout_s"),
        ("objects", {"root": "s3://b", "timeout_s": True}, "timeout_s"),
        ("objects", {"root": "s3://b", "insecure": "yes"}, "insecure"),
        ("objects", {"root": "s3://b", "endpoint": "http://plain"}, "endpoint"),
        ("objects", {"root": "s3://b", "endpoint": "plain"}, "endpoint"),
        ("objects", {"root": "s3://b", "credentials": "no name"}, "no name"),
        ("objects", {"root": "simplecache::s3://b"}, "root"),
        ("objects", {"root": "zip://x::s3://b"}, "root"),
        ("workspace", {"root": "ws/{home}"}, "root"),
        ("workspace", {"root": "ws/{user.__class__}"}, "root"),
        ("workspace", {"root": "ws/{user!r}"}, "root"),
        ("workspace", {"root": "ws/{user"}, "root"),
        ("workspace", {"root": "ws", "quota": "lots"}, "quota"),
        ("workspace", {"root": "simplecache::s3://b/{user}"}, "root"),
        ("workspace", {"root": "s3://b/{user}::file:///x"}, "root"),
        ("database", {"url": "mysql://host/db"}, "url"),
        ("database", {"url": "sqlite://"}, "url"),
        ("database", {"url": "sqlite:///:memory:"}, "url"),
        ("database", {"url": "postgresql://db.example/l3?sslmode=require"}, "sslmode"),
        ("database", {"url": "postgresql:///l3", "schema": "a b"}, "a b"),
    ],
)
def test_bad_settings_name_table_and_key(kind, options, key):
    with pytest.raises(InvalidInputError) as caught:
        check_settings(settings(kind, **options))
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("objects", {"root": "s3://b", "secret": CANARY}),
        ("objects", {"root": "s3://b", "access_key": CANARY}),
        ("objects", {"root": "s3://b", "format": {"token": CANARY}}),
        ("objects", {"root": f"s3://AKIA:{CANARY}@bucket/x"}),
        ("objects", {"root": f"https://{CANARY}@host/x"}),
        ("objects", {"root": f"s3://bucket/x?X-Amz-Signature={CANARY}"}),
        ("database", {"url": f"postgresql://ada:{CANARY}@host/db"}),
        ("database", {"url": f"postgresql://host/db?password={CANARY}"}),
    ],
)
def test_secrets_are_refused_without_being_shown(kind, options):
    with pytest.raises(InvalidInputError) as caught:
        check_settings(settings(kind, **options))
    assert "[destinations.place]" in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)
    assert "credentials" in str(caught.value)


@pytest.mark.parametrize("name", ["direct", "temporary", "a b", "", "../x"])
def test_names_that_are_taken_or_none_are_refused(name):
    with pytest.raises(InvalidInputError):
        check_settings(settings("memory", name=name))


def test_unknown_kind_lists_those_there_are():
    with pytest.raises(InvalidInputError, match="database, files, memory, objects, workspace") as caught:
        check_settings(settings("tape"))
    assert "[destinations.place]" in str(caught.value)


def test_a_secret_does_not_show_itself():
    secret = Secret(CANARY)
    assert CANARY not in f"{secret} {secret!r} {[secret]} {vars.__doc__}"
    assert secret.reveal() == CANARY
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_credentials_come_from_the_environment_at_use(monkeypatch):
    assert resolve_credentials("archive").is_empty
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_ARCHIVE_KEY", "ada")
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_ARCHIVE_SECRET", CANARY)
    credentials = resolve_credentials("archive")
    assert credentials.secret.reveal() == CANARY
    assert CANARY not in repr(credentials)


@given(st.text(min_size=1).filter(lambda text: text not in "***"), st.text(), st.text())
def test_scrubbed_texts_hold_no_secret(secret, before, after):
    assert secret not in scrub(f"{before}{secret}{after}", [Secret(secret)]).replace("***", "")


@pytest.mark.parametrize(
    "text",
    [f"at https://user:{CANARY}@host/x", f"GET /x?a=1&X-Amz-Signature={CANARY}&b=2", f"?token={CANARY}"],
)
def test_urls_in_texts_are_scrubbed(text):
    assert CANARY not in scrub(text)
