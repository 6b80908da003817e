# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry as its source writes its storage (distribution 2.8.3 and 3.1.1, registry/storage), one step at a time.

Each request is a generator that stops between any two calls of the storage driver, so that a test can put something else in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Protocol

from drydock_store.layout import ROOT, blob_path, layer_path, revision_path, tag_folder, tag_path

Steps = Generator[str, None, Any]
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Refused(Exception):
    """The registry did not answer 2xx; the client knows that nothing was done."""


class Driver(Protocol):
    """What the registry's storage drivers have in common."""

    def get(self, path: str) -> bytes | None: ...
    def put(self, path: str, content: bytes) -> Steps: ...
    def exists(self, path: str) -> bool: ...
    def move(self, source: str, target: str) -> Steps: ...
    def delete(self, path: str) -> bool: ...
    def names(self, path: str) -> list[str]: ...
    def tree(self) -> dict[str, bytes]: ...
    def age(self, seconds: float) -> None: ...


class Files:
    """The filesystem driver; the one of 2.8 truncates a file and writes it, the one of 3.x renames."""

    def __init__(self, folder: Path, *, renames: bool) -> None:
        self.folder = folder
        self.root = folder / ROOT
        self.root.mkdir(parents=True)
        self._renames = renames

    def get(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, path: str, content: bytes) -> Steps:
        file = self.root / path
        written = file.with_name(f"{file.name}.{uuid.uuid4()}.tmp") if self._renames else file
        written.parent.mkdir(parents=True, exist_ok=True)
        yield "folder made"
        try:
            with written.open("r+b" if written.exists() else "wb") as opened:
                opened.truncate(0)
                yield "opened"
                opened.write(content)
        except FileNotFoundError as error:
            raise Refused("500") from error
        if self._renames:
            yield "written"
            try:
                written.rename(file)
            except FileNotFoundError as error:
                raise Refused("500") from error

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def move(self, source: str, target: str) -> Steps:
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        yield "folder made"
        try:
            (self.root / source).rename(self.root / target)
        except FileNotFoundError as error:
            raise Refused("500") from error

    def delete(self, path: str) -> bool:
        target = self.root / path
        if not target.exists():
            return False
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return True

    def names(self, path: str) -> list[str]:
        return sorted(one.name for one in (self.root / path).iterdir()) if (self.root / path).is_dir() else []

    def tree(self) -> dict[str, bytes]:
        return {
            str(one.relative_to(self.root)): one.read_bytes() for one in sorted(self.root.rglob("*")) if one.is_file()
        }

    def age(self, seconds: float) -> None:
        for one in self.root.rglob("*"):
            os.utime(one, (one.stat().st_atime, one.stat().st_mtime - seconds))


class Objects:
    """The s3 driver."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._root = f"{prefix}/{ROOT}/".lstrip("/")

    def get(self, path: str) -> bytes | None:
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._root + path)["Body"].read())
        except self._client.exceptions.NoSuchKey:
            return None

    def put(self, path: str, content: bytes) -> Steps:
        yield "about to put"
        self._client.put_object(Bucket=self._bucket, Key=self._root + path, Body=content)

    def exists(self, path: str) -> bool:
        return f"{self._root}{path}" in self._keys(path)

    def move(self, source: str, target: str) -> Steps:
        origin = {"Bucket": self._bucket, "Key": self._root + source}
        self._client.copy_object(CopySource=origin, Bucket=self._bucket, Key=self._root + target)
        yield "copied"
        self.delete(source)

    def delete(self, path: str) -> bool:
        found = [key for key in self._keys(path) if key[len(self._root + path) :][:1] in ("", "/")]
        for key in found:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        return bool(found)

    def names(self, path: str) -> list[str]:
        return sorted({key[len(self._root + path) + 1 :].split("/")[0] for key in self._keys(f"{path}/")})

    def tree(self) -> dict[str, bytes]:
        return {key[len(self._root) :]: self.get(key[len(self._root) :]) or b"" for key in self._keys("")}

    def age(self, seconds: float) -> None:
        from datetime import timedelta  # noqa: PLC0415

        from moto.s3.models import s3_backends  # noqa: PLC0415

        keys = s3_backends["123456789012"]["aws"].buckets[self._bucket].keys
        for _, versions in keys.lists():
            for version in versions:
                version.last_modified -= timedelta(seconds=seconds)

    def _keys(self, path: str) -> list[str]:
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root + path)
        assert not answer["IsTruncated"]
        return [entry["Key"] for entry in answer.get("Contents", ())]


class Registry:
    """What a registry does to a storage."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    # ----- requests --------------------------------------------------------------------------------------------------

    def has_blob(self, repository: str, digest: str) -> Steps:
        """HEAD a blob."""
        target = self.driver.get(layer_path(repository, digest))
        yield "link read"
        return target is not None and self.driver.exists(blob_path(target.decode()))

    def upload(self, repository: str, content: bytes, digest: str = "") -> Steps:
        """POST, PATCH and PUT of a blob."""
        canonical = digest_of(content)
        folder = f"repositories/{repository}/_uploads/{uuid.uuid4()}"
        yield from self.driver.put(f"{folder}/startedat", b"2026-11-30T00:00:00Z")
        yield from self.driver.put(f"{folder}/data", content)
        yield "received"
        there = self.driver.exists(blob_path(canonical))
        yield "looked for the blob"
        if not there:
            yield from self.driver.move(f"{folder}/data", blob_path(canonical))
            yield "moved"
        for alias in dict.fromkeys((canonical, digest or canonical)):
            yield from self.driver.put(layer_path(repository, alias), canonical.encode())
            yield "linked"
        self.driver.delete(folder)
        return digest or canonical

    def mount(self, repository: str, source: str, digest: str) -> Steps:
        """POST with mount and from; a registry that cannot starts an upload."""
        if not (yield from self.has_blob(source, digest)):
            raise Refused("202")
        yield "looked"
        yield from self.driver.put(layer_path(repository, digest), digest.encode())

    def put_manifest(self, repository: str, content: bytes, tag: str = "") -> Steps:
        """PUT a manifest."""
        document = json.loads(content)
        for descriptor in [document["config"], *document["layers"]] if "layers" in document else []:
            if not (yield from self.has_blob(repository, descriptor["digest"])):
                raise Refused(f"400: {descriptor['digest']} is unknown")
        for descriptor in document.get("manifests", ()):
            target = self.driver.get(revision_path(repository, descriptor["digest"]))
            yield "link of a platform read"
            if target is None or not self.driver.exists(blob_path(target.decode())):
                raise Refused(f"400: {descriptor['digest']} is unknown")
        yield "verified"
        digest = digest_of(content)
        there = self.driver.exists(blob_path(digest))
        yield "looked for the manifest"
        if not there:
            yield from self.driver.put(blob_path(digest), content)
            yield "stored"
        yield from self.driver.put(revision_path(repository, digest), digest.encode())
        yield "linked"
        if tag:
            index = f"{tag_folder(repository, tag)}/index/{digest.replace(':', '/')}/link"
            yield from self.driver.put(index, digest.encode())
            yield "noted"
            yield from self.driver.put(tag_path(repository, tag), digest.encode())
        return digest

    def delete_tag(self, repository: str, tag: str) -> Steps:
        """DELETE a tag, as 3.x does it."""
        yield "asked"
        if not self.driver.delete(tag_folder(repository, tag)):
            raise Refused("404")

    def delete_manifest(self, repository: str, digest: str) -> Steps:
        """DELETE by digest, with all tags."""
        if self.driver.get(revision_path(repository, digest)) is None or not self.driver.exists(blob_path(digest)):
            raise Refused("404")
        yield "looked"
        self.driver.delete(revision_path(repository, digest))
        for tag in self.driver.names(f"repositories/{repository}/_manifests/tags"):
            yield "looked for tags"
            if self.driver.get(tag_path(repository, tag)) == digest.encode():
                self.driver.delete(tag_folder(repository, tag))

    # ----- a client --------------------------------------------------------------------------------------------------

    def push(self, repository: str, blobs: Iterable[bytes], manifest: bytes, tag: str = "") -> Steps:
        """Push an image as clients do: ask for each blob, upload those that are not there, put the manifest."""
        for content in blobs:
            if not (yield from self.has_blob(repository, digest_of(content))):
                yield from self.upload(repository, content)
        yield "uploaded"
        return (yield from self.put_manifest(repository, manifest, tag))

    def missing(self, repository: str, reference: str) -> str:
        """Pull an image with all its platforms, and say what cannot be had, or nothing."""
        digest = reference
        if ":" not in reference:
            digest = (self.driver.get(tag_path(repository, reference)) or b"").decode()
            if not digest:
                return f"{repository}:{reference}"
        if self.driver.get(revision_path(repository, digest)) is None:
            return f"{repository}@{digest} (link)"
        content = self.driver.get(blob_path(digest))
        if content is None or digest_of(content) != digest:
            return f"{repository}@{digest}"
        document = json.loads(content)
        for child in document.get("manifests", ()):
            lost = self.missing(repository, child["digest"])
            if lost:
                return lost
        for descriptor in [document["config"], *document["layers"]] if "layers" in document else []:
            target = self.driver.get(layer_path(repository, descriptor["digest"]))
            if target is None:
                return f"{repository} {descriptor['digest']} (link)"
            blob = self.driver.get(blob_path(target.decode()))
            if blob is None or digest_of(blob, descriptor["digest"].partition(":")[0]) != descriptor["digest"]:
                return str(descriptor["digest"])
        return ""


def done(steps: Steps) -> Any:
    """Do all of a request."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Name content."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(
    content: bytes, media_type: str = "application/octet-stream", algorithm: str = "sha256"
) -> dict[str, Any]:
    """Describe content."""
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content)}


def image(*layers: bytes, config: bytes = b"{}", subject: bytes | None = None, algorithm: str = "sha256") -> bytes:
    """Return the manifest of an image."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, algorithm=algorithm) for layer in layers],
    }
    if subject is not None:
        document["subject"] = descriptor(subject, OCI)
    return json.dumps(document).encode()


def index(*images: bytes) -> bytes:
    """Return an index of images."""
    return json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(one, OCI) for one in images]}
    ).encode()


def push(registry: Registry, repository: str, tag: str, *layers: bytes, **options: Any) -> str:
    """Push an image, and return its digest."""
    config = options.get("config", b"{}")
    return str(done(registry.push(repository, [config, *layers], image(*layers, **options), tag)))


def push_index(registry: Registry, repository: str, tag: str, *platforms: bytes) -> tuple[str, list[str]]:
    """Push an image of several platforms, one layer each; returns the digests of the index and of the platforms."""
    manifests = [image(layer) for layer in platforms]
    digests = [str(done(registry.push(repository, [b"{}", layer], one))) for layer, one in zip(platforms, manifests)]
    return str(done(registry.put_manifest(repository, index(*manifests), tag))), digests
