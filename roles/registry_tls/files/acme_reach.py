# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask, with Python's own library, what an ACME order needs: the directory, and this host's file under each name.

Takes one JSON argument (directory, ca, accounts, names, path, content, port) and prints one JSON document. It changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 10
MAX_BYTES = 100_000
# Addresses for documentation: connecting a datagram socket sends nothing, but tells which address would be the sender's.
ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def what_happened(error: BaseException) -> dict[str, Any]:
    """Name a failed request's kind."""
    reason = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return {"problem": "status", "detail": str(error.code)}
    if isinstance(reason, ssl.SSLCertVerificationError):
        return {"problem": "untrusted", "detail": reason.verify_message}
    if isinstance(reason, socket.gaierror):
        return {"problem": "name", "detail": reason.strerror or str(reason)}
    if isinstance(reason, TimeoutError):
        return {"problem": "silent", "detail": f"no answer in {LIMIT_SECONDS} seconds"}
    return {"problem": "silent", "detail": getattr(reason, "strerror", None) or str(reason)}


def directory(url: str, ca: str, accounts: str) -> dict[str, Any]:
    """What the ACME directory says of itself."""
    context = ssl.create_default_context()
    if ca.strip():
        context.load_verify_locations(cadata=ca)
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_SECONDS, context=context) as answer:  # noqa: S310 (https, the preflight says)
            found = json.loads(answer.read(MAX_BYTES))
    except json.JSONDecodeError:
        return {"problem": "other", "detail": "no JSON"}
    except (OSError, ValueError) as error:
        return what_happened(error)
    if not isinstance(found, dict) or "newOrder" not in found:
        return {"problem": "other", "detail": "no newOrder in its JSON"}
    meta = found.get("meta") or {}
    # As certbot lays out its accounts.
    parts = urllib.parse.urlsplit(url)
    place = Path(accounts) / (parts.netloc + parts.path)
    return {
        "problem": "",
        "profiles": sorted(meta.get("profiles") or {}),
        "external_account": bool(meta.get("externalAccountRequired")) and not any(place.glob("*/regr.json")),
    }


def file_of(name: str, port: int, path: str, content: str) -> dict[str, Any]:
    """Whether this host's file is found under a name, and where the name leads."""
    found: dict[str, Any] = {"addresses": []}
    try:
        entries = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return {**found, "problem": "name", "detail": getattr(error, "strerror", None) or str(error)}
    found["addresses"] = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    # The directory follows a redirect to https without looking at the certificate, and asks no proxy.
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        with opener.open(f"http://{name}:{port}{path}", timeout=LIMIT_SECONDS) as answer:
            body = answer.read(MAX_BYTES).decode(errors="replace")
    except (OSError, ValueError) as error:
        return {**found, **what_happened(error)}
    if body.strip() != content.strip():
        return {**found, "problem": "content", "detail": "another file"}
    return {**found, "problem": ""}


def own_addresses() -> list[str]:
    """The addresses that this host sends from."""
    found = []
    for family, address in ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            found.append(str(probe.getsockname()[0]))
    return found


def main() -> None:
    """Answer what was asked."""
    asked = json.loads(sys.argv[1])
    report: dict[str, Any] = {"own_addresses": own_addresses()}
    if asked.get("directory"):
        report["directory"] = directory(asked["directory"], asked.get("ca", ""), asked.get("accounts", ""))
    report["names"] = {
        name: file_of(name, int(asked.get("port", 80)), asked["path"], asked["content"])
        for name in asked.get("names", [])
    }
    print(json.dumps(report))


main()
