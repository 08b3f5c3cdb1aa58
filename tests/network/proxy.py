"""A TCP proxy that breaks what passes through it: at a message that a test names, in a way that it names.

It runs an event loop in a thread of its own, and knows nothing of HTTP or PostgreSQL but where a request
ends for which a reply is due.
"""

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Callable

import attrs

CONTINUE = b"HTTP/1.1 100"
REST = 48  # bytes that are let through where something is cut in the middle


class How(enum.Enum):
    """What happens to the message, and to its connection."""

    CUT_BEFORE = "the connection is lost before the message has arrived"
    CUT_AFTER = "the message has its effect, its reply is lost with the connection"
    CUT_WITHIN = "the connection is reset within the message"
    CUT_REPLY = "the connection is lost within the reply"
    STALL_BEFORE = "the message is swallowed; nothing follows"
    STALL_AFTER = "the message has its effect; nothing follows"
    STALL_WITHIN = "a part of the message arrives; nothing follows"
    STALL_REPLY = "a part of the reply arrives; nothing follows"
    SLOW = "each byte of the reply comes by itself"
    REPLACE = "the message has its effect, its reply is another one"
    INVENT = "the message is swallowed, and answered in the name of the server"


FORWARDS = {How.CUT_AFTER, How.CUT_REPLY, How.STALL_AFTER, How.STALL_REPLY, How.SLOW, How.REPLACE}


@attrs.define(eq=False)
class Fault:
    """What is to happen to the first message that matches, once or again and again.

    Attributes
    ----------
    matches
        Given what a client sent.
    after
        How many messages that match pass before.
    down
        Whether the proxy goes down with it: every later connection is refused.
    reply
        For ``REPLACE`` and ``INVENT``.
    hits
        How often it has happened.
    """

    how: How
    matches: Callable[[bytes], bool]
    after: int = 0
    times: int = 1
    down: bool = False
    reply: bytes = b""
    hits: int = 0
    seen: int = 0

    def takes(self, data: bytes) -> bool:
        if self.hits >= self.times or not self.matches(data):
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        self.hits += 1
        return True


class Proxy:
    """Listens on a free port, and connects to a server for each client.

    Parameters
    ----------
    upstream
        Host and port, or the path of a socket.
    """

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self._upstream = upstream
        self._fault: Fault | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._stop = asyncio.Event()
        self._is_down = False

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def arm(self, fault: Fault | None) -> None:
        """Break what comes from now on; None lets all pass."""
        self._fault = fault

    def go_down(self) -> None:
        """Reset every connection, and each new one at once."""
        self._is_down = True
        self.cut()

    def come_up(self) -> None:
        self._is_down = False

    def cut(self) -> None:
        """Reset every connection; those that are stalled come free."""

        async def reset() -> None:
            for writer in list(self._clients):
                _reset(writer)

        asyncio.run_coroutine_threadsafe(reset(), self._loop).result()

    # -- in the loop
    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                served = tasks.create_task(self._carry(reader, writer))
                serving.add(served)
                served.add_done_callback(serving.discard)

            serving: set[asyncio.Task[None]] = set()
            server = await asyncio.start_server(accept, sock=self._listening)
            await self._stop.wait()
            server.close()
            for task in serving:
                task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_down:
            _reset(writer)
            return
        try:
            if isinstance(self._upstream, str):
                up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
            else:
                up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            _reset(writer)
            return
        connection = _Connection(reader, writer, up_reader, up_writer)
        self._clients.add(writer)
        try:
            await connection.carry(self)
        finally:
            self._clients.discard(writer)
            for one in (writer, up_writer):
                one.close()

    def fault_for(self, data: bytes) -> Fault | None:
        fault = self._fault
        if fault is None or not fault.takes(data):
            return None
        self._is_down = self._is_down or fault.down
        return fault


@attrs.define(eq=False)
class _Connection:
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    fault: Fault | None = None
    unsent: int = 0  # bytes of the request that are still to come, of HTTP

    async def carry(self, proxy: Proxy) -> None:
        pumps = [asyncio.create_task(self._requests(proxy)), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self, proxy: Proxy) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.client.read(1 << 16):
                if self.fault is None and (fault := proxy.fault_for(data)) is not None:
                    self.fault, self.unsent = fault, _length(data)
                if self.fault is None or self.fault.how in FORWARDS:
                    self.unsent -= len(data)
                    await _send(self.to_server, data)
                elif not await self._break(self.fault, data):
                    return

    async def _break(self, fault: Fault, data: bytes) -> bool:
        """Do to a request what is to be done; False ends the connection."""
        match fault.how:
            case How.CUT_BEFORE:
                _reset(self.to_client)
                return False
            case How.INVENT:
                # a body waits for leave to come, and is swallowed then
                self.unsent -= len(data)
                if self.unsent > 0 and b"100-continue" in data.lower():
                    await _send(self.to_client, CONTINUE + b" Continue\r\n\r\n")
                if self.unsent <= 0:
                    self.fault = None
                    await _send(self.to_client, fault.reply)
            case How.CUT_WITHIN | How.STALL_WITHIN:
                self.unsent -= len(data)
                is_last = self.unsent <= 0
                await _send(self.to_server, data[: -min(REST, len(data) // 2 + 1)] if is_last else data)
                if is_last and fault.how is How.CUT_WITHIN:
                    _reset(self.to_client)
                    _reset(self.to_server)
                    return False
            case How.STALL_BEFORE:
                pass
        return True

    async def _replies(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.server.read(1 << 16):
                if self.fault is None:
                    await _send(self.to_client, data)
                    continue
                if data.startswith(CONTINUE):  # the effect is still to come
                    leave, _, data = data.partition(b"\r\n\r\n")
                    await _send(self.to_client, leave + b"\r\n\r\n")
                if data and self.unsent <= 0 and not await self._reply(self.fault, data):
                    return

    async def _reply(self, fault: Fault, data: bytes) -> bool:
        """Do to a reply what is to be done; False ends the connection."""
        match fault.how:
            case How.CUT_AFTER:
                _reset(self.to_client)
                return False
            case How.CUT_REPLY:
                await _send(self.to_client, data[: len(data) - min(REST, len(data) // 2 + 1)])
                self.to_client.close()  # in good order: only the length can tell
                return False
            case How.STALL_REPLY:
                await _send(self.to_client, data[: len(data) // 2])
                fault = self.fault = attrs.evolve(fault, how=How.STALL_AFTER)
            case How.SLOW:
                for byte in data:
                    await _send(self.to_client, bytes([byte]))
                    await asyncio.sleep(0)
            case How.REPLACE:
                await _send(self.to_client, fault.reply)
                return False  # the rest of the server's own reply may still come
        return True


def _length(data: bytes) -> int:
    """Bytes of a request of HTTP; of any other message what there is."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end or b" HTTP/1." not in head:
        return len(data)
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(head) + len(end) + int(value)
    return len(data)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what is on its way is lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
