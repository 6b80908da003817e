# SPDX-License-Identifier: GPL-3.0-or-later
"""With a real registry: its own garbage collection loses images, ours does not; and what it cannot give is brought back."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aws_account import aws_account
from drydock_store import commands
from drydock_store.layout import ROOT, blob_path, tag_path
from drydock_store.registry import ACCEPT
from drydock_store.store import Locked, StoreError

from tests.bench.storage import upstream
from tests.unit.backup.test_backup import Host
from tests.unit.store.model import INDEX, OCI, digest_of, image, index
from tests.unit.store.places import DAY, Place, bucket, folder
from tests.unit.store.test_runs import PACKAGE, Killed, killed_at

CONFIG = b"{}"
# Nothing is spared for long.
AT_ONCE: dict[str, Any] = {
    "link_age_seconds": 0,
    "blob_wait_seconds": 0,
    "second_look_seconds": 0,
    "retention": [{"repositories": ["**"], "untagged_after_days": 0}],
}


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
        f"storage:\n  {driver_of(place)}\n  delete: {{enabled: true}}\n  redirect: {{disable: true}}\n"
        f"  maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: x}}\n"
    )
    # It can use no bundle of authorities of this machine's own.
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with subprocess.Popen([program, "serve", str(config)], env=environment, stderr=subprocess.DEVNULL) as process:
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


def driver_of(place: Place) -> str:
    """Return a registry's settings for a place."""
    storage = place.document["storage"]
    if "folder" in storage:
        return f"filesystem: {{rootdirectory: {storage['folder']}}}"
    s3 = storage["s3"]
    given = {"bucket": s3["bucket"], "region": s3["region"], "rootdirectory": s3["prefix"]}
    given |= {"regionendpoint": s3["endpoint"], "secure": False, "accesskey": "test", "secretkey": "test"}
    # 2.8 does not know the last one, and does so where there is an endpoint.
    return f"s3: {json.dumps({**given, 'forcepathstyle': True})}"


def with_garbage(place: Place, client: Client) -> None:
    """Push an image that stays, and a layer that nobody needs."""
    assert client.push("app", "kept", b"kept")
    assert client.push("app", "gone", b"old layer")
    digest = digest_of(image(b"old layer"))
    assert client.ask("DELETE", f"/v2/app/manifests/{digest}")[0] == 202
    place.driver.age(2 * DAY)


def test_the_command_to_leave_takes_all_images_along(tmp_path: Path, program: str) -> None:
    """The command of docs/when-not.md, between two registries; to leave for one of this kind is the same as for any other."""
    page = (Path(__file__).parents[2] / "docs/when-not.md").read_text(encoding="utf-8")
    (command,) = (part.split("```")[0] for part in page.split("```sh\n")[1:])
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with (
        serving(program, folder(tmp_path / "here"), tmp_path / "here") as here,
        serving(program, folder(tmp_path / "there"), tmp_path / "there") as there,
    ):
        client = Client(here)
        kept = {("app", "1"): b"one", ("team/app", "1"): b"two", ("team/deep/app", "2"): b"three"}
        for (repository, tag), layer in kept.items():
            assert client.push(repository, tag, layer)
        # As cosign 2 tags a signature, and as an image for several platforms has no layers of its own.
        signature = f"sha256-{digest_of(image(b'one')).partition(':')[2]}.sig"
        assert client.push("app", signature, b"signature")
        both = index(image(b"two"))
        assert client.ask("PUT", "/v2/team/app/manifests/all", both, **{"Content-Type": INDEX})[0] == 201
        for secure, plain in (
            ("https://", "http://"),
            ("skopeo sync", "skopeo sync --src-tls-verify=false --dest-tls-verify=false"),
        ):
            assert secure in command
            command = command.replace(secure, plain)
        places = {"from": f"127.0.0.1:{here}", "to": f"127.0.0.1:{there}/owner"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env={**os.environ, **places, "user": "admin", "password": "x"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "not copied" in done.stdout) == (0, False), done.stdout + done.stderr
        for repository, tag in [*kept, ("app", signature)]:
            assert Client(there).missing(f"owner/{repository}", tag) == ""
        assert Client(there).ask("GET", "/v2/owner/team/app/manifests/all")[2] == both


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
        place.document["registry"] = {"url": f"http://127.0.0.1:{port}"}
        result, status = commands.check_store(place.store(), place.memory(), place.settings, pulls=9)
        assert (result["pulled"], result["defects"], status) == ({"images": 1, "parts": 3}, [], commands.FINE)
    # A registry that has another storage does not have these images.
    with serving(program, other, tmp_path) as port:
        place.document["registry"] = {"url": f"http://127.0.0.1:{port}"}
        before = place.images()
        result, status = commands.check_store(place.store(), place.memory(), place.settings, pulls=9)
        assert (len(result["defects"]), status) == (3, commands.FOUND)
        assert result["defects"][0]["sentence"].startswith("app:kept cannot be pulled: the registry answers 404")
        result, status = place.collect()
    assert status == commands.FOUND
    assert result["undone"]
    assert result["last_check"]["missed"] == ["app:kept"]
    assert place.images() == before
    # One that does not answer is known before anything is changed.
    with pytest.raises(StoreError, match=r"cannot be asked: .* Nothing was changed"):
        place.collect()
    assert place.images() == before


def killed_program(place: Place, directory: Path, chance: random.Random) -> None:
    """Start a collection as the timer does, and end it somewhere."""
    config = directory / "config.json"
    config.write_text(json.dumps(place.document))
    words = [sys.executable, "-m", "drydock_store", "--config", str(config), "collect", "--apply"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    output = subprocess.DEVNULL
    with subprocess.Popen(words, env=environment, stdout=output, stderr=output) as process:
        time.sleep(chance.uniform(0.1, 0.4))
        process.kill()


def killed_step(place: Place, _directory: Path, chance: random.Random) -> None:
    """The same where a lease would keep the next run away: it ends at once."""
    with suppress(Killed):
        place.collect(store=killed_at(place.store(), chance.randrange(8)))


def slow_collection(place: Place, chance: random.Random) -> None:
    """Collect; so small a storage is looked at in no time, and clients have to find some between the look and what goes."""
    store = place.store()
    discard = store.discard

    def later(run: str, paths: Iterable[str]) -> None:
        time.sleep(chance.uniform(0, 0.2))
        discard(run, paths)

    store.discard = later  # type: ignore[method-assign]
    assert place.collect(store=store)[1] == commands.FINE


class Soak:
    """Clients, each with a repository of its own, that push garbage again, mount it from one another, delete and pull."""

    def __init__(self, port: int, names: tuple[str, ...]) -> None:
        self.counts: Counter[str] = Counter()
        # What was answered 201, and not deleted since.
        self.answered: dict[str, dict[str, bytes]] = {name: {} for name in names}
        # What was answered 201, and is never deleted.
        self.kept: dict[str, bytes] = {}
        self.over = threading.Event()
        self._port = port

    def work(self, name: str) -> None:
        """Be one client, as long as collections run, and for some requests at least."""
        chance = random.Random(name)  # noqa: S311
        client = Client(self._port)
        others = [one for one in self.answered if one != name]
        tags = self.answered[name]
        requests = 0
        while requests < 30 or not self.over.is_set():
            requests += 1
            layer = f"layer {chance.randrange(3)}".encode()
            tag = f"t{chance.randrange(4)}"
            choice = chance.random()
            if choice < 0.4 and tag in tags:
                self._delete(client, name, digest_of(image(tags[tag])))
            elif choice < 0.5 and tag in tags:
                self._count("pull", not client.missing(name, tag))
            elif choice < 0.7:
                where = f"/v2/{name}/blobs/uploads/?mount={digest_of(layer)}&from={chance.choice(others)}"
                self._count("mount", client.ask("POST", where)[0] == 201)
                self._push(client, name, tag, layer)
            else:
                self._push(client, name, tag, layer)

    def keep(self, name: str) -> None:
        """Push images that stay: each with a layer of its own, and one that another client takes and deletes."""
        client = Client(self._port)
        number = 0
        while not self.over.is_set():
            number += 1
            layers = (f"{name} {number}".encode(), f"layer {number % 3}".encode())
            assert client.push(name, f"t{number}", *layers)
            self.kept[f"t{number}"] = image(*layers)
            self.over.wait(0.05)

    def _delete(self, client: Client, name: str, digest: str) -> None:
        # Another answer may have been given when it was done already.
        gone = [tag for tag, layer in self.answered[name].items() if digest_of(image(layer)) == digest]
        self._count("delete", client.ask("DELETE", f"/v2/{name}/manifests/{digest}")[0] == 202)
        for tag in gone:
            del self.answered[name][tag]

    def _push(self, client: Client, name: str, tag: str, layer: bytes) -> None:
        done = client.push(name, tag, layer)
        self._count("push", done)
        if done:
            self.answered[name][tag] = layer

    def _count(self, what: str, done: bool) -> None:
        self.counts[what if done else f"{what} refused"] += 1


@pytest.fixture(params=["folder", "bucket"])
def soaked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Provide a storage of which nothing is spared for long."""
    if request.param == "folder":
        yield folder(tmp_path, **AT_ONCE)
        return
    with aws_account() as account:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        yield bucket(tmp_path, endpoint=account.endpoint, **AT_ONCE)


def test_pushes_and_collections_that_are_killed(tmp_path: Path, program: str, soaked: Place) -> None:
    """Clients work while collections run without a pause, and end in their middle: some, or as many as SOAK_COLLECTIONS says."""
    place = soaked
    end_in_the_middle, usual = (killed_program, 10) if "folder" in place.document["storage"] else (killed_step, 4)
    chance = random.Random(17)  # noqa: S311
    began = time.monotonic()
    with serving(program, place, tmp_path) as port:
        soak = Soak(port, ("app", "team/other"))
        client = Client(port)
        client.push("app", "first", b"first")
        with ThreadPoolExecutor() as pool:
            clients = [pool.submit(soak.work, name) for name in soak.answered]
            try:
                for _ in range(int(os.environ.get("SOAK_COLLECTIONS", usual))):
                    slow_collection(place, chance)
                    end_in_the_middle(place, tmp_path, chance)
                    soak.counts["collections"] += 1
            finally:
                soak.over.set()
            for one in clients:
                one.result()
        soak.answered["app"]["first"] = b"first"
        # Tags that were pushed again have left images without any, which go when they are a day old.
        store = place.store()
        now = store.now
        store.now = lambda: now() + 2 * DAY  # type: ignore[method-assign]
        place.retention(store=store)
        for _ in range(3):
            place.collect()
        print(f"{time.monotonic() - began:.0f} s: {dict(sorted(soak.counts.items()))}")
        images = [(name, tag) for name, tags in soak.answered.items() for tag in tags]
        assert [lost for lost in (client.missing(*one) for one in images) if lost] == []
        contents = (layer for tags in soak.answered.values() for layer in tags.values())
        needed = {digest_of(content) for layer in contents for content in (CONFIG, layer, image(layer))}
        assert {path for path in place.images() if path.startswith("blobs/")} == set(map(blob_path, needed))
        assert place.check(digests=True) == []
    assert min(soak.counts[what] for what in ("push", "mount", "delete", "pull")) > 0


def copied_by_name(place: Place, target: Path, soak: Soak) -> None:
    """Copy as programs do that go by names, blobs before repositories, and take as long for the first as for some pushes."""
    root = Path(place.document["storage"]["folder"], ROOT)
    shutil.copytree(root / "blobs", target / ROOT / "blobs")
    pushed = len(soak.kept)
    while len(soak.kept) < pushed + 3:
        time.sleep(0.01)
    shutil.copytree(root / "repositories", target / ROOT / "repositories", ignore=shutil.ignore_patterns("_uploads"))


def wrong_in(place: Place, copied: Path, kept: dict[str, bytes]) -> list[str]:
    """Return the defects of a copy, and which of some images it does not have."""
    read = replace(place, document={**place.document, "storage": {"folder": str(copied)}})
    store = read.store()
    defects = [one["sentence"] for one in read.check(digests=True)]
    store.open()
    links = {tag: (store.read(tag_path("kept", tag)) or b"").decode() for tag in kept}
    return defects + [
        f"kept:{tag} is {links[tag]}" for tag, manifest in kept.items() if links[tag] != digest_of(manifest)
    ]


def test_backups_while_clients_push_mount_and_delete(
    tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some backups, or as many as SOAK_BACKUPS says: each has all that was pushed before it began, and is whole. One by names is not."""
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    host = Host(tmp_path, **AT_ONCE)
    host.settings["keep"] = None
    copies = tmp_path / "copies"
    wrong: list[str] = []
    began = time.monotonic()

    def collecting(soak: Soak) -> None:
        while not soak.over.is_set():
            with suppress(Locked):
                slow_collection(host.place, chance)
                soak.counts["collections"] += 1
            # A backup waits for the end of one.
            soak.over.wait(chance.uniform(1, 3))

    chance = random.Random(17)  # noqa: S311
    with serving(program, host.place, tmp_path) as port, ThreadPoolExecutor() as pool:
        soak = Soak(port, ("app", "team/other"))
        clients = [pool.submit(soak.work, name) for name in soak.answered]
        clients.append(pool.submit(soak.keep, "kept"))
        try:
            # Before the first push there is no storage.
            while not soak.kept and not clients[-1].done():
                time.sleep(0.01)
            clients.append(pool.submit(collecting, soak))
            for number in range(int(os.environ.get("SOAK_BACKUPS", "2"))):
                before = dict(soak.kept)
                answer, status = host.run("run")
                assert (answer["problems"], status) == ([], 0)
                assert host.run("fetch", str(copies / str(number)))[1] == 0
                frozen = copies / str(number) / host.settings["images"]["folder"].lstrip("/")
                wrong += wrong_in(host.place, frozen, before)
                shutil.rmtree(copies / str(number))
            before = dict(soak.kept)
            copied_by_name(host.place, copies / "by-name", soak)
        finally:
            soak.over.set()
        for one in clients:
            one.result()
    print(f"{time.monotonic() - began:.0f} s: {dict(sorted(soak.counts.items()))}, {len(soak.kept)} kept")
    assert wrong == []
    assert wrong_in(host.place, copies / "by-name", before)
    assert min(soak.counts[what] for what in ("push", "mount", "delete", "collections")) > 0
