"""Which destinations may not stand beside each other."""

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DestinationSettings
from quantumio.system import environment


def opened(root, **roots):
    settings = {}
    for name, (kind, options) in roots.items():
        options = {"root": options} if isinstance(options, str) else options
        settings[name] = DestinationSettings(name=name, kind=kind, options=options)
    OpenedDestinations(settings, repository_root=root, repository_id=environment.uuid7()).close()


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (("files", "data"), ("files", "data/image")),
        (("files", "data"), ("files", "link/image")),
        (("files", "data"), ("workspace", "data/ada")),
        (("files", "data"), ("workspace", "data")),
        (("objects", "s3://bucket"), ("objects", "s3://bucket/image")),
        (("objects", "s3://bucket/a/"), ("objects", "s3a://bucket/a/b")),
        (("objects", "s3://bucket/a"), ("workspace", "s3://bucket/a")),
        (("objects", "memory://one"), ("objects", "memory://one/two")),
        *(
            (
                ("objects", {"root": "s3://b", "endpoint": one}),
                ("objects", {"root": "s3://b/a", "endpoint": other}),
            )
            for one, other in [
                ("https://one.example", "https://one.example/"),
                ("https://one.example:9000/s3/", "https://One.Example:9000/s3"),
                ("HTTPS://one.example:443", "https://one.example"),
            ]
        ),
    ],
)
def test_root_below_another_is_refused_whichever_comes_first(tmp_path, outer, inner):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for places in ({"outer": outer, "inner": inner}, {"inner": inner, "outer": outer}):
        with pytest.raises(
            InvalidInputError, match=r"\[destinations.inner\].*destination 'outer'"
        ) as failure:
            opened(tmp_path, **places)
        assert failure.value.kind is ErrorKind.POLICY


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("files", "data"), ("files", "data")),
        (("files", "data"), ("files", "database")),
        (("files", "data"), ("objects", "s3://data/image")),
        (("objects", "s3://bucket/a"), ("objects", "s3://bucket/ab")),
        (("objects", "s3://bucket"), ("objects", "gs://bucket/a")),
        (
            ("objects", {"root": "s3://b", "endpoint": "https://one.example"}),
            ("objects", {"root": "s3://b/a", "endpoint": "https://two.example"}),
        ),
        (
            ("objects", {"root": "s3://b", "endpoint": "https://one.example:9000"}),
            ("objects", {"root": "s3://b/a", "endpoint": "https://one.example"}),
        ),
        (("memory", {}), ("memory", {})),
    ],
)
def test_others_are_not(tmp_path, one, other):
    opened(tmp_path, one=one, other=other)
