# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that answers for other registries: what it asks of them, what it keeps, and what it says when they do not answer."""

from __future__ import annotations

import base64
import collections
import contextlib
import fcntl
import gzip
import hashlib
import http.client
import http.server
import importlib.util
import io
import json
import socket
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import parse_qs, urlsplit

import pytest
from drydock_store import commands
from drydock_store.config import config, store_of
from drydock_store.memory import Memory

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "roles/registry_mirror/files/mirror.py"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
REPOSITORIES = "docker/registry/v2/repositories"

# As systemd hands over a socket.
HAND_OVER = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.dup2(int(sys.argv[1]), 3)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def mirror() -> Any:
    spec = importlib.util.spec_from_file_location("mirror_of_hosts", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # It has annotations that are looked up in it.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ---- A registry elsewhere --------------------------------------------------------------------------------------------


@dataclass
class Elsewhere:
    """A registry that counts what it is asked, and fails as it is told."""

    url: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    # Who may pull: a user and a password; None lets everybody in, with a token all the same where `tokens` is set.
    user: Optional[tuple[str, str]] = None
    tokens: bool = False
    link: str = '</v2/library/alpine/tags/list?n=1&last=3>; rel="next"'
    token: bytes = b'{"token": "a-token", "expires_in": 300}'
    basic: bool = False
    # What happens to a request before it is answered: a status and headers, or nothing.
    refuses: Callable[[http.server.BaseHTTPRequestHandler], Optional[tuple[int, Mapping[str, str]]]] = lambda _asked: (
        None
    )
    # What is done to a layer on its way.
    spoils: Callable[[bytes], bytes] = bytes
    # Layers wait for it after their first half.
    gate: Optional[threading.Event] = None
    headers: dict[str, str] = field(default_factory=dict)
    asked: collections.Counter[str] = field(default_factory=collections.Counter)
    seen_headers: list[Mapping[str, str]] = field(default_factory=list)

    def image(self, tag: str, *layers: bytes) -> str:
        """Have an image; returns its digest."""
        described = [self.blob(layer) for layer in (b'{"os": "linux"}', *layers)]
        document = {"schemaVersion": 2, "mediaType": OCI, "config": described[0], "layers": described[1:]}
        return self.manifest(tag, document)

    def blob(self, content: bytes) -> dict[str, Any]:
        self.content[digest_of(content)] = content
        return {"digest": digest_of(content), "size": len(content)}

    def manifest(self, tag: str, document: Mapping[str, Any]) -> str:
        content = json.dumps(document).encode()
        digest = digest_of(content)
        self.content[digest] = content
        self.tags[tag] = digest
        return digest

    def counted(self, method: str, kind: str) -> int:
        return sum(count for what, count in self.asked.items() if what.startswith(f"{method} ") and f"/{kind}/" in what)


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    elsewhere: Elsewhere

    def do_GET(self) -> None:
        here = self.elsewhere
        here.asked[f"{self.command} {self.path}"] += 1
        here.seen_headers.append(dict(self.headers))
        refused = here.refuses(self)
        if refused:
            self.send(refused[0], refused[1], b"")
        elif self.path.startswith("/token?"):
            self.token()
        elif not self.is_let_in():
            scheme = "Basic" if here.basic else f'Bearer realm="{here.url}/token",service="there"'
            self.send(401, {"WWW-Authenticate": scheme}, b"")
        elif urlsplit(self.path).path.endswith("/tags/list"):
            self.send(
                200,
                {"Link": here.link},
                b'{"name": "library/alpine", "tags": ["3"]}',
            )
        else:
            self.thing()

    do_HEAD = do_GET  # noqa: N815

    def is_let_in(self) -> bool:
        here, sent = self.elsewhere, self.headers.get("Authorization", "")
        if here.basic:
            return sent == self.basic()
        return sent == "Bearer a-token" if here.tokens or here.user else True

    def basic(self) -> str:
        return "Basic " + base64.b64encode(":".join(self.elsewhere.user or ("", "")).encode()).decode()

    def token(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["service"] == ["there"]
        assert query["scope"][0].startswith("repository:")
        right = not self.elsewhere.user or self.headers.get("Authorization") == self.basic()
        self.send(200 if right else 401, {}, self.elsewhere.token if right else b"{}")

    def thing(self) -> None:
        here, reference = self.elsewhere, self.path.rpartition("/")[2]
        digest = here.tags.get(reference, reference)
        content = here.content.get(digest)
        if content is None:
            self.send(404, {}, b"{}")
        elif "/manifests/" in self.path:
            self.send(200, {"Docker-Content-Digest": digest, "Content-Type": OCI, **here.headers}, content)
        else:
            self.send(200, {"Docker-Content-Digest": digest}, here.spoils(content), len(content))

    def send(self, status: int, headers: Mapping[str, str], content: bytes, length: int = -1) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length if length >= 0 else len(content)))
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        half = len(content) // 2
        # Whoever asked may have gone.
        with contextlib.suppress(OSError):
            self.wfile.write(content[:half])
            if "/blobs/" in self.path and self.elsewhere.gate:
                self.elsewhere.gate.wait(10)
            self.wfile.write(content[half:])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def registry_elsewhere() -> Iterator[Elsewhere]:
    here = Elsewhere()
    handler = type("Handler", (Answers,), {"elsewhere": here})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with registry_elsewhere() as here:
        yield here


# ---- The mirror ------------------------------------------------------------------------------------------------------


def settings(folder: Path, url: str, **more: Any) -> dict[str, Any]:
    upstream = {"name": "hub", "url": url, "fresh_seconds": 0, **more.pop("upstream", {})}
    return {
        "upstreams": [upstream],
        "storage": str(folder),
        "never": [],
        "no_room": str(folder / "no-room"),
        "state": str(folder / "state.json"),
        "environment": {"HTTP_PROXY": "", "HTTPS_PROXY": "", "NO_PROXY": ""},
        **more,
    }


@pytest.fixture
def mirrors(mirror: Any, elsewhere: Elsewhere, tmp_path: Path) -> Any:
    return mirror.Mirrors(settings(tmp_path, elsewhere.url))


def layer(mirrors: Any, digest: str, repository: str = "library/alpine") -> bytes:
    size, chunks = mirrors.blob("hub", repository, digest)
    content = b"".join(chunks)
    assert len(content) == size
    return content


def wait_until(told: Callable[[], bool]) -> None:
    for _ in range(1000):
        if told():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come about")


def pull(mirrors: Any, reference: str) -> list[bytes]:
    """Pull an image as a client does."""
    document = mirrors.manifest("hub", "library/alpine", reference).document
    return [layer(mirrors, one["digest"]) for one in (document["config"], *document["layers"])]


def test_what_was_pulled_once_is_not_asked_for_again(mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"one" * 200_000, b"two")
    first = pull(mirrors, "3")
    assert first == [b'{"os": "linux"}', b"one" * 200_000, b"two"]
    wait_until(lambda: not mirrors._downloads)
    elsewhere.asked.clear()
    assert pull(mirrors, "3") == first
    # Whether the tag has moved, and nothing else.
    assert dict(elsewhere.asked) == {"HEAD /v2/library/alpine/manifests/3": 1}


def test_a_registry_finds_what_is_kept_where_it_looks(mirrors: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    digest = elsewhere.image("3", b"one")
    pull(mirrors, "3")
    wait_until(lambda: not mirrors._downloads)
    here = tmp_path / REPOSITORIES / "hub/library/alpine"
    value = digest.partition(":")[2]
    links = [
        "_manifests/tags/3/current/link",
        f"_manifests/tags/3/index/sha256/{value}/link",
        f"_manifests/revisions/sha256/{value}/link",
    ]
    assert [(here / link).read_text() for link in links] == [digest] * 3
    for content in (b"one", b'{"os": "linux"}', elsewhere.content[digest]):
        value = digest_of(content).partition(":")[2]
        blob = tmp_path / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"
        assert blob.read_bytes() == content
        assert blob.stat().st_mode & 0o777 == 0o644
    assert (here / f"_layers/sha256/{digest_of(b'one').partition(':')[2]}/link").read_text() == digest_of(b"one")
    assert list((tmp_path / "drydock-mirror").iterdir()) == []


def test_fifty_clients_at_once_cost_one_request_for_each_thing(mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"layer" * 100_000)
    elsewhere.gate = threading.Event()
    mirrors.upstreams["hub"].fresh_seconds = 60
    got: list[list[bytes]] = []
    clients = [threading.Thread(target=lambda: got.append(pull(mirrors, "3"))) for _ in range(50)]
    for client in clients:
        client.start()
    wait_until(lambda: elsewhere.counted("GET", "blobs") == 1)
    elsewhere.gate.set()
    for client in clients:
        client.join(20)
    assert len(got) == 50
    assert all(one == got[0] for one in got)
    assert (elsewhere.counted("GET", "manifests"), elsewhere.counted("GET", "blobs")) == (1, 2)


def test_a_client_gets_what_has_come_before_the_rest_has(mirrors: Any, elsewhere: Elsewhere) -> None:
    content = bytes(range(256)) * 4096
    elsewhere.blob(content)
    elsewhere.gate = threading.Event()
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(content))
    begin = next(chunks)
    assert 0 < len(begin) <= len(content) // 2
    elsewhere.gate.set()
    assert begin + b"".join(chunks) == content


def test_it_goes_on_where_the_client_goes_away(mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.blob(b"content" * 1000)
    elsewhere.gate = threading.Event()
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(b"content" * 1000))
    chunks.close()
    elsewhere.gate.set()
    wait_until(lambda: not mirrors._downloads)
    assert layer(mirrors, digest_of(b"content" * 1000)) == b"content" * 1000
    assert elsewhere.counted("GET", "blobs") == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:-1] + b"?", "has another digest"),
        (lambda content: content[: len(content) // 2], "bytes of a layer"),
        (lambda _content: b"", "0 of "),
    ],
    ids=["another", "half", "nothing"],
)
def test_what_is_wrong_is_never_whole_and_never_kept(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str
) -> None:
    content = b"content" * 100_000
    elsewhere.blob(content)
    elsewhere.spoils = spoil
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(content))
    got: list[bytes] = []
    with pytest.raises(mirror.Trouble, match=words):
        got.extend(chunks)
    assert len(b"".join(got)) < len(content)
    wait_until(lambda: not mirrors._downloads)
    assert not mirrors.storage.blob_path(digest_of(content)).exists()
    assert mirrors.storage.open_layer("hub/library/alpine", digest_of(content)) is None
    assert list((tmp_path / "drydock-mirror").iterdir()) == []


def test_an_empty_layer_is_verified_before_it_is_sent(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.content[digest_of(b"something")] = b""
    with pytest.raises(mirror.Trouble, match="another digest"):
        mirrors.blob("hub", "library/alpine", digest_of(b"something"))
    elsewhere.blob(b"")
    assert layer(mirrors, digest_of(b"")) == b""


def test_a_manifest_with_another_digest_is_refused(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    digest = elsewhere.image("3", b"one")
    elsewhere.content[digest] += b" "
    for reference in ("3", digest):
        with pytest.raises(mirror.Trouble, match="another digest"):
            mirrors.manifest("hub", "library/alpine", reference)
    assert mirrors.storage.tag("hub/library/alpine", "3") == ""


def test_a_tag_that_moved_arrives_when_its_time_is_over(mirrors: Any, elsewhere: Elsewhere) -> None:
    mirrors.upstreams["hub"].fresh_seconds = 60
    first = elsewhere.image("3", b"one")
    assert mirrors.manifest("hub", "library/alpine", "3").digest == first
    second = elsewhere.image("3", b"two")
    assert mirrors.manifest("hub", "library/alpine", "3").digest == first
    mirrors.upstreams["hub"].fresh_seconds = 0
    assert mirrors.manifest("hub", "library/alpine", "3").digest == second
    assert mirrors.storage.tag("hub/library/alpine", "3") == second


# ---- An upstream that has no answer ----------------------------------------------------------------------------------


def test_what_is_kept_is_served_while_the_upstream_is_away(mirror: Any, tmp_path: Path) -> None:
    with registry_elsewhere() as here:
        mirrors = mirror.Mirrors(settings(tmp_path, here.url))
        here.image("3", b"one")
        here.image("4", b"four")
        kept = pull(mirrors, "3")
        wait_until(lambda: not mirrors._downloads)
    assert pull(mirrors, "3") == kept
    with pytest.raises(
        mirror.Trouble, match=r"hub: http://127.* does not answer .*what is kept can be pulled"
    ) as trouble:
        mirrors.manifest("hub", "library/alpine", "4")
    assert trouble.value.status == 424
    name, headers = "library/alpine", mirrors.listed("hub", "library/alpine", "tags", "list", "", "")
    assert json.loads(headers[1]) == {"name": f"hub/{name}", "tags": ["3"]}
    assert "does not answer" in mirrors.upstreams["hub"].state["problem"]


def test_a_name_that_does_not_resolve(mirror: Any, tmp_path: Path) -> None:
    mirrors = mirror.Mirrors(settings(tmp_path, "http://nowhere.invalid"))
    with pytest.raises(mirror.Trouble, match=r"hub: http://nowhere\.invalid does not answer"):
        mirrors.manifest("hub", "library/alpine", "3")


def test_an_upstream_that_is_away_is_let_alone_for_a_moment(mirror: Any, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        mirrors = mirror.Mirrors(settings(tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}"))

        def answer_with_nothing() -> None:
            listening.accept()[0].close()

        hang_up = threading.Thread(target=answer_with_nothing)
        hang_up.start()
        # Whoever asks a second time would wait for ever.
        for _ in range(3):
            with pytest.raises(mirror.Trouble, match="does not answer"):
                mirrors.manifest("hub", "library/alpine", "3")
        hang_up.join()


def test_one_answer_that_is_none_keeps_nobody_from_others(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"one")
    elsewhere.refuses = lambda asked: (500, {}) if "broken" in asked.path else None
    with pytest.raises(mirror.Trouble, match=r"does not answer as it should \(HTTP status 500"):
        mirrors.manifest("hub", "library/broken", "3")
    assert mirrors.manifest("hub", "library/alpine", "3")


@pytest.mark.parametrize("kept", [False, True])
def test_who_waits_for_an_answer_that_does_not_come_waits_once(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, kept: bool
) -> None:
    digest = elsewhere.image("3", b"one")
    if kept:
        mirrors.manifest("hub", "library/alpine", "3")
        elsewhere.asked.clear()
    came = threading.Event()

    def answers_late(_asked: http.server.BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str]]:
        came.wait(10)
        return 500, {}

    elsewhere.refuses = answers_late
    got: list[str] = []

    def ask_for_it() -> None:
        try:
            got.append(mirrors.manifest("hub", "library/alpine", "3").digest)
        except mirror.Trouble as trouble:
            got.append(trouble.sentence)

    clients = [threading.Thread(target=ask_for_it) for _ in range(20)]
    for client in clients:
        client.start()
    # All of them hold the place in which they wait.
    (turn,) = mirrors._turns.values()
    wait_until(lambda: sys.getrefcount(turn) > len(clients))
    came.set()
    for client in clients:
        client.join(20)
    assert sum(elsewhere.asked.values()) == 1
    assert len(set(got)) == 1
    assert len(got) == len(clients)
    assert got[0] == digest if kept else "HTTP status 500" in got[0]
    # Who comes later asks anew.
    elsewhere.refuses = lambda _asked: None
    assert mirrors.manifest("hub", "library/alpine", "3").digest == digest


def test_a_registry_that_knows_no_head(mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"one")
    elsewhere.refuses = lambda asked: (405, {}) if asked.command == "HEAD" else None
    mirrors.manifest("hub", "library/alpine", "3")
    moved = elsewhere.image("3", b"two")
    assert mirrors.manifest("hub", "library/alpine", "3").digest == moved


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        (("100;w=21600", "76;w=21600"), {"limit": 100, "remaining": 76, "window_seconds": 21600}),
        (("100, 100;w=60", "76"), {"limit": 100, "remaining": 76, "window_seconds": 60}),
        (("10", "0"), {"limit": 10, "remaining": 0, "window_seconds": 0}),
        (("", "76"), {}),
        (("unlimited", "76"), {}),
        # No number that would be one of ours: the metrics of the host have them as floats.
        (("9" * 400, "76"), {}),
        (("100;w=" + "9" * 5000, "76"), {"limit": 100, "remaining": 76, "window_seconds": 0}),
        (("100", "9" * 5000), {}),
    ],
)
def test_what_a_registry_says_of_its_limit(
    mirrors: Any, elsewhere: Elsewhere, headers: tuple[str, str], state: dict[str, int]
) -> None:
    elsewhere.image("3", b"one")
    elsewhere.headers = dict(zip(("ratelimit-limit", "ratelimit-remaining"), headers))
    mirrors.manifest("hub", "library/alpine", "3")
    assert {key: value for key, value in mirrors.upstreams["hub"].state.items() if key != "limit_at"} == state


def test_when_the_limit_is_reached_what_is_kept_goes_on(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    left = iter((2, 1))

    def counts(asked: http.server.BaseHTTPRequestHandler) -> Optional[tuple[int, Mapping[str, str]]]:
        if asked.command == "HEAD" or "/manifests/" not in asked.path:
            return None
        remaining = next(left, None)
        if remaining is None:
            return 429, {"Retry-After": "1234"}
        elsewhere.headers = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": f"{remaining};w=21600"}
        return None

    elsewhere.refuses = counts
    for tag in ("1", "2", "3"):
        elsewhere.image(tag, tag.encode())
    kept = [pull(mirrors, "1"), pull(mirrors, "2")]
    with pytest.raises(mirror.Trouble, match="has counted too many pulls, and this is not kept here yet") as trouble:
        mirrors.manifest("hub", "library/alpine", "3")
    assert (trouble.value.status, trouble.value.code, trouble.value.seconds) == (429, "TOOMANYREQUESTS", 1234)
    wait_until(lambda: not mirrors._downloads)
    assert [pull(mirrors, "1"), pull(mirrors, "2")] == kept
    state = json.loads((tmp_path / "state.json").read_text())["hub"]
    assert (state["limit"], state["remaining"], state["window_seconds"]) == (100, 1, 21600)
    assert "too many pulls" in state["problem"]
    # Manifests are what it counts. Whoever has one gets its layers.
    elsewhere.blob(b"of an image that is being pulled")
    assert layer(mirrors, digest_of(b"of an image that is being pulled")) == b"of an image that is being pulled"


@pytest.mark.parametrize("kept", ["", "[1]", "{no", '{"quay": 7}'])
def test_who_gets_images_ahead_of_time_keeps_what_others_know_of_limits(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path, kept: str
) -> None:
    (tmp_path / "state.json").write_text(kept)
    elsewhere.image("3", b"one")
    elsewhere.headers = {"RateLimit-Limit": "100", "RateLimit-Remaining": "7"}
    mirrors.manifest("hub", "library/alpine", "3")
    other = {"name": "quay", "url": elsewhere.url, "fresh_seconds": 0}
    both = settings(tmp_path, elsewhere.url)
    both["upstreams"].append(other)
    elsewhere.headers = {"RateLimit-Limit": "50", "RateLimit-Remaining": "5"}
    mirror.Mirrors(both).manifest("quay", "library/alpine", "3")
    state = json.loads((tmp_path / "state.json").read_text())
    assert {name: one["remaining"] for name, one in state.items()} == {"hub": 7, "quay": 5}
    assert not list(tmp_path.glob("state.[0-9]*"))


def test_an_upstream_that_wants_to_rest_for_years_is_asked_again(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere
) -> None:
    elsewhere.refuses = lambda _asked: (429, {"Retry-After": "999999999"})
    with pytest.raises(mirror.Trouble) as trouble:
        mirrors.manifest("hub", "library/alpine", "3")
    assert trouble.value.seconds == 6 * 3600


@pytest.mark.parametrize("seconds", ["", "-1", "1e9", "\xb2", "9" * 5000, "Fri, 31 Dec 2027 23:59:59 GMT"])
def test_a_rest_that_is_no_number_is_a_minute(mirror: Any, mirrors: Any, elsewhere: Elsewhere, seconds: str) -> None:
    elsewhere.refuses = lambda _asked: (429, {"Retry-After": seconds})
    with pytest.raises(mirror.Trouble, match="too many pulls") as trouble:
        mirrors.manifest("hub", "library/alpine", "3")
    assert trouble.value.seconds == 60


def test_what_is_gone_upstream_is_kept(mirrors: Any, elsewhere: Elsewhere) -> None:
    digest = elsewhere.image("3", b"one")
    pull(mirrors, "3")
    elsewhere.tags.clear()
    assert mirrors.manifest("hub", "library/alpine", "3").digest == digest


def test_what_the_upstream_does_not_have(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    with pytest.raises(mirror.Trouble, match="has no such thing in library/alpine") as trouble:
        mirrors.manifest("hub", "library/alpine", "none")
    assert trouble.value.status == 404
    elsewhere.image("3", b"one")
    # Which says nothing of the upstream.
    assert mirrors.manifest("hub", "library/alpine", "3")


def test_the_form_of_ten_years_ago_is_refused(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.manifest("old", {"schemaVersion": 1, "fsLayers": []})
    too_deep = b"[" * 100_000
    elsewhere.content[digest_of(too_deep)], elsewhere.tags["deep"] = too_deep, digest_of(too_deep)
    for tag in ("old", "deep"):
        with pytest.raises(mirror.Trouble, match="schema 1"):
            mirrors.manifest("hub", "library/alpine", tag)


def test_many_large_manifests_take_the_memory_of_one(mirror: Any) -> None:
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI, "layers": [{}] * 30_000}).encode()
    manifest = mirror.Manifest(digest_of(content), content)

    def peak(threads: int) -> int:
        readers = [threading.Thread(target=lambda: [manifest.form for _ in range(5)]) for _ in range(threads)]
        tracemalloc.start()
        try:
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert manifest.form == OCI
    assert peak(10) < 1.5 * peak(1)


# ---- Who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "upstream"),
    [
        ({"tokens": True}, {}),
        ({"user": ("me", "secret")}, {"username": "me", "password": "secret"}),
        ({"user": ("me", "secret"), "basic": True}, {"username": "me", "password": "secret"}),
    ],
    ids=["a token for everybody", "a token for a user", "a password"],
)
def test_logging_in(
    mirror: Any, elsewhere: Elsewhere, tmp_path: Path, there: Mapping[str, Any], upstream: Mapping[str, str]
) -> None:
    for name, value in there.items():
        setattr(elsewhere, name, value)
    elsewhere.image("3", b"one", b"two")
    mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, upstream=upstream))
    assert pull(mirrors, "3") == [b'{"os": "linux"}', b"one", b"two"]
    tokens = [what for what in elsewhere.asked if what.startswith("GET /token")]
    assert len(tokens) == (0 if there.get("basic") else 1)


@pytest.mark.parametrize(
    "token",
    [
        b"no JSON",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"token": 7}',
        b'{"token": {"x": 1}}',
        b'{"token": "a secret\\n"}',
        b'{"token": "a secret \\u2026"}',
        b'{"token": "a-token", "expires_in": "soon"}',
        b'{"token": "a-token", "expires_in": 1' + b"0" * 400 + b"}",
    ],
)
def test_a_token_that_is_none_is_said_and_not_shown(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, token: bytes
) -> None:
    elsewhere.image("3", b"one")
    elsewhere.tokens, elsewhere.token = True, token
    with pytest.raises(mirror.Trouble, match="gives no token that could be read") as trouble:
        mirrors.manifest("hub", "library/alpine", "3")
    assert "secret" not in trouble.value.sentence


@pytest.mark.parametrize("basic", [False, True])
@pytest.mark.parametrize("upstream", [{}, {"username": "me", "password": "guessed-word"}])
def test_wrong_credentials_are_said_and_not_shown(
    mirror: Any, elsewhere: Elsewhere, tmp_path: Path, basic: bool, upstream: Mapping[str, str]
) -> None:
    elsewhere.user, elsewhere.basic = ("me", "secret"), basic
    elsewhere.image("3", b"one")
    mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, upstream=upstream))
    with pytest.raises(mirror.Trouble) as trouble:
        mirrors.manifest("hub", "library/alpine", "3")
    wanted = "correct the username and the password of hub" if upstream else "does not show it to everybody"
    assert wanted in trouble.value.sentence
    assert "guessed-word" not in trouble.value.sentence + json.dumps(mirrors.upstreams["hub"].state)


@pytest.mark.parametrize("basic", [False, True])
def test_a_login_that_was_right_a_moment_ago_is_not_wrong_for_others(
    mirror: Any, elsewhere: Elsewhere, tmp_path: Path, basic: bool
) -> None:
    elsewhere.user, elsewhere.basic = ("me", "secret"), basic
    elsewhere.image("3", b"one")
    elsewhere.image("4", b"two")
    challenge = "Basic" if basic else f'Bearer realm="{elsewhere.url}/token",service="there"'
    elsewhere.refuses = lambda asked: (401, {"WWW-Authenticate": challenge}) if "hidden" in asked.path else None
    mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, upstream={"username": "me", "password": "secret"}))
    pull(mirrors, "3")
    with pytest.raises(mirror.Trouble, match="has no hidden/one, or does not show it to the user me") as trouble:
        mirrors.manifest("hub", "hidden/one", "3")
    assert trouble.value.status == 404
    assert pull(mirrors, "4")


def test_no_password_follows_a_redirect(mirror: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    with registry_elsewhere() as store:
        content = b"content"
        store.blob(content)
        elsewhere.user, elsewhere.basic = ("me", "secret"), True

        def leads_elsewhere(asked: http.server.BaseHTTPRequestHandler) -> Optional[tuple[int, Mapping[str, str]]]:
            let_in = "Authorization" in asked.headers and "/blobs/" in asked.path
            return (307, {"Location": store.url + asked.path}) if let_in else None

        elsewhere.refuses = leads_elsewhere
        mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, upstream={"username": "me", "password": "secret"}))
        assert layer(mirrors, digest_of(content)) == content
        assert mirrors.blob_size("hub", "library/alpine", digest_of(content)) == len(content)
        assert [headers for headers in store.seen_headers if "Authorization" in headers] == []


def test_no_other_host_says_where_the_password_is_sent(mirror: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    with registry_elsewhere() as other:
        digest = other.image("3", b"content")
        other.user = ("me", "secret")
        # Another name, and so another host.
        other.url = other.url.replace("127.0.0.1", "localhost")
        elsewhere.refuses = lambda asked: (307, {"Location": other.url + asked.path})
        mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, upstream={"username": "me", "password": "secret"}))
        for ask_for in (lambda: mirrors.manifest("hub", "library/alpine", "3"), lambda: layer(mirrors, digest)):
            with pytest.raises(mirror.Trouble, match="leads to another host, which wants a login"):
                ask_for()
        assert other.asked
        assert [headers for headers in other.seen_headers if "Authorization" in headers] == []


def test_what_a_redirect_says_besides_is_not_read(mirrors: Any, elsewhere: Elsewhere) -> None:
    content = b"content"
    elsewhere.blob(content)
    followed = threading.Event()
    seen: list[bool] = []

    def goes_on_for_ever(asked: http.server.BaseHTTPRequestHandler) -> Optional[tuple[int, Mapping[str, str]]]:
        if "/there/" in asked.path:
            followed.set()
            return None
        place = asked.path.replace("library/alpine", "there")
        asked.wfile.write(f"HTTP/1.1 307 There\r\nLocation: {place}\r\n\r\nand more".encode())
        seen.append(followed.wait(10))
        # What is answered from here on, nobody gets.
        asked.wfile = io.BytesIO()
        return 307, {}

    elsewhere.refuses = goes_on_for_ever
    assert layer(mirrors, digest_of(content)) == content
    assert seen == [True]


UPSTREAM = "https://192.0.2.1"


@pytest.mark.parametrize(
    ("upstream", "address", "words"),
    [
        (UPSTREAM, "http://192.0.2.1/v2/", "without TLS"),
        (UPSTREAM, "ftp://192.0.2.2/v2/", "without TLS"),
        (UPSTREAM, "/v2/", "without TLS"),
        (UPSTREAM, "https://[192.0.2.2/v2/", "an address that is none"),
        (UPSTREAM, "https://localhost:5001/v2/", "an address of this host"),
        (UPSTREAM, "https://127.1:5001/v2/", "an address of this host"),
        (UPSTREAM, "https://2130706433/v2/", "an address of this host"),
        (UPSTREAM, "https://0.0.0.0/v2/", "an address of this host"),
        (UPSTREAM, "https://[::1]/v2/", "an address of this host"),
        (UPSTREAM, "https://[::ffff:127.0.0.1]/v2/", "an address of this host"),
        ("http://192.0.2.1", "http://169.254.169.254/latest/meta-data/", "an address of this host"),
        ("http://192.0.2.1", "http://[fd00:ec2::254]/latest/meta-data/", "an address of this host"),
        (UPSTREAM, "https://192.0.2.2/v2/", ""),
        # A private registry has a private store.
        (UPSTREAM, "https://10.0.0.1/v2/", ""),
        (UPSTREAM, "https://nowhere.invalid/v2/", ""),
        ("http://192.0.2.1", "http://192.0.2.2/v2/", ""),
        # Another registry on this host.
        ("https://127.0.0.1:5000", "https://127.0.0.1:9000/v2/", ""),
        ("https://localhost:5000", "https://127.0.0.1:9000/v2/", ""),
    ],
)
def test_where_another_registry_may_lead(
    mirror: Any, monkeypatch: pytest.MonkeyPatch, upstream: str, address: str, words: str
) -> None:
    """Neither a redirect nor the place of its tokens."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert words in mirror._astray(address, upstream)
    assert bool(words) == bool(mirror._astray(address, upstream))
    asked = mirror._request(f"{upstream}/v2/", {}, "GET")
    redirects = mirror._Redirects(upstream)
    if words:
        with pytest.raises(mirror.urllib.error.HTTPError, match=f"it leads to .*{words}"):
            redirects.redirect_request(asked, io.BytesIO(), 307, "", http.client.HTTPMessage(), address)
        challenge = f'Bearer realm="{address}"'
        with pytest.raises(mirror.Trouble, match=f"its tokens from .*{words}"):
            mirror.Upstream({"name": "hub", "url": upstream, "fresh_seconds": 0})._log_in([challenge], "alpine")
    else:
        followed = redirects.redirect_request(asked, io.BytesIO(), 307, "", http.client.HTTPMessage(), address)
        assert followed.full_url == address


def test_what_a_proxy_asks_is_not_looked_for_here(mirror: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")

    def looks(*_host: Any, **_how: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as watched:
        watched.setattr(mirror.socket, "getaddrinfo", looks)
        assert mirror._astray("https://store.example.com/v2/", UPSTREAM) == ""
    assert mirror._astray("https://localhost/v2/", UPSTREAM) == "an address of this host"


# ---- Through the mirror, and not past it -----------------------------------------------------------------------------


def test_an_image_that_no_other_registry_has(mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    index = mirrors.manifest("hub", mirror.PROOF, "1")
    assert index.form == INDEX
    assert {child["platform"]["architecture"] for child in index.document["manifests"]} == {"amd64", "arm64"}
    for child in index.document["manifests"]:
        image = mirrors.manifest("hub", mirror.PROOF, child["digest"])
        assert (image.form, digest_of(image.content), len(image.content)) == (OCI, child["digest"], child["size"])
        parts = [
            layer(mirrors, one["digest"], mirror.PROOF) for one in (image.document["config"], *image.document["layers"])
        ]
        assert [digest_of(gzip.decompress(part)) for part in parts[1:]] == json.loads(parts[0])["rootfs"]["diff_ids"]
    assert mirrors.manifest("hub", mirror.PROOF, "1") == index
    with pytest.raises(mirror.Trouble, match="has the tag 1 alone") as trouble:
        mirrors.manifest("hub", mirror.PROOF, "2")
    assert trouble.value.status == 404
    assert not elsewhere.asked
    # It is in no list of what is here, and in nobody's way.
    assert not (tmp_path / "docker").exists()


# ---- What is not kept, and what is there already ---------------------------------------------------------------------


def test_what_is_never_kept_is_passed_on(mirror: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.image("3", b"one")
    mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, never=["hub/library/*"]))
    for _ in range(2):
        assert pull(mirrors, "3") == [b'{"os": "linux"}', b"one"]
    assert elsewhere.counted("GET", "blobs") == 4
    assert not (tmp_path / "docker").exists()


def test_a_disk_without_room_is_no_reason_to_refuse(mirrors: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.image("3", b"one")
    (tmp_path / "no-room").touch()
    assert pull(mirrors, "3") == [b'{"os": "linux"}', b"one"]
    assert not (tmp_path / "docker").exists()


def test_a_layer_that_comes_leaves_the_disk_its_reserve(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    content = b"content" * 100_000
    elsewhere.blob(content)
    elsewhere.gate = threading.Event()
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(content))
    assert next(chunks)
    (tmp_path / "no-room").touch()
    elsewhere.gate.set()
    with pytest.raises(mirror.Trouble, match="could not be kept; pull again"):
        list(chunks)
    wait_until(lambda: not mirrors._downloads)
    assert list((tmp_path / "drydock-mirror").iterdir()) == []
    # Who pulls again gets it, and it is not kept.
    assert layer(mirrors, digest_of(content)) == content
    assert not mirrors.storage.blob_path(digest_of(content)).exists()


def test_a_disk_that_takes_nothing_back_is_asked_again(mirrors: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    content = b"content" * 100_000
    elsewhere.blob(content)
    elsewhere.gate = threading.Event()
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(content))
    spool = tmp_path / "drydock-mirror"
    # Neither can what came be put where it belongs, nor be removed.
    spool.rename(tmp_path / "away")
    spool.touch()
    elsewhere.gate.set()
    assert b"".join(chunks) == content
    wait_until(lambda: not mirrors._downloads)
    spool.unlink()
    (tmp_path / "away").rename(spool)
    assert layer(mirrors, digest_of(content)) == content
    wait_until(lambda: not mirrors._downloads)
    assert mirrors.storage.blob_path(digest_of(content)).exists()


def test_a_host_without_room_for_a_thread_is_no_reason_to_wait_for_ever(
    mirrors: Any, elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.blob(b"content")
    start = threading.Thread.start

    def has_no_room(thread: threading.Thread) -> None:
        # What answers the question elsewhere is a thread as well.
        if getattr(thread, "_target", None) == mirrors._download:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", has_no_room)
        assert layer(mirrors, digest_of(b"content")) == b"content"
    assert list((tmp_path / "drydock-mirror").iterdir()) == []
    assert layer(mirrors, digest_of(b"content")) == b"content"
    wait_until(lambda: not mirrors._downloads)
    assert mirrors.storage.blob_path(digest_of(b"content")).exists()


def test_a_layer_of_another_repository_is_nobodys_until_it_was_sent(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere
) -> None:
    """A registry that says it has a layer, which may be a secret of ours, gets it out of nobody."""
    digest = digest_of(b"content")
    elsewhere.blob(b"content")
    assert layer(mirrors, digest) == b"content"
    elsewhere.content[digest] = b"no idea"
    with pytest.raises(mirror.Trouble, match="another digest"):
        layer(mirrors, digest, "library/debian")
    wait_until(lambda: not mirrors._downloads)
    assert mirrors.storage.open_layer("hub/library/debian", digest) is None
    elsewhere.blob(b"content")
    assert layer(mirrors, digest, "library/debian") == b"content"
    wait_until(lambda: not mirrors._downloads)
    assert elsewhere.counted("HEAD", "blobs") == 0


def test_no_symbolic_link_is_followed(mirrors: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.blob(b"content")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "docker/registry/v2/repositories").mkdir(parents=True)
    (tmp_path / REPOSITORIES / "hub").symlink_to(outside)
    _size, chunks = mirrors.blob("hub", "library/alpine", digest_of(b"content"))
    # Nothing can be kept there, which is no reason to send nothing.
    assert b"".join(chunks) == b"content"
    wait_until(lambda: not mirrors._downloads)
    assert list(outside.rglob("link")) == []


def test_what_a_killed_process_left_is_removed_and_nothing_that_comes(
    mirror: Any, mirrors: Any, tmp_path: Path
) -> None:
    (tmp_path / "drydock-mirror/tmpleft").write_bytes(b"half")
    coming = mirror.Spooled(tmp_path / "drydock-mirror")
    mirrors.storage.tidy()
    assert list((tmp_path / "drydock-mirror").iterdir()) == [coming.path]


def test_what_is_kept_is_a_healthy_storage(mirror: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    images = {name: elsewhere.image(name, name.encode()) for name in ("amd64", "arm64")}
    children = [{"digest": digest, "size": len(elsewhere.content[digest])} for digest in images.values()]
    elsewhere.manifest("3", {"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
    elsewhere.image("never-pulled", b"other")
    (tmp_path / "images").mkdir()
    mirrors = mirror.Mirrors(settings(tmp_path / "images", elsewhere.url))
    mirrors.manifest("hub", "library/alpine", "3")
    mirrors.manifest("hub", "library/alpine", "never-pulled")
    whole = pull(mirrors, images["amd64"])
    wait_until(lambda: not mirrors._downloads)
    document = {
        "storage": {"folder": str(tmp_path / "images")},
        "state_directory": str(tmp_path),
        "link_age_seconds": 0,
    }

    def run(command: Any, **more: Any) -> Any:
        wanted = config({**document, **more.pop("settings", {})})
        result, _status = command(
            store_of(wanted), Memory(str(tmp_path), "images"), wanted, pause=lambda _seconds: None, **more
        )
        return result

    # What nobody has pulled is damage anywhere else.
    kinds = {one["kind"] for one in run(commands.check_store, digests=True)["defects"]}
    assert kinds == {"dangling_link", "missing_blob"}
    of_mirrors = {"settings": {"mirrors": ["hub"]}}
    assert run(commands.check_store, digests=True, **of_mirrors)["defects"] == []
    collected = run(commands.collect, apply=True, settings={"blob_wait_seconds": 0, "second_look_seconds": 0})
    assert (collected["links"], collected["blobs"]) == ([], [])
    elsewhere.content.clear()
    assert pull(mirrors, images["amd64"]) == whole
    # What is kept and got lost is damage as well.
    mirrors.storage.blob_path(digest_of(b"amd64")).unlink()
    (defect,) = run(commands.check_store, digests=True, **of_mirrors)["defects"]
    assert defect["kind"] == "missing_blob"


# ---- Ahead of time ---------------------------------------------------------------------------------------------------


def test_images_are_got_ahead_of_time(
    mirror: Any,
    mirrors: Any,
    elsewhere: Elsewhere,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = mirrors.storage.keep_layer

    def keep_slowly(*arguments: Any) -> None:
        time.sleep(0.1)
        keep(*arguments)

    monkeypatch.setattr(mirrors.storage, "keep_layer", keep_slowly)
    images = {name: elsewhere.image(name, name.encode()) for name in ("amd64", "arm64", "unknown")}
    children = [
        {"digest": digest, "platform": {"os": "unknown" if name == "unknown" else "linux", "architecture": name}}
        for name, digest in images.items()
    ]
    elsewhere.manifest("3", {"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
    status = mirror.fetch(mirrors, ["hub/library/alpine:3", "hub/library/alpine:none"], ["linux/amd64"])
    assert status == 1
    said = capsys.readouterr().out
    assert "hub/library/alpine:3: is kept" in said
    assert "hub/library/alpine:none: is not kept: hub: " in said
    # The process ends with that.
    assert not mirrors._downloads
    elsewhere.content.clear()
    assert layer(mirrors, digest_of(b"amd64")) == b"amd64"
    assert mirrors.storage.open_layer("hub/library/alpine", digest_of(b"arm64")) is None


def test_what_is_kept_is_not_read_ahead_of_time(mirror: Any, mirrors: Any, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"content" * 1_000_000)
    assert mirror.fetch(mirrors, ["hub/library/alpine:3"], ["linux/amd64"]) == 0

    def has_read() -> int:
        return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])

    before = has_read()
    assert mirror.fetch(mirrors, ["hub/library/alpine:3"], ["linux/amd64"]) == 0
    assert has_read() - before < 1_000_000


def test_what_is_never_kept_is_not_got_ahead_of_time(
    mirror: Any, elsewhere: Elsewhere, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere.image("3", b"one")
    mirrors = mirror.Mirrors(settings(tmp_path, elsewhere.url, never=["hub/library/*"]))
    assert mirror.fetch(mirrors, ["hub/library/alpine:3"], ["linux/amd64"]) == 1
    assert (
        "hub/library/alpine is among registry_mirror_never, or the disk has no room for it" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"layers": [{"digest": "sha256:../../../../x"}]}, "which is no digest of sha256"),
        ({"layers": [{"digest": f"sha512:{'0' * 128}"}]}, "which is no digest of sha256"),
        ({"layers": [{"digest": 7}]}, "which is no digest of sha256"),
        ({"layers": [{"size": 1}]}, "none that could be read"),
        ({"layers": 7}, "none that could be read"),
        ({"manifests": [{"digest": "../../x", "platform": {"os": "linux", "architecture": "amd64"}}]}, "no digest"),
        ({"manifests": ["x"]}, "none that could be read"),
    ],
)
def test_what_another_registry_makes_up_leads_nowhere(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], document: Any, words: str
) -> None:
    elsewhere.manifest("3", {"schemaVersion": 2, "mediaType": INDEX if "manifests" in document else OCI, **document})
    elsewhere.image("good", b"one")
    images = ["hub/library/alpine:3", "hub/library/alpine:good"]
    assert mirror.fetch(mirrors, images, ["linux/amd64"]) == 1
    said = capsys.readouterr().out
    assert words in said
    assert "hub/library/alpine:good: is kept" in said
    assert not any(".." in what for what in elsewhere.asked)
    wait_until(lambda: not mirrors._downloads)


# ---- The server ------------------------------------------------------------------------------------------------------


class Client(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("mirror", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def ask(path: str, what: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    client = Client(path)
    client.request(method, what, headers=headers)
    with contextlib.closing(client), client.getresponse() as answer:
        return answer.status, dict(answer.headers), answer.read()


@contextlib.contextmanager
def serving(mirror: Any, mirrors: Any, path: str) -> Iterator[str]:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    with mirror.Server(listening, mirrors) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield path
        running.shutdown()
        thread.join()


@pytest.fixture
def server(mirror: Any, mirrors: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(mirror, mirrors, str(tmp_path_factory.mktemp("s") / "m")) as path:
        yield path


@pytest.mark.parametrize(
    "link", ["</v2/?n=1\r\n X-Accel-Redirect: /turn>", "</v2/?n=1\x0b>", "</v2/?n=1 2>", "</v2/>", ">?<"]
)
def test_no_list_goes_on_with_a_line_of_the_other_registry(server: str, elsewhere: Elsewhere, link: str) -> None:
    elsewhere.link = link
    status, headers, content = ask(server, "/v2/hub/library/alpine/tags/list")
    assert (status, json.loads(content)) == (200, {"name": "hub/library/alpine", "tags": ["3"]})
    assert not {"link", "x-accel-redirect"} & {name.lower() for name in headers}


def test_requests_of_nginx(server: str, elsewhere: Elsewhere) -> None:
    digest = elsewhere.image("3", b"one")
    status, headers, content = ask(server, "/v2/hub/library/alpine/manifests/3")
    assert (status, content, headers["Content-Type"]) == (200, elsewhere.content[digest], OCI)
    assert (headers["Docker-Content-Digest"], headers["ETag"]) == (digest, f'"{digest}"')
    status, headers, content = ask(server, "/v2/hub/library/alpine/manifests/3", "HEAD")
    assert (status, content, headers["Content-Length"]) == (200, b"", str(len(elsewhere.content[digest])))
    blob = f"/v2/hub/library/alpine/blobs/{digest_of(b'one')}"
    assert ask(server, blob, "HEAD")[1]["Content-Length"] == "3"
    assert ask(server, blob)[2] == b"one"
    _status, headers, content = ask(server, "/v2/hub/library/alpine/tags/list?n=1")
    assert json.loads(content) == {"name": "hub/library/alpine", "tags": ["3"]}
    assert headers["Link"] == '</v2/hub/library/alpine/tags/list?n=1&last=3>; rel="next"'


@pytest.mark.parametrize(
    "path",
    [
        "/v2/quay/library/alpine/manifests/3",
        "/v2/hub/manifests/3",
        "/v2/hub/../alpine/manifests/3",
        "/v2/hub/library/alpine/manifests/sha512:" + "0" * 128,
        "/v2/hub/library/alpine/blobs/latest",
        "/v2/hub/library/alpine/blobs/uploads",
        "/",
    ],
)
def test_paths_that_lead_nowhere(server: str, elsewhere: Elsewhere, path: str) -> None:
    status, _headers, content = ask(server, path)
    assert (status, json.loads(content)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert not elsewhere.asked


@pytest.mark.parametrize(("seconds", "told"), [("5", "5"), ("1234", None), ("", None)])
def test_a_client_is_not_told_to_wait_for_hours(
    server: str, elsewhere: Elsewhere, seconds: str, told: Optional[str]
) -> None:
    elsewhere.refuses = lambda _asked: (429, {"Retry-After": seconds})
    status, headers, content = ask(server, "/v2/hub/library/alpine/manifests/3")
    assert (status, headers.get("Retry-After")) == (429, told)
    assert "when the upstream counts anew" in json.loads(content)["errors"][0]["message"]


def test_a_layer_that_breaks_off_is_not_taken_for_whole(server: str, elsewhere: Elsewhere) -> None:
    content = b"content" * 100_000
    elsewhere.blob(content)
    elsewhere.spoils = lambda whole: whole[: len(whole) // 2]
    with pytest.raises(http.client.IncompleteRead):
        ask(server, f"/v2/hub/library/alpine/blobs/{digest_of(content)}")


def test_a_mirror_of_itself_is_noticed(mirrors: Any, server: str, elsewhere: Elsewhere) -> None:
    def leads_back(asked: http.server.BaseHTTPRequestHandler) -> Optional[tuple[int, Mapping[str, str]]]:
        if "library/debian" in asked.path:
            return None
        path = asked.path.replace("/v2/", "/v2/hub/")
        status, headers, _content = ask(server, path, **{"Drydock-Mirrors": asked.headers["Drydock-Mirrors"]})
        return status, {"Drydock-Mirrors": headers["Drydock-Mirrors"]}

    elsewhere.refuses = leads_back
    status, _headers, content = ask(server, "/v2/hub/library/alpine/manifests/3")
    assert status == 424
    assert "leads back to this registry; correct its url" in json.loads(content)["errors"][0]["message"]
    assert sum(elsewhere.asked.values()) == 1
    assert mirrors.identity in elsewhere.seen_headers[0]["Drydock-Mirrors"]
    # Who asks for something else has nothing to do with that.
    elsewhere.image("12", b"one")
    assert ask(server, "/v2/hub/library/debian/manifests/12")[0] == 200


def test_what_a_client_makes_up_goes_no_further(mirrors: Any, server: str, elsewhere: Elsewhere) -> None:
    elsewhere.image("3", b"one")
    others = " ".join(f"{number:016x}" for number in range(20))
    made_up = f"{'x' * 5000} {others}, ; q=<script> \x01\xe9 {'0' * 32}"
    assert ask(server, "/v2/hub/library/alpine/manifests/3", **{"Drydock-Mirrors": made_up})[0] == 200
    (headers,) = elsewhere.seen_headers
    assert headers["Drydock-Mirrors"] == f"{' '.join(others.split()[10:])} {mirrors.identity}"
    # However many of them stand before it, the last is seen.
    last = {"Drydock-Mirrors": f"{made_up} {mirrors.identity}"}
    assert ask(server, "/v2/hub/library/alpine/manifests/3", **last)[0] == 424


@contextlib.contextmanager
def program(listening: socket.socket, file: Path, files: int = 1024) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program as systemd does, which keeps the socket."""
    number = listening.fileno()
    command = [sys.executable, "-c", HAND_OVER, str(number), str(files), str(PROGRAM), str(file)]
    with subprocess.Popen(command, pass_fds=[number], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_program_takes_the_socket_of_systemd_and_ends_in_order(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.image("3", b"one")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, elsewhere.url)))
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with program(listening, file) as process:
            assert ask(path, "/v2/hub/library/alpine/manifests/3")[0] == 200
            process.terminate()
            assert process.wait(10) == 0


def test_clients_that_say_nothing_take_no_file_from_others(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.image("3", b"one")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, elsewhere.url)))
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as clients:
        listening.bind(path)
        listening.listen(100)
        # As systemd begins, only with less.
        with program(listening, file, files=50):
            for _ in range(80):
                client = clients.enter_context(contextlib.closing(Client(path)))
                client.connect()
            assert ask(path, "/v2/hub/library/alpine/manifests/3")[0] == 200


def test_who_finds_no_place_waits_for_one(
    mirror: Any, mirrors: Any, elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_AT_ONCE", 2)
    inside: list[str] = []
    most: list[int] = []
    third = threading.Event()

    def is_slow(asked: http.server.BaseHTTPRequestHandler) -> None:
        inside.append(asked.path)
        most.append(len(inside))
        if len(inside) > 2:
            third.set()
        third.wait(0.2)
        inside.remove(asked.path)

    elsewhere.refuses = is_slow
    tags = [str(number) for number in range(6)]
    for tag in tags:
        elsewhere.image(tag, b"one")
    got: list[int] = []
    with serving(mirror, mirrors, str(tmp_path / "m")) as path:

        def pull_one(tag: str) -> None:
            got.append(ask(path, f"/v2/hub/library/alpine/manifests/{tag}")[0])

        clients = [threading.Thread(target=pull_one, args=(tag,)) for tag in tags]
        for client in clients:
            client.start()
        for client in clients:
            client.join(20)
    assert got == [200] * 6
    assert max(most) <= 2


def test_a_slow_client_holds_little(mirrors: Any, server: str, elsewhere: Elsewhere) -> None:
    content = b"content" * 1_000_000
    elsewhere.blob(content)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server)
        client.sendall(f"GET /v2/hub/library/alpine/blobs/{digest_of(content)} HTTP/1.1\r\n\r\n".encode())

        def waits_in_the_socket() -> int:
            return int.from_bytes(fcntl.ioctl(client, termios.FIONREAD, bytes(4)), sys.byteorder)

        wait_until(lambda: waits_in_the_socket() > 32 * 1024)
        wait_until(lambda: not mirrors._downloads)
        assert waits_in_the_socket() < 3 * 64 * 1024


def test_other_registries_are_asked_through_a_proxy(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.image("3", b"one")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, "http://a.invalid", environment={"HTTP_PROXY": elsewhere.url})))
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with program(listening, file):
            assert ask(path, "/v2/hub/library/alpine/manifests/3")[0] == 200
    assert dict(elsewhere.asked) == {"GET http://a.invalid/v2/library/alpine/manifests/3": 1}


def test_a_program_that_is_killed_leaves_nothing_half(elsewhere: Elsewhere, tmp_path: Path) -> None:
    content = b"content" * 100_000
    elsewhere.blob(content)
    elsewhere.gate = threading.Event()
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, elsewhere.url)))
    path, spool = str(tmp_path / "m"), tmp_path / "drydock-mirror"
    blob = f"/v2/hub/library/alpine/blobs/{digest_of(content)}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with program(listening, file) as process:
            client = Client(path)
            client.request("GET", blob)
            with contextlib.closing(client), client.getresponse() as answer:
                assert answer.read(1) == content[:1]
                process.kill()
                with pytest.raises(http.client.IncompleteRead):
                    answer.read()
        elsewhere.gate.set()
        assert len(list(spool.iterdir())) == 1
        assert not (tmp_path / "docker").exists()
        with program(listening, file):
            assert ask(path, blob)[2] == content
            wait_until(lambda: list(spool.iterdir()) == [])
