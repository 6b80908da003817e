# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry's config.yml: what is made, and what is found wrong with it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.drydock.registry.plugins.filter.registry_config import FilterModule
from ansible_collections.drydock.registry.plugins.module_utils import _registry_config as core

FILTERS = FilterModule().filters()

FILESYSTEM: dict[str, Any] = {
    "storage": {"provider": "filesystem", "directory": "/var/lib/registry"},
    "socket": "/run/registry-a.sock",
    "http_secret": "s3cret",
}
S3: dict[str, Any] = {
    **FILESYSTEM,
    "storage": {"provider": "s3", "bucket": "images", "region": "eu-central-1"},
}
S3_ENDPOINT: dict[str, Any] = {
    **FILESYSTEM,
    "storage": {
        "provider": "s3",
        "bucket": "images",
        "endpoint": "http://127.0.0.1:9000",
        "access_key": "id",
        "secret_key": "key",
        "root_directory": "/team",
        "encrypt": False,
        "chunk_size_bytes": 10485760,
        "storage_class": "STANDARD",
        "object_acl": "bucket-owner-full-control",
    },
}
REDIS_2 = {"addr": "redis:6379", "db": 1, "pool": {"maxidle": 16, "maxactive": 64, "idletimeout": "300s"}}
REDIS_3 = {
    "addrs": ["redis:6379"],
    "db": 1,
    "maxretries": -1,
    "maxidleconns": 16,
    "poolsize": 64,
    "connmaxidletime": "300s",
}


def problems(overrides: Any, version: str, settings: Any = None) -> list[str]:
    """What a role sees: the rendered config checked together with the user's part."""
    config = FILTERS["registry_config"](settings or FILESYSTEM, version, overrides)
    found = FILTERS["registry_config_problems"](config, version, overrides)
    assert isinstance(found, list)
    return found


# ------------------------------------------------------------------------------------------- making a config


@pytest.mark.parametrize(
    ("version", "form"), [("2.8", REDIS_2), ("3", REDIS_3), ("auto", REDIS_3)], ids=["2.8", "3.x", "unknown"]
)
def test_redis_is_written_as_a_version_reads_it(version: str, form: dict[str, Any]) -> None:
    settings = {**S3, "redis": {"address": "redis:6379", "database": 1, "password": "s3cret"}}
    config = FILTERS["registry_config"](settings, version)
    assert config["storage"]["cache"] == {"blobdescriptor": "redis"}
    # For a Redis that is away, a request for a layer waits 14 times.
    waits = {"dialtimeout": "100ms", "readtimeout": "250ms", "writetimeout": "250ms"}
    assert config["redis"] == {**form, **waits, "password": "s3cret"}
    assert problems({}, version, settings) == []


@pytest.mark.parametrize("address", ["", "redis", "redis:", "redis://redis:6379", "a b:6379", "::1:6379"])
def test_redis_without_an_address_is_refused(address: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"redis\.address"):
        FILTERS["registry_config"]({**S3, "redis": {"address": address}}, "3")


def test_filesystem_config_in_full() -> None:
    assert FILTERS["registry_config"](FILESYSTEM, "3") == {
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
        "http": {"addr": "/run/registry-a.sock", "draintimeout": "30s", "net": "unix", "secret": "s3cret"},
        "log": {"accesslog": {"disabled": True}, "formatter": "text", "level": "info"},
        "storage": {
            "delete": {"enabled": True},
            "filesystem": {"rootdirectory": "/var/lib/registry"},
            "redirect": {"disable": True},
        },
        "version": "0.1",
    }


@pytest.mark.parametrize(
    ("version", "path_style"), [("2.8", None), ("3", True), ("auto", True)], ids=["2.8", "3", "auto"]
)
def test_path_style_is_written_only_where_it_is_read(version: str, path_style: bool | None) -> None:
    s3 = FILTERS["registry_config"](S3_ENDPOINT, version)["storage"]["s3"]
    assert s3.get("forcepathstyle") is path_style
    assert s3["regionendpoint"] == "http://127.0.0.1:9000"
    assert s3["region"] == "us-east-1"
    assert s3["accesskey"] == "id"
    assert s3["chunksize"] == 10485760


def test_s3_with_the_hosts_role_has_no_keys() -> None:
    storage = {**S3["storage"], "access_key": "", "secret_key": None}
    s3 = FILTERS["registry_config"]({**S3, "storage": storage}, "3")["storage"]["s3"]
    assert s3 == {"bucket": "images", "region": "eu-central-1"}


def test_settings_arrive() -> None:
    settings = {
        **FILESYSTEM,
        "redirect_enabled": True,
        "delete_enabled": False,
        "log_level": "warn",
        "log_formatter": "json",
        "access_log_enabled": True,
        "drain_timeout_seconds": 5,
        "health": {"enabled": False, "interval_seconds": 7, "threshold": 9},
    }
    config = FILTERS["registry_config"](settings, "2.8")
    assert config["storage"]["redirect"] == {"disable": False}
    assert config["storage"]["delete"] == {"enabled": False}
    assert config["log"] == {"accesslog": {"disabled": False}, "formatter": "json", "level": "warn"}
    assert config["http"]["draintimeout"] == "5s"
    assert config["health"]["storagedriver"] == {"enabled": False, "interval": "7s", "threshold": 9}


@pytest.mark.parametrize("settings", [FILESYSTEM, S3, S3_ENDPOINT], ids=["filesystem", "s3", "s3 endpoint"])
def test_a_storage_that_is_away_is_told_within_30_seconds(settings: dict[str, Any]) -> None:
    check = FILTERS["registry_config"](settings, "3")["health"]["storagedriver"]
    assert check["enabled"]
    assert int(check["interval"].removesuffix("s")) * check["threshold"] <= 30
    # One question that fails is no reason to replace all hosts of a fleet.
    assert check["threshold"] > 1


def test_no_cache_by_default() -> None:
    for settings in (FILESYSTEM, S3):
        assert "cache" not in FILTERS["registry_config"](settings, "3")["storage"]


@pytest.mark.parametrize(
    ("overrides", "path", "expected"),
    [
        (
            {"log": {"level": "debug"}},
            ("log",),
            {"accesslog": {"disabled": True}, "formatter": "text", "level": "debug"},
        ),
        ({"log": {"formatter": None}}, ("log",), {"accesslog": {"disabled": True}, "level": "info"}),
        ({"health": None}, ("health",), None),
        ({"catalog": {"maxentries": 5, "other": None}}, ("catalog",), {"maxentries": 5}),
        (
            {"http": {"headers": {"X-Robots-Tag": ["none"]}}},
            ("http", "headers"),
            {"X-Robots-Tag": ["none"]},
        ),
        (
            {"storage": {"filesystem": None, "inmemory": {}}},
            ("storage",),
            {"delete": {"enabled": True}, "inmemory": {}, "redirect": {"disable": True}},
        ),
        ({"nothing": {"here": None}}, ("nothing",), {}),
    ],
    ids=["deep", "null deletes", "null deletes a section", "null in a new section", "new", "driver", "all null"],
)
def test_overrides_are_merged_last(overrides: dict[str, Any], path: tuple[str, ...], expected: Any) -> None:
    before = copy.deepcopy(overrides)
    node: Any = FILTERS["registry_config"](FILESYSTEM, "3", overrides)
    for name in path:
        node = node.get(name)
    assert node == expected
    assert overrides == before


def test_lists_are_replaced_and_output_is_stable() -> None:
    one = core.merge({"b": [1, 2], "a": {"y": 1, "x": 2}}, {"b": [3]})
    assert one == {"a": {"x": 2, "y": 1}, "b": [3]}
    assert list(one) == ["a", "b"]
    assert list(one["a"]) == ["x", "y"]
    turned = dict(reversed(list(FILESYSTEM.items())))
    first, second = (yaml.safe_dump(FILTERS["registry_config"](s, "3"), sort_keys=False) for s in (FILESYSTEM, turned))
    assert first == second


def test_values_become_plain() -> None:
    class Tagged(str):
        """Stands for the marked strings that Ansible hands to a filter."""

        __slots__ = ()

    class Vaulted:
        def __str__(self) -> str:
            return "opened"

    config = FILTERS["registry_config"](
        {**FILESYSTEM, "http_secret": Vaulted()}, "3", {"log": {"fields": {"site": Tagged("a")}}}
    )
    assert config["http"]["secret"] == "opened"
    assert type(config["log"]["fields"]["site"]) is str
    assert yaml.safe_load(yaml.safe_dump(config)) == config


@pytest.mark.parametrize(
    ("settings", "version", "message"),
    [
        ({**FILESYSTEM, "colour": 1}, "3", "settings.colour: there is no such setting; write one of storage,"),
        (
            {**FILESYSTEM, "loglevel": "info"},
            "3",
            "settings.loglevel: there is no such setting; did you mean log_level?",
        ),
        ({"socket": "/s"}, "3", "storage: is missing"),
        ({"storage": FILESYSTEM["storage"]}, "3", "socket: is missing"),
        ({**FILESYSTEM, "storage": {"provider": "ftp"}}, "3", "storage.provider: is not a storage provider"),
        ({**FILESYSTEM, "storage": {"provider": "filesystem"}}, "3", "storage.directory: is missing"),
        ({**FILESYSTEM, "storage": {"provider": "s3", "region": "x"}}, "3", "storage.bucket: is missing"),
        ({**FILESYSTEM, "storage": {"provider": "s3", "bucket": "x"}}, "3", "storage.region: is missing"),
        ({**S3, "storage": {"provider": "s3", "bucket": "x", "region": "garage"}}, "3", "garage is no AWS region"),
        ({**S3, "storage": {**S3["storage"], "access_key": "x"}}, "3", "access_key and secret_key go together"),
        (
            {**S3, "storage": {**S3["storage"], "buckett": "x"}},
            "3",
            "storage.buckett: there is no such setting; did you mean bucket?",
        ),
        ({**FILESYSTEM, "health": {"intervall": 1}}, "3", "health.intervall: there is no such setting"),
        (
            {**S3_ENDPOINT, "storage": {**S3_ENDPOINT["storage"], "path_style_enabled": False}},
            "2.8",
            "registry 2.8 always uses path style",
        ),
        (FILESYSTEM, "4", "version: '4' is not a registry version; write 2.8, 3 or auto."),
        (FILESYSTEM, "2.7", "is not a registry version"),
        ("text", "3", "settings must be a mapping"),
    ],
)
def test_settings_that_cannot_be_rendered(settings: Any, version: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        FILTERS["registry_config"](settings, version)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.8", "2.8"),
        (2.8, "2.8"),
        ("2", "2.8"),
        ("2.8.3", "2.8"),
        ("3", "3"),
        (3, "3"),
        ("3.x", "3"),
        ("3.1.1", "3.1"),
        ("v3.0.0", "3.0"),
        ("3.0.0-rc.1", "3.0"),
        ("3.12", "3.1"),
        ("AUTO", "auto"),
    ],
)
def test_versions(text: object, version: str) -> None:
    assert core.normal_version(text) == version


# ------------------------------------------------------------------------------------------ finding problems


@pytest.mark.parametrize("version", ["2.8", "3", "auto"])
@pytest.mark.parametrize("settings", [FILESYSTEM, S3, S3_ENDPOINT], ids=["filesystem", "s3", "s3 endpoint"])
def test_default_rendering_has_no_problems(settings: dict[str, Any], version: str) -> None:
    assert problems({}, version, settings) == []


GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("2.8", "redis", {"redis": REDIS_2, "storage": {"cache": {"blobdescriptor": "redis"}}}),
    ("3", "redis", {"redis": REDIS_3, "storage": {"cache": {"blobdescriptor": "redis"}}}),
    ("3", "redis tls of 3.0", {"redis": {**REDIS_3, "tls": {"clientcas": ["/ca.pem"]}}}),
    ("3.0.0", "redis tls", {"redis": {**REDIS_3, "tls": {"clientcas": ["/ca.pem"]}}}),
    ("3.1.1", "redis tls", {"redis": {**REDIS_3, "tls": {"rootcas": ["/ca.pem"]}}}),
    ("3.1.1", "tags", {"tags": {"maxtags": 5}}),
    ("auto", "redis, old form", {"redis": REDIS_2}),
    ("auto", "redis, new form", {"redis": REDIS_3}),
    ("auto", "redis, both forms", {"redis": {**REDIS_2, **REDIS_3}}),
    ("3", "tag", {"storage": {"tag": {"concurrencylimit": 8}}}),
    ("auto", "tag", {"storage": {"tag": {"concurrencylimit": 8}}}),
    ("2.8", "schema1", {"compatibility": {"schema1": {"enabled": True}}}),
    ("2.8", "oss", {"storage": {"filesystem": None, "oss": {"bucket": "x"}}}),
    ("3", "debug", {"http": {"debug": {"addr": ":5001", "prometheus": {"enabled": True, "path": "/metrics"}}}}),
    ("2.8", "host", {"http": {"host": "https://registry.example.com", "relativeurls": True}}),
    ("2.8", "readonly", {"storage": {"maintenance": {"readonly": {"enabled": True}}}}),
    ("3", "purging off", {"storage": {"maintenance": {"uploadpurging": {"enabled": False}}}}),
    (
        "2.8",
        "purging",
        {
            "storage": {
                "maintenance": {"uploadpurging": {"enabled": True, "age": "168h", "interval": "24h", "dryrun": False}}
            }
        },
    ),
    (
        "2.8",
        "notifications",
        {
            "notifications": {
                "events": {"includereferences": True},
                "endpoints": [
                    {
                        "name": "hook",
                        "url": "https://hook.example.com",
                        "headers": {"Authorization": ["Bearer x"]},
                        "timeout": "500ms",
                        "threshold": 5,
                        "backoff": "1s",
                        "ignore": {"actions": ["pull"]},
                    }
                ],
            }
        },
    ),
    ("2.8", "proxy", {"proxy": {"remoteurl": "https://registry-1.docker.io", "username": "u", "password": "p"}}),
    ("3", "proxy", {"proxy": {"remoteurl": "https://registry-1.docker.io", "ttl": "168h"}}),
    ("2.8", "validation", {"validation": {"manifests": {"urls": {"allow": ["^https://"]}}}}),
    (
        "3",
        "indexes",
        {"validation": {"manifests": {"indexes": {"platforms": "List", "platformlist": [{"os": "linux"}]}}}},
    ),
    ("3", "policy", {"policy": {"repository": {"classes": ["image"]}}}),
    ("3", "health", {"health": {"http": [{"uri": "http://x", "statuscode": 200, "interval": "10s"}]}}),
    ("3", "formatter in capitals", {"log": {"formatter": "JSON"}}),
    ("3", "whole driver", {"storage": {"filesystem": None, "gcs": {"bucket": "x"}}}),
    ("2.8", "text number", {"storage": {"filesystem": {"maxthreads": "100"}}}),
    ("3", "rewrite", {"middleware": {"storage": [{"name": "rewrite", "options": {"host": "cdn.example.com"}}]}}),
    ("2.8", "middleware of an own build", {"middleware": {"repository": [{"name": "own", "options": {"a": 1}}]}}),
    ("3", "catalog", {"catalog": {"maxentries": 5000}}),
]


@pytest.mark.parametrize(("version", "overrides"), [(v, o) for v, _n, o in GOOD], ids=[f"{v} {n}" for v, n, _o in GOOD])
def test_good(version: str, overrides: dict[str, Any]) -> None:
    assert problems(overrides, version) == []


P = "registry_server_config."
UNKNOWN = "neither registry 2.8 nor 3.x knows this key, and it would be ignored in silence"
CLOUDFRONT = {"baseurl": "https://x", "privatekey": "/k", "keypairid": "k"}
SET_BY_A_VARIABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"log": {"level": "debug"}}, "log.level", "registry_server_log_level"),
    ({"loglevel": "debug"}, "loglevel", "registry_server_log_level"),
    ({"http": {"draintimeout": "5s"}}, "http.draintimeout", "registry_server_drain_timeout_seconds"),
    ({"storage": {"delete": {"enabled": False}}}, "storage.delete.enabled", "registry_server_delete_enabled"),
    # A null deletes what the variable says.
    ({"storage": {"delete": {"enabled": None}}}, "storage.delete.enabled", "registry_server_delete_enabled"),
    ({"storage": {"delete": None}}, "storage.delete.enabled", "registry_server_delete_enabled"),
    (
        {"storage": {"redirect": {"disable": False}}},
        "storage.redirect.disable",
        "registry_server_redirect_enabled",
    ),
    (
        {"storage": {"filesystem": {"rootdirectory": "/data"}}},
        "storage.filesystem.rootdirectory",
        "registry_server_filesystem_directory, where registry_server_storage_provider is filesystem",
    ),
    (
        {"storage": {"filesystem": None, "s3": {"bucket": "b"}}},
        "storage.s3.bucket",
        "registry_server_s3.bucket, where registry_server_storage_provider is s3",
    ),
]
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    # What breaks a config between 2.8 and 3.x.
    (
        "2.8",
        {"storage": {"tag": {"concurrencylimit": 8}}},
        [P + "storage.tag: registry 2.8 has no storage.tag and would not start; remove it or use a 3.x image."],
    ),
    (
        "3",
        {"redis": REDIS_2},
        [
            P + 'redis.addr: registry 3.x has no redis.addr and would ignore it; write addrs: ["host:port"].',
            P + "redis.pool: registry 3.x has no redis.pool and would ignore it; "
            "write maxidleconns, poolsize and connmaxidletime directly below redis.",
        ],
    ),
    (
        "2.8",
        {"redis": {"addrs": ["redis:6379"], "poolsize": 3}},
        [
            P + "redis.addrs: registry 2.8 has no redis.addrs and would ignore it; write addr: host:port.",
            P + "redis.poolsize: registry 2.8 has no redis.poolsize and would ignore it; write pool: {maxactive: ...}.",
        ],
    ),
    (
        "2.8",
        {"redis": {"addr": "r:1", "tls": {"certificate": "/c"}}},
        [
            P
            + "redis.tls: registry 2.8 has no redis.tls and would ignore it; reach Redis without TLS or use a 3.x image."
        ],
    ),
    (
        "3",
        {"storage": {"cache": {"blobdescriptor": "redis"}}},
        [P + "storage.cache.blobdescriptor: is redis, but redis.addrs is not set; registry 3.x would not start."],
    ),
    (
        "2.8",
        {"storage": {"cache": {"blobdescriptor": "redis"}}},
        [P + "storage.cache.blobdescriptor: is redis, but redis.addr is not set; registry 2.8 would not start."],
    ),
    (
        "3.1.1",
        {"redis": {**REDIS_3, "tls": {"clientcas": ["/ca.pem"]}}},
        [P + "redis.tls.clientcas: registry 3.1 has no redis.tls.clientcas and would ignore it; write rootcas."],
    ),
    (
        "3.0.0",
        {"redis": {**REDIS_3, "tls": {"rootcas": ["/ca.pem"]}}, "tags": {"maxtags": 5}},
        [
            P + "redis.tls.rootcas: registry 3.0 has no redis.tls.rootcas and would ignore it; write clientcas.",
            P + "tags: registry 3.0 has no tags and would ignore it; remove it or use a 3.1 image.",
        ],
    ),
    (
        "3",
        {"storage": {"filesystem": None, "oss": {"bucket": "b"}}},
        [
            P
            + "storage.oss: registry 3.x has no storage.oss and would not start; choose another storage driver or use a 2.8 image."
        ],
    ),
    (
        "3",
        {"storage": {"filesystem": None, "swift": {"container": "b"}}},
        [
            P
            + "storage.swift: registry 3.x has no storage.swift and would not start; choose another storage driver or use a 2.8 image."
        ],
    ),
    (
        "3",
        {"compatibility": {"schema1": {"enabled": True}}},
        [
            P + "compatibility: registry 3.x has no compatibility and would ignore it; "
            "remove it, 3.x cannot serve schema 1 images, or use a 2.8 image."
        ],
    ),
    (
        "3",
        {"reporting": {"bugsnag": {"apikey": "k"}}},
        [P + "reporting: registry 3.x has no reporting and would ignore it; remove it or use a 2.8 image."],
    ),
    (
        "2.8",
        {"http": {"h2c": {"enabled": True}}},
        [P + "http.h2c: registry 2.8 has no http.h2c and would ignore it; remove it or use a 3.x image."],
    ),
    (
        "2.8",
        {"proxy": {"remoteurl": "https://x", "ttl": "1h"}},
        [
            P
            + "proxy.ttl: registry 2.8 has no proxy.ttl and would ignore it; remove it, 2.8 always keeps content for 7 days."
        ],
    ),
    (
        "2.8",
        {"validation": {"manifests": {"indexes": {"platforms": "all"}}}},
        [
            P + "validation.manifests.indexes: registry 2.8 has no validation.manifests.indexes and would ignore it; "
            "remove it or use a 3.x image."
        ],
    ),
    (
        "2.8",
        {"middleware": {"storage": [{"name": "rewrite"}]}},
        [
            P
            + "middleware.storage[0].name: registry 2.8 has no middleware rewrite and would not start; remove it or use a 3.x image."
        ],
    ),
    (
        "2.8",
        {"middleware": {"storage": [{"name": "cloudfront", "options": {**CLOUDFRONT, "updatefrequency": "1h"}}]}},
        [
            P
            + "middleware.storage[0].options.updatefrequency: registry 2.8 has no middleware.storage.options.updatefrequency "
            "and would ignore it; write updatefrenquency, as 2.8 spells it."
        ],
    ),
    # Unknown keys.
    (
        "3",
        {"stroage": {}},
        [P + f"stroage: {UNKNOWN}; did you mean storage?"],
    ),
    (
        "3",
        {"zzz": {}},
        [P + f"zzz: {UNKNOWN}; remove it."],
    ),
    (
        "3",
        {"http": {"relativeUrls": True}},
        [P + f"http.relativeUrls: {UNKNOWN}; did you mean relativeurls?"],
    ),
    (
        "3",
        {"log": {"access_log": {"disabled": True}}},
        [P + f"log.access_log: {UNKNOWN}; did you mean accesslog?"],
    ),
    (
        "3",
        {"storage": {"filesytem": {}}},
        [
            P + "storage: has the storage drivers filesystem and filesytem, and exactly one is allowed; "
            "remove all but one (a null value removes the one that registry_server_storage_provider wrote).",
            P
            + "storage.filesytem: there is no such storage driver, and the registry would not start; did you mean filesystem?",
        ],
    ),
    (
        "3",
        {"storage": {"filesystem": None}},
        [
            P + "storage: has no storage driver; set registry_server_storage_provider, or write another one here.",
        ],
    ),
    ("3", {"storage": None}, [P + "storage: is missing."]),
    # Wrong types and values; Go reads a bare number as nanoseconds.
    (
        "3",
        {"health": {"storagedriver": {"interval": 10}}},
        [
            P + "health.storagedriver.interval: is a number, which the registry reads as nanoseconds or refuses; "
            "write text with a unit like 30s."
        ],
    ),
    (
        "3",
        {"health": {"storagedriver": {"interval": "10 s"}}},
        [P + "health.storagedriver.interval: is no duration; write a number with a unit like 30s, 5m or 1h30m."],
    ),
    (
        "3",
        {"storage": {"maintenance": {"readonly": {"enabled": "true"}}}},
        [P + "storage.maintenance.readonly.enabled: must be true or false, not text; write it without quotes."],
    ),
    (
        "3",
        {"catalog": {"maxentries": "100"}},
        [P + "catalog.maxentries: must be a whole number, not text; write it without quotes."],
    ),
    (
        "3",
        {"catalog": {"maxentries": True}},
        [P + "catalog.maxentries: must be a whole number, not true or false; write it without quotes."],
    ),
    ("3", {"catalog": {"maxentries": 0}}, [P + "catalog.maxentries: must be 1 or more."]),
    (
        "3",
        {"policy": {"repository": {"classes": "image"}}},
        [
            P
            + 'policy.repository.classes: must be a list of texts, not text; write it in brackets, as in ["one", "two"].'
        ],
    ),
    (
        "3",
        {"http": {"headers": {"X-A": "b"}}},
        [P + 'http.headers.X-A: must be a list of texts, not text; write it in brackets, as in ["one", "two"].'],
    ),
    (
        "3",
        {"http": {"headers": {"X-A": [True, {}]}}},
        [
            P + "http.headers.X-A[0]: must be text, not true or false; write it in quotes.",
            P + "http.headers.X-A[1]: must be text, not a mapping.",
        ],
    ),
    (
        "3",
        {"http": {"headers": ["X-A: b"]}},
        [
            P + "http.headers: must be a mapping of header names to lists, not a list; "
            'write it like {X-Robots-Tag: ["none"]}.'
        ],
    ),
    (
        "2.8",
        {"http": {"debug": "localhost:5001"}},
        [P + "http.debug: must be a mapping, not text; write below it one or more of addr, prometheus."],
    ),
    (
        "3",
        {"proxy": {"remoteurl": "https://x", "ttl": True}},
        [P + "proxy.ttl: must be a duration, not true or false; write one like 30s, 5m or 1h30m."],
    ),
    # A right key at the wrong level.
    ("3", {"redirect": {"disable": True}}, [P + f"redirect: {UNKNOWN}; its place is storage.redirect."]),
    (
        "3",
        {"readonly": {"enabled": True}},
        [P + f"readonly: {UNKNOWN}; its place is storage.maintenance.readonly or redis.readonly."],
    ),
    (
        "3",
        {"http": {"remoteurl": "https://x"}},
        [P + f"http.remoteurl: {UNKNOWN}; did you mean relativeurls, or proxy.remoteurl?"],
    ),
    ("3", {"enabled": True}, [P + f"enabled: {UNKNOWN}; remove it."]),
    (
        "3",
        {"redis": {"addrs": ["r:1"], "password": 12345}},
        [P + "redis.password: must be text, not a number; write it in quotes."],
    ),
    (
        "3",
        {"log": {"formatter": "jso"}},
        [P + "log.formatter: has a value that registry 3.x does not take; did you mean json?"],
    ),
    (
        "3",
        {"log": {"formatter": "loud"}},
        [P + "log.formatter: has a value that registry 3.x does not take; write one of text, json, logstash."],
    ),
    ("3", {"version": 0.2}, [P + 'version: the only version of the format is 0.1; write "0.1".']),
    (
        "3",
        {"storage": {"maintenance": {"uploadpurging": {"enabled": True, "age": "1h"}}}},
        [
            P + f"storage.maintenance.uploadpurging.{name}: is missing, and the registry would not start; "
            "write age, interval and dryrun, or enabled: false."
            for name in ("dryrun", "interval")
        ],
    ),
    (
        "3",
        {"storage": {"cache": {"blobdescriptor": "inmemory"}}},
        [
            P + "storage.cache.blobdescriptor: two registry processes with a cache in memory each would go on offering "
            "blobs that the other one deleted; remove it or use redis."
        ],
    ),
    (
        "3",
        {"notifications": {"endpoints": {"name": "x"}}},
        [
            P
            + "notifications.endpoints: must be a list of mappings, not a mapping; begin each entry with a dash, and write in it "
            "one or more of backoff, disabled, headers, ignore, ignoredmediatypes, name, threshold, timeout, url."
        ],
    ),
    (
        "3",
        {"notifications": {"endpoints": [{"name": "x", "uri": "http://x"}]}},
        [
            P + f"notifications.endpoints[0].uri: {UNKNOWN}; did you mean url, or health.http[].uri?",
            P + "notifications.endpoints[0].url: is missing.",
        ],
    ),
    ("3", {"proxy": {"ttl": "1h"}}, [P + "proxy.remoteurl: is missing."]),
    (
        "3",
        {"middleware": {"storage": [{"name": "cloudfrnt"}]}},
        [
            P
            + "middleware.storage[0].name: there is no such middleware, and the registry would not start; did you mean cloudfront?"
        ],
    ),
    (
        "3",
        {"middleware": {"storage": [{"name": "redirect"}]}},
        [P + "middleware.storage[0].options.baseurl: is missing."],
    ),
    # Keys of the roles.
    (
        "3",
        {"auth": {"htpasswd": {"realm": "r", "path": "/p"}}},
        [
            P
            + "auth: nginx authenticates every request and asks the registry without credentials, so registry authentication "
            "would refuse them all; remove it and set registry_auth_users."
        ],
    ),
    (
        "3",
        {"http": {"addr": ":5000", "net": "tcp"}},
        [
            P + "http.addr: each registry process listens on a unix socket that the role names; remove it.",
            P + "http.net: each registry process listens on a unix socket, which only nginx can reach; remove it.",
        ],
    ),
    (
        "3",
        {"http": {"net": "unix"}},
        [P + "http.net: each registry process listens on a unix socket, which only nginx can reach; remove it."],
    ),
    (
        "3",
        {"http": {"secret": "x"}},
        [P + "http.secret: the role generates one secret, keeps it and gives it to all processes; remove it."],
    ),
    (
        "3",
        {"http": {"tls": {"minimumtls": "tls1.0"}}},
        [
            P + "http.tls: TLS ends at nginx and the registry is asked over a unix socket; "
            "remove it and set the registry_tls_* variables."
        ],
    ),
    (
        "2.8",
        {"http": {"prefix": "/hub/"}},
        [P + "http.prefix: nginx forwards /v2/ as it is and would get 404 for every request; remove it."],
    ),
    *(
        (
            "3",
            overrides,
            [P + f"{path}: belongs to the role; remove it and set {setting}."],
        )
        for overrides, path, setting in SET_BY_A_VARIABLE
    ),
    (
        "3",
        {"storage": {"filesystem": None, "inmemory": {}}},
        [
            P
            + "storage.inmemory: each of two registry processes would keep images of its own and lose them with its container; "
            "remove it and set registry_server_storage_provider."
        ],
    ),
    # A version that is not known yet: wrong for both, or right for neither.
    (
        "auto",
        {"stroage": {}},
        [P + f"stroage: {UNKNOWN}; did you mean storage?"],
    ),
    (
        "auto",
        {"log": {"formatter": "loud"}},
        [P + "log.formatter: has a value that registry 3.x does not take; write one of text, json, logstash."],
    ),
    (
        "auto",
        {"storage": {"filesystem": None, "oss": {"bucket": "b"}, "tag": {"concurrencylimit": 1}}},
        [
            P
            + "storage.oss: registry 3.x has no storage.oss and would not start; choose another storage driver or use a 2.8 image.",
            P + "storage.tag: registry 2.8 has no storage.tag and would not start; remove it or use a 3.x image.",
        ],
    ),
]


@pytest.mark.parametrize(
    ("version", "overrides", "expected"), BAD, ids=[f"{v} {e[0].split(': ')[0][len(P) :]}" for v, _o, e in BAD]
)
def test_bad(version: str, overrides: dict[str, Any], expected: list[str]) -> None:
    assert problems(overrides, version) == expected


@pytest.mark.parametrize("version", ["2.8", "3", "auto"])
@pytest.mark.parametrize("overrides", [o for _v, o, _e in BAD])
def test_sentences_are_whole_for_every_version(overrides: dict[str, Any], version: str) -> None:
    for sentence in problems(overrides, version):
        path, text = sentence.split(": ", 1)
        assert path.startswith("registry_server_config")
        assert text.endswith((".", "?"))
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        (
            {"storage_class": "GLACIER_IR"},
            (
                "registry_server_s3.storage_class: has a value that registry 2.8 does not take; "
                "write one of none, standard, reduced_redundancy."
            ),
        ),
        ({"chunk_size_bytes": 100}, "registry_server_s3.chunk_size_bytes: must be 5242880 or more."),
        (
            {"fips_endpoint_enabled": True},
            (
                "registry_server_s3.fips_endpoint_enabled: registry 2.8 has no storage.s3.usefipsendpoint and would ignore it; "
                "remove it or use a 3.1 image."
            ),
        ),
    ],
)
def test_a_setting_of_the_role_is_named_as_the_user_wrote_it(storage: dict[str, Any], sentence: str) -> None:
    settings = {**S3, "storage": {**S3["storage"], **storage}}
    assert problems({}, "2.8", settings) == [sentence]
    assert problems({"storage": {"s3": {"v4auth": False}}}, "2.8", settings) == [sentence]


@pytest.mark.parametrize("driver", ["gcs", "azure", "oss"])
def test_a_built_image_lacks_drivers(driver: str) -> None:
    config = FILTERS["registry_config"](FILESYSTEM, "2.8", {"storage": {"filesystem": None, driver: {}}})
    found = FILTERS["registry_config_problems"](config, "2.8", {}, built=True)
    assert (
        P
        + f"storage.{driver}: the image that is built from Debian's package has no driver {driver}, and the registry would "
        "not start; set registry_server_image_provider to pull or archive, and name an image that has it."
    ) in found
    assert "Debian" not in " ".join(FILTERS["registry_config_problems"](config, "2.8", {}))


@pytest.mark.parametrize("settings", [FILESYSTEM, S3], ids=["filesystem", "s3"])
def test_a_built_image_has_the_drivers_of_the_role(settings: dict[str, Any]) -> None:
    config = FILTERS["registry_config"](settings, "2.8")
    assert FILTERS["registry_config_problems"](config, "2.8", {}, built=True) == []


@pytest.mark.parametrize(
    ("overrides", "paths"),
    [
        ({}, []),
        ({"log": {"fields": {}}, "health": {"file": []}, "storage": {"filesystem": {"maxthreads": 1}}}, []),
        ({"storage": {"filesystem": None, "inmemory": {}, "s3": None}}, []),
        *(
            ({"storage": {"filesystem": None, driver: {}}}, [f"storage.{driver}"])
            for driver in ("s3", "s3aws", "gcs", "azure", "oss", "swift")
        ),
        ({"log": {"hooks": [{}]}}, ["log.hooks"]),
        ({"health": {"http": [{}], "tcp": [{}]}}, ["health.http", "health.tcp"]),
        ({"proxy": {}, "redis": {}, "reporting": {}}, ["proxy", "redis", "reporting"]),
        ({"middleware": {}, "notifications": {}}, ["middleware", "notifications"]),
        ({"proxy": None, "storage": "x"}, []),
    ],
)
def test_what_needs_a_network(overrides: dict[str, Any], paths: list[str]) -> None:
    assert FILTERS["registry_config_connections"](overrides) == paths


@pytest.mark.parametrize(
    ("config", "version", "answered"),
    [
        ({}, "2.8", "application/json; charset=utf-8"),
        ({}, "2.8.2+ds1", "application/json; charset=utf-8"),
        ({}, "3", "application/json"),
        ({}, 3, "application/json"),
        ({}, "3.1.1", "application/json"),
        # Until the image is known.
        ({}, "auto", "application/json; charset=utf-8"),
        ({"http": {"headers": {}, "http2": {"disabled": True}}}, "3", "application/json"),
        ({"http": None}, "3", "application/json"),
        ({"http": {"headers": {"X-Own": ["yes"]}}}, "2.8", ""),
        ({"http": {"headers": {"X-Own": ["yes"]}}}, "3.1.1", ""),
        # What is no configuration is refused elsewhere.
        ({"http": "x"}, "3", "application/json"),
        ("x", "3", "application/json"),
    ],
)
def test_what_the_root_of_the_api_says(config: Any, version: object, answered: str) -> None:
    assert FILTERS["registry_root_type"](config, version) == answered


def test_no_value_gets_into_a_sentence() -> None:
    hidden = "hunter2hunter2"
    overrides = {
        "http": {"secret": hidden, "headers": hidden},
        "redis": {"addrs": hidden, "db": hidden, "dialtimeout": hidden},
        "proxy": {"remoteurl": [hidden], "ttl": hidden},
        "log": {"level": hidden, "hooks": [{"options": hidden}]},
        "storage": {"s3": {"bucket": "b", "secretkey": {"a": hidden}, "encrypt": hidden, "chunksize": hidden}},
    }
    found = problems(overrides, "3")
    assert len(found) > 8
    assert hidden not in " ".join(found)


def test_what_is_no_mapping() -> None:
    check = FILTERS["registry_config_problems"]
    assert check([], "3") == ["registry_server_config: must be a mapping, not a list."]
    assert check({}, "3", "x") == ["registry_server_config: must be a mapping, not text."]
    with pytest.raises(AnsibleFilterError, match="overrides must be a mapping"):
        FILTERS["registry_config"](FILESYSTEM, "3", ["x"])
    with pytest.raises(AnsibleFilterError, match="is not a registry version"):
        check({}, "9")


def test_the_variable_can_be_named() -> None:
    config = FILTERS["registry_config"](FILESYSTEM, "3", {"zzz": 1})
    (sentence,) = FILTERS["registry_config_problems"](config, "3", None, "my_config")
    assert sentence.startswith("my_config.zzz: ")


def test_a_config_without_a_secret_is_noticed() -> None:
    settings = {**FILESYSTEM, "http_secret": ""}
    (sentence,) = problems({}, "3", settings)
    assert sentence.startswith("registry_server_config.http.secret: ")


@pytest.mark.parametrize(
    ("region", "more", "endpoint"),
    [
        ("eu-central-1", {}, None),
        ("us-gov-west-1", {"usedualstack": True}, None),
        # What upstream's 2.8 does not know, and others do.
        ("eu-north-1", {}, "https://s3.eu-north-1.amazonaws.com"),
        # What none knows.
        ("mx-central-1", {}, "https://s3.mx-central-1.amazonaws.com"),
        ("ap-southeast-7", {"usedualstack": True}, "https://s3.dualstack.ap-southeast-7.amazonaws.com"),
        ("us-gov-east-1", {"usefipsendpoint": True}, "https://s3-fips.us-gov-east-1.amazonaws.com"),
        ("eusc-de-east-1", {}, "https://s3.eusc-de-east-1.amazonaws.eu"),
        ("eusc-de-east-1", {"regionendpoint": "https://s3.internal"}, "https://s3.internal"),
    ],
)
@pytest.mark.parametrize("version", ["2.8", "3"])
def test_a_region_that_a_registry_does_not_know_gets_its_endpoint(
    region: str, more: dict[str, Any], endpoint: str | None, version: str
) -> None:
    settings = {**S3, "storage": {**S3["storage"], "region": region}}
    s3 = FILTERS["registry_config"](settings, version, {"storage": {"s3": more}})["storage"]["s3"]
    assert s3.get("regionendpoint") == endpoint
    assert s3["region"] == region
    own = {"storage": {"filesystem": None, "s3aws": {"bucket": "images", "region": region, **more}}}
    assert FILTERS["registry_config"](FILESYSTEM, version, own)["storage"]["s3aws"].get("regionendpoint") == endpoint
