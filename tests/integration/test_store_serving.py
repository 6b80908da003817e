# SPDX-License-Identifier: GPL-3.0-or-later
"""With a real registry: its own garbage collection loses images, ours does not; and what it cannot give is brought back."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from drydock_store import commands
from drydock_store.layout import blob_path
from drydock_store.registry import ACCEPT
from drydock_store.store import StoreError

from tests.bench.storage import upstream
from tests.unit.store.model import OCI, digest_of, image
from tests.unit.store.places import DAY, Place, folder
from tests.unit.store.test_runs import PACKAGE

CONFIG = b"{}"


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    """Provide a registry; nothing is installed on this machine."""
    with upstream() as found:
        yield found


class Client:
    """A client of a registry at a unix socket or at a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.request(method, path, body, {"Accept": ACCEPT, **headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def push(self, repository: str, tag: str, *layers: bytes) -> bool:
        """Push as clients do; whether it was answered 201."""
        for content in (CONFIG, *layers):
            digest = digest_of(content)
            if self.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
                continue
            status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
            if status != 202:
                return False
            where = urlsplit(headers["location"])
            status, _, _ = self.ask("PUT", f"{where.path}?{where.query}&digest={digest}", content)
            if status != 201:
                return False
        return self.put(repository, tag, *layers)

    def put(self, repository: str, tag: str, *layers: bytes) -> bool:
        return self.ask("PUT", f"/v2/{repository}/manifests/{tag}", image(*layers), **{"Content-Type": OCI})[0] == 201

    def missing(self, repository: str, tag: str) -> str:
        """Pull, and say what cannot be had."""
        status, _, body = self.ask("GET", f"/v2/{repository}/manifests/{tag}")
        if status != 200:
            return f"{repository}:{tag} {status}"
        document = json.loads(body)
        for one in [document["config"], *document["layers"]]:
            status, _, body = self.ask("GET", f"/v2/{repository}/blobs/{one['digest']}")
            if status != 200 or digest_of(body) != one["digest"]:
                return f"{repository}:{tag} {one['digest']} {status}"
        return ""


@contextmanager
def serving(program: str, place: Place, directory: Path) -> Iterator[int]:
    """Run a registry on a place."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = directory / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage:\n  filesystem: {{rootdirectory: {place.document['storage']['folder']}}}\n  delete: {{enabled: true}}\n"
        f"  maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: x}}\n"
    )
    with subprocess.Popen([program, "serve", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    Client(port).ask("GET", "/v2/")
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def with_garbage(place: Place, client: Client) -> None:
    """Push an image that stays, and a layer that nobody needs."""
    assert client.push("app", "kept", b"kept")
    assert client.push("app", "gone", b"old layer")
    digest = digest_of(image(b"old layer"))
    assert client.ask("DELETE", f"/v2/app/manifests/{digest}")[0] == 202
    place.driver.age(2 * DAY)


def test_upstreams_collection_loses_an_image_that_was_answered_201(tmp_path: Path, program: str) -> None:
    """Why there is one of our own: the same steps as in the next test. Should this fail one day, ours may not be needed."""
    place = folder(tmp_path)
    with serving(program, place, tmp_path) as port:
        client = Client(port)
        with_garbage(place, client)
        client.push("later", "1", b"other")
        collection = [program, "garbage-collect", str(tmp_path / "registry.yml")]
        said = subprocess.run([*collection, "--dry-run"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        marked = said.stdout.index(b"\nlater\n") + 7
        # It has marked what `app` needs, and can say no more, since nobody reads it: a pipe of one page, full but for that.
        reader, writer = os.pipe()
        room = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b" " * (room - marked - 5))
        with subprocess.Popen(collection, stdout=writer, stderr=subprocess.DEVNULL):
            while struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0] < room - 5:
                time.sleep(0.01)
            pushed = client.push("app", "new", b"old layer")
            os.close(writer)
            while os.read(reader, 4096):
                pass
        os.close(reader)
        assert pushed
        assert client.missing("app", "new")


def test_ours_does_not(tmp_path: Path, program: str) -> None:
    place = folder(tmp_path)
    with serving(program, place, tmp_path) as port:
        client = Client(port)
        with_garbage(place, client)
        place.document["registry"] = {"url": f"http://127.0.0.1:{port}"}
        memory = place.memory()
        memory.unreferenced = {digest_of(image(b"old layer")): 0.0}
        memory.keep_seen()
        store = place.store()
        discard = store.discard
        pushed: list[bool] = []

        def in_between(run: str, paths: Any) -> None:
            # It has decided, and takes nothing away before the same push was answered.
            if not pushed:
                pushed.append(client.push("app", "new", b"old layer"))
            discard(run, paths)

        store.discard = in_between  # type: ignore[method-assign]
        result, status = place.collect(store=store)
        assert status == commands.FINE
        assert result["run"]
        assert result["last_check"] == {"asked": 2, "missed": [], "done": True}
        assert pushed == [True]
        assert client.missing("app", "new") == client.missing("app", "kept") == ""


def test_a_miss_of_the_registry_undoes_the_run(tmp_path: Path, program: str) -> None:
    place = folder(tmp_path / "one")
    other = folder(tmp_path / "two")
    with serving(program, place, tmp_path) as port:
        with_garbage(place, Client(port))
    # A registry that has another storage does not have these images.
    with serving(program, other, tmp_path) as port:
        place.document["registry"] = {"url": f"http://127.0.0.1:{port}"}
        before = place.images()
        result, status = place.collect()
    assert status == commands.FOUND
    assert result["undone"]
    assert result["last_check"]["missed"] == ["app:kept"]
    assert place.images() == before
    # One that does not answer is known before anything is changed.
    with pytest.raises(StoreError, match=r"cannot be asked: .* Nothing was changed"):
        place.collect()
    assert place.images() == before


def test_pushes_and_collections_that_are_killed(tmp_path: Path, program: str) -> None:
    """Clients push, push garbage again and delete while collections run without a pause, and end in their middle."""
    rules = [{"repositories": ["**"], "untagged_after_days": 0}]
    place = folder(tmp_path, link_age_seconds=0, blob_wait_seconds=0, second_look_seconds=0, retention=rules)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(place.document))
    chance = random.Random(17)  # noqa: S311
    ending = threading.Event()

    def collections() -> None:
        words = [sys.executable, "-m", "drydock_store", "--config", str(config), "collect", "--apply"]
        while not ending.is_set():
            with subprocess.Popen(
                words,
                env={**os.environ, "PYTHONPATH": str(PACKAGE)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                if chance.random() < 0.5:
                    time.sleep(chance.uniform(0.1, 0.4))
                    process.kill()

    with serving(program, place, tmp_path) as port:
        client = Client(port)
        client.push("app", "first", b"first")
        thread = threading.Thread(target=collections)
        thread.start()
        answered: dict[str, bytes] = {}
        try:
            end = time.monotonic() + 5
            while time.monotonic() < end:
                layer = f"layer {chance.randrange(6)}".encode()
                tag = f"t{chance.randrange(10)}"
                if chance.random() < 0.3 and tag in answered:
                    digest = digest_of(image(answered[tag]))
                    if client.ask("DELETE", f"/v2/app/manifests/{digest}")[0] == 202:
                        answered = {
                            name: content for name, content in answered.items() if digest_of(image(content)) != digest
                        }
                elif client.push("app", tag, layer):
                    answered[tag] = layer
        finally:
            ending.set()
            thread.join()
        # Tags that were pushed again have left images without any, which go when they are a day old.
        for link in tmp_path.rglob("_manifests/revisions/**/link"):
            os.utime(link, (time.time() - 2 * 86400,) * 2)
        place.retention()
        for _ in range(3):
            place.collect()
        lost = [client.missing("app", tag) for tag in ("first", *answered)]
        assert [one for one in lost if one] == []
        needed = {
            digest_of(content) for layer in (b"first", *answered.values()) for content in (CONFIG, layer, image(layer))
        }
        assert {path for path in place.images() if path.startswith("blobs/")} == set(map(blob_path, needed))
        assert place.check(digests=True) == []
