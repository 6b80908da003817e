# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: what may be in it, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from drydock_store.retention import ORDERS, Rule
from drydock_store.store import Store, time_of


class ConfigError(ValueError):
    """Something is wrong with the configuration; the text is a sentence for the user."""


@dataclass(frozen=True)
class Config:
    """All settings."""

    storage: Mapping[str, Any]
    state_directory: str
    # Where nginx notes pulls, and its audit log is; empty where there is neither.
    log_directory: str = ""
    # The first parts of names below which images are other registries'.
    mirrors: tuple[str, ...] = ()
    registry: Optional[Mapping[str, str]] = None
    redis: Optional[Mapping[str, Any]] = None
    retention: tuple[Rule, ...] = ()
    link_age_seconds: int = 86400
    blob_wait_seconds: int = 86400
    second_look_seconds: int = 60
    trash_seconds: int = 7 * 86400
    problems: tuple[str, ...] = field(default=())

    @property
    def storage_name(self) -> str:
        """One text for each storage."""
        return json.dumps(self.storage, sort_keys=True)


_KEYS = {
    "storage": dict,
    "state_directory": str,
    "log_directory": str,
    "mirrors": list,
    "registry": dict,
    "redis": dict,
    "retention": list,
    "link_age_seconds": int,
    "blob_wait_seconds": int,
    "second_look_seconds": int,
    "trash_seconds": int,
}
_S3 = {
    "bucket": str,
    "prefix": str,
    "region": str,
    "endpoint": str,
    "path_style_enabled": bool,
    "unversioned_enabled": bool,
    "profile": str,
    "at": str,
    "threads": int,
}
_REGISTRY = {"socket": str, "url": str, "username": str, "password_file": str, "ca_file": str}
_REDIS = {"address": str, "username": str, "password_file": str, "database": int, "tls_enabled": bool, "ca_file": str}
_RULE = {
    "repositories": list,
    "tags": list,
    "keep_tags": list,
    "keep_newest": int,
    "keep_pushed_within_days": int,
    "keep_pulled_within_days": int,
    "keep_used_gib": int,
    "order": str,
    "untagged_after_days": int,
}
_WORDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", bool: "true or false"}
_REPOSITORY_PATTERN = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*")


def load(path: str) -> Config:
    """Read the configuration from a file."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"--config: {path} is no JSON ({error}).") from error
    return config(document)


def config(document: Any) -> Config:
    """Check the configuration."""
    given = _checked("the configuration", document, _KEYS)
    for key in ("storage", "state_directory"):
        if not given.get(key):
            raise ConfigError(f"{key} is missing: set it.")
    _check_storage("storage", given["storage"])
    if not given["state_directory"].startswith("/"):
        raise ConfigError(f"state_directory: {given['state_directory']} is no absolute path: begin it with /.")
    if given.get("log_directory", "/")[:1] not in ("", "/"):
        raise ConfigError(f"log_directory: {given['log_directory']} is no absolute path: begin it with /.")
    registry = given.get("registry")
    if registry is not None:
        registry = _checked("registry", registry, _REGISTRY)
        if bool(registry.get("socket")) == bool(registry.get("url")):
            raise ConfigError("registry needs either `socket` or `url`.")
        if registry.get("url") and not re.fullmatch(
            r"https?://(\[[0-9a-f:]+\]|[^/:]+)(:[0-9]{1,5})?/?", registry["url"]
        ):
            raise ConfigError(f"registry.url: {registry['url']} is no address such as https://registry.example.org.")
    redis = given.get("redis")
    if redis is not None:
        redis = _checked("redis", redis, _REDIS)
        if not re.fullmatch(r".+:\d+", redis.get("address", "")):
            raise ConfigError("redis.address: write it as host:port.")
    for key, kind in _KEYS.items():
        if kind is int and given.get(key, 0) < 0:
            raise ConfigError(f"{key}: {given[key]} is below 0.")
    rules = tuple(_rule(f"retention, rule {number}", rule) for number, rule in enumerate(given.pop("retention", ()), 1))
    given["mirrors"] = tuple(given.get("mirrors", ()))
    return Config(**{**given, "registry": registry, "redis": redis}, retention=rules, problems=_shadowed(rules))


def _checked(where: str, document: Any, keys: Mapping[str, type]) -> dict[str, Any]:
    """Return what is set, each of the right type."""
    if not isinstance(document, dict):
        raise ConfigError(f"{where} is no object.")
    for key, value in document.items():
        if key not in keys:
            raise ConfigError(f"{where} has the key {key}, which is unknown: it may have {', '.join(keys)}.")
        if value is not None and (
            not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is not bool)
        ):
            raise ConfigError(f"{where}: {key} is not {_WORDS[keys[key]]}.")
    return {key: value for key, value in document.items() if value is not None}


def _check_storage(where: str, storage: Any) -> None:
    given = _checked(where, storage, {"folder": str, "link_enabled": bool, "s3": dict})
    if ("folder" in given) == ("s3" in given):
        raise ConfigError(f"{where} needs exactly one of `folder` and `s3`.")
    if "folder" in given:
        if not given["folder"].startswith("/"):
            raise ConfigError(f"{where}.folder: {given['folder']} is no absolute path: begin it with /.")
        return
    s3 = _checked(f"{where}.s3", given["s3"], _S3)
    if not s3.get("bucket"):
        raise ConfigError(f"{where}.s3.bucket is missing: set it.")
    if s3.get("prefix", "") != s3.get("prefix", "").strip("/"):
        raise ConfigError(f"{where}.s3.prefix: write {s3['prefix'].strip('/')!r}, without slashes at its ends.")
    if not 1 <= s3.get("threads", 16) <= 64:
        raise ConfigError(f"{where}.s3.threads: {s3['threads']} is not from 1 to 64.")
    if s3.get("at"):
        try:
            time_of(s3["at"])
        except ValueError as error:
            raise ConfigError(f"{where}.s3.at: write {s3['at']!r} as a time such as 2026-11-30T01:00:00Z.") from error


def _rule(where: str, document: Any) -> Rule:
    given = _checked(where, document, _RULE)
    if not given.get("repositories"):
        raise ConfigError(f"{where} names no repositories: write patterns, or ['**'] for all.")
    for key in ("repositories", "tags", "keep_tags"):
        for pattern in given.get(key, ()):
            if not isinstance(pattern, str) or not pattern:
                raise ConfigError(f"{where}: {key} holds {pattern!r}, which is no pattern.")
            if key == "repositories" and not _REPOSITORY_PATTERN.fullmatch(pattern):
                raise ConfigError(f"{where}: {pattern!r} can fit no repository's name: write one such as 'team-a/*'.")
        given[key] = tuple(given.get(key, ()))
    for key in ("keep_newest", "keep_pushed_within_days", "keep_pulled_within_days", "keep_used_gib"):
        if given.get(key, 1) < 1:
            raise ConfigError(f"{where}: {key} is {given[key]}: write 1 or more, or leave it out.")
    if given.get("untagged_after_days", 0) < 0:
        raise ConfigError(f"{where}: untagged_after_days is below 0.")
    if given.get("order", "pushed") not in ORDERS:
        raise ConfigError(f"{where}: order is {given['order']!r}: write one of {', '.join(ORDERS)}.")
    if given.get("order") and "keep_newest" not in given:
        raise ConfigError(f"{where}: order says what is newest, but keep_newest is not set.")
    given["tags"] = given["tags"] or ("*",)
    rule = Rule(**given)
    if not rule.decides and rule.untagged_after_days is None:
        raise ConfigError(
            f"{where} says what to keep of nothing: set keep_tags, keep_newest, keep_pushed_within_days, keep_pulled_within_days, "
            "keep_used_gib or untagged_after_days."
        )
    return rule


def _shadowed(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Name rules that can never decide, since one before them names the same."""
    problems = []
    for number, rule in enumerate(rules, 1):
        for earlier_number, earlier in enumerate(rules[: number - 1], 1):
            same = all("**" in earlier.repositories or one in earlier.repositories for one in rule.repositories)
            if same and all("*" in earlier.tags or one in earlier.tags for one in rule.tags):
                problems.append(
                    f"retention, rule {number} decides nothing: rule {earlier_number} names the same repositories and tags before it."
                )
                break
    return tuple(problems)


def store_of(settings: Config) -> Store:
    """Return the storage."""
    return _store(settings.storage)


def place(option: str, text: str) -> Store:
    """Return a storage that a command names: a path, s3://BUCKET/PREFIX, or JSON as `storage` has it."""
    storage: Any = {"folder": text}
    if text.startswith("s3://"):
        bucket, _separator, prefix = text[5:].rstrip("/").partition("/")
        storage = {"s3": {"bucket": bucket, "prefix": prefix}}
    elif text.startswith("{"):
        try:
            storage = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{option}: {text} is no JSON ({error}).") from error
    _check_storage(option, storage)
    return _store(storage)


def _store(storage: Mapping[str, Any]) -> Store:
    if "folder" in storage:
        from drydock_store.folder import Folder  # noqa: PLC0415

        return Folder(storage["folder"], link_enabled=bool(storage.get("link_enabled")))
    # What needs boto3 is loaded only where it is used.
    from drydock_store.s3 import Bucket  # noqa: PLC0415

    given = {key: value for key, value in storage["s3"].items() if value is not None}
    at = given.pop("at", "")
    if at:
        from drydock_store.past import Past  # noqa: PLC0415

        return Past(time_of(at), **given)
    return Bucket(**given)
