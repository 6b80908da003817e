# SPDX-License-Identifier: GPL-3.0-or-later
"""With a Redis, the descriptors of what went are deleted; the run says so where that cannot be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from drydock_store import commands
from drydock_store.store import StoreError

from tests.unit.store.model import digest_of, done, push
from tests.unit.store.places import DAY, Place, folder


class Server:
    """Takes commands as Redis does, and answers each in the same way."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.answer = b":1\r\n"
        self.commands: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # A client that was refused hangs up.
            with suppress(OSError), connection, connection.makefile("rb") as asked:
                while line := asked.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        length = int(asked.readline()[1:])
                        words.append(asked.read(length + 2)[:-2].decode())
                    self.commands.append(" ".join(words))
                    connection.sendall(self.answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def with_garbage(directory: Path, server: Server) -> Place:
    password = directory / "password"
    password.write_text("secret\n")
    place = folder(directory, redis={"address": server.address, "password_file": str(password), "database": 3})
    push(place.registry, "app", "1", b"layer")
    done(place.registry.upload("app", b"garbage"))
    place.driver.age(2 * DAY)
    return place


def test_descriptors_of_what_went_are_deleted_twice(tmp_path: Path, server: Server) -> None:
    place = with_garbage(tmp_path, server)
    digest = digest_of(b"garbage")
    assert place.collect()[1] == commands.FINE
    first = ["AUTH secret", "SELECT 3"]
    once = [*first, f"SREM repository::app::blobs {digest}", f"DEL repository::app::blobs::{digest}"]
    # Before the second look and after it; and is it there at all?
    assert server.commands == [*first, "PING", *once, *once]
    server.commands.clear()
    place.collect_all()
    assert f"DEL blobs::{digest}" in server.commands


def test_a_redis_that_refuses_is_named_and_nothing_is_begun(tmp_path: Path, server: Server) -> None:
    place = with_garbage(tmp_path, server)
    before = place.images()
    server.answer = b"-WRONGPASS invalid\r\n"
    with pytest.raises(
        StoreError, match=rf"Redis at {server.address} refused AUTH \(WRONGPASS invalid\); nothing was changed"
    ):
        place.collect()
    assert place.images() == before


def test_what_redis_could_not_forget_is_for_the_next_run(tmp_path: Path, server: Server) -> None:
    place = with_garbage(tmp_path, server)
    place.document["trash_seconds"] = 0

    def refuse(_seconds: float) -> None:
        server.answer = b"-LOADING\r\n"

    result, status = place.collect(pause=refuse)
    assert status == commands.UNFINISHED
    assert "refused AUTH (LOADING)" in result["problems"][0]
    server.answer = b":1\r\n"
    server.commands.clear()
    # A registry would tell a client that the layer is there, and the trash is all that has it.
    assert place.collect()[1] == commands.FINE
    assert f"DEL repository::app::blobs::{digest_of(b'garbage')}" in server.commands
