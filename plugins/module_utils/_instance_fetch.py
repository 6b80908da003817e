# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch an object from S3 with the role of the EC2 instance that this runs on.

The text of this file stands at the beginning of the user-data of instances, so that nothing is used but Python's own library, which is
wherever cloud-init is, from Python 3.9 on.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional, TypeVar

METADATA = "http://169.254.169.254/latest/"
ANSWER_SECONDS = 10
PAUSE_SECONDS = 3

Result = TypeVar("Result")


class Problem(Exception):
    """What went wrong, as a sentence without its full stop."""


class Source(NamedTuple):
    """Where an object is, who may have it, and what to do where it cannot be had."""

    url: str
    region: str
    bucket_owner: str
    instance_profile: str
    advice: str


class Keys(NamedTuple):
    """The name of the instance's role, and keys that are good for hours."""

    role: str
    id: str
    secret: str
    token: str


class Fetched(NamedTuple):
    """An object, and what S3 calls this version of it."""

    content: bytes
    etag: str


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys are for the one address that they were meant for."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Go nowhere else."""


def ask(
    opener: urllib.request.OpenerDirector,
    url: str,
    headers: Mapping[str, str],
    method: str = "GET",
    body: Optional[bytes] = None,
) -> tuple[bytes, str]:
    """Return the body and the ETag of an answer."""
    request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310
    with opener.open(request, timeout=ANSWER_SECONDS) as answer:
        return answer.read(), answer.headers.get("ETag", "")


def metadata(*paths: str) -> list[str]:
    """Return what the metadata service says of this instance at each of these paths; nothing where it knows none."""
    # No proxy ever stands between an instance and its metadata.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    found = []
    try:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        header = {"X-aws-ec2-metadata-token": ask(opener, METADATA + "api/token", lifetime, "PUT")[0].decode()}
        for path in paths:
            try:
                found.append(ask(opener, f"{METADATA}meta-data/{path}", header)[0].decode())
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                found.append("")
    except urllib.error.HTTPError as error:
        raise Problem(f"the instance's metadata service answers {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Problem(f"the instance's metadata service does not answer ({type(error).__name__})") from None
    return found


def role_keys(instance_profile: str) -> Keys:
    """Return the keys of the instance's role."""
    folder = "iam/security-credentials/"
    role = metadata(folder)[0].partition("\n")[0]
    found = metadata(folder + role)[0] if role else ""
    if not found:
        raise Problem(f"this instance has no role: give it the instance profile {instance_profile}")
    try:
        keys = json.loads(found)
        return Keys(role, keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
    except (ValueError, KeyError):
        raise Problem(f"the instance's metadata service has no keys of the role {role}") from None


def signed(
    url: str, region: str, keys: Keys, more: Mapping[str, str], now: datetime.datetime, body: Optional[bytes] = None
) -> dict[str, str]:
    """Return the headers of a request, signed with AWS's Signature Version 4: a GET of S3, or with a body a POST to Auto Scaling."""
    parts = urllib.parse.urlsplit(url)
    moment, digest = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body or b"").hexdigest()
    headers = {"host": parts.netloc, "x-amz-date": moment, "x-amz-security-token": keys.token, **more}
    if body is None:
        headers["x-amz-content-sha256"] = digest
    names = ";".join(sorted(headers))
    canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("GET" if body is None else "POST", parts.path, "", canonical, names, digest))
    scope = f"{moment[:8]}/{region}/{'s3' if body is None else 'autoscaling'}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    derived = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def fetch(source: Source, etag: str = "") -> Optional[Fetched]:
    """Return the object, or nothing where it still is the version that is known by this ETag."""
    keys = role_keys(source.instance_profile)
    # A bucket of this name that is somebody else's by now does not count.
    owner = {"x-amz-expected-bucket-owner": source.bucket_owner}
    headers = signed(source.url, source.region, keys, owner, datetime.datetime.now(datetime.timezone.utc))
    if etag:
        headers["if-none-match"] = etag
    try:
        return Fetched(*ask(urllib.request.build_opener(NoRedirect), source.url, headers))
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return None
        if error.code in {403, 404}:
            raise Problem(
                f"the role {keys.role} may not read {source.url}, or there is nothing ({error.code}): "
                f"give the instance the profile {source.instance_profile}, or {source.advice}"
            ) from None
        raise Problem(f"{source.url} answers {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Problem(f"{source.url} does not answer ({reason})") from None


def patiently(action: Callable[[], Result], deadline: float) -> Result:
    """Try again until the deadline: a role is known everywhere only some time after an instance got it."""
    said = ""
    while True:
        try:
            return action()
        except Problem as problem:
            if time.monotonic() + PAUSE_SECONDS > deadline:
                raise
            if str(problem) != said:
                said = str(problem)
                say(f"not yet: {said}.")
            time.sleep(PAUSE_SECONDS)


def say(text: str) -> None:
    """Tell whoever reads the log, of which cloud-init makes the console a part."""
    sys.stdout.write(f"drydock: {text}\n")
    sys.stdout.flush()
