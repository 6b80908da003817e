# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""loaded.conf for an nginx that is never reloaded, as drydock-reload-proxy writes it on hosts: a test compares the two."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

READ_AT_LOAD = (
    "nginx.conf",
    "access.js",
    "passwords.js",
    "metrics.js",
    "client-ca.crt",
    "client.crl",
    "access.json",
    "htpasswd",
    "tls.crt",
    "tls.key",
)


def loaded_conf(files: Mapping[str, str], folder: str) -> str:
    """What nginx.conf includes: the name of all that nginx reads, and the secret under which right passwords are remembered."""
    content = b"".join(_part(files, name) for name in READ_AT_LOAD)
    name = hashlib.sha256(content).hexdigest()[:12]
    secret = hmac.new(files.get("tls.key", "").encode(), content, hashlib.sha256).hexdigest()
    lines = [f"set $loaded_configuration {name};", f"set $password_cache_secret {secret};"]
    if "client-ca.crt" in files and "client.crl" in files:
        lines += [
            "ssl_session_cache off;",
            "ssl_verify_client optional;",
            "ssl_verify_depth 0;",
            f"ssl_client_certificate {folder}/client-ca.crt;",
            f"ssl_crl {folder}/client.crl;",
        ]
    else:
        lines += [f"ssl_session_cache shared:tls_{name}:10m;", "ssl_verify_client off;"]
    return "\n".join(lines) + "\n"


def _part(files: Mapping[str, str], name: str) -> bytes:
    text = files.get(name, "").encode()
    return f"{name} {name in files} {len(text)}\n".encode() + text
