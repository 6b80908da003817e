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
EMPTY = hashlib.sha256(b"").hexdigest()
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


class Fetched(NamedTuple):
    """An object, and what S3 calls this version of it."""

    content: bytes
    etag: str


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys are for the one address that they were meant for."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Go nowhere else."""


def ask(
    opener: urllib.request.OpenerDirector, url: str, headers: Mapping[str, str], method: str = "GET"
) -> tuple[bytes, str]:
    """Return the body and the ETag of an answer."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310
    with opener.open(request, timeout=ANSWER_SECONDS) as answer:
        return answer.read(), answer.headers.get("ETag", "")


def role_credentials(instance_profile: str) -> tuple[str, str, str, str]:
    """Return the name of the instance's role, and keys that are good for hours."""
    # No proxy ever stands between an instance and its metadata.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    try:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        header = {"X-aws-ec2-metadata-token": ask(opener, METADATA + "api/token", lifetime, "PUT")[0].decode()}
        folder = METADATA + "meta-data/iam/security-credentials/"
        role = ask(opener, folder, header)[0].decode().split()[0]
        found = json.loads(ask(opener, folder + role, header)[0])
        return role, found["AccessKeyId"], found["SecretAccessKey"], found["Token"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise Problem(f"this instance has no role: give it the instance profile {instance_profile}") from None
        raise Problem(f"the instance's metadata service answers {error.code}") from None
    except (OSError, ValueError, KeyError, IndexError, http.client.HTTPException) as error:
        raise Problem(f"the instance's metadata service does not answer ({type(error).__name__})") from None


def signed(source: Source, key: str, secret: str, token: str, now: datetime.datetime) -> dict[str, str]:
    """Return the headers of a GET of the object, signed with AWS's Signature Version 4."""
    url = urllib.parse.urlsplit(source.url)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": url.netloc,
        "x-amz-content-sha256": EMPTY,
        "x-amz-date": moment,
        # A bucket of this name that is somebody else's by now does not count.
        "x-amz-expected-bucket-owner": source.bucket_owner,
        "x-amz-security-token": token,
    }
    names = ";".join(sorted(headers))
    canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("GET", url.path, "", canonical, names, EMPTY))
    scope = f"{moment[:8]}/{source.region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    derived = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def fetch(source: Source, etag: str = "") -> Optional[Fetched]:
    """Return the object, or nothing where it still is the version that is known by this ETag."""
    role, key, secret, token = role_credentials(source.instance_profile)
    headers = signed(source, key, secret, token, datetime.datetime.now(datetime.timezone.utc))
    if etag:
        headers["if-none-match"] = etag
    try:
        return Fetched(*ask(urllib.request.build_opener(NoRedirect), source.url, headers))
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return None
        if error.code in {403, 404}:
            raise Problem(
                f"the role {role} may not read {source.url}, or there is nothing ({error.code}): "
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
