# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a registry reads and writes its storage, asked at its unix socket.

A registry's own health says only that its storage could be listed a while ago. It runs on the host with Python's own library only.
"""

from __future__ import annotations

import http.client
import json
import os
from contextlib import closing
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection

# Nothing is ever pushed to it, so no list of repositories shows it.
REPOSITORY = "drydock/storage-check"
# A store that does not answer is asked several times by the registry, before that gives up.
SECONDS = 20.0
_NO_PUSHES = http.client.METHOD_NOT_ALLOWED


def ask(socket: str, method: str, target: str, seconds: float) -> tuple[int, bytes]:
    """Ask once. Returns the status and what it says."""
    with closing(UnixConnection(socket, seconds)) as connection:
        connection.request(method, target, headers={"Host": "registry", "Content-Length": "0"})
        answer = connection.getresponse()
        return answer.status, answer.read(64 * 1024)


def reason(status: int, body: bytes) -> str:
    """Say why a registry failed, where it tells: the number of the system's error is somewhere in its answer."""
    try:
        pending: list[Any] = [json.loads(body)]
    except ValueError:
        pending = []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            number = value.get("Err")
            if isinstance(number, int) and number > 0:
                return os.strerror(number)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return f"it answers {status}"


def _failure(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def read_problem(socket: str, seconds: float = SECONDS) -> str:
    """Have the registry look for its first repository. Returns why it cannot, or nothing.

    One that mirrors another registry would pass a question about a repository on.
    """
    try:
        status, body = ask(socket, "GET", "/v2/_catalog?n=1", seconds)
    except (OSError, http.client.HTTPException) as error:
        return f"it cannot read its storage ({_failure(error)})"
    return "" if status in (200, 404) else f"it cannot read its storage ({reason(status, body)})"


def write_problem(socket: str, seconds: float = SECONDS) -> str:
    """Have the registry begin an upload. Returns why it cannot, or nothing; one that takes no pushes needs not write.

    Registries remove uploads that do not go on after a week. When one is cancelled, 2.8 leaves a part of it for ever.
    """
    try:
        status, body = ask(socket, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", seconds)
    except (OSError, http.client.HTTPException) as error:
        return f"it cannot write to its storage ({_failure(error)})"
    return (
        ""
        if status in (http.client.ACCEPTED, _NO_PUSHES)
        else f"it cannot write to its storage ({reason(status, body)})"
    )


def problem(socket: str, seconds: float = SECONDS) -> str:
    """Return what the registry cannot do with its storage, or nothing."""
    return read_problem(socket, seconds) or write_problem(socket, seconds)
