# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from apt and ld.so, how images are named, and what their archives hold."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._debian_image import (
    Apt,
    Package,
    Plan,
    Recipe,
    archive_manifest,
    image_configuration,
    image_tag,
    linked_libraries,
    missing_packages,
    owners,
    packages_to_download,
    parts_list,
    recipe_key,
)
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

LISTING = """\
Reading package lists...
The following NEW packages will be installed:
  libc6 nginx
'http://mirror.example/debian/pool/gcc-12-base_12.2.0-14%2bdeb12u1_amd64.deb' gcc-12-base_12.2.0-14+deb12u1_amd64.deb 37612 SHA256:1a
'http://mirror.example/debian/pool/main/zlib1g_1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb 86688 SHA256:d7
'http://mirror.example/debian/pool/main/c/ca/ca-certificates_20230311_all.deb' ca-certificates_20230311_all.deb 153128 SHA256:5a
'file:/srv/mirror/nginx_1.22.1-9_amd64.deb' nginx_1.22.1-9+deb12u10_amd64.deb 527412 SHA256:c0
"""
PACKAGES = {
    "gcc-12-base": "12.2.0-14+deb12u1",
    "zlib1g": "1:1.2.13.dfsg-1",
    "ca-certificates": "20230311",
    "nginx": "1.22.1-9+deb12u10",
}
RECIPE = Recipe(
    name="drydock/proxy",
    packages=["nginx"],
    programs=["/usr/sbin/nginx"],
    links={},
    entrypoint="nginx",
    stop_signal="SIGQUIT",
    labels={"drydock.image": "proxy"},
)


def test_packages_and_versions_are_read_from_a_listing() -> None:
    assert packages_to_download(LISTING) == PACKAGES


def test_nothing_is_read_from_a_failure() -> None:
    assert packages_to_download("E: Unable to locate package nginx") == {}


@pytest.mark.parametrize(
    ("answer", "plan"),
    [
        (
            (0, LISTING, ""),
            Plan(f"drydock/proxy:1.22.1-9_deb12u10-{recipe_key(RECIPE, PACKAGES)}", "1.22.1-9+deb12u10"),
        ),
        (
            (100, "", "E: Unable to locate package nginx\n"),
            Plan(
                "drydock/proxy:not-known-yet",
                "",
                "apt-get cannot install nginx ca-certificates from this host's sources: E: Unable to locate package nginx",
            ),
        ),
        (
            (0, "", ""),
            Plan(
                "drydock/proxy:not-known-yet",
                "",
                "apt-get cannot install nginx ca-certificates from this host's sources: no package nginx ca-certificates",
            ),
        ),
    ],
)
def test_a_plan_is_what_apt_answers(answer: tuple[int, str, str], plan: Plan, tmp_path: Path) -> None:
    assert Apt(lambda _command: answer, str(tmp_path / "scratch"), str(tmp_path / "cache")).plan(RECIPE) == plan


def test_apt_knows_of_no_installed_package_and_keeps_its_cache_in_one_place(tmp_path: Path) -> None:
    commands = []

    def run(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        return 0, LISTING, ""

    for call in ("first", "second"):
        Apt(run, str(tmp_path / call), str(tmp_path / "cache")).plan(dataclasses.replace(RECIPE, name=call))
        assert (tmp_path / "cache" / "status").read_bytes() == b""
        assert f"Dir::Cache::pkgcache={tmp_path}/cache/pkgcache.bin" in commands[-1]
        assert f"Dir::Cache::archives={tmp_path}/{call}/archives" in commands[-1]


def change_a_list(reads: Path, _cache: Path) -> None:
    (reads / "lists/main").write_text("newer", encoding="utf-8")


def touch_a_list(reads: Path, _cache: Path) -> None:
    os.utime(reads / "lists/main", (1, 1))


def pin_a_package(reads: Path, _cache: Path) -> None:
    (reads / "preferences.d").mkdir()
    (reads / "preferences.d/nginx").write_text("Package: nginx\n", encoding="utf-8")


def remove_the_configuration(reads: Path, _cache: Path) -> None:
    (reads / "apt.conf").unlink()


def leave_half_a_file(_reads: Path, cache: Path) -> None:
    (cache / "drydock_proxy.json").write_text('{"read": [', encoding="utf-8")


def change_nothing(_reads: Path, _cache: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("happens", "calls"),
    [
        (change_nothing, 1),
        (change_a_list, 2),
        (touch_a_list, 2),
        (pin_a_package, 2),
        (remove_the_configuration, 2),
        (leave_half_a_file, 2),
    ],
)
def test_apt_is_asked_again_when_what_it_reads_differs(
    happens: Callable[[Path, Path], None], calls: int, tmp_path: Path
) -> None:
    reads, cache = tmp_path / "reads", tmp_path / "cache"
    (reads / "lists").mkdir(parents=True)
    (reads / "lists/main").write_text("old", encoding="utf-8")
    (reads / "apt.conf").write_text("", encoding="utf-8")
    answers: list[str] = []

    def run(_command: list[str]) -> tuple[int, str, str]:
        answers.append(LISTING.replace("deb12u10", f"deb12u1{len(answers)}"))
        return 0, answers[-1], ""

    def plan(recipe: Recipe = RECIPE) -> Plan:
        places = [
            str(reads / "lists"),
            str(reads / "preferences.d"),
            str(reads / "apt.conf"),
            str(tmp_path / "missing"),
        ]
        return Apt(run, str(tmp_path / "scratch"), str(cache), places).plan(recipe)

    first = plan()
    happens(reads, cache)
    assert (plan() == first) == (calls == 1)
    assert len(answers) == calls
    # Other packages under the same name are another question.
    plan(dataclasses.replace(RECIPE, packages=["nginx", "ca-certificates"]))
    assert len(answers) == calls + 1


def test_a_plan_that_failed_is_not_kept(tmp_path: Path) -> None:
    answers = iter([(100, "", "E: Unable to locate package nginx\n"), (0, LISTING, "")])
    apt = Apt(lambda _command: next(answers), str(tmp_path / "scratch"), str(tmp_path / "cache"), [])
    assert apt.plan(RECIPE).problem
    assert apt.plan(RECIPE).version == "1.22.1-9+deb12u10"


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
    packages = {"nginx": "1", "libssl3": "3.0.1"}
    key = recipe_key(RECIPE, packages)
    assert re.fullmatch("[0-9a-f]{12}", key)
    assert recipe_key(RECIPE, dict(reversed(packages.items()))) == key
    assert recipe_key(RECIPE, {**packages, "libssl3": "3.0.2"}) != key
    for changed in (
        {"programs": ["/usr/sbin/nginx", "/bin/sh"]},
        {"links": {"/usr/bin/sh": "dash"}},
        {"stop_signal": "SIGTERM"},
        {"entrypoint": "sh"},
    ):
        assert recipe_key(dataclasses.replace(RECIPE, **changed), packages) != key


def test_missing_packages_are_named() -> None:
    assert missing_packages(["nginx", "docker-registry"], {"nginx": "1"}) == ["docker-registry"]


def test_an_image_names_the_packages_that_something_was_taken_from() -> None:
    listings = {
        "libc6": "./\n./lib/\n./lib/x86_64-linux-gnu/libc.so.6\n./lib64/ld-linux-x86-64.so.2\n",
        "libssl3": "./usr/lib/x86_64-linux-gnu/libssl.so.3\n",
        "perl-base": "./usr/bin/perl\n",
        "nginx": "./usr/sbin/nginx\n",
    }
    kept = {"/usr/sbin/nginx", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libssl.so.3"}
    assert owners(listings, kept) == {"libc6", "libssl3", "nginx"}


@pytest.mark.parametrize(
    ("package", "url"),
    [
        (
            Package("a" * 64, "libssl3", "3.0.16-1~deb12u1", "amd64", "openssl", "3.0.16-1~deb12u1"),
            "pkg:deb/debian/libssl3@3.0.16-1~deb12u1?arch=amd64&distro=debian-12&upstream=openssl",
        ),
        (
            Package("b" * 64, "libstdc++6", "12.2.0-14+deb12u1", "arm64", "gcc-12", "12.2.0-14+deb12u1"),
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=arm64&distro=debian-12&upstream=gcc-12",
        ),
        (
            Package("c" * 64, "zlib1g", "1:1.3.1-1+b1", "amd64", "zlib", "1:1.3.1-1"),
            "pkg:deb/debian/zlib1g@1:1.3.1-1%2Bb1?arch=amd64&distro=debian-12&upstream=zlib%401:1.3.1-1",
        ),
    ],
)
def test_scanners_know_a_package_by_its_url(package: Package, url: str) -> None:
    assert package.url("debian", "12") == url == PackageURL.from_string(url).to_string()


def test_the_list_of_parts_is_as_cyclonedx_wants_it() -> None:
    parts = [Package("d" * 64, name, "1-1", "all", name, "1-1") for name in ("nginx", "ca-certificates")]
    written = parts_list("drydock/proxy:1-1-0123456789ab", parts, "debian", "13")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written.decode()) is None
    assert parts_list("drydock/proxy:1-1-0123456789ab", reversed(parts), "debian", "13") == written
    document = json.loads(written)
    assert document["metadata"]["component"]["version"] == "1-1-0123456789ab"
    assert [component["name"] for component in document["components"]] == ["ca-certificates", "nginx"]


def test_an_archive_holds_what_docker_reads() -> None:
    configuration = json.loads(
        image_configuration(
            RECIPE, "1.22.1-9", {"why": "x"}, architecture="arm64", layer="aa", created="2026-01-01T00:00:00Z"
        )
    )
    assert (configuration["architecture"], configuration["os"]) == ("arm64", "linux")
    assert configuration["config"]["Entrypoint"] == ["nginx"]
    assert configuration["config"]["StopSignal"] == "SIGQUIT"
    assert configuration["config"]["Labels"] == {
        "drydock.image": "proxy",
        "why": "x",
        "org.opencontainers.image.version": "1.22.1-9",
    }
    assert configuration["rootfs"] == {"type": "layers", "diff_ids": ["sha256:aa"]}
    assert json.loads(archive_manifest("drydock/proxy:1", "bb.json", "layer.tar")) == [
        {"Config": "bb.json", "RepoTags": ["drydock/proxy:1"], "Layers": ["layer.tar"]}
    ]


def test_without_a_stop_signal_the_image_says_none() -> None:
    plain = dataclasses.replace(RECIPE, stop_signal="")
    configuration = json.loads(image_configuration(plain, "1", {}, architecture="amd64", layer="aa", created=""))
    assert "StopSignal" not in configuration["config"]
