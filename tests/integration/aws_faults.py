# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS answers at first, and the stand-in of its API never: a server before that one, which refuses some calls some times."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aws_account import Account


@dataclass
class Faults:
    """The account behind that server, and what it is refused."""

    account: Account
    # For each operation its code, its message, and how often it is refused.
    planned: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    # What was refused, in order.
    seen: list[str] = field(default_factory=list)

    def plan(self, operation: str, code: str, message: str = "not yet", times: int = 1) -> None:
        self.planned[operation] = (code, message, times)

    def take(self, operation: str) -> tuple[str, str] | None:
        code, message, times = self.planned.get(operation, ("", "", 0))
        if not times:
            return None
        self.planned[operation] = (code, message, times - 1)
        self.seen.append(operation)
        return code, message


@contextlib.contextmanager
def faults(account: Account) -> Iterator[Faults]:
    """Put such a server before an account."""
    behind = urllib.parse.urlsplit(account.endpoint)
    assert behind.hostname

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "")
            form = urllib.parse.parse_qs(body.decode()) if "urlencoded" in self.headers.get("Content-Type", "") else {}
            fault = made.take(target.rpartition(".")[2] or form.get("Action", [""])[0])
            if fault and target:
                content = json.dumps({"__type": fault[0], "message": fault[1]}).encode()
                self.answer(400, [("Content-Type", "application/x-amz-json-1.1")], content)
            elif fault:
                error = f"<Error><Type>Sender</Type><Code>{fault[0]}</Code><Message>{fault[1]}</Message></Error>"
                self.answer(409, [("Content-Type", "text/xml")], f"<ErrorResponse>{error}</ErrorResponse>".encode())
            else:
                self.forward(body)

        def forward(self, body: bytes = b"") -> None:
            connection = http.client.HTTPConnection(str(behind.hostname), behind.port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self.answer(answer.status, answer.getheaders(), answer.read())
            connection.close()

        def do_GET(self) -> None:
            self.forward()

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Faults(Account(f"http://127.0.0.1:{server.server_port}", account.folder))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
