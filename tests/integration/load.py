# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that go on asking a registry while something is done to it, and count what fails."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

TIMEOUT_SECONDS = 30
# What a body is held back for may be a host's boot.
RESUME_SECONDS = 900
PIECE_BYTES = 1024 * 1024
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# What HTTP libraries send again by themselves where no answer came.
IDEMPOTENT = ("GET", "HEAD")
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
    # How long a client waits between two of them; what all wait, where it does not say.
    pause_seconds: float = 0


class Push(NamedTuple):
    """Whole pushes of images with one layer: a blob and its configuration, each by POST, PATCH and PUT, then the manifest."""

    name: str
    repository: str
    layer_bytes: int
    headers: Mapping[str, str]
    context: ssl.SSLContext
    pause_seconds: float = 0
    # How long the body of the layer takes at least.
    body_seconds: float = 0


@dataclass
class Count:
    """What became of the requests of one kind."""

    # Whether a client may send them again.
    idempotent: bool = True
    asked: int = 0
    # On a kept connection that was closed while the request was on its way. Clients repeat these where that is safe.
    closed: int = 0
    failures: list[str] = field(default_factory=list)


class Unanswered(Exception):
    """A request of a push that has several got no good answer."""


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
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


class Layer:
    """Bytes that are another layer each time, without being made anew."""

    def __init__(self, size: int) -> None:
        self._body = os.urandom(min(size, PIECE_BYTES)) * max(1, size // PIECE_BYTES)
        self._hash = hashlib.sha256(self._body)
        self._numbers = iter(range(10**9))

    def another(self) -> tuple[Sequence[bytes], str]:
        """Return the next one's pieces, and its digest."""
        end = f"{os.getpid()} {id(self)} {next(self._numbers)}".encode()
        whole = self._hash.copy()
        whole.update(end)
        pieces = [self._body[at : at + PIECE_BYTES] for at in range(0, len(self._body), PIECE_BYTES)]
        return [*pieces, end], f"sha256:{whole.hexdigest()}"


class Pusher:
    """One client that pushes image after image, and counts each kind of request."""

    def __init__(self, connection: Connection, push: Push, counts: Mapping[str, Count]) -> None:
        self.connection, self.push, self.counts = connection, push, counts
        self.layer, self.config = Layer(push.layer_bytes), Layer(1024)
        # The manifests that the registry took.
        self.taken: list[str] = []
        # Without it, bodies are held back before their last piece.
        self.resume = threading.Event()
        self.resume.set()

    def send(
        self, method: str, path: str, status: int, body: Sequence[bytes] = (), kind: str = "", seconds: float = 0
    ) -> str:
        """Send one request; return where the answer leads."""
        count = self.counts[f"{self.push.name}: {method}"]
        self.connection.drop_if_closed()
        fresh = self.connection.sock is None
        count.asked += 1
        headers = {
            **self.push.headers,
            "Content-Length": str(sum(map(len, body))),
            **({"Content-Type": kind} if kind else {}),
        }
        try:
            self.connection.request(
                method, path, body=slowly(body, seconds, self.resume) if body else None, headers=headers
            )
            # A connection that the server ends lives on in its answer.
            with self.connection.getresponse() as answer:
                text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            if isinstance(error, CLOSED) and not fresh:
                count.closed += 1
            else:
                count.failures.append(f"{type(error).__name__}: {error}")
            raise Unanswered from error
        if answer.status != status:
            count.failures.append(f"{answer.status} {text[:200].decode(errors='replace')}")
            raise Unanswered
        return (answer.headers["Location"] or "").partition(self.connection.host)[2]

    def close(self) -> None:
        """Leave the server."""
        self.connection.close()

    def blob(self, layer: Layer, seconds: float = 0) -> tuple[str, int]:
        """Push one blob; return its digest and size."""
        pieces, name = layer.another()
        upload = self.send("POST", f"/v2/{self.push.repository}/blobs/uploads/", 202)
        upload = self.send("PATCH", upload, 202, pieces, "application/octet-stream", seconds)
        self.send("PUT", f"{upload}&digest={name}", 201)
        return name, sum(map(len, pieces))

    def once(self) -> None:
        """Push one image."""
        layer, layer_size = self.blob(self.layer, self.push.body_seconds)
        config, config_size = self.blob(self.config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": config,
                "size": config_size,
            },
            "layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": layer, "size": layer_size}
            ],
        }
        path = f"/v2/{self.push.repository}/manifests/pushed"
        body = json.dumps(manifest).encode()
        self.send("PUT", path, 201, [body], MANIFEST_TYPE)
        self.taken.append(f"sha256:{hashlib.sha256(body).hexdigest()}")


def slowly(pieces: Sequence[bytes], seconds: float, resume: threading.Event) -> Iterator[bytes]:
    """Yield the pieces over at least this time, the last one when it may."""
    for number, piece in enumerate(pieces, 1):
        time.sleep(seconds / len(pieces))
        if number == len(pieces):
            resume.wait(RESUME_SECONDS)
        yield piece


class Load:
    """Clients that ask until they are stopped, each in a thread of its own."""

    def __init__(
        self, address: str, name: str, asks: Iterable[Ask], pause_seconds: float, pushes: Iterable[Push] = ()
    ) -> None:
        self._address, self._name, self._pause = address, name, pause_seconds
        self._stop = threading.Event()
        self.counts: dict[str, Count] = {}
        # The manifests that the registry took.
        self.taken: list[str] = []
        self._threads = []
        for ask in asks:
            self.counts[ask.name] = Count(ask.method in IDEMPOTENT)
            self._threads.append(threading.Thread(target=self._go_on, args=(ask,)))
        for push in pushes:
            self.counts |= {f"{push.name}: {method}": Count(idempotent=False) for method in ("POST", "PATCH", "PUT")}
            self._threads.append(threading.Thread(target=self._push_on, args=(push,)))

    def _go_on(self, ask: Ask) -> None:
        count = self.counts[ask.name]
        connection = Connection(self._address, self._name, ask.context)
        while not self._stop.wait(ask.pause_seconds or self._pause):
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

    def _push_on(self, push: Push) -> None:
        pusher = Pusher(Connection(self._address, self._name, push.context), push, self.counts)
        while not self._stop.wait(push.pause_seconds or self._pause):
            with suppress(Unanswered):
                pusher.once()
        pusher.close()
        self.taken += pusher.taken

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

    def failed(self, *, idempotent: bool) -> list[str]:
        """Return what failed of the requests that a client may repeat, or of the others, with those on a connection just closed."""
        return [
            f"{name}: {failure}"
            for name, count in self.counts.items()
            if count.idempotent is idempotent
            for failure in count.failures + ([] if idempotent else ["closed"] * count.closed)
        ]

    def asked(self, *, idempotent: bool) -> int:
        """Return how many requests of this kind were made."""
        return sum(count.asked for count in self.counts.values() if count.idempotent is idempotent)

    def table(self) -> str:
        """Return the counts as lines."""
        return "\n".join(
            f"{name:24} {count.asked:6} asked {len(count.failures):4} failed {count.closed:4} on a connection just closed"
            for name, count in self.counts.items()
        )


@contextmanager
def under_load(
    address: str, name: str, asks: Iterable[Ask], pause_seconds: float = 0.1, pushes: Iterable[Push] = ()
) -> Iterator[Load]:
    """Run the clients for as long as the block takes."""
    load = Load(address, name, asks, pause_seconds, pushes)
    load.start()
    try:
        yield load
    finally:
        load.stop()
