#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer for images of other registries, and keep them in the storage of this one.

    drydock-mirror FILE            serve, on the socket that systemd hands over
    drydock-mirror --fetch FILE    get the images that the settings name ahead of time

nginx has decided who may pull what, and sends what is kept already by itself. What it cannot send comes here: a layer or an image that
is not kept yet, a tag, which may have moved, and lists. A layer goes to whoever asks while it comes, however many they are, and is asked
for once. It gets into the storage when all of it is there and has the digest by which it was asked for, so nothing is ever kept by half.

What is kept lies where a registry has it (distribution's layout), as `NAME/REPOSITORY`. An upstream that is away, refuses or counts too
many pulls keeps nobody from what is kept.

It runs as the account of the registries, and writes nothing but their storage and its own state.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import email.message
import errno
import fcntl
import gzip
import hashlib
import http.client
import http.server
import ipaddress
import json
import os
import re
import resource
import secrets
import signal
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple, Optional

# How long an upstream may say nothing.
SILENCE_SECONDS = 30.0
# How long one that did not answer, or counted too many pulls and does not say for how long, is not asked again.
AWAY_SECONDS = 10.0
LIMITED_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 10
# Whatever it says, it is asked again after Docker Hub's window.
MOST_LIMITED_SECONDS = 6 * 3600.0
# A token that is about to end is not used any more.
TOKEN_MARGIN_SECONDS = 10
CHUNK = 256 * 1024
# What each client that is slow holds of memory, and once more in its socket; so many are answered at once, and the others wait in
# systemd's socket. Together they stay below what the unit may take.
PIECE = 64 * 1024
MOST_AT_ONCE = 1500
LONGEST_MANIFEST = 4 * 1024 * 1024
LONGEST_ANSWER = 4 * 1024 * 1024
# Where AWS tells an instance its credentials by IPv6; by IPv4 that is an address of the link, as elsewhere.
_CLOUD = ipaddress.ip_network("fd00:ec2::/32")
# systemd hands over its socket as this descriptor.
LISTENING = 3
# Of more tags it is not remembered when they were asked about.
MOST_SEEN = 10000
LOOP_HEADER = "Drydock-Mirrors"
# A mirror, as it calls itself there. A client may have written anything; of these, the last were the last.
_IDENTITY = re.compile(r"\b[0-9a-f]{16}\b")
MOST_PASSED = 10
LOOP = "LOOP"
# Of a status from 500 on, clients show the number alone; this one they show with its sentence, and it says whose fault it is.
NO_ANSWER = HTTPStatus.FAILED_DEPENDENCY

FORMS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# An image that every mirror has and no other registry: Docker Hub, for one, has no names of three parts. Whoever gets it by its name
# elsewhere comes through the mirror.
PROOF, PROOF_TAG = "drydock/mirror/check", "1"
PROOF_PLATFORMS = ("amd64", "arm64")
STORAGE = "docker/registry/v2"
# Beside what registries look at, on the same file system.
SPOOL = "drydock-mirror"

_PART = r"[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*"
_PATH = re.compile(
    rf"/v2/(?P<mirror>{_PART})/(?P<repository>{_PART}(?:/{_PART})*)/(?P<kind>manifests|blobs|tags|referrers)/(?P<reference>[^/?]+)"
    r"(?:\?(?P<query>.*))?"
)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Trouble(Exception):
    """Why there is no answer: a status, a code of the registry's API, and one sentence for whoever pulls."""

    def __init__(self, status: int, code: str, sentence: str, seconds: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence
        # After how long it is worth another try.
        self.seconds = seconds

    @property
    def passes(self) -> bool:
        """Tell whether it says something of the upstream, and nothing of what was asked for."""
        return self.status != HTTPStatus.NOT_FOUND


def unknown(sentence: str) -> Trouble:
    """Say that there is no such thing."""
    return Trouble(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", sentence)


def say(text: str) -> None:
    """Write a line to the journal."""
    print(text, flush=True)


# ---- The upstream ----------------------------------------------------------------------------------------------------


def _request(url: str, headers: dict[str, str], method: str) -> urllib.request.Request:
    """Return a request. Whoever calls it has seen to the scheme of the address."""
    return urllib.request.Request(url, headers=headers, method=method)  # noqa: S310


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""


def _is_here(host: str) -> bool:
    """Tell whether a name leads to this host, or to what only those beside it are told, such as a cloud's credentials."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # It leads nowhere.
        return False
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    meant = [getattr(one, "ipv4_mapped", None) or one for one in addresses]
    return any(one.is_loopback or one.is_link_local or one.is_unspecified or one in _CLOUD for one in meant)


def _astray(url: str, upstream: str) -> str:
    """Say why another registry may not lead to an address, or nothing."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "an address that is none"
    if parts.scheme != "https" and not (parts.scheme == "http" and upstream.startswith("http:")):
        return "an address without TLS"
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
        # It asks from where it is, and names may mean something to it alone: to look for them here could take long.
        return ""
    if host != _host(upstream) and _is_here(host) and not _is_here(_host(upstream)):
        return "an address of this host"
    return ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Layers mostly lie elsewhere. Whatever is asked stays asked, and nothing that is encrypted becomes open."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request:
        astray = _astray(newurl, self.upstream)
        if astray:
            raise urllib.error.HTTPError(req.full_url, code, f"it leads to {astray}", headers, fp)
        # Or all that it says besides would be read, however much that is.
        fp.close()
        # Without the password and the token, which are no business of the other address.
        return _request(newurl, dict(req.headers), req.get_method())

    # Python knows it from 3.11 on.
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


class Upstream:
    """A registry elsewhere."""

    def __init__(self, settings: Mapping[str, Any], identity: str = "") -> None:
        self.name, self.url = settings["name"], settings["url"].rstrip("/")
        self.username, self._password = settings.get("username", ""), settings.get("password", "")
        self.fresh_seconds = settings["fresh_seconds"]
        self.identity = identity
        context = ssl.create_default_context()
        if settings.get("ca_certificates"):
            context.load_verify_locations(cadata=settings["ca_certificates"])
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirects(self.url))
        self._lock = threading.Lock()
        # By repository: an Authorization header, and until when it counts.
        self._known: dict[str, tuple[str, float]] = {}
        # What it is not asked for, and until when: one kind of thing, or with an empty key anything.
        self._troubles: dict[str, tuple[Trouble, float]] = {}
        # When a login was right last.
        self._let_in = float("-inf")
        # What it says of its limit, and what was wrong last.
        self.state: dict[str, Any] = {}

    def ask(
        self, method: str, repository: str, rest: str, accept: str = "", passed: str = ""
    ) -> http.client.HTTPResponse:
        """Ask for something of a repository, logging in where that is wanted."""
        kind = rest.partition("/")[0]
        with self._lock:
            troubles = [self._troubles[one] for one in ("", kind) if one in self._troubles]
        for trouble, until in troubles:
            if time.monotonic() < until:
                raise trouble.with_traceback(None)
        headers = {"User-Agent": "drydock-mirror", LOOP_HEADER: f"{passed} {self.identity}".strip()}
        if accept:
            headers["Accept"] = accept
        for last in (False, True):
            request = _request(f"{self.url}/v2/{repository}/{rest}", headers, method)
            authorization = self._authorization(repository)
            if authorization:
                request.add_unredirected_header("Authorization", authorization)
            try:
                response: http.client.HTTPResponse = self._opener.open(request, timeout=SILENCE_SECONDS)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == HTTPStatus.UNAUTHORIZED and _host(error.url) != _host(self.url):
                        # Whoever that is would say where our password is to be sent.
                        raise self.odd("it leads to another host, which wants a login") from None
                    if error.code == HTTPStatus.UNAUTHORIZED and not last:
                        self._log_in(error.headers.get_all("WWW-Authenticate") or [], repository)
                        continue
                    raise self._refusal(error, repository, kind) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self.away(error) from None
            self._note(response.headers)
            if authorization:
                self._let_in = time.monotonic()
            return response
        raise AssertionError("the second answer is returned or raised")

    @property
    def loop_sentence(self) -> str:
        """Say that this registry would ask itself."""
        return f"{self.name}: {self.url} leads back to this registry; correct its url in registry_mirror_upstreams"

    def away(self, error: Exception) -> Trouble:
        """Say that it does not answer, and let it alone for a moment."""
        reason = getattr(error, "reason", None) or error
        return self._fail(
            NO_ANSWER,
            "UNAVAILABLE",
            f"{self.name}: {self.url} does not answer ({reason}), and this is not kept here yet; what is kept can be pulled",
            AWAY_SECONDS,
        )

    def odd(self, what: object) -> Trouble:
        """Say that one answer was none. Others may be fine, so it is asked on."""
        sentence = (
            f"{self.name}: {self.url} does not answer as it should ({what}), and this is not kept here yet; what is kept can be "
            "pulled"
        )
        self._say(sentence)
        return Trouble(NO_ANSWER, "UNAVAILABLE", sentence)

    def _fail(self, status: int, code: str, sentence: str, seconds: float, kind: str = "") -> Trouble:
        trouble = Trouble(status, code, sentence, int(seconds))
        with self._lock:
            self._troubles[kind] = (trouble, time.monotonic() + seconds)
        self._say(sentence)
        return trouble

    def _say(self, sentence: str) -> None:
        if self.state.get("problem") != sentence:
            say(sentence)
        self.state.update(problem=sentence, problem_at=int(time.time()))

    def _authorization(self, repository: str) -> str:
        with self._lock:
            header, until = self._known.get(repository, ("", 0.0))
        return header if time.monotonic() < until else ""

    def _remember(self, repository: str, header: str, seconds: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._known = {name: known for name, known in self._known.items() if known[1] > now}
            self._known[repository] = (header, now + seconds)

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self._password}".encode()).decode()

    def _shut(self, repository: str, *, wrong: bool) -> Trouble:
        """Say that it shows a repository to others only, or that it does not take the login, which then is not tried again for a moment."""
        # Some say the same of a repository that the user may not see, and nobody is to shut out the others by asking for one.
        if wrong and self.username and time.monotonic() > self._let_in + LIMITED_SECONDS:
            return self._fail(
                NO_ANSWER,
                "UNAVAILABLE",
                f"{self.name}: {self.url} does not let in {self.username}; who runs this registry has to correct the username and the "
                f"password of {self.name} in registry_mirror_upstreams. What is kept can be pulled",
                LIMITED_SECONDS,
            )
        whom = f"the user {self.username}" if self.username else "everybody"
        return unknown(f"{self.name}: {self.url} has no {repository}, or does not show it to {whom}")

    def _log_in(self, challenges: list[str], repository: str) -> None:
        """Get what the upstream wants to see: https://distribution.github.io/distribution/spec/auth/token/."""
        bearer = next((one for one in challenges if one.lower().startswith("bearer ")), "")
        if not bearer:
            if not self.username or not any(one.lower().startswith("basic") for one in challenges):
                raise self._shut(repository, wrong=False)
            self._remember(repository, self._basic(), 3600.0)
            return
        fields = dict(re.findall(r'([a-z_]+)="([^"]*)"', bearer))
        realm = fields.get("realm", "")
        astray = _astray(realm, self.url)
        if astray:
            raise self.odd(f"it has its tokens from {astray}")
        service = {"service": fields["service"]} if fields.get("service") else {}
        query = urllib.parse.urlencode({**service, "scope": f"repository:{repository}:pull"})
        request = _request(f"{realm}{'&' if '?' in realm else '?'}{query}", {}, "GET")
        if self.username:
            request.add_unredirected_header("Authorization", self._basic())
        try:
            with self._opener.open(request, timeout=SILENCE_SECONDS) as answer:
                found = json.loads(answer.read(LONGEST_ANSWER))
            # What no header can carry, Python would say in full.
            token = re.findall(r"\A[!-~]+\Z", found.get("token") or found["access_token"])[0]
            seconds = float(found.get("expires_in") or 60)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    raise self._shut(repository, wrong=error.code == HTTPStatus.UNAUTHORIZED) from None
                raise self._refusal(error, repository, "") from None
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError):
            raise self.odd("it gives no token that could be read") from None
        except (OSError, http.client.HTTPException) as error:
            raise self.away(error) from None
        # One that hardly lasts is good for the request that wanted it.
        self._remember(repository, f"Bearer {token}", max(seconds - TOKEN_MARGIN_SECONDS, 1.0))

    def _refusal(self, error: urllib.error.HTTPError, repository: str, kind: str) -> Trouble:
        self._note(error.headers)
        if error.code == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = _number(error.headers.get("Retry-After"))
            return self._fail(
                HTTPStatus.TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                f"{self.name}: {self.url} has counted too many pulls, and this is not kept here yet; what is kept can be pulled, the "
                "rest when the upstream counts anew",
                LIMITED_SECONDS if seconds is None else min(max(1.0, seconds), MOST_LIMITED_SECONDS),
                # Docker Hub counts manifests, and sends the layers of those that it has sent.
                kind,
            )
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            # With a token it says so of what the user may not see.
            password = self._authorization(repository).startswith("Basic ")
            return self._shut(repository, wrong=password and error.code == HTTPStatus.UNAUTHORIZED)
        if error.code == HTTPStatus.NOT_FOUND:
            hint = (
                f"; Docker's own images are in {self.name}/library/{repository}"
                if "/" not in repository and self.url.endswith("docker.io")
                else ""
            )
            return unknown(f"{self.name}: {self.url} has no such thing in {repository}{hint}")
        if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
            return Trouble(error.code, "UNSUPPORTED", f"{self.name}: {self.url} does not answer to that")
        if error.headers.get(LOOP_HEADER) == LOOP:
            # Of two that mirror each other, whoever pulls can name a way round, and the others go on.
            self._say(self.loop_sentence)
            return Trouble(NO_ANSWER, LOOP, self.loop_sentence)
        return self.odd(f"HTTP status {error.code}, {error.reason}")

    def _note(self, headers: email.message.Message) -> None:
        """Note what the upstream says of its limit, as Docker Hub does: `100;w=21600`."""
        limit = re.match(r"([0-9]{1,9})\b(?:.*w=([0-9]{1,9})\b)?", headers.get("RateLimit-Limit", ""))
        remaining = re.match(r"[0-9]{1,9}\b", headers.get("RateLimit-Remaining", ""))
        if limit and remaining:
            self.state.update(
                limit=int(limit[1]),
                remaining=int(remaining[0]),
                window_seconds=int(limit[2] or 0),
                limit_at=int(time.time()),
            )


def _number(text: Optional[str]) -> Optional[int]:
    """Read a number of another registry, which may be as long as it likes."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


# ---- The storage -----------------------------------------------------------------------------------------------------


# A manifest of 4 MiB can be one of 100 when it is read. So one is read at a time, whoever makes up such and asks for many.
_READING = threading.Lock()


class Manifest(NamedTuple):
    """An image, or a list of images."""

    digest: str
    content: bytes

    @property
    def form(self) -> str:
        """Return its media type, empty for what no registry of today keeps."""
        with _READING:
            return self._form()

    def _form(self) -> str:
        document = self.document
        if document.get("schemaVersion") != 2:
            return ""
        form = document.get("mediaType")
        if form is None:
            form = FORMS[0] if "manifests" in document else FORMS[1] if "layers" in document else ""
        return form if form in FORMS else ""

    @property
    def document(self) -> Mapping[str, Any]:
        """Return what is in it."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}


def digest_of(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def proof() -> tuple[str, dict[str, bytes]]:
    """Make the image that no other registry has; returns its digest, and all its parts by theirs."""
    parts: dict[str, bytes] = {}

    def part(form: str, content: bytes) -> dict[str, Any]:
        parts[digest_of(content)] = content
        return {"mediaType": form, "digest": digest_of(content), "size": len(content)}

    def document(form: str, **about: Any) -> dict[str, Any]:
        return part(form, json.dumps({"schemaVersion": 2, "mediaType": form, **about}).encode())

    tar = bytes(1024)
    layer = part("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(tar, mtime=0))
    images = []
    for architecture in PROOF_PLATFORMS:
        platform = {"os": "linux", "architecture": architecture}
        about = {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}
        config = part("application/vnd.oci.image.config.v1+json", json.dumps(about).encode())
        images.append({**document(FORMS[1], config=config, layers=[layer]), "platform": platform})
    return str(document(FORMS[0], manifests=images)["digest"]), parts


class Spooled:
    """A file of what comes. Its content is there for as long as anybody has this object, under whatever name, or none."""

    def __init__(self, folder: Path) -> None:
        self.fd, name = tempfile.mkstemp(dir=folder)
        weakref.finalize(self, os.close, self.fd)
        self.path = Path(name)
        # Whoever tidies sees by it that it is in use.
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        os.fchmod(self.fd, 0o644)

    def write(self, content: bytes) -> None:
        """Add to it."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self.fd, rest) :]

    def read(self, size: int, at: int) -> bytes:
        """Return a part of it."""
        return os.pread(self.fd, size, at)


class Storage:
    """The folder that the registries have their images in."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self.spool = Path(self.folder, SPOOL)
        self.spool.mkdir(exist_ok=True)

    def tidy(self) -> None:
        """Remove what an earlier process left, which was ended in the middle of a layer."""
        for path in self.spool.iterdir():
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _path(self, *parts: str) -> Path:
        return Path(self.folder, STORAGE, *parts)

    def blob_path(self, digest: str) -> Path:
        """Return where a blob lies."""
        value = digest.partition(":")[2]
        return self._path("blobs", "sha256", value[:2], value, "data")

    def _link(self, repository: str, kind: str, digest: str) -> Path:
        return self._path("repositories", repository, kind, digest.replace(":", "/"), "link")

    def _tag_folder(self, repository: str, tag: str) -> Path:
        return self._path("repositories", repository, "_manifests/tags", tag)

    def _read(self, path: Path, longest: int) -> bytes:
        """Return what a file holds; nothing where there is none, where it is too long, or where a symbolic link is on the way to it."""
        try:
            if path.stat().st_size > longest or os.path.realpath(path) != str(path):
                return b""
            return path.read_bytes()
        except OSError:
            return b""

    def tag(self, repository: str, tag: str) -> str:
        """Return the digest that a tag has, or nothing."""
        found = self._read(self._tag_folder(repository, tag) / "current/link", 71).decode("ascii", "replace")
        return found if _DIGEST.fullmatch(found) else ""

    def tags(self, repository: str) -> list[str]:
        """Return the tags that are kept."""
        try:
            return sorted(one.name for one in self._path("repositories", repository, "_manifests/tags").iterdir())
        except OSError:
            return []

    def manifest(self, repository: str, digest: str) -> Optional[Manifest]:
        """Return a manifest of a repository, if it is kept, and whole."""
        if self._read(self._link(repository, "_manifests/revisions", digest), 71) != digest.encode():
            return None
        content = self._read(self.blob_path(digest), LONGEST_MANIFEST)
        return Manifest(digest, content) if digest_of(content) == digest else None

    def open_layer(self, repository: str, digest: str) -> Optional[IO[bytes]]:
        """Open a layer of a repository, if it is kept."""
        if self._read(self._link(repository, "_layers", digest), 71) != digest.encode():
            return None
        path = self.blob_path(digest)
        try:
            return path.open("rb") if os.path.realpath(path) == str(path) else None
        except OSError:
            return None

    def keep_manifest(self, repository: str, manifest: Manifest, tag: str = "") -> None:
        """Keep a manifest, and what its tag means. Each file is there as a whole, in an order in which none leads to nothing."""
        digest = manifest.digest
        self._write(self.blob_path(digest), manifest.content)
        self._write(self._link(repository, "_manifests/revisions", digest), digest.encode())
        if tag:
            folder = self._tag_folder(repository, tag)
            self._write(folder / "index" / digest.replace(":", "/") / "link", digest.encode())
            self._write(folder / "current/link", digest.encode())

    def keep_layer(self, repository: str, digest: str, file: Spooled) -> None:
        """Keep a layer that has come."""
        self._place(file, self.blob_path(digest))
        self._write(self._link(repository, "_layers", digest), digest.encode())

    def _write(self, path: Path, content: bytes) -> None:
        if self._read(path, len(content)) == content:
            return
        file = Spooled(self.spool)
        try:
            file.write(content)
            self._place(file, path)
        except OSError:
            file.path.unlink(missing_ok=True)
            raise

    @staticmethod
    def _place(file: Spooled, target: Path) -> None:
        os.fsync(file.fd)
        for last in (False, False, True):
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.realpath(target.parent) != str(target.parent):
                raise OSError(f"a symbolic link is on the way to {target}")
            try:
                file.path.replace(target)
            except FileNotFoundError:
                # The storage's maintenance has just removed the empty folder.
                if last:
                    raise
            else:
                return


# ---- A layer that comes ----------------------------------------------------------------------------------------------


class Download:
    """A layer on its way. Whoever asks for it meanwhile gets what has come, and the end when its digest is right."""

    def __init__(self, digest: str, file: Spooled) -> None:
        self.digest, self.file = digest, file
        self.size: Optional[int] = None
        # How far it may be read: never to the last byte of what nobody has verified yet.
        self.ready = 0
        self.trouble: Optional[Trouble] = None
        # Whether it was kept, or not, by now.
        self.ended = threading.Event()
        self._changed = threading.Condition()

    def _tell(self, **what: Any) -> None:
        with self._changed:
            for name, value in what.items():
                setattr(self, name, value)
            self._changed.notify_all()

    @property
    def is_whole(self) -> bool:
        """Tell whether all of it is there, and right."""
        return self.ready == self.size

    def fail(self, trouble: Trouble) -> None:
        """Tell all who wait that it does not come."""
        self._tell(trouble=trouble)

    def run(self, upstream: Upstream, response: http.client.HTTPResponse, no_room: Path) -> None:
        """Read all of it, and verify it."""
        # What is empty is verified before anybody hears of its end.
        size = _number(response.headers.get("Content-Length")) or None
        self._tell(size=size)
        total, done = hashlib.sha256(), 0
        while True:
            try:
                chunk = response.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise upstream.odd(error) from None
            if not chunk:
                break
            if no_room.exists():
                # A registry may say any length, or none, and go on for ever.
                raise OSError(errno.ENOSPC, f"the disk has no room for the rest of {self.digest}")
            self.file.write(chunk)
            total.update(chunk)
            done += len(chunk)
            self._tell(ready=min(done, size - 1) if size else 0)
        if size is not None and done < size:
            raise upstream.odd(f"it sent {done} of {size} bytes of a layer")
        if f"sha256:{total.hexdigest()}" != self.digest:
            raise upstream.odd("it sent a layer that has another digest")
        self._tell(size=done, ready=done)

    def wait_for_size(self) -> int:
        """Wait until it is known how long the layer is."""
        with self._changed:
            self._changed.wait_for(lambda: self.size is not None or self.trouble)
            if self.size is None and self.trouble:
                raise self.trouble.with_traceback(None)
            return self.size or 0

    def chunks(self) -> Iterator[bytes]:
        """Yield what comes, as it comes."""
        at, size = 0, self.wait_for_size()
        while at < size:
            with self._changed:
                self._changed.wait_for(lambda: self.ready > at or self.trouble)  # noqa: B023
                # What is whole is sent, whatever became of keeping it.
                if self.trouble and self.ready <= at:
                    raise self.trouble.with_traceback(None)
                ready = self.ready
            while at < ready:
                chunk = self.file.read(min(PIECE, ready - at), at)
                at += len(chunk)
                yield chunk


# ---- The mirrors -----------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What is sent."""

    headers: Mapping[str, str]
    size: int
    chunks: Iterator[bytes]


def matches(pattern: str, repository: str) -> bool:
    """Compare a name with a pattern as access rules do: `*` within one part, `**` for one or more parts."""
    parts = (
        ".+" if part == "**" else "[^/]*".join(map(re.escape, re.split(r"\*+", part))) for part in pattern.split("/")
    )
    return re.fullmatch("/".join(parts), repository) is not None


class Mirrors:
    """All mirrors of this host."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.identity = secrets.token_hex(8)
        self.upstreams = {one["name"]: Upstream(one, self.identity) for one in settings["upstreams"]}
        self.storage = Storage(settings["storage"])
        self.never = settings["never"]
        self.no_room = Path(settings["no_room"])
        self.state_file = Path(settings["state"])
        self._proof_digest, self._proof = proof()
        self._lock = threading.Lock()
        # One asks for a manifest, and those who want the same wait for it.
        self._turns: weakref.WeakValueDictionary[tuple[str, str], _Turn] = weakref.WeakValueDictionary()
        self._downloads: dict[tuple[str, str], Download] = {}
        # When it was last known what a tag means upstream.
        self._seen: dict[tuple[str, str], float] = {}
        self._state: dict[str, Any] = {}

    # -- what is kept

    def _keeps(self, repository: str) -> bool:
        return not self.no_room.exists() and not any(matches(pattern, repository) for pattern in self.never)

    def _full(self, error: Exception) -> None:
        say(f"nothing more is kept for now: {error}")

    def save(self) -> None:
        """Write down what the upstreams say of their limits, for whoever looks after them."""
        with self._lock:
            state = {name: dict(one.state) for name, one in self.upstreams.items()}
            if state == self._state:
                return
            new = self.state_file.with_suffix(f".{os.getpid()}")
            try:
                # What this process has not asked, another has.
                known = self._known_state()
                whole = {name: one or known.get(name, {}) for name, one in state.items()}
                new.write_text(json.dumps(whole, sort_keys=True) + "\n", encoding="ascii")
                new.replace(self.state_file)
                self._state = state
            except OSError as error:
                self._full(error)

    def _known_state(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.state_file.read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError, TypeError):
            return {}

    # -- manifests

    def manifest(self, mirror: str, repository: str, reference: str, passed: str = "") -> Manifest:
        """Return an image: the one that is kept, where it cannot have changed or the upstream has no answer."""
        upstream, name = self.upstreams[mirror], f"{mirror}/{repository}"
        if repository == PROOF:
            digest = self._proof_digest if reference == PROOF_TAG else reference
            return Manifest(digest, self._part_of_proof(digest))
        came = time.monotonic()
        with self._turn(name, reference) as turn:
            tag = "" if _DIGEST.fullmatch(reference) else reference
            kept_digest = self.storage.tag(name, tag) if tag else reference
            kept = self.storage.manifest(name, kept_digest) if kept_digest else None
            if kept and (not tag or self._is_fresh(name, tag, upstream)):
                return kept
            try:
                if turn.trouble and turn.at > came:
                    # Who waited meanwhile would only wait for the same.
                    raise turn.trouble.with_traceback(None)
                found = self._current(upstream, repository, tag, kept, passed) or self._fetch(
                    upstream, repository, reference, passed
                )
            except Trouble as trouble:
                if trouble is not turn.trouble:
                    turn.trouble, turn.at = trouble, time.monotonic()
                if kept is None:
                    raise
                if not trouble.passes:
                    say(f"{name}:{tag} is gone upstream, and is kept here")
                return kept
            finally:
                self.save()
            if self._keeps(name):
                try:
                    self.storage.keep_manifest(name, found, tag)
                except OSError as error:
                    self._full(error)
                if tag:
                    self._note_seen(name, tag)
            return found

    @contextlib.contextmanager
    def _turn(self, name: str, reference: str) -> Iterator[_Turn]:
        with self._lock:
            turn = self._turns.setdefault((name, reference), _Turn())
        with turn.lock:
            yield turn

    def _note_seen(self, name: str, tag: str) -> None:
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen[name, tag] = time.monotonic()

    def _is_fresh(self, name: str, tag: str, upstream: Upstream) -> bool:
        seen = self._seen.get((name, tag))
        return seen is not None and time.monotonic() < seen + float(upstream.fresh_seconds)

    def _part_of_proof(self, digest: str) -> bytes:
        if digest not in self._proof:
            raise unknown(f"{PROOF} shows that a pull comes through this mirror, and has the tag {PROOF_TAG} alone")
        return self._proof[digest]

    @staticmethod
    def _current(
        upstream: Upstream, repository: str, tag: str, kept: Optional[Manifest], passed: str
    ) -> Optional[Manifest]:
        """Return what is kept where the tag has not moved. Docker Hub does not count that question."""
        if kept is None:
            return None
        try:
            with upstream.ask("HEAD", repository, f"manifests/{tag}", ", ".join(FORMS), passed) as response:
                return kept if response.headers.get("Docker-Content-Digest") == kept.digest else None
        except Trouble as trouble:
            # Not every registry answers that.
            if trouble.status == HTTPStatus.METHOD_NOT_ALLOWED:
                return None
            raise

    @staticmethod
    def _fetch(upstream: Upstream, repository: str, reference: str, passed: str) -> Manifest:
        with upstream.ask("GET", repository, f"manifests/{reference}", ", ".join(FORMS), passed) as response:
            try:
                content = response.read(LONGEST_MANIFEST + 1)
            except (OSError, http.client.HTTPException) as error:
                raise upstream.odd(error) from None
            named = response.headers.get("Docker-Content-Digest", "")
        found = Manifest(digest_of(content), content)
        wanted = reference if _DIGEST.fullmatch(reference) else named if _DIGEST.fullmatch(named) else found.digest
        if len(content) > LONGEST_MANIFEST or found.digest != wanted:
            raise upstream.odd("it sent a manifest that has another digest, or is longer than 4 MiB")
        if not found.form:
            raise unknown(
                f"{upstream.name}: {repository} has {reference} in a form that registries keep no more (schema 1), or in none"
            )
        return found

    # -- layers

    def blob_size(self, mirror: str, repository: str, digest: str, passed: str = "") -> int:
        """Return how long a layer is, which comes when somebody wants to have it."""
        if repository == PROOF:
            return len(self._part_of_proof(digest))
        file = self.storage.open_layer(f"{mirror}/{repository}", digest)
        if file:
            with file:
                return os.fstat(file.fileno()).st_size
        upstream = self.upstreams[mirror]
        with upstream.ask("HEAD", repository, f"blobs/{digest}", passed=passed) as response:
            length = _number(response.headers.get("Content-Length"))
        if length is None:
            raise upstream.odd("it does not say how long a layer is")
        return length

    def blob(self, mirror: str, repository: str, digest: str, passed: str = "") -> tuple[int, Iterator[bytes]]:
        """Return a layer: its size, and what it holds, as it comes."""
        if repository == PROOF:
            content = self._part_of_proof(digest)
            return len(content), iter([content])
        upstream, name = self.upstreams[mirror], f"{mirror}/{repository}"
        with self._lock:
            kept = self.storage.open_layer(name, digest)
            download = self._downloads.get((name, digest))
            # A layer that is there as another repository's may be a secret of ours. That the upstream has it, too, it shows by sending it.
            if not (kept or download) and self._keeps(name):
                download = self._begin(upstream, repository, digest, passed)
        if kept:
            return os.fstat(kept.fileno()).st_size, _read_all(kept)
        if download:
            return download.wait_for_size(), download.chunks()
        return self._passed_on(upstream, repository, digest, passed)

    def _begin(self, upstream: Upstream, repository: str, digest: str, passed: str) -> Optional[Download]:
        """Begin to get a layer. It goes on where the client goes away: others will ask for the same."""
        try:
            file = Spooled(self.storage.spool)
        except OSError as error:
            self._full(error)
            return None
        download = Download(digest, file)
        work = (download, upstream, repository, digest, passed)
        try:
            threading.Thread(target=self._download, args=work, daemon=True).start()
        except RuntimeError as error:
            # The host has no room for another thread.
            with contextlib.suppress(OSError):
                file.path.unlink()
            self._full(error)
            return None
        # Not before, or all who ask would wait for one that does not come. It ends under the same lock.
        self._downloads[f"{upstream.name}/{repository}", digest] = download
        return download

    def _download(self, download: Download, upstream: Upstream, repository: str, digest: str, passed: str) -> None:
        name = f"{upstream.name}/{repository}"
        try:
            with upstream.ask("GET", repository, f"blobs/{digest}", passed=passed) as response:
                download.run(upstream, response, self.no_room)
            self.storage.keep_layer(name, digest, download.file)
        except Trouble as trouble:
            download.fail(trouble)
        except OSError as error:
            self._full(error)
        finally:
            # Nobody waits for ever, whatever went wrong.
            if not (download.is_whole or download.trouble):
                download.fail(
                    Trouble(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "UNAVAILABLE",
                        f"{name}: a layer could not be kept; pull again, or tell who runs the registry to look at its disk",
                    )
                )
            # The disk may be read-only by now.
            with contextlib.suppress(OSError):
                download.file.path.unlink()
            with self._lock:
                del self._downloads[name, digest]
            download.ended.set()
            self.save()

    @staticmethod
    def _passed_on(upstream: Upstream, repository: str, digest: str, passed: str) -> tuple[int, Iterator[bytes]]:
        """Return a layer that is not kept."""
        response = upstream.ask("GET", repository, f"blobs/{digest}", passed=passed)
        length = _number(response.headers.get("Content-Length"))
        if length is None:
            response.close()
            raise upstream.odd("it does not say how long a layer is, which can be pulled only where it is kept")
        return length, _read_all(response)

    # -- lists

    def listed(
        self, mirror: str, repository: str, kind: str, reference: str, query: str, passed: str
    ) -> tuple[dict[str, str], bytes]:
        """Return the upstream's own list of tags or referrers; of tags those that are kept, where it does not answer."""
        upstream, name = self.upstreams[mirror], f"{mirror}/{repository}"
        question = f"?{query}" if query else ""
        try:
            with upstream.ask("GET", repository, f"{kind}/{reference}{question}", passed=passed) as response:
                content = response.read(LONGEST_ANSWER + 1)
                # Whatever the other registry calls it, no browser is to take it for a page of this one.
                headers = {"Content-Type": "application/json" if kind == "tags" else FORMS[0]}
                # Without what could end the line, and begin another of ours.
                following = re.match(r"<[^>]*\?([!-=?-~]*)>", response.headers.get("Link") or "")
            if len(content) > LONGEST_ANSWER:
                raise upstream.odd("it sent a list of more than 4 MiB")
            if following:
                headers["Link"] = f'</v2/{name}/{kind}/{reference}?{following[1]}>; rel="next"'
            if kind == "tags":
                content = json.dumps({**json.loads(content), "name": name}).encode()
        except Trouble:
            kept = self.storage.tags(name) if kind == "tags" else []
            if not kept:
                raise
            return {"Content-Type": "application/json"}, json.dumps({"name": name, "tags": kept}).encode()
        except (OSError, http.client.HTTPException, ValueError, TypeError, RecursionError) as error:
            raise upstream.odd(error) from None
        return headers, content

    # -- ahead of time

    def fetch(self, reference: str, platforms: list[str]) -> None:
        """Get an image with its layers, of an index those for some platforms."""
        mirror, _slash, rest = reference.partition("/")
        repository, _at, digest = rest.partition("@")
        repository, _colon, tag = (repository, "", "") if digest else rest.rpartition(":")
        manifest = self.manifest(mirror, repository, digest or tag)
        document = manifest.document
        for child in document.get("manifests", []):
            platform = child.get("platform", {})
            if f"{platform.get('os')}/{platform.get('architecture')}" in platforms:
                self.fetch(f"{mirror}/{repository}@{_checked(child['digest'])}", platforms)
        for layer in (document.get("config"), *document.get("layers", [])):
            if layer and not layer.get("urls"):
                self._fetch_layer(mirror, repository, _checked(layer["digest"]))

    def _fetch_layer(self, mirror: str, repository: str, digest: str) -> None:
        name = f"{mirror}/{repository}"
        kept = self.storage.open_layer(name, digest)
        if kept is None:
            _size, chunks = self.blob(mirror, repository, digest)
            with self._lock:
                download = self._downloads.get((name, digest))
            for _chunk in chunks:
                pass
            # All of it has come before it is kept, and this process ends soon.
            if download:
                download.ended.wait()
            kept = self.storage.open_layer(name, digest)
        if kept is None:
            raise Trouble(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "UNAVAILABLE",
                f"{name} is among registry_mirror_never, or the disk has no room for it",
            )
        kept.close()


def _checked(digest: Any) -> str:
    """Return a digest that another registry has named, as which anything could come."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise unknown(f"it names {digest!r}, which is no digest of sha256")
    return digest


class _Turn:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        # Why the last one had no answer, and when that was known.
        self.trouble: Optional[Trouble] = None
        self.at = 0.0


def _read_all(file: Any) -> Iterator[bytes]:
    with file:
        while True:
            chunk = file.read(PIECE)
            if not chunk:
                return
            yield chunk


# ---- The server ------------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """One request of nginx."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer, or say why not."""
        self.close_connection = True
        try:
            answer = self._answer()
        except Trouble as trouble:
            self._refuse(trouble)
            return
        self.send_response(HTTPStatus.OK)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.size))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        # What breaks off here is shorter than was said, so nobody takes it for the whole.
        with contextlib.suppress(Trouble, OSError, http.client.HTTPException):
            for chunk in answer.chunks:
                self.wfile.write(chunk)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> Answer:
        found = _PATH.fullmatch(self.path)
        mirrors = self.server.mirrors
        if not found or found["mirror"] not in mirrors.upstreams:
            raise unknown("there is no such mirror")
        passed = " ".join(_IDENTITY.findall(self.headers.get(LOOP_HEADER, ""))[-MOST_PASSED:])
        mirror, repository, kind, reference = found["mirror"], found["repository"], found["kind"], found["reference"]
        if mirrors.identity in passed.split():
            raise Trouble(NO_ANSWER, LOOP, mirrors.upstreams[mirror].loop_sentence)
        if kind in ("tags", "referrers"):
            headers, content = mirrors.listed(mirror, repository, kind, reference, found["query"] or "", passed)
            return Answer(headers, len(content), iter([content]))
        if kind == "manifests" and (_DIGEST.fullmatch(reference) or _TAG.fullmatch(reference)):
            manifest = mirrors.manifest(mirror, repository, reference, passed)
            headers = _named(manifest.digest, manifest.form)
            return Answer(headers, len(manifest.content), iter([manifest.content]))
        if kind == "blobs" and _DIGEST.fullmatch(reference):
            if self.command == "HEAD":
                size, chunks = mirrors.blob_size(mirror, repository, reference, passed), iter([b""])
            else:
                size, chunks = mirrors.blob(mirror, repository, reference, passed)
            return Answer(_named(reference, "application/octet-stream"), size, chunks)
        raise unknown("mirrors know digests of sha256 alone")

    def _refuse(self, trouble: Trouble) -> None:
        error = {"errors": [{"code": trouble.code, "message": trouble.sentence}]}
        content = json.dumps(error).encode() + b"\n"
        self.send_response(trouble.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        # Told of hours, podman tries five times, a minute apart, before it says anything or asks elsewhere.
        if 0 < trouble.seconds <= LONGEST_RETRY_SECONDS:
            self.send_header("Retry-After", str(trouble.seconds))
        if trouble.code == LOOP:
            # For the mirror that has asked.
            self.send_header(LOOP_HEADER, LOOP)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def address_string(self) -> str:
        """Return who asks: nginx, on a socket without addresses."""
        return "nginx"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: nginx has a line of each request."""


def _named(digest: str, form: str) -> dict[str, str]:
    return {"Content-Type": form, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers nginx, each request in a thread of its own."""

    # A run that replaces the program lets what goes on come to its end; systemd ends what takes too long.
    daemon_threads = False
    request_queue_size = 4096

    def __init__(self, listening: socket.socket, mirrors: Mirrors) -> None:
        super().__init__("", Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.mirrors = mirrors
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a request, which holds no more than it has to where its client is slow."""
        request, address = super().get_request()
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        return request, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, when there is a place for it."""
        self._places.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what went wrong in one line: most often a client has gone."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            say(f"a request failed: {error!r}")


def serve(mirrors: Mirrors) -> None:
    """Answer until systemd wants it to end. What comes meanwhile waits in the socket, which is systemd's."""
    mirrors.storage.tidy()
    server = Server(socket.socket(fileno=LISTENING), mirrors)
    # From another thread, since this one is where it is waited for.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: threading.Thread(target=server.shutdown).start())
    with server:
        server.serve_forever()


def fetch(mirrors: Mirrors, images: list[str], platforms: list[str]) -> int:
    """Get images ahead of time; returns the exit status."""
    failed = 0
    for image in images:
        try:
            mirrors.fetch(image, platforms)
            say(f"{image}: is kept")
        except Trouble as trouble:
            failed = 1
            say(f"{image}: is not kept: {trouble.sentence}")
        except (AttributeError, LookupError, TypeError, RecursionError):
            failed = 1
            say(f"{image}: is not kept: its manifest is none that could be read")
    return failed


def main() -> int:
    """Serve, or fetch."""
    parser = argparse.ArgumentParser(description="Answer for images of other registries, and keep them.")
    parser.add_argument("settings", type=Path, metavar="FILE")
    parser.add_argument("--fetch", action="store_true")
    arguments = parser.parse_args()
    settings = json.loads(arguments.settings.read_text(encoding="utf-8"))
    os.environ.update(settings["environment"])
    # Each client takes a file or two, and systemd begins with 1024, for programs that cannot do with more.
    _soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    mirrors = Mirrors(settings)
    if arguments.fetch:
        return fetch(mirrors, settings["prefetch"], settings["platforms"])
    serve(mirrors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
