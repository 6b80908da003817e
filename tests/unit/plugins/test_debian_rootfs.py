# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module debian_rootfs reads from apt and ld.so, and how it names images."""

from __future__ import annotations

import re

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._debian_rootfs import (
    image_tag,
    linked_libraries,
    missing_packages,
    packages_to_install,
    recipe_key,
)

SIMULATION = """\
Reading package lists...
NOTE: This is only a simulation!
The following NEW packages will be installed:
  libc6 nginx
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])
Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst zlib1g [1:1.2.11] (1:1.2.13.dfsg-1 Debian:12.15/oldstable [amd64])
Inst nginx (1.22.1-9+deb12u10 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])
Conf nginx (1.22.1-9+deb12u10 Debian:12.15/oldstable [amd64])
"""


def test_packages_and_versions_are_read_from_a_simulation() -> None:
    assert packages_to_install(SIMULATION) == {
        "gcc-12-base": "12.2.0-14+deb12u1",
        "libc6": "2.36-9+deb12u14",
        "zlib1g": "1:1.2.13.dfsg-1",
        "nginx": "1.22.1-9+deb12u10",
    }


def test_nothing_is_read_from_a_failure() -> None:
    assert packages_to_install("E: Unable to locate package nginx") == {}


def test_libraries_are_read_from_the_loader() -> None:
    listing = """\
\tlinux-vdso.so.1 (0x00007ffd3a5f2000)
\tlibpcre2-8.so.0 => /lib/x86_64-linux-gnu/libpcre2-8.so.0 (0x00007f3a1c000000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3a1be00000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f3a1c2d1000)
"""
    assert linked_libraries(listing) == [
        "/lib/x86_64-linux-gnu/libpcre2-8.so.0",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ]


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("2.8.2+ds1-1", "2.8.2_ds1-1-0123456789ab"),
        ("1:1.22.1-9+deb12u10", "1.22.1-9_deb12u10-0123456789ab"),
        ("2.8.3~rc1", "2.8.3_rc1-0123456789ab"),
    ],
)
def test_a_tag_shows_the_version(version: str, tag: str) -> None:
    assert image_tag(version, "0123456789ab") == tag
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag)


def test_the_key_changes_with_the_recipe_and_with_any_version() -> None:
    recipe = {"programs": ["/usr/sbin/nginx"]}
    packages = {"nginx": "1", "libssl3": "3.0.1"}
    key = recipe_key(recipe, packages)
    assert re.fullmatch("[0-9a-f]{12}", key)
    assert recipe_key(recipe, dict(reversed(packages.items()))) == key
    assert recipe_key(recipe, {**packages, "libssl3": "3.0.2"}) != key
    assert recipe_key({"programs": ["/usr/sbin/nginx", "/bin/sh"]}, packages) != key


def test_missing_packages_are_named() -> None:
    assert missing_packages(["nginx", "docker-registry"], {"nginx": "1"}) == ["docker-registry"]
