# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes descriptors from a Redis that registries share: they would go on offering what is gone."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drydock_store.layout import Blob, Layer, Revision, Thing

_BATCH = 500


class RedisError(Exception):
    """Redis could not be asked; the text is a sentence for the user."""


def flush(settings: Mapping[str, Any], things: Iterable[Thing]) -> None:
    """Delete the descriptors of blobs and links."""
    commands: list[tuple[str, ...]] = []
    for thing in things:
        if isinstance(thing, Blob):
            commands.append(("DEL", f"blobs::{thing.digest}"))
        elif isinstance(thing, (Layer, Revision)):
            key = f"repository::{thing.repository}::blobs"
            commands += [("SREM", key, thing.digest), ("DEL", f"{key}::{thing.digest}")]
    if commands:
        _ask(settings, commands, _REMEDY)


def greet(settings: Mapping[str, Any]) -> None:
    """Check that it answers, and takes the password."""
    _ask(settings, [("PING",)], "nothing was changed.")


def _ask(settings: Mapping[str, Any], commands: list[tuple[str, ...]], then: str) -> None:
    address = settings["address"]
    try:
        with _connection(settings) as connection, connection.makefile("rb") as answers:
            first = []
            if settings.get("password_file"):
                password = Path(settings["password_file"]).read_text(encoding="utf-8").strip()
                first.append(("AUTH", *filter(None, [settings.get("username")]), password))
            if settings.get("database"):
                first.append(("SELECT", str(settings["database"])))
            for start in range(0, len(commands), _BATCH):
                batch = [*first, *commands[start : start + _BATCH]]
                first = []
                connection.sendall(b"".join(map(_encoded, batch)))
                for command in batch:
                    answer = answers.readline()
                    if answer[:1] not in (b"+", b":"):
                        said = answer[1:].decode("utf-8", "replace").strip() or "it hung up"
                        raise RedisError(f"Redis at {address} refused {command[0]} ({said}); {then}")
    except (OSError, OverflowError, ValueError) as error:
        raise RedisError(f"Redis at {address} cannot be asked ({error}); {then}") from error


_REMEDY = "run this again once it answers: until then registries go on offering what went."


def _connection(settings: Mapping[str, Any]) -> socket.socket:
    host, _separator, port = settings["address"].rpartition(":")
    host = host.strip("[]")
    connection = socket.create_connection((host, int(port)), timeout=30)
    if not settings.get("tls_enabled"):
        return connection
    context = ssl.create_default_context(cafile=settings.get("ca_file") or None)
    return context.wrap_socket(connection, server_hostname=host)


def _encoded(command: tuple[str, ...]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
