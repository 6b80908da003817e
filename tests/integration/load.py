# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that go on asking a registry while something is done to it, and count what fails."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

TIMEOUT_SECONDS = 30
# A server closes a kept connection when it has been idle or is reloaded; the request on its way then gets one of these.
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Ask(NamedTuple):
    """One kind of request, and the status of a good answer."""

    name: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    context: ssl.SSLContext
    # One connection for all requests, as within a pull, or a new one for each.
    kept: bool


@dataclass
class Count:
    """What became of the requests of one kind."""

    asked: int = 0
    # On a kept connection that was closed while the request was on its way. Clients repeat these where that is safe.
    closed: int = 0
    failures: list[str] = field(default_factory=list)


class Connection(http.client.HTTPSConnection):
    """To an address, under the name that its certificate is for."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext) -> None:
        super().__init__(name, timeout=TIMEOUT_SECONDS, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        """Connect without asking for the name's address."""
        plain = socket.create_connection((self._address, 443), timeout=TIMEOUT_SECONDS)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)

    def drop_if_closed(self) -> None:
        """Look, as HTTP libraries do, whether the server has closed the connection since the last answer."""
        if self.sock is not None and select.select([self.sock], [], [], 0)[0]:
            self.close()


def ask_once(connection: Connection, ask: Ask) -> int:
    """Send a request and read the whole answer."""
    connection.request(ask.method, ask.path, headers=dict(ask.headers))
    answer = connection.getresponse()
    answer.read()
    return answer.status


class Load:
    """Clients that ask until they are stopped, each in a thread of its own."""

    def __init__(self, address: str, name: str, asks: list[Ask], pause_seconds: float) -> None:
        self.counts = {ask.name: Count() for ask in asks}
        self._address, self._name, self._pause = address, name, pause_seconds
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(ask,)) for ask in asks]

    def _go_on(self, ask: Ask) -> None:
        count = self.counts[ask.name]
        connection = Connection(self._address, self._name, ask.context)
        while not self._stop.wait(self._pause):
            connection.drop_if_closed()
            fresh = connection.sock is None
            count.asked += 1
            try:
                status = ask_once(connection, ask)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if isinstance(error, CLOSED) and not fresh:
                    count.closed += 1
                else:
                    count.failures.append(f"{type(error).__name__}: {error}")
                continue
            if status != ask.status:
                count.failures.append(str(status))
            if not ask.kept:
                connection.close()
        connection.close()

    def start(self) -> None:
        """Let all clients begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until each has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failures(self) -> list[str]:
        """What failed, by the name of the request."""
        return [f"{name}: {failure}" for name, count in self.counts.items() for failure in count.failures]

    def table(self) -> str:
        """Return the counts as lines."""
        return "\n".join(
            f"{name:24} {count.asked:6} asked {len(count.failures):4} failed {count.closed:4} on a connection just closed"
            for name, count in self.counts.items()
        )


@contextmanager
def under_load(address: str, name: str, asks: list[Ask], pause_seconds: float = 0.02) -> Iterator[Load]:
    """Run the clients for as long as the block takes."""
    load = Load(address, name, asks, pause_seconds)
    load.start()
    try:
        yield load
    finally:
        load.stop()
