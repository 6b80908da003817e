# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a registry for tags, and pulls, as a client does."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    )
)
_TRIES = 3
_CHUNK = 1 << 20
# After so many tags that could not be asked for it is no use to go on.
_TROUBLES = 5


class Unreachable(Exception):
    """The registry could not be asked; the text is a sentence for the user."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Registry:
    """A registry at a unix socket, or at an address with a password."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.name = settings.get("socket") or settings["url"]
        self._settings = settings
        self._headers = {"Accept": ACCEPT}
        if settings.get("username"):
            try:
                password = Path(settings.get("password_file", "")).read_text(encoding="utf-8").rstrip("\n")
            except OSError as error:
                raise Unreachable(f"registry.password_file cannot be read ({error.strerror}).") from error
            token = base64.b64encode(f"{settings['username']}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        self._connection: Optional[http.client.HTTPConnection] = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._settings.get("socket"):
            return _UnixConnection(self._settings["socket"], 60)
        address = urlsplit(self._settings["url"])
        if address.scheme == "http":
            return http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        context = ssl.create_default_context(cafile=self._settings.get("ca_file") or None)
        return http.client.HTTPSConnection(address.hostname or "", address.port, timeout=60, context=context)

    def _ask(self, method: str, path: str, algorithm: str = "sha256") -> tuple[int, str]:
        """Ask, again where the registry is just being restarted; returns the status and what the body sums up to."""
        trouble = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(attempt)
            try:
                self._connection = self._connection or self._connect()
                self._connection.request(method, path, headers=self._headers)
                answer = self._connection.getresponse()
                summed = hashlib.new(algorithm)
                while chunk := answer.read(_CHUNK):
                    summed.update(chunk)
                if answer.status < 500 and answer.status != 429:
                    return answer.status, f"{algorithm}:{summed.hexdigest()}"
                trouble = f"it answered {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                self.close()
                trouble = str(error)
        raise Unreachable(f"The registry at {self.name} cannot be asked: {trouble}.")

    def greet(self) -> None:
        """Check that it answers, and takes the password."""
        try:
            status, _body = self._ask("GET", "/v2/")
        finally:
            self.close()
        if status != 200:
            raise Unreachable(
                f"The registry at {self.name} answered {status} to GET /v2/: are the user and its password right?"
            )

    def missed(self, images: Iterable[tuple[str, str]]) -> tuple[int, list[tuple[str, str]], str]:
        """Ask for tags; returns how many were answered, which there are not, and what else went wrong.

        A tag that this registry cannot read (an old kind of image in a new registry) says nothing about the others.
        """
        asked, gone = 0, []
        troubles: list[str] = []
        try:
            for repository, tag in images:
                try:
                    status, _body = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}")
                except Unreachable as error:
                    troubles.append(f"{repository}:{tag}: {error}")
                else:
                    asked += status in (200, 404)
                    if status == 404:
                        gone.append((repository, tag))
                    elif status != 200:
                        troubles.append(
                            f"The registry at {self.name} answered {status} for {repository}:{tag}: may its user pull everything?"
                        )
                if len(troubles) > _TROUBLES:
                    break
        finally:
            self.close()
        return asked, gone, troubles[0] if troubles else ""

    def pull(self, repository: str, kind: str, digest: str) -> str:
        """Pull one of the `manifests` or `blobs` by its digest; returns what is wrong with the answer, or nothing."""
        status, found = self._ask("GET", f"/v2/{repository}/{kind}/{digest}", digest.partition(":")[0])
        if status != 200:
            return f"the registry answers {status}"
        return "" if found == digest else f"the registry sends {found}"

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None
