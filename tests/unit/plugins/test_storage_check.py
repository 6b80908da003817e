# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a registry reads and writes its storage, as it tells at its socket."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _storage_check as check

UPLOADS = "/v2/drydock/storage-check/blobs/uploads/"
CATALOG = "/v2/_catalog?n=1"
FULL = {"errors": [{"code": "UNKNOWN", "detail": {"DriverName": "filesystem", "Enclosed": {"Op": "mkdir", "Err": 28}}}]}
Answers = dict[tuple[str, str], tuple[int, object]]
LISTED: Answers = {("GET", CATALOG): (404, {})}
WRITTEN: Answers = {("POST", UPLOADS): (202, {})}


class Registry(socketserver.UnixStreamServer):
    """Answers as it is told, and writes down what it was asked."""

    def __init__(self, path: str) -> None:
        self.answers: dict[tuple[str, str], tuple[int, object]] = {}
        self.asked: list[tuple[str, str]] = []
        super().__init__(path, Handler)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Registry

    def answer(self) -> None:
        """Send what the table says."""
        question = (self.command, self.path)
        self.server.asked.append(question)
        status, content = self.server.answers.get(question, (500, {}))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """Return a name for a client at a unix socket."""
        return "client"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(str(tmp_path / "registry.sock")) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({**LISTED, **WRITTEN}, ""),
        ({("GET", CATALOG): (200, {}), **WRITTEN}, ""),
        # One that is read-only, or passes pulls on.
        ({**LISTED, ("POST", UPLOADS): (405, {})}, ""),
        ({**WRITTEN, ("GET", CATALOG): (500, {})}, "it cannot read its storage (it answers 500)"),
        ({**LISTED, ("POST", UPLOADS): (500, FULL)}, "it cannot write to its storage (No space left on device)"),
        ({**LISTED, ("POST", UPLOADS): (503, ["x", {"Err": "x"}])}, "it cannot write to its storage (it answers 503)"),
    ],
)
def test_what_a_registry_tells(
    registry: Registry, answers: dict[tuple[str, str], tuple[int, object]], problem: str
) -> None:
    registry.answers = answers
    assert check.problem(str(registry.server_address)) == problem


def test_reading_changes_nothing(registry: Registry) -> None:
    registry.answers = LISTED
    assert check.read_problem(str(registry.server_address)) == ""
    assert registry.asked == [("GET", CATALOG)]


def test_nobody_answers(tmp_path: Path) -> None:
    socket = str(tmp_path / "none.sock")
    assert check.problem(socket) == "it cannot read its storage (No such file or directory)"
    assert check.write_problem(socket) == "it cannot write to its storage (No such file or directory)"
