# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses for networks of containers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path


def free_prefix(numbers: Iterable[int]) -> str:
    """Return how the addresses of a network begin that this machine has no way to yet.

    Docker does not look itself: the bridge of a run that was broken off, whose network Docker has forgotten, would get all packets.
    """
    taken = list(routes(Path("/proc/net/route").read_text(encoding="ascii")))
    for number in numbers:
        network = ipaddress.IPv4Network(f"10.213.{number}.0/24")
        if not any(network.overlaps(other) for other in taken):
            return f"10.213.{number}"
    raise RuntimeError(
        "This machine has ways to all of the networks that tests may have: remove bridges of earlier runs."
    )


def routes(table: str) -> Iterable[ipaddress.IPv4Network]:
    """Read the kernel's table of routes, less the default one. Its numbers are in the order of a little-endian machine."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        target, mask = (int.from_bytes(bytes.fromhex(fields[place])[::-1], "big") for place in (1, 7))
        if mask:
            yield ipaddress.IPv4Network((target, mask.bit_count()))
