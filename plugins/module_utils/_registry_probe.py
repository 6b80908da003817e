# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's proof that a registry works: the steps, the tiny image, and the judgement of each answer.

How a request travels is not known here: the caller brings a transport. It must verify certificates and must
not follow redirects by itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import secrets
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_BYTES = "application/octet-stream"
_NO_DIGEST = "sha256:" + "0" * 64
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_PAUSE_SECONDS = 0.5
# A server of names may fail once; a name that it does not know now it will not know in a minute.
_NAME_SECONDS = 3.0


class NoAnswerError(Exception):
    """The request got no HTTP answer; the cause is a key of HINTS."""

    def __init__(self, reason: str, cause: str = "healthz") -> None:
        super().__init__(reason)
        self.cause = cause

    @property
    def final(self) -> bool:
        """Whether waiting cannot help, because a certificate was refused."""
        return self.cause in ("tls", "clock")


class ProbeFailedError(Exception):
    """A step went wrong; the message is one sentence, and the cause is a key of HINTS."""

    def __init__(self, step: Step, cause: str) -> None:
        super().__init__(_sentence(step, cause))
        self.cause = cause


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Request:
    """An HTTP request; the URL may be a path below the registry's URL until it is sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    # As a client that has no certificate of its own.
    bare: bool = False


class Transport(Protocol):
    """Sends one request. foreign means that the URL is on another host than the registry's."""

    def __call__(self, request: Request, timeout: float, foreign: bool) -> Answer: ...


@dataclass
class Step:
    """One thing that was tried."""

    name: str
    expected: str
    got: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "expected": self.expected, "got": self.got, "seconds": round(self.seconds, 3)}


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Image:
    """A complete image with one layer, which any client can pull."""

    layer: bytes
    config: bytes
    manifest: bytes


def build_image(nonce: bytes) -> Image:
    """Build the same image for the same nonce, byte for byte."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("drydock-probe")
        info.size = len(nonce)
        tar.addfile(info, io.BytesIO(nonce))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(raw.getvalue())]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": digest(layer), "size": len(layer)}],
        }
    )
    return Image(layer, config, manifest)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def basic(username: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, comparable."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or (443 if scheme == "https" else 80)


def without_query(url: str) -> str:
    """A URL for messages: upload states and presigned keys are in the query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_query(url: str, **query: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))))


# As distribution/reference defines it, without a host.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")


def repository_problem(repository: str) -> str:
    """What is wrong with the repository's name, or nothing."""
    if len(repository) <= 200 and _REPOSITORY.fullmatch(repository):
        return ""
    return "is not a name of a repository; write lower case letters and digits, with / between parts"


def url_problem(url: str) -> str:
    """What is wrong with the registry's URL, or nothing."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme != "https" or not parts.hostname:
        return "is not a URL of a registry; write https://HOST or https://HOST:PORT"
    if parts.username is not None or parts.password is not None:
        return "has credentials in it; write them to username and password"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "has more than a host and a port; write https://HOST or https://HOST:PORT"
    return ""


# Why a step usually goes wrong, told to whoever has to mend it.
HINTS: Mapping[str, str] = {
    "healthz": "no registry answers behind the proxy; look at the logs of the proxy's and the registry's containers",
    "name": (
        "the name does not resolve on this machine; correct it, make a DNS record of it that leads to the registry, "
        "or check from a machine that knows it"
    ),
    "refused": (
        "nothing listens there; see whether the name leads to the registry's host and the port is the proxy's, "
        "whether the proxy runs, and whether the host's firewall lets the port through"
    ),
    "silent": (
        "nothing comes back; see whether the name leads to the registry's host, "
        "and let the port through the host's firewall and whatever is on the way"
    ),
    "handshake": (
        "what listens there does not speak TLS for this name; see whether the name leads to the registry's host "
        "and the port is the proxy's"
    ),
    "tls": "the certificate does not fit the host name or the CA; get one for this name, or set ca_certificate to the CA that signed it",
    "clock": "the certificate is for another time; set the clock that is wrong, here or there, or renew the certificate",
    "open": "the registry is open to everybody; take it off the network until the proxy in front of it authenticates",
    "forged": (
        "credentials that do not exist are accepted; "
        "take the registry off the network and look at the proxy's authentication"
    ),
    "anonymous": "anonymous requests must be challenged; look at the proxy's authentication",
    "credentials": "the right user name and password are refused; look at the users file that the proxy reads",
    "uncertified": (
        "clients without a certificate get in or are not told why they do not; look at registry_proxy_client_certificates"
    ),
    "certificate": (
        "the client certificate is refused; see whether its CA and its CRL are the ones that the proxy reads, and "
        "whether its name is a user's"
    ),
    "api": "what answers is no registry; look at where the proxy forwards /v2/",
    "location": (
        "the proxy passes a wrong Host or X-Forwarded-Proto header, "
        "or http.host in the registry's configuration is wrong"
    ),
    "mirror": (
        "what asks other registries does not answer; `journalctl -u drydock-mirror` on the registry's host says why, and a run of "
        "site.yml starts it"
    ),
    "push": "look at the registry's log, its storage and the proxy's limits for bodies",
    "pull": "what was pushed does not come back; look at the registry's log and at its storage",
    "delete_disabled": "deleting is switched off in the registry; switch it on or set delete_enabled to false",
    "delete": "what was deleted is still served; look at the storage's permissions and at caches",
}


@dataclass
class Probe:
    """The steps against one registry."""

    url: str
    username: str
    password: str
    transport: Transport
    # Which client certificates the registry asks for: off, optional, required (and no password) or both.
    client_certificates: str = "off"
    anonymous_pull: bool = False
    repository: str = "drydock/probe"
    # The first parts of names of other registries' images.
    mirrors: Sequence[str] = ()
    timeout: float = 60.0
    # How long a name may fail to resolve.
    name_timeout: float = _NAME_SECONDS
    # Off, only what strangers get is checked.
    login_enabled: bool = True
    # Off, an upload is begun and nothing is pushed.
    delete_enabled: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    steps: list[Step] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    # What is to be deleted when a later step fails, newest last.
    _to_clean: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")

    # -- the whole ----------------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Try once whether anything answers."""
        try:
            self._send(Request("GET", "/healthz"))
        except NoAnswerError as error:
            return error.final
        return True

    def read(self) -> None:
        """Check what can be checked without pushing anything."""
        self._wait()
        self._refusals(reading_only=True)
        if self.login_enabled:
            self._login()

    def run(self) -> None:
        """Check everything; whatever was pushed is deleted even when a step fails."""
        self._wait()
        self._refusals(reading_only=False)
        self._login()
        self._mirrored()
        try:
            if self.delete_enabled:
                self._round_trip()
            else:
                self._begun_upload()
        finally:
            self._clean()

    # -- steps --------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        step = Step("GET /healthz", f"200 within {self.timeout:g} seconds")
        start = self.clock()
        while True:
            left = self.timeout - (self.clock() - start)
            patience = self.timeout
            try:
                status = self._send(Request("GET", "/healthz"), max(left, 1.0)).status
                hint, got = "healthz", str(status)
                if status == 200:
                    break
            except NoAnswerError as error:
                hint, got = error.cause, f"no answer: {error}"
                if error.final:
                    break
                if hint == "name":
                    patience = min(self.timeout, self.name_timeout)
            if self.clock() - start + _PAUSE_SECONDS >= patience:
                break
            self.sleep(_PAUSE_SECONDS)
        step.got, step.seconds = got, self.clock() - start
        self.steps.append(step)
        if got != "200":
            raise ProbeFailedError(step, hint)

    def _refusals(self, reading_only: bool) -> None:
        if self.client_certificates in ("required", "both"):
            self._uncertified(reading_only)
        # Who is not logged in has no certificate either.
        if self.client_certificates != "required" and (self.login_enabled or self.client_certificates != "both"):
            self._challenged(reading_only)

    def _uncertified(self, reading_only: bool) -> None:
        right = basic(self.username, self.password) if self.password else {}
        tries = [("GET", "/v2/", "GET /v2/"), ("GET", self._path("manifests/latest"), "GET of a manifest")]
        if not reading_only:
            tries.append(("POST", self._path("blobs/uploads/"), "POST of an upload"))
        for method, path, what in tries:
            request = Request(method, path, right, bare=True)
            answer = self._expect(f"{what} without a client certificate", None, request, hint="uncertified")
            self._drop_upload(path, answer)
            self._judge_last(answer.status == 403, "403", "uncertified")

    def _challenged(self, reading_only: bool) -> None:
        challenge = self._expect("anonymous GET /v2/", 401, Request("GET", "/v2/"), hint="anonymous")
        offered = challenge.headers.get("www-authenticate", "")
        self._judge(
            "challenge of anonymous GET /v2/",
            "WWW-Authenticate: Basic",
            f"WWW-Authenticate: {offered.split(' ')[0]}" if offered else "no WWW-Authenticate",
            offered.lower().startswith("basic"),
            "anonymous",
        )
        stranger = f"probe-{secrets.token_hex(8)}"
        wrong = basic(self.username or stranger, secrets.token_hex(16))
        unknown = basic(stranger, self.password or secrets.token_hex(16))
        # Together, because a wrong password is answered when the next second has passed.
        forged = {"GET /v2/ with a wrong password": wrong, "GET /v2/ as an unknown user": unknown}
        steps = [self._step(name, "401") for name in forged]
        requests = [Request("GET", "/v2/", headers) for headers in forged.values()]
        with ThreadPoolExecutor(len(forged)) as pool:
            list(pool.map(lambda step, request: self._answer(step, 401, request, "forged"), steps, requests))
        tries = [
            ("GET", self._path("manifests/latest"), "of a manifest"),
            ("GET", self._path(f"blobs/{_NO_DIGEST}"), "of a blob"),
            ("GET", "/v2/_catalog", "of the catalog"),
        ]
        if not reading_only:
            tries += [
                ("POST", self._path("blobs/uploads/"), "of an upload"),
                ("DELETE", self._path(f"manifests/{_NO_DIGEST}"), "of a manifest"),
            ]
        for method, path, what in tries:
            answer = self._expect(f"anonymous {method} {what}", None, Request(method, path), hint="anonymous")
            self._drop_upload(path, answer)
            # Where anonymous pull is on, it may cover this repository, in which there is nothing. What a pull-through registry
            # answers then is its upstream's affair.
            pulls = self.anonymous_pull and what in ("of a manifest", "of a blob") and method == "GET"
            right, expected = (answer.status >= 400, "an error") if pulls else (answer.status == 401, "401")
            self._judge_last(right, expected, "open" if answer.status < 400 else "anonymous")

    def _login(self) -> None:
        means = {"required": "client certificate", "both": "client certificate and password"}
        name = f"GET /v2/ with the right {means.get(self.client_certificates, 'password')}"
        hint = "certificate" if self.client_certificates in means else "credentials"
        answer = self._expect(name, 200, Request("GET", "/v2/", self._auth), hint=hint)
        got = answer.headers.get("docker-distribution-api-version", "")
        self._judge(
            "header of GET /v2/",
            "Docker-Distribution-Api-Version: registry/2.0",
            f"Docker-Distribution-Api-Version: {got}" if got else "no Docker-Distribution-Api-Version",
            got == "registry/2.0",
            "api",
        )

    def _mirrored(self) -> None:
        # An image that each mirror has by itself, so no other registry is asked.
        for mirror in self.mirrors:
            request = Request("GET", f"/v2/{mirror}/drydock/mirror/check/manifests/1", self._auth)
            self._expect(f"pull of {mirror}/drydock/mirror/check:1", 200, request, hint="mirror")

    def _round_trip(self) -> None:
        nonce = secrets.token_bytes(16)
        tag = f"probe-{nonce.hex()}"
        image = build_image(nonce)
        layer, config, manifest = (digest(part) for part in (image.layer, image.config, image.manifest))
        by_digest = self._path(f"manifests/{manifest}")
        self._push_blob("layer", image.layer, chunked=True)
        self._push_blob("config", image.config, chunked=False)
        self._remember(by_digest)
        headers = {**self._auth, "Content-Type": MANIFEST_TYPE}
        request = Request("PUT", self._path(f"manifests/{tag}"), headers, image.manifest)
        put = self._expect("push of the manifest", 201, request, hint="push")
        told = put.headers.get("docker-content-digest", "")
        self._judge("digest of the pushed manifest", manifest, told or "none", told == manifest, "push")
        self._pull("manifest", self._path(f"manifests/{tag}"), image.manifest, {"Accept": MANIFEST_TYPE})
        self._pull("layer", self._path(f"blobs/{layer}"), image.layer, {})
        self._pull("config", self._path(f"blobs/{config}"), image.config, {})
        blobs = (("layer", self._path(f"blobs/{layer}")), ("config", self._path(f"blobs/{config}")))
        accept = {**self._auth, "Accept": MANIFEST_TYPE}
        for what, path in (("manifest", by_digest), *blobs):
            self._delete(what, path)
        for what, path in (("manifest", by_digest), ("tag", self._path(f"manifests/{tag}")), *blobs):
            self._expect(f"GET of the deleted {what}", 404, Request("GET", path, accept), hint="delete")
            if path in self._to_clean:
                self._to_clean.remove(path)

    def _begun_upload(self) -> None:
        """Write what does not stay where nothing can be deleted: the registry purges uploads that are not ended.

        Cancelled, registry 2.8 would keep a file of it that is never purged.
        """
        location = self._send_bytes("layer", secrets.token_bytes(16), self._start_upload("layer"))
        self._to_clean.remove(location)

    def _start_upload(self, what: str) -> str:
        path = self._path("blobs/uploads/")
        start = self._expect(f"start of the {what}'s upload", 202, Request("POST", path, self._auth, b""), hint="push")
        location = self._location(f"Location of the {what}'s upload", self.url + path, start)
        self._remember(location)
        return location

    def _send_bytes(self, what: str, data: bytes, location: str) -> str:
        request = Request("PATCH", location, {**self._auth, "Content-Type": _BYTES}, data)
        sent = self._expect(f"push of the {what}'s bytes", 202, request, hint="push")
        self._to_clean.remove(location)
        location = self._location(f"Location of the {what}'s next part", location, sent)
        self._remember(location)
        return location

    def _push_blob(self, what: str, data: bytes, chunked: bool) -> None:
        location = self._start_upload(what)
        body: bytes | None = data
        headers = {**self._auth, "Content-Type": _BYTES}
        if chunked:
            location = self._send_bytes(what, data, location)
            body = b""
        blob = self._path(f"blobs/{digest(data)}")
        self._remember(blob)
        name = f"end of the {what}'s upload"
        request = Request("PUT", with_query(location, digest=digest(data)), headers, body)
        self._expect(name, 201, request, hint="push")
        self._to_clean.remove(location)

    def _location(self, name: str, base: str, answer: Answer) -> str:
        told = answer.headers.get("location", "")
        location = urljoin(base, told)
        right = bool(told) and origin(location) == origin(self.url)
        if told and not right:
            # The upload has begun all the same, and can be ended under the right address.
            parts = urlsplit(location)
            self._remember(self.url + urlunsplit(("", "", parts.path, parts.query, "")))
        got = without_query(location) if told else "no Location"
        self._judge(name, f"a URL below {self.url}", got, right, "location")
        return location

    def _pull(self, what: str, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        name = f"pull of the {what}"
        answer = self._expect(name, None, Request("GET", path, {**self._auth, **headers}), hint="pull")
        url = self.url + path
        for _redirect in range(_MAX_REDIRECTS):
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                break
            url = urljoin(url, answer.headers["location"])
            # Presigned URLs carry their own permission: _send() gives the password to no other host.
            request = Request("GET", url, {**self._auth, **headers})
            answer = self._expect(f"{name} from {without_query(url)}", None, request, hint="pull")
        self._judge_last(answer.status == 200, "200", "pull")
        got = digest(answer.body)
        self._judge(f"digest of the pulled {what}", digest(data), got, answer.body == data, "pull")

    def _delete(self, what: str, path: str) -> None:
        answer = self._expect(f"DELETE of the {what}", None, Request("DELETE", path, self._auth), hint="delete")
        hint = "delete_disabled" if answer.status == 405 else "delete"
        self._judge_last(answer.status == 202, "202", hint)

    # -- clean up -----------------------------------------------------------------------------------------

    def _remember(self, path: str) -> None:
        if path not in self._to_clean:
            self._to_clean.append(path)

    def _clean(self) -> None:
        """Delete what a failed step left, manifests before their blobs; whatever fails here is only noted."""
        for path in reversed(self._to_clean):
            if not self._drop(path):
                self.left_behind.append(without_query(self._absolute(path)))
        self._to_clean.clear()

    def _drop_upload(self, path: str, answer: Answer) -> None:
        """Leave nothing of an upload that should not have been let begin."""
        if answer.status == 202 and "location" in answer.headers:
            self._drop(urljoin(self.url + path, answer.headers["location"]))

    def _drop(self, path: str) -> bool:
        if origin(self._absolute(path)) != origin(self.url):
            return False
        try:
            return self._send(Request("DELETE", path, self._auth)).status in (202, 204, 404)
        except NoAnswerError:
            return False

    # -- requests and judgement ---------------------------------------------------------------------------

    @property
    def _auth(self) -> dict[str, str]:
        return {} if self.client_certificates == "required" else basic(self.username, self.password)

    def _path(self, rest: str) -> str:
        return f"/v2/{self.repository}/{rest}"

    def _absolute(self, path: str) -> str:
        return self.url + path if path.startswith("/") else path

    def _send(self, request: Request, timeout: float | None = None) -> Answer:
        url = self._absolute(request.url)
        foreign = origin(url) != origin(self.url)
        headers = {k: v for k, v in request.headers.items() if not (foreign and k == "Authorization")}
        limit = self.timeout if timeout is None else timeout
        return self.transport(replace(request, url=url, headers=headers), limit, foreign)

    def _expect(self, name: str, status: int | None, request: Request, *, hint: str) -> Answer:
        """Send and record a step. With status None the caller judges by _judge_last()."""
        return self._answer(self._step(name, str(status) if status else "an answer"), status, request, hint)

    def _step(self, name: str, expected: str, got: str = "") -> Step:
        step = Step(name, expected, got)
        self.steps.append(step)
        return step

    def _answer(self, step: Step, status: int | None, request: Request, hint: str) -> Answer:
        """Send the request of a step, which may be under way with others."""
        start = self.clock()
        try:
            answer = self._send(request)
        except NoAnswerError as error:
            step.got = f"no answer: {error}"
            raise ProbeFailedError(step, error.cause if error.final else hint) from error
        finally:
            step.seconds = self.clock() - start
        step.got = str(answer.status)
        if status is not None and answer.status != status:
            # A request without or with invented credentials that succeeds is the worst of all findings.
            if hint == "anonymous" and answer.status < 400:
                hint = "open"
            raise ProbeFailedError(step, hint)
        return answer

    def _judge_last(self, right: bool, expected: str, hint: str) -> None:
        step = self.steps[-1]
        step.expected = expected
        if not right:
            raise ProbeFailedError(step, hint)

    def _judge(self, name: str, expected: str, got: str, right: bool, hint: str) -> None:
        step = self._step(name, expected, got)
        if not right:
            raise ProbeFailedError(step, hint)


def _sentence(step: Step, hint: str) -> str:
    if step.got.startswith("no answer"):
        told = f"{step.name} got {step.got}, expected {step.expected}"
    elif step.got.isdigit():
        told = f"{step.name} answered {step.got} instead of {step.expected}"
    else:
        told = f"{step.name} was {step.got} instead of {step.expected}"
    return f"{told}: {HINTS[hint]}."


def time_of(clock: float) -> str:
    """A clock's time for messages."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(clock))


def as_dicts(steps: Iterable[Step]) -> list[dict[str, Any]]:
    return [step.as_dict() for step in steps]
