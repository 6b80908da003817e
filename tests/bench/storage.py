# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to look after a large storage: each command beside the registry's own dry run, and its requests to a bucket.

    make bench PARTS=storage

makes a tree of 1,000 repositories with 10 tags each, 100,000 blobs in all, in memory where that is possible. Each command is a process
of its own, as the timer starts it; after the first one it remembers what manifests refer to. The same commands then have a twentieth of it
in a bucket of moto, which counts their requests.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployment import ROOT
from drydock_store import commands, layout
from drydock_store.config import config, store_of
from drydock_store.memory import Memory

from tests.bench.report import Section

REPOSITORIES, TAGS, LAYERS = 1000, 10, 8
# So much smaller is the bucket: moto takes some milliseconds for each request.
BUCKET_PART = 20
PACKAGE = ROOT / "roles/registry_maintenance/files"
NOTHING_WAITS = {"link_age_seconds": 0, "blob_wait_seconds": 0, "second_look_seconds": 0}
# Dollars in Frankfurt for one request of each kind; DELETE is free.
DEAR, CHEAP = 0.0054 / 1000, 0.00043 / 1000
KINDS = {
    "ListObjectsV2": "LIST",
    "ListObjectVersions": "LIST",
    "GetObject": "GET",
    "HeadObject": "GET",
    "GetBucketVersioning": "GET",
    "PutObject": "PUT, POST",
    "DeleteObjects": "PUT, POST",
    "DeleteObject": "DELETE",
}


def make_tree(write: Callable[[str, bytes], object], repositories: int) -> tuple[int, int]:
    """Write a storage as a registry would have; a layer of each tenth image is garbage. Returns the blobs' number, and garbage in bytes."""
    blobs = garbage = 0

    def blob(content: bytes) -> str:
        nonlocal blobs
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        write(layout.blob_path(digest), content)
        blobs += 1
        return digest

    for number in range(repositories):
        name = f"team-{number % 20}/app-{number}"
        for tag in range(TAGS):
            contents = [f"{number} {tag} {layer}".encode() for layer in range(LAYERS + 1)]
            digests = [blob(content) for content in contents]
            for digest in digests:
                write(layout.layer_path(name, digest), digest.encode())
            described = [
                {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
                for digest, content in zip(digests, contents)
            ]
            if tag == 0:
                described.pop()
                garbage += len(contents[-1])
            document = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": described[0],
                "layers": described[1:],
            }
            digest = blob(json.dumps(document).encode())
            write(layout.revision_path(name, digest), digest.encode())
            write(f"{layout.tag_folder(name, str(tag))}/index/{digest.replace(':', '/')}/link", digest.encode())
            write(layout.tag_path(name, str(tag)), digest.encode())
    return blobs, garbage


def cost(command: list[str], **environment: str) -> tuple[str, str, str]:
    """Run a command; returns its seconds, those of a core, and the largest size that it had, in MiB."""
    with tempfile.NamedTemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"{command} failed:\n{Path(output.name).read_text()[-2000:]}")
    return f"{seconds:.1f}", f"{usage.ru_utime + usage.ru_stime:.1f}", f"{usage.ru_maxrss / 1024:.0f}"


@contextmanager
def upstream() -> Iterator[str]:
    """Provide the registry of this machine's distribution."""
    found = os.environ.get("DOCKER_REGISTRY") or shutil.which("docker-registry")
    if found:
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "docker-registry"], cwd=folder, check=True, capture_output=True)
        [package] = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        yield f"{folder}/usr/bin/docker-registry"


def in_folder(registry: str, version: str) -> tuple[list[tuple[str, ...]], int, str]:
    """Measure each command; returns rows, the number of blobs, and which part of the garbage went."""
    shared = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        folder = Path(directory)

        def write(path: str, content: bytes) -> None:
            file = folder / "images" / layout.ROOT / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

        blobs, garbage = make_tree(write, REPOSITORIES)
        settings = {
            "storage": {"folder": str(folder / "images")},
            "state_directory": str(folder / "state"),
            **NOTHING_WAITS,
        }
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "config.yml").write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/images\nlog:\n  level: error\n"
        )
        theirs = [registry, "garbage-collect", "--dry-run", str(folder / "config.yml")]
        rows: list[tuple[str, ...]] = [(f"registry {version}: garbage-collect --dry-run", *cost(theirs))]
        program = [sys.executable, "-m", "drydock_store", "--config", str(folder / "config.json")]
        for name, words in (
            ("report, the first", ["report"]),
            ("report", ["report"]),
            ("check", ["check"]),
            ("check --digests", ["check", "--digests"]),
            ("collect, the plan", ["collect"]),
            ("collect --apply, links", ["collect", "--apply"]),
            ("collect --apply, blobs", ["collect", "--apply"]),
        ):
            rows.append((name, *cost([*program, *words], PYTHONPATH=str(PACKAGE))))
        trash = (folder / "images" / layout.ROOT / layout.OURS).glob("trash/*/blobs/**/data")
        return rows, blobs, f"{sum(file.stat().st_size for file in trash) / garbage:.2f}"


def in_bucket() -> list[tuple[str, ...]]:
    """Count the requests of each command to a bucket with versions, and say what they cost."""
    # Not sooner: what this process takes counts as taken by what it starts.
    import boto3  # noqa: PLC0415
    from moto import mock_aws  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    with tempfile.TemporaryDirectory() as state, mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="images")
        client.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})

        def write(path: str, content: bytes) -> None:
            client.put_object(Bucket="images", Key=f"{layout.ROOT}/{path}", Body=content)

        make_tree(write, REPOSITORIES // BUCKET_PART)
        storage = {"s3": {"bucket": "images", "region": "us-east-1"}}
        settings = config({"storage": storage, "state_directory": state, **NOTHING_WAITS})

        def count(name: str, command: Callable[[Any, Memory], object]) -> None:
            store, requests = store_of(settings), Counter[str]()
            store._client.meta.events.register(  # type: ignore[attr-defined]
                "before-call.s3", lambda model, **_: requests.update([KINDS[model.name]])
            )
            command(store, Memory(state, settings.storage_name))
            dollars = (requests["LIST"] + requests["PUT, POST"]) * DEAR + requests["GET"] * CHEAP
            kinds = [f"{requests[kind]:,}" for kind in dict.fromkeys(KINDS.values())]
            rows.append((name, *kinds, f"${dollars:.4f}"))

        count("report, the first", lambda store, memory: commands.report(store, memory, settings))
        count("report", lambda store, memory: commands.report(store, memory, settings))
        count("check", lambda store, memory: commands.check_store(store, memory, settings))
        count("collect, the plan", lambda store, memory: commands.collect(store, memory, settings, apply=False))
        for what in ("links", "blobs"):
            count(
                f"collect --apply, {what}", lambda store, memory: commands.collect(store, memory, settings, apply=True)
            )
    return rows


def measure() -> Iterator[tuple[str, Section, str]]:
    """Measure each command on a folder, and count its requests to a bucket."""
    with upstream() as registry:
        version = subprocess.run([registry, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        rows, blobs, freed = in_folder(registry, version)
    text = (
        f"{REPOSITORIES:,} repositories, {REPOSITORIES * TAGS:,} tags, {blobs:,} blobs in a folder in memory. "
        f"Bytes that went, to those that were garbage: {freed}."
    )
    columns: tuple[str, ...] = ("Command", "Seconds", "of a core", "MiB")
    yield "storage", Section("Looking after a storage", text, columns, rows), f"registry {version}"
    part = REPOSITORIES // BUCKET_PART
    text = (
        f"{part:,} repositories, {part * TAGS:,} tags, {blobs // BUCKET_PART:,} blobs in a bucket with versions, and the price in "
        "Frankfurt. A look asks once for a thousand objects and once for each tag, and for each manifest that no earlier one has seen; "
        "collection looks twice."
    )
    columns = ("Command", *dict.fromkeys(KINDS.values()), "Costs")
    yield "bucket", Section("Looking after a bucket", text, columns, in_bucket()), f"registry {version}"
