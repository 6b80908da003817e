# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP proxy that hosts of tests reach: the only way to what has no address, which it can close."""

from __future__ import annotations

import http.client
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

SECONDS = 60
# What S3 says where a policy allows no writing.
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Passed(NamedTuple):
    """A request that came, and the credentials for the proxy that it brought."""

    method: str
    target: str
    credentials: str


class HttpProxy(ThreadingHTTPServer):
    """Passes requests and connections on, by the name of the host that they are for."""

    daemon_threads = True

    def __init__(self, ways: Mapping[str, tuple[str, int]]) -> None:
        self.ways = dict(ways)
        self.passed: list[Passed] = []
        self.writable = True
        # While it is not set, no request gets an answer.
        self.opened = threading.Event()
        self.opened.set()
        super().__init__(("", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One client."""

    server: HttpProxy
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Connect a client with the host of this name."""
        self._note()
        host = self.path.rpartition(":")[0]
        self.close_connection = True
        if host not in self.server.ways:
            self.send_error(502)
            return
        with socket.create_connection(self.server.ways[host], timeout=SECONDS) as there:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while readable := select.select([*ends], [], [], SECONDS)[0]:
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    def pass_on(self) -> None:
        """Ask the host of this name, and hand its answer on."""
        self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.opened.wait()
        host, slash, path = self.path.removeprefix("http://").partition("/")
        if host not in self.server.ways:
            self.send_error(502)
            return
        if self.command in {"PUT", "POST", "DELETE"} and not self.server.writable:
            self._answer(403, {"Content-Type": "application/xml"}, DENIED)
            return
        # The host knows itself by its address.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "expect"}}
        with closing(http.client.HTTPConnection(*self.server.ways[host], timeout=SECONDS)) as there:
            there.request(self.command, slash + path, body, headers)
            answer = there.getresponse()
            self._answer(answer.status, dict(answer.headers), answer.read())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _note(self) -> None:
        self.server.passed.append(Passed(self.command, self.path, self.headers.get("Proxy-Authorization") or ""))

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "server", "date"}:
                self.send_header(name, value)
        self.send_header(
            "Content-Length", headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def http_proxy(ways: Mapping[str, tuple[str, int]]) -> Iterator[HttpProxy]:
    """Run one on a port of all addresses of this machine."""
    with HttpProxy(ways) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            # Whoever waits for an answer gets one.
            server.opened.set()
            server.shutdown()
            thread.join()
