# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against a small registry of the test's own, which can be told to misbehave."""

from __future__ import annotations

import atexit
import base64
import datetime
import functools
import gzip
import hashlib
import io
import ipaddress
import json
import re
import shutil
import socket
import ssl
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _registry_probe as core
from ansible_collections.drydock.registry.plugins.modules import registry_probe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "alice", "right"


class Fake(ThreadingHTTPServer):
    """A registry that keeps everything in memory."""

    daemon_threads = True

    def __init__(self, *faults: str, storage: Optional[Fake] = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = set(faults)
        self.storage = storage
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, bool]] = []
        self.scheme = "http"
        self.not_ready = 0
        # Each guess at a password waits for another one.
        self.two_guesses = threading.Barrier(2, timeout=60)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def empty(self) -> bool:
        return not (self.blobs or self.manifests or self.uploads)


class Handler(BaseHTTPRequestHandler):
    server: Fake
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def allowed(self) -> bool:
        faults = self.server.faults
        header = self.headers.get("Authorization")
        if "open" in faults or (header is None and f"open {self.command}" in faults):
            return True
        if header is None:
            return False
        user, _colon, password = base64.b64decode(header.split(" ")[1]).decode().partition(":")
        if "any password" in faults and user == USER:
            return True
        if "any user" in faults and password == PASSWORD:
            return True
        right = (user, password) == (USER, PASSWORD)
        if "slow" in faults and not right:
            self.server.two_guesses.wait()
        return right

    def certified(self) -> bool:
        connection = self.connection
        return "X-Certificate" in self.headers or (
            isinstance(connection, ssl.SSLSocket) and bool(connection.getpeercert())
        )

    def handle_any(self) -> None:
        faults = self.server.faults
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        query = parse_qs(split.query)
        path = split.path
        self.server.seen.append((self.command, self.path, "Authorization" in self.headers))
        if path == "/healthz":
            self.server.not_ready -= 1
            self.answer(502 if self.server.not_ready >= 0 or "sick" in faults else 200)
        elif path.startswith("/presigned/"):
            self.answer(200, self.server.blobs[path.rpartition("/")[2]])
        elif faults & {"required", "both"} and not ("no check" in faults or self.certified()):
            self.answer(403)
        elif (
            "anonymous pull" in faults
            and self.command == "GET"
            and "Authorization" not in self.headers
            and ("/manifests/" in path or "/blobs/" in path)
        ):
            self.answer(404)
        elif "required" in faults:
            self.registry(path, query, data)
        elif not self.allowed():
            challenge: dict[str, Any] = {} if "no challenge" in faults else {"WWW_Authenticate": 'Basic realm="r"'}
            self.answer(401, **challenge)
        else:
            self.registry(path, query, data)

    def registry(self, path: str, query: dict[str, list[str]], data: bytes) -> None:
        faults = self.server.faults
        if path == "/v2/":
            api: dict[str, Any] = {} if "no api" in faults else {"Docker_Distribution_Api_Version": "registry/2.0"}
            self.answer(200, b"{}", **api)
        elif path == "/v2/hub/drydock/mirror/check/manifests/1":
            self.answer(503 if "no mirror" in faults else 200)
        elif f"500 {self.command}" in faults or f"500 {path.split('/')[4]}" in faults:
            self.answer(500)
        else:
            self.repository(path.removeprefix("/v2/drydock/probe/"), query, data)

    def repository(self, rest: str, query: dict[str, list[str]], data: bytes) -> None:
        server, faults = self.server, self.server.faults
        base = f"{server.url.partition(':')[0]}://{self.headers['Host']}/v2/drydock/probe"
        if "wrong scheme" in faults:
            base = base.replace("http://", "https://")
        if "no port" in faults:
            base = base.replace(f":{server.server_address[1]}", "")
        if "relative" in faults:
            base = "/v2/drydock/probe"
        kind, _slash, name = rest.partition("/")
        if rest.startswith("blobs/uploads/"):
            key = rest.removeprefix("blobs/uploads/")
            if self.command == "POST":
                key = f"upload{len(server.seen)}"
                server.uploads[key] = b""
                self.answer(202, Location=f"{base}/blobs/uploads/{key}?_state=signed")
            elif self.command == "PATCH":
                server.uploads[key] += data
                self.answer(202, Location=f"{base}/blobs/uploads/{key}?_state=signed2")
            elif self.command == "PUT":
                whole = server.uploads.pop(key) + data
                digest = "sha256:" + hashlib.sha256(whole).hexdigest()
                if digest != query["digest"][0]:
                    self.answer(400)
                    return
                target = server.storage or server
                target.blobs[digest] = whole[:-1] + b"!" if "corrupt" in faults else whole
                self.answer(201, Docker_Content_Digest=digest)
            else:
                server.uploads.pop(key, None)
                self.answer(204)
        elif kind == "manifests":
            self.manifest(name, data)
        elif server.storage is not None and self.command == "GET" and name in server.storage.blobs:
            self.answer(307, Location=f"{server.storage.url}/presigned/{name}?X-Amz-Signature=abc")
        elif self.command == "GET":
            store = server.blobs
            self.answer(200, store[name]) if name in store else self.answer(404)
        else:
            self.delete((server.storage or server).blobs, name)

    def manifest(self, name: str, data: bytes) -> None:
        server, faults = self.server, self.server.faults
        if self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            server.manifests[digest] = server.manifests[name] = data
            told = "sha256:" + "f" * 64 if "wrong digest" in faults else digest
            self.answer(201, Docker_Content_Digest=told)
        elif self.command == "GET":
            # As 2.8 does: an OCI manifest is not found by a client that does not ask for one.
            if name in server.manifests and self.headers.get("Accept") == core.MANIFEST_TYPE:
                self.answer(200, server.manifests[name])
            else:
                self.answer(404)
        else:
            wanted = server.manifests.get(name)
            self.delete(server.manifests, name, *[key for key, value in server.manifests.items() if value == wanted])

    def delete(self, store: dict[str, bytes], *names: str) -> None:
        if "no delete" in self.server.faults:
            self.answer(405)
            return
        if "delete ignored" not in self.server.faults:
            for name in names:
                store.pop(name, None)
        self.answer(202)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815


@contextmanager
def serve(*faults: str, storage: Optional[Fake] = None, context: Optional[ssl.SSLContext] = None) -> Iterator[Fake]:
    server = Fake(*faults, storage=storage)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@functools.cache
def small_ca() -> str:
    """A file with one CA: loading the system's for every request takes most of a test's time."""
    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory)
    _context, text = make_certificate(directory, "127.0.0.1")
    path = directory / "ca.pem"
    path.write_text(text)
    return str(path)


def probe(server: Fake, **more: Any) -> core.Probe:
    return core.Probe(
        **{
            "url": server.url,
            "username": USER,
            "password": PASSWORD,
            "transport": registry_probe.UrlTransport(small_ca(), small_ca()),
            "timeout": 2.0,
            "sleep": lambda _seconds: None,
            **more,
        }
    )


def failure(server: Fake, **more: Any) -> tuple[str, core.Probe]:
    tried = probe(server, **more)
    with pytest.raises(core.ProbeFailedError) as caught:
        tried.run()
    return str(caught.value), tried


# ------------------------------------------------------------------------------------------------ pure parts


def test_image_is_whole_and_repeatable() -> None:
    one, two, other = core.build_image(b"a"), core.build_image(b"a"), core.build_image(b"b")
    assert one == two
    assert one.layer != other.layer
    manifest, config = json.loads(one.manifest), json.loads(one.config)
    assert manifest["config"]["digest"] == "sha256:" + hashlib.sha256(one.config).hexdigest()
    assert manifest["layers"][0]["digest"] == core.digest(one.layer)
    assert manifest["layers"][0]["size"] == len(one.layer)
    raw = gzip.decompress(one.layer)
    assert config["rootfs"]["diff_ids"] == [core.digest(raw)]
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        member = tar.extractfile("drydock-probe")
        assert member is not None
        assert member.read() == b"a"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://registry.example.com", ""),
        ("https://registry.example.com:5443/", ""),
        ("https://[::1]:5443", ""),
        ("http://registry.example.com", "is not a URL"),
        ("registry.example.com", "is not a URL"),
        ("https://", "is not a URL"),
        ("https://x:port", "is not a URL"),
        ("https://a:b@x", "has credentials in it"),
        ("https://x/v2/", "has more than a host and a port"),
    ],
)
def test_urls(url: str, problem: str) -> None:
    found = core.url_problem(url)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a", "https://A:443/x?y", True),
        ("https://a", "http://a", False),
        ("https://a", "https://a:5443", False),
        ("https://a", "https://b", False),
    ],
)
def test_origin(one: str, other: str, same: bool) -> None:
    assert (core.origin(one) == core.origin(other)) is same


def test_urls_in_messages_and_uploads() -> None:
    assert core.without_query("https://u:p@h:1/x?X-Amz-Signature=1") == "https://h:1/x"
    assert core.with_query("https://h/x?_state=a%3D", digest="sha256:0") == "https://h/x?_state=a%3D&digest=sha256%3A0"
    assert core.with_query("https://h/x", digest="d") == "https://h/x?digest=d"


# ------------------------------------------------------------------------------------------------- the steps


@pytest.mark.parametrize("fault", ["", "relative", "slow"])
def test_a_good_registry(fault: str) -> None:
    with serve(*filter(None, [fault])) as server:
        tried = probe(server)
        tried.run()
        assert server.empty()
    assert tried.left_behind == []
    names = [step.name for step in tried.steps]
    assert names[:2] == ["GET /healthz", "anonymous GET /v2/"]
    assert {
        "GET /v2/ with a wrong password",
        "GET /v2/ as an unknown user",
        "anonymous POST of an upload",
        "anonymous DELETE of a manifest",
        "push of the manifest",
        "pull of the layer",
        "GET of the deleted layer",
    } <= set(names)
    assert [step for step in core.as_dicts(tried.steps) if not (step["got"] and step["expected"])] == []
    assert "right" not in json.dumps(core.as_dicts(tried.steps)).replace("right password", "")


def test_mirrors_answer() -> None:
    with serve() as server:
        tried = probe(server, mirrors=["hub"])
        tried.run()
    assert "pull of hub/drydock/mirror/check:1" in {step.name for step in tried.steps}
    with serve("no mirror") as server:
        message, _tried = failure(server, mirrors=["hub"])
        assert server.empty()
    assert message.startswith(
        "pull of hub/drydock/mirror/check:1 answered 503 instead of 200: what asks other registries does not"
    )


class Certified(registry_probe.UrlTransport):
    """A header stands for the certificate, since this server speaks no TLS."""

    def __call__(self, request: core.Request, timeout: float, foreign: bool) -> core.Answer:
        headers = request.headers if request.bare else {**request.headers, "X-Certificate": "alice"}
        return super().__call__(replace(request, headers=headers), timeout, foreign)


@pytest.mark.parametrize(
    ("mode", "password", "steps"),
    [
        ("required", "", {"GET /v2/ without a client certificate", "GET /v2/ with the right client certificate"}),
        ("both", PASSWORD, {"POST of an upload without a client certificate", "GET /v2/ with a wrong password"}),
    ],
)
def test_client_certificates(mode: str, password: str, steps: set[str]) -> None:
    with serve(mode) as server:
        tried = probe(server, transport=Certified(small_ca(), small_ca()), client_certificates=mode, password=password)
        tried.run()
        assert server.empty()
        if mode == "required":
            assert not any(authorized for _method, _path, authorized in server.seen)
    assert steps <= {step.name for step in tried.steps}


@pytest.mark.parametrize("mode", ["required", "both"])
def test_who_gets_in_without_a_certificate_is_found(mode: str) -> None:
    with serve(mode, "no check") as server:
        message, _tried = failure(server, transport=Certified(small_ca(), small_ca()), client_certificates=mode)
    assert message.startswith("GET /v2/ without a client certificate answered ")
    assert "instead of 403: clients without a certificate get in" in message


def test_anonymous_pull_is_no_fault_where_it_is_on() -> None:
    with serve("anonymous pull") as server:
        probe(server, anonymous_pull=True).run()
        message, _tried = failure(server)
    assert message.startswith("anonymous GET of a manifest answered 404 instead of 401")


def test_reading_only_writes_nothing() -> None:
    with serve() as server:
        probe(server).read()
        assert {method for method, _path, _auth in server.seen} == {"GET"}


@pytest.mark.parametrize(
    ("fault", "beginning"),
    [
        ("open", "anonymous GET /v2/ answered 200 instead of 401: the registry is open to everybody; "),
        (
            "no challenge",
            "challenge of anonymous GET /v2/ was no WWW-Authenticate instead of WWW-Authenticate: Basic: ",
        ),
        ("any password", "GET /v2/ with a wrong password answered 200 instead of 401: credentials that do not exist "),
        ("any user", "GET /v2/ as an unknown user answered 200 instead of 401: credentials that do not exist "),
        ("open POST", "anonymous POST of an upload answered 202 instead of 401: the registry is open to everybody; "),
        ("open DELETE", "anonymous DELETE of a manifest answered 202 instead of 401: the registry is open "),
        ("no api", "header of GET /v2/ was no Docker-Distribution-Api-Version instead of "),
        ("500 POST", "start of the layer's upload answered 500 instead of 202: look at the registry's log"),
        ("500 PATCH", "push of the layer's bytes answered 500 instead of 202: "),
        ("500 PUT", "end of the layer's upload answered 500 instead of 201: "),
        ("500 manifests", "push of the manifest answered 500 instead of 201: "),
        ("wrong scheme", "Location of the layer's upload was https://127.0.0.1:"),
        ("no port", "Location of the layer's upload was http://127.0.0.1/v2/"),
        ("wrong digest", "digest of the pushed manifest was sha256:ffff"),
        ("corrupt", "digest of the pulled layer was sha256:"),
        ("no delete", "DELETE of the manifest answered 405 instead of 202: deleting is switched off in the registry; "),
        (
            "delete ignored",
            "GET of the deleted manifest answered 200 instead of 404: what was deleted is still served; ",
        ),
    ],
)
def test_each_fault_is_found_and_named(fault: str, beginning: str) -> None:
    with serve(fault) as server:
        message, tried = failure(server)
        assert message.startswith(beginning)
        assert message.endswith(".")
        assert PASSWORD not in message.replace("right password", "")
        assert "_state" not in message
        # Nothing stays, but where the registry itself keeps what it was told to delete.
        stays = {"no delete", "delete ignored", "500 manifests"}
        assert server.empty() or fault in stays
        assert bool(tried.left_behind) == (fault in {"no delete", "500 manifests"})


def test_other_credentials() -> None:
    with serve() as server:
        message, _tried = failure(server, password="outdated")
    assert message.startswith("GET /v2/ with the right password answered 401 instead of 200: the right user name and ")
    assert "outdated" not in message


def test_cleaning_never_leaves_the_registrys_host() -> None:
    with serve() as other, serve() as server:
        tried = probe(server)
        assert tried._drop(other.url + "/v2/x") is False
        assert other.seen == []


def test_redirected_download_gets_no_password() -> None:
    with serve() as storage, serve(storage=storage) as server:
        tried = probe(server)
        tried.run()
        downloads = [entry for entry in storage.seen if entry[1].startswith("/presigned/sha256:")]
        assert len(downloads) == 2
        assert [auth for _method, _path, auth in downloads] == [False, False]
        assert storage.empty()
    assert "X-Amz-Signature" not in json.dumps(core.as_dicts(tried.steps))


def test_without_delete_an_upload_is_begun_and_nothing_is_pushed() -> None:
    with serve("no delete") as server:
        tried = probe(server, delete_enabled=False)
        tried.run()
        assert tried.left_behind == []
        assert (server.blobs, server.manifests, len(server.uploads)) == ({}, {}, 1)
        assert [method for method, _path, auth in server.seen if auth and method != "GET"] == ["POST", "PATCH"]


def test_without_a_login_strangers_are_refused_and_nothing_is_written() -> None:
    with serve() as server:
        tried = probe(server, username="bob", password="", login_enabled=False)
        tried.read()
        assert {method for method, _path, _auth in server.seen} == {"GET"}
    assert "GET /v2/ as an unknown user" in {step.name for step in tried.steps}
    with (
        serve("any password") as server,
        pytest.raises(core.ProbeFailedError, match="with a wrong password answered 200"),
    ):
        probe(server, password="", login_enabled=False).read()
    with serve("both") as server:
        tried = probe(server, password="", login_enabled=False, client_certificates="both")
        tried.read()
    assert {step.got for step in tried.steps} == {"200", "403"}


def test_waits_until_ready() -> None:
    with serve() as server:
        server.not_ready = 3
        probe(server).run()
        assert [path for _method, path, _auth in server.seen].count("/healthz") == 4


def test_gives_up_waiting() -> None:
    with serve("sick") as server:
        ticks = iter(range(1000))
        message, _tried = failure(server, timeout=5.0, clock=lambda: float(next(ticks)))
        assert message.startswith("GET /healthz answered 502 instead of 200 within 5 seconds: no registry answers ")


def test_nothing_listens() -> None:
    with serve() as server:
        pass
    message, tried = failure(server, timeout=1.0)
    assert message.startswith("GET /healthz got no answer: ")
    assert "expected 200 within 1 seconds: nothing listens there; " in message
    assert tried.answers() is False


class Silent:
    """A way on which each request fails alike, and a clock that runs while somebody sleeps."""

    def __init__(self, cause: str) -> None:
        self.cause, self.now = cause, 0.0

    def __call__(self, request: core.Request, timeout: float, foreign: bool) -> core.Answer:
        raise core.NoAnswerError(f"no way to {request.url}" if timeout and not foreign else "", self.cause)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("cause", "at_most", "told"),
    [
        ("name", 3, "the name does not resolve on this machine; "),
        ("refused", 60, "nothing listens there; "),
        ("silent", 60, "nothing comes back; "),
        ("handshake", 60, "what listens there does not speak TLS for this name; "),
        ("tls", 0, "the certificate does not fit the host name or the CA; "),
        ("clock", 0, "the certificate is for another time; "),
        ("healthz", 60, "no registry answers behind the proxy; "),
    ],
)
def test_each_kind_of_no_answer_has_its_sentence_and_its_patience(cause: str, at_most: float, told: str) -> None:
    way = Silent(cause)
    tried = core.Probe("https://x", USER, PASSWORD, way, clock=lambda: way.now, sleep=way.sleep)
    with pytest.raises(core.ProbeFailedError) as caught:
        tried.run()
    assert (
        str(caught.value)
        == f"GET /healthz got no answer: no way to https://x/healthz, expected 200 within 60 seconds: {core.HINTS[cause]}."
    )
    assert core.HINTS[cause].startswith(told)
    assert caught.value.cause == cause
    assert max(0, at_most - 1) <= way.now <= at_most


def test_the_name_of_a_new_load_balancer_gets_more_patience() -> None:
    way = Silent("name")
    tried = core.Probe("https://x", USER, PASSWORD, way, clock=lambda: way.now, sleep=way.sleep, name_timeout=60)
    with pytest.raises(core.ProbeFailedError):
        tried.run()
    assert way.now > 58


# ------------------------------------------------------------------------------------------------ the module


class ExitError(Exception):
    """What exit_json and fail_json raise here."""

    def __init__(self, failed: bool, result: dict[str, Any]) -> None:
        super().__init__(result)
        self.failed, self.result = failed, result


class Module:
    """As much of AnsibleModule as run() uses."""

    def __init__(self, tmpdir: Path, check_mode: bool = False, **params: Any) -> None:
        self.tmpdir, self.check_mode = str(tmpdir), check_mode
        self.params = {
            "username": USER,
            "password": PASSWORD,
            "ca_certificate": None,
            "client_certificates": "off",
            "client_certificate": "",
            "client_key": "",
            "anonymous_pull_enabled": False,
            "connect_to": "",
            "repository": "drydock/probe",
            "mirrors": [],
            "login_enabled": True,
            "push_enabled": True,
            "delete_enabled": True,
            "timeout": 1,
            **params,
        }

    def exit_json(self, **result: Any) -> None:
        raise ExitError(False, result)

    def fail_json(self, **result: Any) -> None:
        raise ExitError(True, result)

    def run(self) -> ExitError:
        with pytest.raises(ExitError) as caught:
            registry_probe.run(self)
        return caught.value


def make_certificate(directory: Path, address: str, hours: int = 0) -> tuple[ssl.SSLContext, str]:
    """A self-signed certificate for an IP address or a host name, and its text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    try:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    except ValueError:
        names = x509.SubjectAlternativeName([x509.DNSName(address)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / f"{address}.pem"
    path.write_bytes(private + text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, text.decode()


def test_module_over_tls(tmp_path: Path) -> None:
    context, text = make_certificate(tmp_path, "127.0.0.1")
    with serve(context=context) as server:
        done = Module(tmp_path, url=server.url, ca_certificate=text).run()
        assert done.failed is False, done.result
        assert done.result["changed"] is False
        assert done.result["left_behind"] == []
        assert len(done.result["steps"]) > 20
        assert server.empty()
        seen = len(server.seen)
        dry = Module(tmp_path, url=server.url, ca_certificate=text, check_mode=True).run()
        assert dry.failed is False
        assert {method for method, _path, _auth in server.seen[seen:]} == {"GET"}


def test_module_has_a_certificate(tmp_path: Path) -> None:
    context, text = make_certificate(tmp_path, "127.0.0.1")
    _own, certificate = make_certificate(tmp_path, "client")
    key = (tmp_path / "client.pem").read_text(encoding="utf-8")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=certificate)
    with serve("required", context=context) as server:
        settings: dict[str, Any] = {"url": server.url, "ca_certificate": text, "client_certificates": "required"}
        settings["password"] = ""
        pair: dict[str, Any] = {"client_certificate": certificate, "client_key": key}
        done = Module(tmp_path, **settings, **pair).run()
        assert done.failed is False, done.result
        assert server.empty()
        seen = len(server.seen)
        assert Module(tmp_path, **settings, **pair, push_enabled=False).run().failed is False
        assert {method for method, _path, _auth in server.seen[seen:]} == {"GET"}
        assert Module(tmp_path, **settings).run().result["msg"].startswith("client_certificate: is no PEM text")
        assert Module(tmp_path, **settings, check_mode=True).run().result["skipped"] is True


def test_module_without_a_password(tmp_path: Path) -> None:
    assert Module(tmp_path, url="https://x", password="").run().result["msg"].startswith("password: is empty")
    dry = Module(tmp_path, url="https://x", password="", check_mode=True).run()
    assert (dry.failed, dry.result["skipped"]) == (False, True)


def test_module_refuses_certificates(tmp_path: Path) -> None:
    context, text = make_certificate(tmp_path, "127.0.0.1")
    other_context, other_text = make_certificate(tmp_path, "127.0.0.2")
    with serve(context=context) as server:
        for certificate in (None, other_text):
            done = Module(tmp_path, url=server.url, ca_certificate=certificate).run()
            assert done.failed
            assert "the certificate was refused" in done.result["msg"]
            assert server.seen == []
    with serve(context=other_context) as server:
        done = Module(tmp_path, url=server.url, ca_certificate=other_text).run()
        assert done.failed
        assert "the certificate does not fit the host name" in done.result["msg"]
        assert server.seen == []
    assert text != other_text


@pytest.mark.parametrize(
    ("hours", "told"), [(-5, "certificate has expired"), (5, "certificate is not yet valid")], ids=["slow", "fast"]
)
def test_module_tells_a_wrong_clock_from_a_wrong_certificate(tmp_path: Path, hours: int, told: str) -> None:
    context, text = make_certificate(tmp_path, "127.0.0.1", hours)
    with serve(context=context) as server:
        done = Module(tmp_path, url=server.url, ca_certificate=text).run()
    assert (done.failed, done.result["cause"]) == (True, "clock")
    assert re.search(rf"{told} \(it is \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC here\)", done.result["msg"])


def test_module_tells_ways_that_lead_nowhere(tmp_path: Path) -> None:
    with serve() as server:
        port = server.server_address[1]
        # Plain HTTP where TLS is expected.
        done = Module(tmp_path, url=f"https://127.0.0.1:{port}").run()
        assert (done.result["cause"], done.result["resolved"]) == ("handshake", ["127.0.0.1"])
    done = Module(tmp_path, url=f"https://127.0.0.1:{port}").run()
    assert done.result["cause"] == "refused"
    done = Module(tmp_path, url="https://registry.invalid").run()
    assert (done.result["cause"], done.result["resolved"]) == ("name", [])
    # A listener that never accepts.
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server_socket:
        done = Module(tmp_path, url=f"https://127.0.0.1:{server_socket.getsockname()[1]}").run()
    assert done.result["cause"] == "silent"


# The name stands for a load balancer's.
@pytest.mark.parametrize("where", ["127.0.0.1", "localhost"])
def test_module_connects_to_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A name without a DNS record is found at the address, and the certificate has to be the name's all the same."""
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    context, text = make_certificate(tmp_path, "registry.invalid")
    other_context, other_text = make_certificate(tmp_path, "127.0.0.1")
    with serve(context=context) as server:
        url = server.url.replace("127.0.0.1", "registry.invalid")
        done = Module(tmp_path, url=url, ca_certificate=text, connect_to=where).run()
        assert done.failed is False, done.result
        assert done.result["resolved"] == []
        assert server.empty()
    with serve(context=other_context) as server:
        url = server.url.replace("127.0.0.1", "registry.invalid")
        done = Module(tmp_path, url=url, ca_certificate=other_text, connect_to="127.0.0.1").run()
        assert done.failed
        assert "the certificate does not fit the host name" in done.result["msg"]
        assert server.seen == []


def test_module_in_check_mode_without_a_registry(tmp_path: Path) -> None:
    with serve() as server:
        url = server.url.replace("http:", "https:")
    done = Module(tmp_path, url=url, check_mode=True).run()
    assert done.failed is False
    assert done.result["skipped"] is True
    assert done.result["steps"] == []


@pytest.mark.parametrize(
    ("params", "beginning"),
    [
        ({"url": "http://127.0.0.1:1"}, "url: is not a URL of a registry; write https://"),
        ({"url": "https://x", "username": "a:b"}, "username: "),
        ({"url": "https://x", "repository": "Drydock/probe"}, "repository: is not a name of a repository; "),
        ({"url": "https://x", "repository": "../secret"}, "repository: "),
        ({"url": "https://x", "connect_to": "https://x"}, "connect_to: is neither an IP address nor a host name; "),
        ({"url": "https://x", "timeout": 0}, "timeout: "),
        ({"url": "https://x", "username": ""}, "username: is empty"),
        ({"url": "https://x", "login_enabled": False}, "login_enabled: is false, and nobody can push"),
        ({"url": "https://x", "ca_certificate": "/etc/ca.crt"}, "ca_certificate: is no certificate in PEM; "),
    ],
)
def test_module_refuses_input(tmp_path: Path, params: dict[str, Any], beginning: str) -> None:
    done = Module(tmp_path, **params).run()
    assert done.failed
    assert done.result["msg"].startswith(beginning)
    assert done.result["steps"] == []
