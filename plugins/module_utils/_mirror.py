# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors of other registries: what is wrong with the settings, and what nginx, the program that asks, and clients read of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.drydock.registry.plugins.module_utils._access import pattern_problem, patterns_problems
from ansible_collections.drydock.registry.plugins.module_utils._proxy import hosts

UPSTREAMS = "registry_mirror_upstreams"
NEVER = "registry_mirror_never"
PREFETCH = "registry_mirror_prefetch"
PLATFORMS = "registry_mirror_prefetch_platforms"

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_URL = "https://registry-1.docker.io"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_REGISTRY = re.compile(r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?P<port>:[1-9][0-9]{0,4})?")
_URL = re.compile(rf"https?://{_REGISTRY.pattern}")
# What it says may be a password, so no sentence has it.
_PROXY = re.compile(rf"https?://(?:[^@/\s]+@)?{_REGISTRY.pattern}/?")
_ECR = re.compile(r"[0-9]{12}\.dkr[.-]ecr[.-]")
_IMAGE = re.compile(
    r"(?P<repository>(?P<name>[^/:@]+)/[^:@]+)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@sha256:[a-f0-9]{64})"
)
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+")
_PORTS = {"https": ":443", "http": ":80"}
# By which names and at which port this registry is reached, the one of its own images first.
Own = Sequence[tuple[str, int]]
# What no header can carry.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# ---- what is read of them ------------------------------------------------------------------------------------------


def url_of(upstream: Mapping[str, Any]) -> str:
    """Return where an upstream is asked."""
    if upstream.get("url"):
        return str(upstream["url"]).rstrip("/")
    registry = str(upstream["registry"])
    return _DOCKER_HUB_URL if registry == _DOCKER_HUB else f"https://{registry}"


def for_program(upstreams: Iterable[Mapping[str, Any]], fresh_seconds: int) -> list[dict[str, Any]]:
    """Return the upstreams as the program reads them that asks them."""
    return [
        {
            "name": one["name"],
            "url": url_of(one),
            "username": one.get("username") or "",
            "password": one.get("password") or "",
            "ca_certificates": one.get("ca_certificates") or "",
            "fresh_seconds": int(fresh_seconds if one.get("fresh_seconds") is None else one["fresh_seconds"]),
        }
        for one in upstreams
    ]


def for_proxy(upstreams: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mirrors as nginx reads them, which is nothing that is secret. Of what is wrong, nothing is said here."""
    if isinstance(upstreams, str) or not all(isinstance(one, Mapping) for one in upstreams):
        return []
    if _upstreams_problems(upstreams, []):
        return []
    return [
        {
            "name": one["name"],
            "url": url_of(one),
            # Containerd means it so: https://github.com/containerd/containerd/blob/main/docs/hosts.md
            "hosts": list(dict.fromkeys([one["registry"], *([_DOCKER_HUB_URL[8:]] if _is_docker_hub(one) else [])])),
            "names": [host for name in one.get("names") or [] for host in hosts(str(name), [])],
        }
        for one in upstreams
    ]


def _is_docker_hub(upstream: Mapping[str, Any]) -> bool:
    return bool(upstream["registry"] == _DOCKER_HUB)


# ---- what is wrong with them ---------------------------------------------------------------------------------------


def _entry(number: int) -> str:
    return f"Entry {number} in {UPSTREAMS}"


def _registry_problem(number: int, upstream: Mapping[str, Any], own: Own) -> str:
    registry, url = upstream.get("registry"), upstream.get("url") or ""
    if not isinstance(registry, str) or not _REGISTRY.fullmatch(registry):
        return (
            f"{_entry(number)} has the registry {registry!r}: write it as names of images begin, such as docker.io, quay.io or "
            "registry.example.com:5000, without a scheme and a path."
        )
    if url and not _URL.fullmatch(str(url).rstrip("/")):
        return (
            f"{_entry(number)} has a url that is none of a registry: write https:// and a host, such as https://registry-1.docker.io, "
            "without a user and a path."
        )
    for scheme, address in (("https", registry), urlsplit(url_of(upstream))[:2]):
        found = _REGISTRY.fullmatch(address)
        if found and (found["host"], int((found["port"] or _PORTS[scheme])[1:])) in own:
            return f"{_entry(number)} leads to {address}, which is this registry: write the one whose images it is to keep."
    if _ECR.match(registry):
        return (
            f"{_entry(number)} is {registry}, whose passwords of Amazon ECR end after twelve hours: have ECR mirror it (pull through "
            "cache rules), or let clients ask it; public.ecr.aws needs no password."
        )
    return ""


def _credentials_problems(number: int, upstream: Mapping[str, Any]) -> list[str]:
    username, password = upstream.get("username") or "", upstream.get("password") or ""
    problems = []
    if bool(username) != bool(password):
        problems.append(
            f"{_entry(number)} has {'a username' if username else 'a password'} alone: write both, or none where everybody may pull."
        )
    elif ":" in str(username) or _CONTROL.search(f"{username}{password}"):
        problems.append(
            f"{_entry(number)} has a username with a colon, or a control character in it or in the password: write them as you log in."
        )
    if password and url_of(upstream).startswith("http:"):
        problems.append(
            f"{_entry(number)} would send its password over http, where others can read it: write an https address."
        )
    certificates = str(upstream.get("ca_certificates") or "")
    if "PRIVATE KEY-----" in certificates:
        problems.append(f"The ca_certificates of entry {number} in {UPSTREAMS} hold a private key: leave it out.")
    elif certificates and "-----BEGIN CERTIFICATE-----" not in certificates:
        problems.append(
            f"The ca_certificates of entry {number} in {UPSTREAMS} are no PEM text of certificates: give a file's content with "
            "lookup('ansible.builtin.file', 'ca.crt')."
        )
    return problems


def _upstreams_problems(upstreams: Sequence[Mapping[str, Any]], own: Own) -> list[str]:
    problems: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for number, one in enumerate(upstreams, 1):
        name = one.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                f"{_entry(number)} has the name {name!r}, which no repository's name can begin with: write small letters and digits, "
                "such as hub."
            )
        problem = _registry_problem(number, one, own)
        if problem:
            problems.append(problem)
        else:
            problems += _credentials_problems(number, one)
        for text in one.get("names") or []:
            host = next(iter(hosts(str(text), [])), "")
            if not host or host.startswith("*"):
                problems.append(
                    f"The names of entry {number} in {UPSTREAMS} hold {text!r}, which is no host name: write it without scheme, port and "
                    "path."
                )
            elif own and host == own[0][0]:
                problems.append(
                    f"The names of entry {number} in {UPSTREAMS} hold {text}, by which this registry's own images are reached: write "
                    "another name, such as hub.registry.example.com."
                )
            elif own and not {host, re.sub(r"^[^.]*", "*", host)} & {one for one, _port in own}:
                problems.append(
                    f"The names of entry {number} in {UPSTREAMS} hold {text}, for which this registry has no certificate: add it to "
                    "registry_tls_names, or where this role is used alone to registry_mirror_own_names."
                )
        seconds = one.get("fresh_seconds")
        if seconds is not None and int(seconds) < 0:
            problems.append(
                f"The fresh_seconds of entry {number} in {UPSTREAMS} are {seconds}: write 0, to have the upstream asked with each "
                "pull of a tag, or more."
            )
        used = [
            ("name", name),
            ("registry", one.get("registry")),
            *(("names", str(text).lower()) for text in one.get("names") or []),
        ]
        for key, value in used:
            first = seen.setdefault((key, str(value)), number)
            if first != number:
                problems.append(
                    f"Entries {first} and {number} in {UPSTREAMS} both have {value!r} as {key}: nobody could tell which is meant, "
                    "so write another one or leave one of them out."
                )
    return problems


def _never_problems(never: Any, names: Sequence[str]) -> list[str]:
    if not never:
        return []
    problems = patterns_problems(never, f"The list {NEVER}", "leave it out")
    problems += [
        f"{NEVER} has the pattern {pattern!r}, which is of no mirror: begin it with the name of one, such as '{_example(names)}/**'."
        for pattern in ([] if problems else never)
        if not any(_fits(pattern.split("/")[0], name) for name in names)
    ]
    return problems


def _fits(part: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, re.split(r"\*+", part))), text) is not None


def _example(names: Sequence[str]) -> str:
    return names[0] if names else "hub"


def _prefetch_problems(prefetch: Sequence[Any], platforms: Sequence[Any], names: Sequence[str]) -> list[str]:
    problems = []
    for image in prefetch:
        found = _IMAGE.fullmatch(str(image))
        if (
            not found
            or found["name"] not in names
            or pattern_problem(found["repository"])
            or "*" in found["repository"]
        ):
            problems.append(
                f"{PREFETCH} has {image!r}, which is no image of a mirror: write it as clients pull it, without this registry's name, "
                f"such as {_example(names)}/library/alpine:3."
            )
    problems += [
        f"{PLATFORMS} has {platform!r}: write an operating system and an architecture, such as linux/amd64."
        for platform in platforms
        if not _PLATFORM.fullmatch(str(platform))
    ]
    if prefetch and not platforms:
        problems.append(f"{PLATFORMS} is empty: name at least one, such as linux/amd64.")
    return problems


def _proxy_problems(proxy: Mapping[str, Any]) -> list[str]:
    addresses = {name: str(proxy.get(name) or "") for name in ("http", "https")}
    return [
        f"registry_mirror_outgoing_proxy.{name} is no URL of a proxy: write one like http://proxy.example.com:3128."
        for name, address in addresses.items()
        if address and not _PROXY.fullmatch(address)
    ]


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What keeps registry_mirror from its outcome with these settings, a sentence each. No sentence quotes a password."""
    upstreams = settings["upstreams"]
    names = [str(one.get("name")) for one in upstreams]
    here = hosts(str(settings["domain"] or ""), [str(name) for name in settings["names"]])
    problems = _upstreams_problems(upstreams, [(host, int(settings["https_port"])) for host in here])
    if int(settings["fresh_seconds"]) < 0:
        problems.append(
            f"registry_mirror_fresh_seconds is {settings['fresh_seconds']}: write 0, to have the upstream asked with each pull of a tag, "
            "or more."
        )
    if not upstreams:
        problems.append(f"{UPSTREAMS} is empty: name at least one registry, or leave out this role.")
    if not settings["storage_directory"]:
        problems.append(
            f"{UPSTREAMS} names registries to mirror, but this registry has its images in a bucket, and what a mirror gets is kept in a "
            "folder of the host: use registry_server_storage_provider: filesystem, or leave the mirrors out."
        )
    return [
        *problems,
        *_never_problems(settings["never"], names),
        *_prefetch_problems(settings["prefetch"], settings["prefetch_platforms"], names),
        *_proxy_problems(settings["outgoing_proxy"]),
    ]


def taken_problems(
    upstreams: Iterable[Mapping[str, Any]], mirrored: Collection[str], found: Collection[str]
) -> list[str]:
    """Say which mirrors would hide repositories of our own: names that have repositories, and were no mirror's so far."""
    return [
        f"{UPSTREAMS} has a mirror with the name {one['name']}, but there are repositories of your own below {one['name']}/, which it "
        "would hide: write another name."
        for one in upstreams
        if one.get("name") in found and one["name"] not in mirrored
    ]
