# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry's config.yml: made from settings, and searched for problems.

The registry ignores keys that it does not know, so a typo or a key of the other major version is lost in
silence. The tables below list what each version reads. They follow these files of distribution/distribution:

* 2.8 (tag v2.8.2): configuration/configuration.go, registry/handlers/app.go, registry/registry.go,
  registry/storage/driver/{s3-aws/s3,filesystem/driver,gcs/gcs,azure/azure,oss/oss,swift/swift}.go,
  registry/storage/driver/middleware/{cloudfront,redirect}/middleware.go
* 3.x (tags v3.0.0 and v3.1.1, and the development branch): the same files plus registry/storage/driver/azure/parser.go,
  registry/storage/driver/middleware/rewrite/middleware.go and docs/content/about/configuration.md.
  While only the line is known, a key that any 3.x release reads counts as known.

Sentences never quote a value that could be a secret: they name the kind of the value, not the value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import SUFFIXES, is_region, partition_of

Config = dict[str, Any]

BOTH = ("2.8", "3")
V2 = ("2.8",)
V3 = ("3",)
V3_0 = ("3.0",)
V3_1 = ("3.1",)
_RELEASE = {"2.8": "2.8", "3": "3.x", "3.0": "3.0", "3.1": "3.1"}
_LABEL = {version: f"registry {release}" for version, release in _RELEASE.items()}

LOG_LEVELS = ("error", "warn", "info", "debug")
# Go's time.ParseDuration, without negative values: none of the registry's durations may be negative.
_DURATION = re.compile(r"^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$")


class SettingsError(ValueError):
    """A setting that cannot be rendered; the message is one sentence for the user."""


# ---------------------------------------------------------------------------------------------------------
# What the two versions know
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """One key of config.yml."""

    # text, bool, int, int_text, duration, texts, headers, free, map (uses keys), maps (a list of maps)
    kind: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    versions: tuple[str, ...] = BOTH
    # What to do on the version that does not have the key; empty: remove it or change the image.
    instead: str = ""
    # What the version without the key does with it.
    effect: str = "would ignore it"
    # Allowed texts, compared in lower case; by version where they differ.
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    minimum: int | None = None

    def known_to(self, version: str) -> bool:
        """Tell whether a version reads the key. A line reads what any of its releases does."""
        return any(f"{version}.".startswith(f"{one}.") or one.startswith(f"{version}.") for one in self.versions)

    def choices_of(self, version: str) -> tuple[str, ...]:
        """Return the texts that a version takes, empty where it takes any."""
        return self.choices.get(_line(version), ())


def _line(version: str) -> str:
    return "2.8" if version == "2.8" else "3"


def _choices(*values: str) -> Mapping[str, tuple[str, ...]]:
    return {"2.8": values, "3": values}


def _map(keys: Mapping[str, Key], **more: Any) -> Key:
    return Key("map", keys, **more)


def _maps(keys: Mapping[str, Key], **more: Any) -> Key:
    return Key("maps", keys, **more)


TEXT = Key("text")
BOOL = Key("bool")
INT = Key("int", minimum=0)
INT_TEXT = Key("int_text", minimum=0)
DURATION = Key("duration")
TEXTS = Key("texts")
HEADERS = Key("headers")
FREE = Key("free")
POSITIVE = Key("int", minimum=1)
TEXT_3 = Key("text", versions=V3)
BOOL_3 = Key("bool", versions=V3)
INT_3 = Key("int", versions=V3, minimum=0)
DURATION_3 = Key("duration", versions=V3)
NO_START = "would not start"

_S3 = _map(
    {
        "accesskey": TEXT,
        "secretkey": TEXT,
        "region": TEXT,
        "regionendpoint": TEXT,
        "bucket": TEXT,
        "encrypt": BOOL,
        "keyid": TEXT,
        "secure": BOOL,
        "skipverify": BOOL,
        "v4auth": BOOL,
        "chunksize": Key("int_text", minimum=5 * 1024 * 1024),
        "multipartcopychunksize": Key("int_text", minimum=5 * 1024 * 1024),
        "multipartcopymaxconcurrency": Key("int_text", minimum=1),
        "multipartcopythresholdsize": INT_TEXT,
        "rootdirectory": TEXT,
        "storageclass": Key(
            "text",
            choices={
                "2.8": ("none", "standard", "reduced_redundancy"),
                "3": (
                    "none",
                    "standard",
                    "reduced_redundancy",
                    "standard_ia",
                    "onezone_ia",
                    "intelligent_tiering",
                    "outposts",
                    "glacier_ir",
                    "express_onezone",
                ),
            },
        ),
        "useragent": TEXT,
        "objectacl": Key(
            "text",
            choices=_choices(
                "private",
                "public-read",
                "public-read-write",
                "authenticated-read",
                "aws-exec-read",
                "bucket-owner-read",
                "bucket-owner-full-control",
            ),
        ),
        "forcepathstyle": Key("bool", versions=V3, instead="remove it, path style follows from regionendpoint there"),
        "accelerate": BOOL_3,
        "usedualstack": BOOL_3,
        "usefipsendpoint": Key("bool", versions=V3_1),
        "loglevel": Key(
            "text",
            versions=V3,
            choices={
                "3": (
                    "off",
                    "debug",
                    "debugwithsigning",
                    "debugwithhttpbody",
                    "debugwithrequestretries",
                    "debugwithrequesterrors",
                    "debugwitheventstreambody",
                )
            },
        ),
    },
    required=("bucket",),
)

_DRIVERS: Mapping[str, Key] = {
    "filesystem": _map({"rootdirectory": TEXT, "maxthreads": INT_TEXT}, required=("rootdirectory",)),
    "inmemory": _map({}),
    "s3": _S3,
    "s3aws": _S3,
    "gcs": _map(
        {
            "bucket": TEXT,
            "keyfile": TEXT,
            "credentials": FREE,
            "rootdirectory": TEXT,
            "chunksize": INT_TEXT,
            "maxconcurrency": INT_TEXT,
        },
        required=("bucket",),
    ),
    "azure": _map(
        {
            "accountname": TEXT,
            "accountkey": TEXT,
            "container": TEXT,
            "realm": TEXT,
            "rootdirectory": TEXT_3,
            "serviceurl": TEXT_3,
            "connectionstring": TEXT_3,
            "credentials": _map({"type": TEXT, "clientid": TEXT, "tenantid": TEXT, "secret": TEXT}, versions=V3),
            "copy_status_poll_max_retry": INT_3,
            "copy_status_poll_delay": DURATION_3,
            "max_retries": INT_3,
            "retry_delay": DURATION_3,
            "skipverify": BOOL_3,
        },
        required=("accountname", "container"),
    ),
    "oss": Key("free", versions=V2, effect=NO_START, instead="choose another storage driver or use a 2.8 image"),
    "swift": Key("free", versions=V2, effect=NO_START, instead="choose another storage driver or use a 2.8 image"),
}

# What Debian builds into its package docker-registry.
_DEBIAN_DRIVERS = ("filesystem", "inmemory", "s3", "s3aws", "swift")
_LOCAL_DRIVERS = ("filesystem", "inmemory")
# Apart from the storage, what connects to other hosts. A middleware may, and nobody knows of those in an own build.
_CONNECTS = ("health.http", "health.tcp", "log.hooks", "middleware", "notifications", "proxy", "redis", "reporting")

_CACHE_TYPES = _choices("redis", "inmemory")

STORAGE_SWITCHES: Mapping[str, Key] = {
    "cache": _map(
        {
            "blobdescriptor": Key("text", choices=_CACHE_TYPES),
            "layerinfo": Key("text", choices=_CACHE_TYPES),
            "blobdescriptorsize": INT_3,
        }
    ),
    "delete": _map({"enabled": BOOL}),
    "redirect": _map({"disable": BOOL}, required=("disable",)),
    "maintenance": _map(
        {
            "uploadpurging": _map({"enabled": BOOL, "age": DURATION, "interval": DURATION, "dryrun": BOOL}),
            "readonly": _map({"enabled": BOOL}),
        }
    ),
    "tag": _map({"concurrencylimit": INT}, versions=V3, effect=NO_START),
}

_CLOUDFRONT = _map(
    {
        "baseurl": TEXT,
        "privatekey": TEXT,
        "keypairid": TEXT,
        "duration": DURATION,
        # 2.8 knows only this misspelling; 3.x takes both.
        "updatefrenquency": DURATION,
        "updatefrequency": Key("duration", versions=V3, instead="write updatefrenquency, as 2.8 spells it"),
        "iprangesurl": TEXT,
        "ipfilteredby": Key("text", choices=_choices("none", "aws", "awsregion")),
        "awsregion": TEXT,
    },
    required=("baseurl", "privatekey", "keypairid"),
)

_STORAGE_MIDDLEWARE: Mapping[str, Key] = {
    "cloudfront": _CLOUDFRONT,
    "redirect": _map({"baseurl": TEXT}, required=("baseurl",)),
    "rewrite": _map({"scheme": TEXT, "host": TEXT, "trimpathprefix": TEXT}, versions=V3, effect=NO_START),
}

_MIDDLEWARE = _maps({"name": TEXT, "disabled": BOOL, "options": FREE}, required=("name",))

_REDIS = _map(
    {
        "addr": Key("text", versions=V2, instead='write addrs: ["host:port"]'),
        "pool": _map(
            {"maxidle": INT, "maxactive": INT, "idletimeout": DURATION},
            versions=V2,
            instead="write maxidleconns, poolsize and connmaxidletime directly below redis",
        ),
        "password": TEXT,
        "db": INT,
        "dialtimeout": DURATION,
        "readtimeout": DURATION,
        "writetimeout": DURATION,
        "addrs": Key("texts", versions=V3, instead="write addr: host:port"),
        "maxidleconns": Key("int", versions=V3, instead="write pool: {maxidle: ...}"),
        "poolsize": Key("int", versions=V3, instead="write pool: {maxactive: ...}"),
        "connmaxidletime": Key("duration", versions=V3, instead="write pool: {idletimeout: ...}"),
        "tls": _map(
            {
                "certificate": TEXT,
                "key": TEXT,
                "clientcas": Key("texts", versions=V3_0, instead="write rootcas"),
                "rootcas": Key("texts", versions=V3_1, instead="write clientcas"),
            },
            versions=V3,
            instead="reach Redis without TLS or use a 3.x image",
        ),
        # The rest of go-redis' UniversalOptions, which 3.x takes by field name.
        "username": TEXT_3,
        "clientname": TEXT_3,
        "protocol": INT_3,
        "sentinelusername": TEXT_3,
        "sentinelpassword": TEXT_3,
        "mastername": TEXT_3,
        "maxretries": Key("int", versions=V3),
        "minretrybackoff": DURATION_3,
        "maxretrybackoff": DURATION_3,
        "contexttimeoutenabled": BOOL_3,
        "poolfifo": BOOL_3,
        "pooltimeout": DURATION_3,
        "minidleconns": INT_3,
        "maxactiveconns": INT_3,
        "connmaxlifetime": DURATION_3,
        "maxredirects": INT_3,
        "readonly": BOOL_3,
        "routebylatency": BOOL_3,
        "routerandomly": BOOL_3,
        "disableidentity": BOOL_3,
        "identitysuffix": TEXT_3,
        "unstableresp3": BOOL_3,
    }
)

_HTTP = _map(
    {
        "addr": TEXT,
        "net": TEXT,
        "host": TEXT,
        "prefix": TEXT,
        "secret": TEXT,
        "relativeurls": BOOL,
        "draintimeout": DURATION,
        "tls": FREE,
        "headers": HEADERS,
        "debug": _map({"addr": TEXT, "prometheus": _map({"enabled": BOOL, "path": TEXT})}),
        "http2": _map({"disabled": BOOL}),
        "h2c": _map({"enabled": BOOL}, versions=V3),
    }
)

_LOG = _map(
    {
        "level": Key("text", choices=_choices(*LOG_LEVELS)),
        "formatter": Key("text", choices=_choices("text", "json", "logstash")),
        "fields": FREE,
        "accesslog": _map({"disabled": BOOL}),
        "hooks": _maps(
            {
                "type": Key("text", choices=_choices("mail")),
                "disabled": BOOL,
                "levels": TEXTS,
                "options": _map(
                    {
                        "smtp": _map({"addr": TEXT, "username": TEXT, "password": TEXT, "insecure": BOOL}),
                        "from": TEXT,
                        "to": TEXTS,
                    }
                ),
            }
        ),
        "reportcaller": BOOL_3,
    }
)

_HEALTH = _map(
    {
        "storagedriver": _map({"enabled": BOOL, "interval": DURATION, "threshold": INT}),
        "file": _maps({"file": TEXT, "interval": DURATION, "threshold": INT}, required=("file",)),
        "http": _maps(
            {
                "uri": TEXT,
                "headers": HEADERS,
                "statuscode": INT,
                "timeout": DURATION,
                "interval": DURATION,
                "threshold": INT,
            },
            required=("uri",),
        ),
        "tcp": _maps({"addr": TEXT, "timeout": DURATION, "interval": DURATION, "threshold": INT}, required=("addr",)),
    }
)

_NOTIFICATIONS = _map(
    {
        "events": _map({"includereferences": BOOL}),
        "endpoints": _maps(
            {
                "name": TEXT,
                "disabled": BOOL,
                "url": TEXT,
                "headers": HEADERS,
                "timeout": DURATION,
                "threshold": INT,
                "backoff": DURATION,
                "ignoredmediatypes": TEXTS,
                "ignore": _map({"mediatypes": TEXTS, "actions": TEXTS}),
            },
            required=("name", "url"),
        ),
    }
)

ROOT = _map(
    {
        "version": FREE,
        "log": _LOG,
        "loglevel": Key("text", choices=_choices(*LOG_LEVELS)),
        "storage": _map({**_DRIVERS, **STORAGE_SWITCHES}),
        "auth": FREE,
        "middleware": _map({"registry": _MIDDLEWARE, "repository": _MIDDLEWARE, "storage": _MIDDLEWARE}),
        "reporting": _map(
            {
                "bugsnag": _map({"apikey": TEXT, "releasestage": TEXT, "endpoint": TEXT}),
                "newrelic": _map({"licensekey": TEXT, "name": TEXT, "verbose": BOOL}),
            },
            versions=V2,
        ),
        "http": _HTTP,
        "notifications": _NOTIFICATIONS,
        "redis": _REDIS,
        "health": _HEALTH,
        "catalog": _map({"maxentries": POSITIVE}),
        "tags": _map({"maxtags": POSITIVE}, versions=V3_1),
        "proxy": _map(
            {
                "remoteurl": TEXT,
                "username": TEXT,
                "password": TEXT,
                "ttl": Key("duration", versions=V3, instead="remove it, 2.8 always keeps content for 7 days"),
                "exec": _map({"command": TEXT, "lifetime": DURATION}, versions=V3, required=("command",)),
                "cachewritetimeout": Key("duration", versions=V3_1),
                "remotenamespace": TEXT_3,
            },
            required=("remoteurl",),
        ),
        "compatibility": _map(
            {"schema1": _map({"signingkeyfile": TEXT, "enabled": BOOL})},
            versions=V2,
            instead="remove it, 3.x cannot serve schema 1 images, or use a 2.8 image",
        ),
        "validation": _map(
            {
                "enabled": BOOL,
                "disabled": BOOL,
                "manifests": _map(
                    {
                        "urls": _map({"allow": TEXTS, "deny": TEXTS}),
                        "indexes": _map(
                            {
                                "platforms": Key("text", choices=_choices("all", "none", "list")),
                                "platformlist": _maps({"architecture": TEXT, "os": TEXT}),
                            },
                            versions=V3,
                        ),
                    }
                ),
            }
        ),
        "policy": _map({"repository": _map({"classes": TEXTS})}),
    },
    required=("storage",),
)

# Keys that belong to the roles and that nobody sets: path, reason and what to do.
_OWNED: tuple[tuple[str, str], ...] = (
    (
        "auth",
        (
            "nginx authenticates every request and asks the registry without credentials, so registry authentication "
            "would refuse them all; remove it and set registry_auth_users"
        ),
    ),
    ("http.addr", "each registry process listens on a unix socket that the role names; remove it"),
    ("http.net", "each registry process listens on a unix socket, which only nginx can reach; remove it"),
    ("http.secret", "the role generates one secret, keeps it and gives it to all processes; remove it"),
    (
        "http.tls",
        "TLS ends at nginx and the registry is asked over a unix socket; remove it and set the registry_tls_* variables",
    ),
    ("http.prefix", "nginx forwards /v2/ as it is and would get 404 for every request; remove it"),
    (
        "storage.inmemory",
        (
            "each of two registry processes would keep images of its own and lose them with its container; "
            "remove it and set registry_server_storage_provider"
        ),
    ),
)

# Keys that a variable of the role sets. Beside it, the role would go on with what the variable says.
_S3_VARIABLE = "registry_server_s3"
_SET_BY: Mapping[str, str] = {
    "storage.filesystem.rootdirectory": "registry_server_filesystem_directory",
    "storage.delete.enabled": "registry_server_delete_enabled",
    "storage.redirect.disable": "registry_server_redirect_enabled",
    "http.draintimeout": "registry_server_drain_timeout_seconds",
    "log.level": "registry_server_log_level",
    "loglevel": "registry_server_log_level",
}


# ---------------------------------------------------------------------------------------------------------
# Making the config
# ---------------------------------------------------------------------------------------------------------


def normal_version(version: object) -> str:
    """Return 2.8, 3.0, 3.1, 3 or auto for what a user or an image says (2, 2.8.3, 3.x, 3.1.1, v3, auto).

    3 is a release of that line that is not known. Releases after 3.1 count as 3.1 until one differs.
    """
    text = str(version).strip().lower()
    text = text.removeprefix("v")
    if text == "auto":
        return "auto"
    if re.match(r"^2(\.8([.-].*)?)?$", text):
        return "2.8"
    release = re.match(r"^3(\.(?P<minor>[0-9]+))?([.-].*)?$", text)
    if release:
        minor = release["minor"]
        return "3" if minor is None else "3.0" if int(minor) == 0 else "3.1"
    raise SettingsError(f"version: {text!r} is not a registry version; write 2.8, 3 or auto.")


def plain(value: Any) -> Any:
    """Copy a value into built-in types, so that the result dumps as plain YAML and the input stays as it is."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # Strings, and what only behaves like one (a vault-encrypted value).
    return str(value)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Merge over into base: mappings recursively, lists replaced, null deletes the key. Keys come out sorted."""
    result: Config = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return {key: merge(value, {}) if isinstance(value, Mapping) else value for key, value in sorted(result.items())}


_SETTINGS = (
    "storage",
    "redirect_enabled",
    "delete_enabled",
    "log_level",
    "log_formatter",
    "access_log_enabled",
    "http_secret",
    "socket",
    "drain_timeout_seconds",
    "health",
    "redis",
)
_HEALTH_SETTINGS = ("enabled", "interval_seconds", "threshold")
_REDIS_SETTINGS = {"password": "password", "database": "db"}
_REDIS_ADDRESS = re.compile(r"([^\s/:]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
_FILESYSTEM_SETTINGS = {"directory": "rootdirectory", "max_threads": "maxthreads"}
_S3_SETTINGS = {
    "bucket": "bucket",
    "region": "region",
    "root_directory": "rootdirectory",
    "endpoint": "regionendpoint",
    "access_key": "accesskey",
    "secret_key": "secretkey",
    "encrypt": "encrypt",
    "kms_key_id": "keyid",
    "storage_class": "storageclass",
    "object_acl": "objectacl",
    "chunk_size_bytes": "chunksize",
    "multipart_copy_chunk_size_bytes": "multipartcopychunksize",
    "multipart_copy_max_concurrency": "multipartcopymaxconcurrency",
    "multipart_copy_threshold_bytes": "multipartcopythresholdsize",
    "secure": "secure",
    "skip_verify": "skipverify",
    "path_style_enabled": "forcepathstyle",
    "accelerate_enabled": "accelerate",
    "dual_stack_enabled": "usedualstack",
    "fips_endpoint_enabled": "usefipsendpoint",
}
# The regions that every registry knows, as upstream's 2.8 has the oldest list (vendor/github.com/aws/aws-sdk-go/aws/endpoints/defaults.go):
# Debian's 2.8.2 and 2.8.3 and upstream's 3.x know more, and none knows those of 2024 and later.
_KNOWN_REGIONS = frozenset(
    [
        *(
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-south-1",
            "ap-southeast-1",
            "ap-southeast-2",
            "ca-central-1",
            "eu-central-1",
        ),
        *("eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"),
        *("cn-north-1", "cn-northwest-1", "us-gov-west-1"),
    ]
)
_SET_BY_S3 = {
    f"storage.{driver}.{key}": f"{_S3_VARIABLE}.{setting}"
    for driver in ("s3", "s3aws")
    for setting, key in _S3_SETTINGS.items()
}


def _closest(name: str, known: Iterable[str]) -> str:
    candidates = sorted(known)
    squeezed = name.lower().replace("_", "").replace("-", "")
    if squeezed in candidates:
        return squeezed
    found = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
    return found[0] if found else ""


def _refuse_unknown(settings: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    names = tuple(known)
    for name in settings:
        if name not in names:
            guess = _closest(name, names)
            hint = f"did you mean {guess}?" if guess else "write one of " + ", ".join(names) + "."
            raise SettingsError(f"{path}.{name}: there is no such setting; {hint}")


def _given(settings: Mapping[str, Any]) -> Config:
    """Drop what is null or empty text: a role's way to say that an option is not used."""
    return {key: value for key, value in settings.items() if value is not None and value != ""}


def _storage(settings: Mapping[str, Any], version: str) -> tuple[str, Config]:
    storage = _given(settings)
    provider = str(storage.pop("provider", ""))
    if provider == "filesystem":
        _refuse_unknown(storage, _FILESYSTEM_SETTINGS, "storage")
        if "directory" not in storage:
            raise SettingsError("storage.directory: is missing; write the directory for the registry's files.")
        return "filesystem", {_FILESYSTEM_SETTINGS[key]: value for key, value in storage.items()}
    if provider != "s3":
        raise SettingsError("storage.provider: is not a storage provider; write filesystem or s3.")
    _refuse_unknown(storage, _S3_SETTINGS, "storage")
    for needed in ("bucket", "region"):
        # 2.8 wants a region even where an endpoint makes it meaningless.
        if needed not in storage and not (needed == "region" and "endpoint" in storage):
            raise SettingsError(f"storage.{needed}: is missing; S3 storage needs it.")
    if ("access_key" in storage) != ("secret_key" in storage):
        raise SettingsError(
            "storage.access_key: access_key and secret_key go together; "
            "write both, or neither to use the host's or the task's role."
        )
    if "endpoint" in storage:
        storage.setdefault("region", "us-east-1")
        # 2.8 derives path style from the endpoint; 3.x wants to be told, and 2.8 ignores the key.
        path_style = storage.pop("path_style_enabled", True)
        if version == "2.8":
            if path_style is False:
                raise SettingsError(
                    "storage.path_style_enabled: registry 2.8 always uses path style with an endpoint; "
                    "remove it or use a 3.x image."
                )
        else:
            storage["path_style_enabled"] = path_style
    return "s3", {_S3_SETTINGS[key]: value for key, value in storage.items()}


def build_config(settings: Mapping[str, Any], version: object, overrides: Mapping[str, Any] | None = None) -> Config:
    """Make the content of config.yml for version 2.8, 3 or auto (a form that both versions take).

    There is no blob descriptor cache by default: each of two registry processes would keep its own in memory
    and go on offering blobs that the other one deleted.
    """
    wanted = normal_version(version)
    data = plain(settings)
    _refuse_unknown(data, _SETTINGS, "settings")
    storage_settings = data.get("storage")
    if not isinstance(storage_settings, Mapping):
        raise SettingsError("storage: is missing; write provider: filesystem or provider: s3 with their settings.")
    if not data.get("socket"):
        raise SettingsError("socket: is missing; write the path of the unix socket on which the registry listens.")
    driver, parameters = _storage(storage_settings, wanted)
    health = _given(data.get("health") or {})
    _refuse_unknown(health, _HEALTH_SETTINGS, "health")
    # What is broken is told within 30 seconds. Every check is a LIST request where storage is S3, which costs money, and is repeated
    # by the registry itself before it fails.
    interval, threshold = (10, 3) if driver == "filesystem" else (15, 2)
    http: Config = {"net": "unix", "addr": data["socket"]}
    if data.get("http_secret"):
        http["secret"] = data["http_secret"]
    http["draintimeout"] = f"{data.get('drain_timeout_seconds', 30)}s"
    config: Config = {
        "version": "0.1",
        "log": {
            "level": data.get("log_level", "info"),
            "formatter": data.get("log_formatter", "text"),
            # nginx writes the access log, with user and timing.
            "accesslog": {"disabled": not data.get("access_log_enabled", False)},
        },
        "storage": {
            driver: parameters,
            "delete": {"enabled": data.get("delete_enabled", True)},
            "redirect": {"disable": not data.get("redirect_enabled", False)},
        },
        "http": http,
        "health": {
            "storagedriver": {
                "enabled": health.get("enabled", True),
                "interval": f"{health.get('interval_seconds', interval)}s",
                "threshold": health.get("threshold", threshold),
            }
        },
    }
    if data.get("redis"):
        config["storage"]["cache"] = {"blobdescriptor": "redis"}
        config["redis"] = _redis(data["redis"], wanted)
    merged = merge(config, plain(overrides or {}))
    storage = merged.get("storage")
    for driver in ("s3", "s3aws"):
        if isinstance(storage, dict) and isinstance(storage.get(driver), dict):
            _reach_region(storage[driver])
    return merged


def _reach_region(parameters: Config) -> None:
    """Say where S3 is in a region that some registry does not know: it panics, unless it is told an endpoint."""
    region = str(parameters.get("region") or "")
    if region in _KNOWN_REGIONS or parameters.get("regionendpoint") or not region:
        return
    if not is_region(region):
        raise SettingsError(
            f"storage.region: {region} is no AWS region; write one such as eu-central-1, or an endpoint for a storage that is not AWS's."
        )
    service = "s3-fips" if parameters.get("usefipsendpoint") else "s3"
    stack = "dualstack." if parameters.get("usedualstack") else ""
    parameters["regionendpoint"] = f"https://{service}.{stack}{region}.{SUFFIXES[partition_of(region)]}"


def _redis(settings: Mapping[str, Any], version: str) -> Config:
    """Write the connection to Redis as a version reads it."""
    given = _given(settings)
    _refuse_unknown(given, ("address", *_REDIS_SETTINGS), "redis")
    address = str(given.get("address", ""))
    if not _REDIS_ADDRESS.fullmatch(address):
        raise SettingsError("redis.address: is no address; write host:port, such as cache.example.com:6379.")
    redis: Config = {name: given[setting] for setting, name in _REDIS_SETTINGS.items() if setting in given}
    # A Redis that hangs must not hold up what the storage could answer, and a request for a layer asks 14 times.
    redis |= {"dialtimeout": "100ms", "readtimeout": "250ms", "writetimeout": "250ms"}
    if version == "2.8":
        return {**redis, "addr": address, "pool": {"maxidle": 16, "maxactive": 64, "idletimeout": "300s"}}
    # For 3.x, 0 would be three tries more.
    redis["maxretries"] = -1
    return {**redis, "addrs": [address], "maxidleconns": 16, "poolsize": 64, "connmaxidletime": "300s"}


# ---------------------------------------------------------------------------------------------------------
# Finding problems
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What is wrong at one path; the sentence is without the path."""

    path: str
    text: str
    fatal: bool = False


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "text"


_QUOTES = "write it in quotes"


def _wrong(path: str, value: Any, wanted: str, hint: str) -> Problem:
    # Quotes make text of a number or a switch, and of nothing else.
    fits = hint != _QUOTES or isinstance(value, (bool, int, float))
    return Problem(path, f"must be {wanted}, not {_kind_of(value)}" + (f"; {hint}" if fits else ""), fatal=True)


def _keys_hint(keys: Mapping[str, Key], version: str) -> str:
    return ", ".join(sorted(name for name, key in keys.items() if key.known_to(version)))


def _mapping_hint(keys: Mapping[str, Key], version: str) -> str:
    return f"write below it one or more of {_keys_hint(keys, version)}"


def _list_hint(keys: Mapping[str, Key], version: str) -> str:
    return f"begin each entry with a dash, and write in it one or more of {_keys_hint(keys, version)}"


def _check_scalar(value: Any, key: Key, path: str, version: str) -> Iterator[Problem]:
    number = isinstance(value, int) and not isinstance(value, bool)
    if key.kind == "bool":
        if not isinstance(value, bool):
            yield _wrong(path, value, "true or false", "write it without quotes")
    elif key.kind in ("int", "int_text"):
        if key.kind == "int_text" and isinstance(value, str) and value.isdigit():
            value, number = int(value), True
        if not number:
            yield _wrong(path, value, "a whole number", "write it without quotes")
        elif key.minimum is not None and value < key.minimum:
            yield Problem(path, f"must be {key.minimum} or more", fatal=True)
    elif key.kind == "duration":
        if number:
            yield Problem(
                path,
                "is a number, which the registry reads as nanoseconds or refuses; write text with a unit like 30s",
                fatal=True,
            )
        elif not isinstance(value, str):
            yield _wrong(path, value, "a duration", "write one like 30s, 5m or 1h30m")
        elif not _DURATION.match(value):
            yield Problem(path, "is no duration; write a number with a unit like 30s, 5m or 1h30m", fatal=True)
    elif key.kind == "text":
        if not isinstance(value, str):
            yield _wrong(path, value, "text", _QUOTES)
        elif key.choices_of(version) and value.lower() not in key.choices_of(version):
            allowed = key.choices_of(version)
            guess = _closest(value, allowed)
            hint = f"did you mean {guess}?" if guess else "write one of " + ", ".join(allowed)
            yield Problem(path, f"has a value that {_LABEL[version]} does not take; {hint}", fatal=True)


def _check_texts(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield _wrong(path, value, "a list of texts", 'write it in brackets, as in ["one", "two"]')
        return
    for index, item in enumerate(value):
        if not isinstance(item, str):
            yield _wrong(f"{path}[{index}]", item, "text", _QUOTES)


def _check_map(value: Any, key: Key, path: str, version: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield _wrong(path, value, "a mapping", _mapping_hint(key.keys, version))
        return
    for name in key.required:
        if value.get(name) in (None, ""):
            yield Problem(_join(path, name), "is missing", fatal=True)
    for name, item in value.items():
        below = _join(path, name)
        known = key.keys.get(name)
        if known is None:
            yield _unknown(below, name, key.keys, version)
        elif not known.known_to(version):
            yield _other_version(below, known, version)
        elif item is not None:
            yield from _check(item, known, below, version)


def _check(value: Any, key: Key, path: str, version: str) -> Iterator[Problem]:
    if key.kind == "map":
        yield from _check_map(value, key, path, version)
    elif key.kind == "maps":
        if not isinstance(value, list):
            yield _wrong(path, value, "a list of mappings", _list_hint(key.keys, version))
            return
        for index, item in enumerate(value):
            yield from _check_map(item, key, f"{path}[{index}]", version)
    elif key.kind == "texts":
        yield from _check_texts(value, path)
    elif key.kind == "headers":
        if not isinstance(value, Mapping):
            yield _wrong(path, value, "a mapping of header names to lists", 'write it like {X-Robots-Tag: ["none"]}')
            return
        for name, item in value.items():
            yield from _check_texts(item, _join(path, name))
    else:
        yield from _check_scalar(value, key, path, version)


def _places(name: str, version: str, key: Key = ROOT, path: str = "") -> Iterator[str]:
    """Find where a key of this name belongs."""
    for below, spec in key.keys.items():
        if not spec.known_to(version):
            continue
        place = _join(path, below) + ("[]" if spec.kind == "maps" else "")
        if below == name:
            yield place.removesuffix("[]")
        yield from _places(name, version, spec, place)


def _unknown(path: str, name: str, known: Mapping[str, Key], version: str) -> Problem:
    # Many keys are called `enabled`: a long list of places is no hint.
    places = list(_places(name, version))
    guess = _closest(name, (key for key, spec in known.items() if spec.known_to(version)))
    elsewhere = " or ".join(places) if len(places) <= 3 else ""
    if guess and elsewhere and path != name:
        hint = f"did you mean {guess}, or {elsewhere}?"
    elif elsewhere:
        hint = f"its place is {elsewhere}"
    else:
        hint = f"did you mean {guess}?" if guess else "remove it"
    if path == f"storage.{name}":
        return Problem(path, f"there is no such storage driver, and the registry would not start; {hint}", fatal=True)
    return Problem(path, f"neither registry 2.8 nor 3.x knows this key, and it would be ignored in silence; {hint}")


def _other_version(path: str, key: Key, version: str) -> Problem:
    instead = key.instead or f"remove it or use a {_RELEASE[key.versions[0]]} image"
    # List positions do not belong to the key's name.
    name = re.sub(r"\[\d+\]", "", path)
    return Problem(path, f"{_LABEL[version]} has no {name} and {key.effect}; {instead}", fatal=key.effect == NO_START)


def _storage_rules(config: Mapping[str, Any], version: str) -> Iterator[Problem]:
    storage = config.get("storage")
    if not isinstance(storage, Mapping):
        return
    drivers = [name for name in storage if name not in STORAGE_SWITCHES]
    if not drivers:
        yield Problem(
            "storage",
            "has no storage driver; set registry_server_storage_provider, or write another one here",
            fatal=True,
        )
    elif len(drivers) > 1:
        yield Problem(
            "storage",
            f"has the storage drivers {' and '.join(sorted(drivers))}, and exactly one is allowed; "
            "remove all but one (a null value removes the one that registry_server_storage_provider wrote)",
            fatal=True,
        )
    cache = storage.get("cache")
    if isinstance(cache, Mapping):
        for name in ("blobdescriptor", "layerinfo"):
            if cache.get(name) == "inmemory":
                yield Problem(
                    f"storage.cache.{name}",
                    "two registry processes with a cache in memory each would go on offering blobs that "
                    "the other one deleted; remove it or use redis",
                )
            address = "addr" if version == "2.8" else "addrs"
            redis = config.get("redis")
            if cache.get(name) == "redis" and not (isinstance(redis, Mapping) and redis.get(address)):
                yield Problem(
                    f"storage.cache.{name}",
                    f"is redis, but redis.{address} is not set; {_LABEL[version]} would not start",
                    fatal=True,
                )
    maintenance = storage.get("maintenance")
    purging = maintenance.get("uploadpurging") if isinstance(maintenance, Mapping) else None
    if isinstance(purging, Mapping) and purging.get("enabled") is not False:
        # The section replaces the registry's defaults as a whole.
        for name in ("age", "interval", "dryrun"):
            if purging.get(name) is None:
                yield Problem(
                    f"storage.maintenance.uploadpurging.{name}",
                    "is missing, and the registry would not start; write age, interval and dryrun, or enabled: false",
                    fatal=True,
                )


# Keys whose value is a file that a container has to see; below a list, each entry.
_FILES = ("storage.gcs.keyfile", "redis.tls.certificate", "redis.tls.key", "redis.tls.clientcas", "redis.tls.rootcas")
# What an image brings itself.
_OF_AN_IMAGE = ("/etc/ssl/", "/usr/")


def _named_files(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the files that a configuration names, each with its path in it."""
    for path in _FILES:
        value = _find(config, path)[1]
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str):
                yield path, name
    entries = _find(config, "middleware.storage")[1]
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        name = _find(entry, "options.privatekey")[1] if isinstance(entry, Mapping) else None
        if isinstance(name, str):
            yield f"middleware.storage[{index}].options.privatekey", name


def _file_rules(config: Mapping[str, Any], files: Iterable[str]) -> Iterator[Problem]:
    """What names a file that no container could see."""
    known = tuple(files)
    for path, name in _named_files(config):
        if name not in known and not name.startswith(_OF_AN_IMAGE):
            yield Problem(
                path,
                "names a file that no container could see; give it in registry_server_files, and write here the path that a "
                "container knows it by, " + (" or ".join(known) or "/etc/drydock/registry/files/NAME"),
                fatal=True,
            )


def _built_rules(config: Mapping[str, Any]) -> Iterator[Problem]:
    """What the image that is built from Debian's package lacks."""
    storage = config.get("storage")
    for name in storage if isinstance(storage, Mapping) else ():
        if name in _DRIVERS and name not in _DEBIAN_DRIVERS:
            yield Problem(
                f"storage.{name}",
                f"the image that is built from Debian's package has no driver {name}, and the registry would not start; "
                "set registry_server_image_provider to pull or archive, and name an image that has it",
                fatal=True,
            )


def _middleware_rules(config: Mapping[str, Any], version: str) -> Iterator[Problem]:
    middleware = config.get("middleware")
    entries = middleware.get("storage") if isinstance(middleware, Mapping) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        path = f"middleware.storage[{index}]"
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name:
            continue
        known = _STORAGE_MIDDLEWARE.get(name)
        if known is None:
            guess = _closest(name, _STORAGE_MIDDLEWARE)
            hint = f"did you mean {guess}?" if guess else "write one of " + ", ".join(_STORAGE_MIDDLEWARE)
            yield Problem(
                f"{path}.name", f"there is no such middleware, and the registry would not start; {hint}", fatal=True
            )
        elif not known.known_to(version):
            yield Problem(
                f"{path}.name",
                f"{_LABEL[version]} has no middleware {name} and {known.effect}; "
                f"remove it or use a {_RELEASE[known.versions[0]]} image",
                fatal=True,
            )
        else:
            yield from _check(entry.get("options") or {}, known, f"{path}.options", version)


def _find(tree: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Look for a key. A null value is one that is there."""
    node: Any = tree
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False, None
        node = node[name]
    return True, node


def _touches(overrides: Mapping[str, Any], path: str) -> bool:
    """Tell whether the user sets a key, or deletes what it is in.

    A driver may go as a whole, for another one; that a config has no storage or no address is said elsewhere.
    """
    node: Any = overrides
    names = path.split(".")
    for depth, name in enumerate(names):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
        if node is None:
            return depth == len(names) - 1 or name not in (*_DRIVERS, "storage", "http")
    return True


def _owned_rules(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[Problem]:
    for path, text in _OWNED:
        present, value = _find(config, path)
        if path == "http.addr":
            refused = not (isinstance(value, str) and value.startswith("/"))
        elif path == "http.net":
            refused = value != "unix"
        elif path == "http.secret":
            refused = not present or value in (None, "")
        else:
            refused = present
        if refused or _touches(overrides, path):
            yield Problem(path, text, fatal=True)
    for path, setting in {**_SET_BY, **_SET_BY_S3}.items():
        if _touches(overrides, path):
            provider = "s3" if path in _SET_BY_S3 else "filesystem" if path.startswith("storage.filesystem.") else ""
            where = f", where registry_server_storage_provider is {provider}" if provider else ""
            yield Problem(path, f"belongs to the role; remove it and set {setting}{where}", fatal=True)


def _cross_rules(config: Mapping[str, Any], version: str) -> Iterator[Problem]:
    if str(config.get("version", "")) != "0.1":
        yield Problem("version", 'the only version of the format is 0.1; write "0.1"', fatal=True)
    yield from _storage_rules(config, version)
    yield from _middleware_rules(config, version)


def connections(config: Mapping[str, Any]) -> list[str]:
    """Return the parts of a configuration that connect to other hosts."""
    drivers = [f"storage.{name}" for name in _DRIVERS if name not in _LOCAL_DRIVERS]
    return [path for path in sorted([*drivers, *_CONNECTS]) if _find(config, path)[1] is not None]


def root_type(config: Mapping[str, Any], version: object) -> str:
    """Return the media type of the answer to `GET /v2/`; empty where a configuration has that answer say more."""
    if _find(config, "http.headers")[1]:
        return ""
    return "application/json" if str(version).startswith("3") else "application/json; charset=utf-8"


def _problems_of(config: Mapping[str, Any], version: str, overrides: Mapping[str, Any]) -> list[Problem]:
    owned = list(_owned_rules(config, overrides))
    found = [*owned, *_check(config, ROOT, "", version), *_cross_rules(config, version)]
    # One sentence a path: that it is not the user's to set goes first, then the most basic one.
    unique: dict[str, Problem] = {}
    for problem in found:
        unique.setdefault(problem.path, problem)
    return list(unique.values())


def _problems_of_either(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[Problem]:
    two = {problem.path: problem for problem in _problems_of(config, "2.8", overrides)}
    three = {problem.path: problem for problem in _problems_of(config, "3", overrides)}
    found = [problem for path, problem in three.items() if path in two]
    only_two = [problem for path, problem in two.items() if path not in three and problem.fatal]
    only_three = [problem for path, problem in three.items() if path not in two and problem.fatal]
    # Something stops 2.8 and something else stops 3.x: no version would start with this config.
    if not any(problem.fatal for problem in found) and only_two and only_three:
        found += only_two + only_three
    return found


def find_problems(
    config: Mapping[str, Any],
    version: object,
    overrides: Mapping[str, Any] | None = None,
    variable: str = "registry_server_config",
    *,
    built: bool = False,
    files: Iterable[str] | None = None,
) -> list[str]:
    """Return one sentence for each problem of a rendered config; none means good.

    config is what build_config() returned. overrides is the user's part of it: keys there that belong to the
    roles are refused even where their value happens to agree. built says that the image is made of Debian's package.
    files are those that a container sees, as it names them; none are looked for without.
    """
    wanted = normal_version(version)
    if not isinstance(config, Mapping):
        return [f"{variable}: must be a mapping, not {_kind_of(config)}."]
    if overrides is not None and not isinstance(overrides, Mapping):
        return [f"{variable}: must be a mapping, not {_kind_of(overrides)}."]
    data, user = plain(config), plain(overrides or {})
    found = _problems_of_either(data, user) if wanted == "auto" else _problems_of(data, wanted, user)
    there = {problem.path for problem in found}
    more = [*(_built_rules(data) if built else ()), *(_file_rules(data, files) if files is not None else ())]
    found += list({problem.path: problem for problem in more if problem.path not in there}.values())
    return [
        f"{_named(problem.path, user, variable)}: {_sentence(problem.text)}"
        for problem in sorted(found, key=lambda p: p.path)
    ]


def _named(path: str, user: Mapping[str, Any], variable: str) -> str:
    """Name the variable that a value comes from."""
    setting = {**_SET_BY, **_SET_BY_S3}.get(path, "")
    return setting if setting and not _touches(user, path) else _join(variable, path)


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
