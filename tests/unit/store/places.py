# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage for a test: a folder, or a bucket of moto's S3 in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from drydock_store import commands
from drydock_store.config import Config, config, store_of
from drydock_store.memory import Memory
from drydock_store.store import Store

from tests.unit.store.model import Driver, Files, Objects, Registry

DAY = 86400
BUCKET = "images"


def no_pause(_seconds: float) -> None:
    """Wait for nothing: a test puts what happens meanwhile in its place."""


@dataclass
class Place:
    """A storage with a registry that writes it and what looks after it."""

    driver: Driver
    document: dict[str, Any]

    @property
    def registry(self) -> Registry:
        return Registry(self.driver)

    @property
    def settings(self) -> Config:
        return config(self.document)

    def store(self) -> Store:
        return store_of(self.settings)

    def memory(self) -> Memory:
        return Memory(self.settings.state_directory, self.settings.storage_name)

    def collect(
        self, *, apply: bool = True, pause: Callable[[float], None] = no_pause, store: Store | None = None
    ) -> tuple[dict[str, Any], int]:
        return commands.collect(store or self.store(), self.memory(), self.settings, apply=apply, pause=pause)

    def collect_all(self) -> dict[str, Any]:
        """Collect until nothing waits: links, and a day later blobs."""
        self.collect()
        memory = self.memory()
        memory.unreferenced = dict.fromkeys(memory.unreferenced, 0.0)
        memory.keep_seen()
        return self.collect()[0]

    def retention(
        self, *, apply: bool = True, pause: Callable[[float], None] = no_pause, store: Store | None = None
    ) -> dict[str, Any]:
        return commands.apply_retention(store or self.store(), self.memory(), self.settings, apply=apply, pause=pause)[
            0
        ]

    def delete(self, *, apply: bool = True, **named: list[str]) -> dict[str, Any]:
        return commands.delete(self.store(), self.memory(), self.settings, named, apply=apply, pause=no_pause)[0]

    def check(self, *, digests: bool = False, pause: Callable[[float], None] = no_pause) -> list[dict[str, Any]]:
        result, status = commands.check_store(self.store(), self.memory(), self.settings, digests=digests, pause=pause)
        assert status == (commands.FOUND if result["defects"] else commands.FINE)
        return list(result["defects"])

    def undo(self, *runs: str) -> dict[str, Any]:
        return commands.undo_runs(self.store(), self.memory(), self.settings, runs, apply=True)[0]

    def images(self) -> dict[str, bytes]:
        """Return all that is the registry's."""
        return {path: content for path, content in self.driver.tree().items() if not path.startswith("drydock/")}


def folder(directory: Path, *, renames: bool = True, **settings: Any) -> Place:
    """Return a place in a folder."""
    return Place(
        Files(directory / "images", renames=renames),
        {"storage": {"folder": str(directory / "images")}, "state_directory": str(directory / "state"), **settings},
    )


def bucket(directory: Path, *, versioned: bool = True, endpoint: str | None = None, **settings: Any) -> Place:
    """Return a place in a bucket of moto, which has to be at work in this process, or at an endpoint."""
    client = boto3.client("s3", region_name="eu-central-1", endpoint_url=endpoint)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    if versioned:
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3 = {
        "bucket": BUCKET,
        "prefix": "registry",
        "region": "eu-central-1",
        "unversioned_enabled": not versioned,
        "threads": 2,
        **({"endpoint": endpoint, "path_style_enabled": True} if endpoint else {}),
    }
    return Place(
        Objects(client, BUCKET, "registry"),
        {"storage": {"s3": s3}, "state_directory": str(directory / "state"), **settings},
    )
