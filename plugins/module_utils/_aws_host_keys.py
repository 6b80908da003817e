# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH host keys that cloud-init prints on a machine's console, and OpenSSH's file of known hosts. Without Ansible.

The console also shows what the kernel and programs print, so a text in it proves nothing by itself: only lines that are
nothing but a key count, and only between cloud-init's two markers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Optional

from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import PublicKey, well_formed

BEGIN = "-----BEGIN SSH HOST KEY KEYS-----"
END = "-----END SSH HOST KEY KEYS-----"
# What a host key of sshd can be; a DSA key is refused by every client of today.
HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
KEY_LINE = re.compile(rf"(?P<type>{'|'.join(HOST_KEY_TYPES)}) (?P<key>[A-Za-z0-9+/]+={{0,2}})(?: [!-~]+)?")
# The form of a name that needs no quoting in known_hosts: no list, no pattern, no hash.
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def console_keys(console: str) -> list[PublicKey]:
    """The keys of the last whole block; nothing as long as there is none."""
    lines = [line.strip() for line in console.splitlines()]
    end = next((index for index in reversed(range(len(lines))) if lines[index] == END), -1)
    begin = next((index for index in reversed(range(max(end, 0))) if lines[index] == BEGIN), -1)
    if begin < 0:
        return []
    keys: list[PublicKey] = []
    for line in lines[begin + 1 : end]:
        key = _key(line)
        if key and key not in keys:
            keys.append(key)
    return keys


def wait_for_keys(
    read: Callable[[], str], timeout_seconds: float, sleep: Callable[[float], None], now: Callable[[], float]
) -> list[PublicKey]:
    """Read the console again and again until it shows the keys; nothing when the time is up."""
    end = now() + timeout_seconds
    while True:
        keys = console_keys(read())
        if keys or now() >= end:
            return keys
        sleep(max(min(5.0, end - now()), 0.1))


def known_keys(text: str, alias: str) -> list[PublicKey]:
    """The keys that a file of known hosts has for an alias."""
    found = (_key(" ".join(line.split()[1:])) for line in text.splitlines() if alias in _names(line))
    return [key for key in found if key]


def with_keys(text: str, alias: str, keys: Sequence[PublicKey]) -> str:
    """The file with these keys for the alias, and all other lines as they were."""
    kept = without(text, alias)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + "".join(f"{alias} {key.line}\n" for key in keys)


def without(text: str, alias: str) -> str:
    """The file without an alias. A line that names other hosts too keeps them."""
    lines = []
    for line in text.splitlines(keepends=True):
        names = _names(line)
        if alias not in names:
            lines.append(line)
        elif len(set(names)) > 1:
            rest = ",".join(name for name in names if name != alias)
            lines.append(rest + line.lstrip()[len(",".join(names)) :])
    return "".join(lines)


def _names(line: str) -> list[str]:
    """The hosts that a line is about; none for comments, marked lines (@revoked) and hashed names."""
    words = line.split()
    if len(words) < 3 or words[0][0] in "#@|":
        return []
    return words[0].split(",")


def _key(text: str) -> Optional[PublicKey]:
    match = KEY_LINE.fullmatch(text.strip())
    if not match:
        return None
    try:
        blob = base64.b64decode(match["key"], validate=True)
    except (binascii.Error, ValueError):
        return None
    return PublicKey(match["type"], blob) if well_formed(match["type"], blob) else None
