# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, authorities and a proxy for registries."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.registry_config import FilterModule as Config
from ansible_collections.drydock.registry.plugins.filter.registry_files import FilterModule

FILTERS = FilterModule().filters()
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n"
FOLDER = "/etc/drydock/registry/files"
PASSWORD = "has a password, which `docker inspect` would show"


def test_files_are_for_root_and_one_group() -> None:
    (one,) = FILTERS["registry_files"]({"gcs.json": "{}"}, FOLDER, 998)
    assert one == {
        "path": f"{FOLDER}/gcs.json",
        "content": "{}",
        "owner": "root",
        "group": "998",
        "mode": "0640",
        "secret": True,
    }


@pytest.mark.parametrize(
    ("files", "certificates", "proxy", "words"),
    [
        ({}, "", {}, []),
        ({"gcs.json": "{}", "Key_1-a.pem": KEY}, PEM + PEM, {"http": "http://proxy.example.com:3128"}, []),
        ({}, "", {"https": "https://[2001:db8::1]:3128", "no_proxy": ["x"]}, []),
        ({"../x": "hidden"}, "", {}, ["registry_server_files: `../x` is no name"]),
        ({"a/b": "hidden"}, "", {}, ["`a/b` is no name"]),
        ({"x": ""}, "", {}, ["registry_server_files.x: has no text in it"]),
        ({"x": {"hidden": 1}}, "", {}, ["registry_server_files.x: has no text in it"]),
        ({}, "/etc/ssl/hidden.crt", {}, ["registry_server_ca_certificates: holds no certificate"]),
        ({}, PEM + KEY, {}, ["or a private key"]),
        ({}, "", {"http": "proxy.example.com:3128"}, ["registry_server_outgoing_proxy.http: is no URL"]),
        ({}, "", {"https": "http://proxy:port"}, ["registry_server_outgoing_proxy.https: is no URL"]),
        ({}, "", {"https": "http://ann:hidden@proxy:3128"}, [PASSWORD]),
        ({}, "", {"http": "http://hidden@proxy", "https": "x"}, [PASSWORD, "https: is no URL"]),
    ],
)
def test_problems(files: Any, certificates: str, proxy: Any, words: list[str]) -> None:
    found = FILTERS["registry_files_problems"](files, certificates, proxy)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
    assert "hidden" not in " ".join(found)


def cloudfront(path: str) -> dict[str, Any]:
    return {"middleware": {"storage": [{"name": "cloudfront", "options": {"privatekey": path}}]}}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"storage": {"gcs": {"keyfile": "/srv/gcs.json"}}}, "storage.gcs.keyfile"),
        (cloudfront("/srv/key.pem"), "middleware.storage[0].options.privatekey"),
        ({"redis": {"tls": {"rootcas": [f"{FOLDER}/key", "/srv/ca"]}}}, "redis.tls.rootcas"),
        ({"redis": {"tls": {"key": "/srv/ca"}}}, "redis.tls.key"),
        ({"redis": {"tls": {"rootcas": ["/etc/ssl/certs/ca-certificates.crt"], "key": f"{FOLDER}/key"}}}, ""),
        ({"storage": {"gcs": {"keyfile": f"{FOLDER}/key"}}}, ""),
        (cloudfront(f"{FOLDER}/key"), ""),
    ],
)
def test_a_file_that_no_container_sees_is_refused(config: dict[str, Any], path: str) -> None:
    def found(**more: Any) -> list[str]:
        sentences = Config().filters()["registry_config_problems"](config, "3", **more)
        return [sentence for sentence in sentences if "no container could see" in sentence]

    assert found() == []
    sentences = found(files=[f"{FOLDER}/key"])
    assert [sentence.split(": ")[0] for sentence in sentences] == ([f"registry_server_config.{path}"] if path else [])
    assert "/srv" not in " ".join(sentences)
