"""An S3 store behind a network that fails: what is visible can be read, what is kept arrives."""

from urllib.parse import urlsplit

import pytest

from quantumio.errors import DestinationError, ErrorKind
from quantumio.model import CommitFailed, CommitParked, Committed
from tests.network.conftest import Night, blob, create, opened, stats
from tests.network.proxy import Fault, How, Proxy

pytestmark = [pytest.mark.on_disk, pytest.mark.timeout(900)]  # long, and longer beside other work

ALWAYS = 10_000


def answer(status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said the proxy</Message></Error>"
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


PRECONDITION = answer("412 Precondition Failed", "PreconditionFailed")
UNAVAILABLE = answer("503 Service Unavailable", "ServiceUnavailable")
CONFLICT = answer("409 Conflict", "ConditionalRequestConflict")
DENIED = answer("403 Forbidden", "AccessDenied")


def puts(data):
    """Tell the request that places an output from that which notes the process in the store."""
    return data.startswith(b"PUT ") and b"/_qio/" not in data.partition(b"\r\n")[0]


def heads(data):
    return data.startswith(b"HEAD ")


def gets(data):
    return data.startswith(b"GET ")


def everything(data):
    return True


@pytest.fixture
def night(tmp_path, s3_server, s3_bucket):
    there = urlsplit(s3_server.endpoint_url)
    with Proxy((there.hostname, there.port)) as proxy:
        archive = {
            "kind": "objects",
            "root": f"s3://{s3_bucket}/store",
            "endpoint": f"http://127.0.0.1:{proxy.port}",
            "insecure": True,
            "timeout_s": 8,
        }
        repository = tmp_path / "repository"
        create(repository, destinations={"archive": archive}, rules=[{"to": ["archive"]}])
        night = Night(repository, proxy, {"stats": stats, "blob": blob})
        assert isinstance(night.suffers(None), Committed)  # the store knows whose it is
        yield night


@pytest.mark.parametrize(
    ("matches", "how"),
    [(puts, how) for how in How if how not in (How.REPLACE, How.INVENT)]
    + [(heads, how) for how in (How.CUT_AFTER, How.STALL_BEFORE)],
)
def test_fault_that_passes_is_outlived(night, how, matches):
    fault = Fault(how, matches)
    outcome = night.suffers(fault)
    assert fault.hits
    # a look that fails leaves open what is there: the context is kept, and nothing removed
    assert isinstance(outcome, Committed if matches is puts else (Committed, CommitParked))


@pytest.mark.parametrize("how", [How.REPLACE, How.INVENT])
@pytest.mark.parametrize("reply", [PRECONDITION, CONFLICT, UNAVAILABLE], ids=["412", "409", "503"])
def test_answer_that_leaves_it_open_is_looked_into(night, how, reply):
    fault = Fault(how, puts, reply=reply)
    assert isinstance(night.suffers(fault), Committed)
    assert fault.hits


def test_store_that_refuses_is_believed(night):
    outcome = night.suffers(Fault(How.INVENT, puts, times=ALWAYS, reply=DENIED))
    assert isinstance(outcome, CommitFailed)


@pytest.mark.parametrize("how", [How.CUT_BEFORE, How.CUT_AFTER])
@pytest.mark.parametrize("ack", ["committed", "journaled"])
def test_store_that_cannot_be_reached_is_waited_for(night, how, ack):
    outcome = night.suffers(Fault(how, everything, times=ALWAYS), ack=ack)
    assert isinstance(outcome, CommitParked)


@pytest.mark.parametrize("how", [How.CUT_BEFORE, How.CUT_REPLY, How.STALL_AFTER, How.STALL_REPLY, How.SLOW])
def test_read_gives_the_right_bytes_or_an_error(night, how):
    assert isinstance(night.suffers(None), Committed)

    def read(fault):
        with opened(night.repository) as butler:
            assert butler.get("stats", visit=night.visit) == stats(night.visit)  # it is open
            night.proxy.arm(fault)
            try:
                return butler.get("blob", visit=night.visit), None
            except DestinationError as error:
                return None, error.kind
            finally:
                night.proxy.arm(None)

    fault = Fault(how, gets, times=ALWAYS)
    value, kind = night.within_time(lambda: read(fault))
    assert fault.hits
    if how is How.SLOW:
        assert value == blob(night.visit)
    else:
        assert kind in (ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT)
    assert night.within_time(lambda: read(None)) == (blob(night.visit), None)
