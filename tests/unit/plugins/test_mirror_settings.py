# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of mirrors: what is refused, and what nginx and the program that asks read of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.mirror_names import mirror_names
from ansible_collections.drydock.registry.plugins.filter.mirror_problems import mirror_problems
from ansible_collections.drydock.registry.plugins.filter.mirror_upstreams import mirror_upstreams

HUB = {"name": "hub", "registry": "docker.io"}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def problems(*upstreams: Any, **settings: Any) -> list[str]:
    return mirror_problems(
        {
            "upstreams": list(upstreams),
            "fresh_seconds": 300,
            "never": [],
            "prefetch": [],
            "prefetch_platforms": ["linux/amd64"],
            "storage_directory": "/var/lib/drydock/registry",
            "domain": "registry.example.com",
            "names": ["192.0.2.1", "2001:db8::1", "hub.registry.example.com", "*.example.com"],
            "https_port": 443,
            "outgoing_proxy": {},
            **settings,
        }
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"never": ["hub/library/*", "hub/**", "**"]},
        {"prefetch": ["hub/library/alpine:3.20", "hub/library/alpine@sha256:" + "0" * 64]},
        {"domain": "", "names": []},
        {"outgoing_proxy": {"http": "http://me:p%20w@proxy.example.com:3128", "https": "", "no_proxy": ["10.0.0.0/8"]}},
    ],
)
def test_good_settings(settings: dict[str, Any]) -> None:
    assert problems(HUB, **settings) == []


@pytest.mark.parametrize(
    "upstream",
    [
        {"registry": "quay.io", "names": ["quay.example.com"]},
        {"registry": "registry.example.com:5000"},
        {"registry": "[2001:db8::1]:5000"},
        {"registry": "a", "url": "http://a:80/", "fresh_seconds": 0},
        {"registry": "ghcr.io", "username": "robot$a", "password": "s:e cret", "ca_certificates": CERTIFICATE},
    ],
)
def test_good_upstreams(upstream: dict[str, Any]) -> None:
    assert problems(HUB, {"name": "other", **upstream}) == []


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"name": "Hub"}, ("Entry 2 in registry_mirror_upstreams has the name 'Hub'", "such as hub")),
        ({"name": "a/b"}, ("has the name 'a/b'",)),
        ({"name": "_catalog"}, ("has the name '_catalog'",)),
        ({"name": None}, ("has the name None",)),
        ({"name": "hub"}, ("Entries 1 and 2", "both have 'hub' as name")),
        ({"registry": "docker.io"}, ("Entries 1 and 2", "both have 'docker.io' as registry")),
        ({"registry": "https://quay.io"}, ("has the registry 'https://quay.io'", "without a scheme")),
        ({"registry": "quay.io/team"}, ("has the registry 'quay.io/team'", "a path")),
        ({"registry": ""}, ("has the registry ''",)),
        ({"url": "quay.io"}, ("Entry 2", "a url that is none", "https://")),
        ({"url": "https://me:secret@quay.io"}, ("a url that is none", "without a user")),
        ({"url": "https://quay.io/v2"}, ("a url that is none", "and a path")),
        ({"url": "https://quay.io'; x"}, ("a url that is none",)),
        ({"registry": "registry.example.com"}, ("leads to registry.example.com, which is this registry",)),
        ({"url": "https://registry.example.com:443"}, ("leads to registry.example.com:443, which is this registry",)),
        ({"url": "https://192.0.2.1"}, ("leads to 192.0.2.1, which is this registry",)),
        ({"registry": "[2001:db8::1]"}, ("leads to [2001:db8::1], which is this registry",)),
        ({"registry": "123456789012.dkr.ecr.eu-central-1.amazonaws.com"}, ("end after twelve hours", "public.ecr.aws")),
        ({"username": "me"}, ("Entry 2", "a username alone")),
        ({"password": "secret"}, ("Entry 2", "a password alone")),
        ({"username": "m:e", "password": "secret"}, ("a username with a colon",)),
        ({"username": "me", "password": "secret\n"}, ("a control character",)),
        ({"url": "http://quay.io", "username": "me", "password": "secret"}, ("over http", "https address")),
        ({"ca_certificates": "x"}, ("The ca_certificates of entry 2", "no PEM text")),
        ({"ca_certificates": f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----"}, ("hold a private key",)),
        ({"names": ["https://a"]}, ("The names of entry 2", "no host name")),
        ({"names": ["*.example.com"]}, ("The names of entry 2", "no host name")),
        ({"names": ["Registry.example.com"]}, ("this registry's own images", "another name")),
        ({"names": ["hub.example.org"]}, ("hold hub.example.org, for which this registry has no certificate",)),
        ({"names": ["a.hub.example.com"]}, ("has no certificate", "registry_tls_names")),
        ({"names": ["Hub.registry.example.com", "any.example.com"]}, ()),
        ({"registry": "hub.registry.example.com"}, ("which is this registry",)),
        ({"names": ["a.example.com", "A.example.com"]}, ()),
        ({"fresh_seconds": -1}, ("The fresh_seconds of entry 2", "are -1", "write 0")),
    ],
)
def test_upstreams_that_lead_nowhere(upstream: dict[str, Any], words: tuple[str, ...]) -> None:
    found = problems(HUB, {"name": "quay", "registry": "quay.io", **upstream})
    assert len(found) == (1 if words else 0)
    for word in words:
        assert word in found[0]
    assert "secret" not in "".join(found)


def test_one_name_leads_to_one_mirror() -> None:
    (sentence,) = problems(
        {**HUB, "names": ["a.example.com"]}, {"name": "quay", "registry": "quay.io", "names": ["A.example.com"]}
    )
    assert "Entries 1 and 2" in sentence
    assert "'a.example.com' as names" in sentence


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"storage_directory": ""}, ("has its images in a bucket", "registry_server_storage_provider: filesystem")),
        ({"fresh_seconds": -1}, ("registry_mirror_fresh_seconds is -1", "write 0")),
        ({"never": "hub/**"}, ("The list registry_mirror_never is not a list", "['hub/**']")),
        ({"never": ["Hub/**"]}, ("registry_mirror_never holds the pattern 'Hub/**'", "write 'hub/**'")),
        (
            {"never": ["quay/**"]},
            ("registry_mirror_never has the pattern 'quay/**', which is of no mirror", "'hub/**'"),
        ),
        (
            {"prefetch": ["library/alpine:3"]},
            ("registry_mirror_prefetch has 'library/alpine:3'", "hub/library/alpine:3"),
        ),
        ({"prefetch": ["hub/library/alpine"]}, ("registry_mirror_prefetch has 'hub/library/alpine'",)),
        ({"prefetch": ["hub/library/*:3"]}, ("registry_mirror_prefetch has 'hub/library/*:3'",)),
        ({"prefetch": ["hub/Library/a:3"]}, ("registry_mirror_prefetch has",)),
        ({"prefetch": [3]}, ("registry_mirror_prefetch has 3",)),
        ({"prefetch_platforms": ["amd64"]}, ("registry_mirror_prefetch_platforms has 'amd64'", "linux/amd64")),
        (
            {"prefetch": ["hub/library/alpine:3"], "prefetch_platforms": []},
            ("registry_mirror_prefetch_platforms is empty",),
        ),
        ({"outgoing_proxy": {"http": "proxy:3128"}}, ("registry_mirror_outgoing_proxy.http is no URL of a proxy",)),
        ({"outgoing_proxy": {"https": "http://me:secret@"}}, ("registry_mirror_outgoing_proxy.https is no URL",)),
    ],
)
def test_settings_that_lead_nowhere(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    (sentence,) = problems(HUB, **settings)
    for word in words:
        assert word in sentence
    assert "secret" not in sentence


def test_without_an_upstream() -> None:
    (sentence,) = problems()
    assert "registry_mirror_upstreams is empty" in sentence


@pytest.mark.parametrize(("mirrored", "count"), [(["hub"], 0), ([], 1), (["quay"], 1)])
def test_a_name_that_is_taken(mirrored: list[str], count: int) -> None:
    settings = {
        "upstreams": [HUB],
        "fresh_seconds": 0,
        "never": [],
        "prefetch": [],
        "prefetch_platforms": [],
        "storage_directory": "/s",
        "domain": "",
        "names": [],
        "https_port": 443,
        "outgoing_proxy": {},
    }
    found = mirror_problems(settings, mirrored, ["hub"])
    assert len(found) == count
    assert all("repositories of your own below hub/" in sentence for sentence in found)


def test_what_the_program_reads() -> None:
    private = {"name": "us", "registry": "a:5000", "url": "http://b/", "fresh_seconds": 0}
    login = {"username": "me", "password": "secret", "ca_certificates": CERTIFICATE}
    assert mirror_upstreams([HUB, private, {"name": "q", "registry": "quay.io", **login}], 300) == [
        {"name": "hub", "url": "https://registry-1.docker.io", "fresh_seconds": 300}
        | {"username": "", "password": "", "ca_certificates": ""},
        {"name": "us", "url": "http://b", "fresh_seconds": 0} | {"username": "", "password": "", "ca_certificates": ""},
        {"name": "q", "url": "https://quay.io", "fresh_seconds": 300} | login,
    ]


def test_what_nginx_reads() -> None:
    other = {"name": "q", "registry": "quay.io", "names": ["Q.example.com", "::1"], "username": "me", "password": "p"}
    assert mirror_names([HUB, other]) == [
        {
            "name": "hub",
            "url": "https://registry-1.docker.io",
            "hosts": ["docker.io", "registry-1.docker.io"],
            "names": [],
        },
        {"name": "q", "url": "https://quay.io", "hosts": ["quay.io"], "names": ["q.example.com", "[::1]"]},
    ]
    # What is wrong is refused elsewhere, in words.
    assert mirror_names([HUB, {"name": "Q", "registry": "quay.io"}]) == []
    assert mirror_names("hub") == mirror_names(["hub"]) == []  # type: ignore[arg-type, list-item]
