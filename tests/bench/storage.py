# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to look after a large storage: seconds and memory of each command, beside the registry's own dry run.

    make bench PARTS=storage

makes a tree of 1,000 repositories with 10 tags each, 100,000 blobs in all, in memory where that is possible. Each command is a process
of its own, as the timer starts it; the second time it remembers what manifests refer to.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployment import ROOT
from drydock_store import layout

from tests.bench.report import Section

REPOSITORIES, TAGS, LAYERS = 1000, 10, 8
PACKAGE = ROOT / "roles/registry_maintenance/files"


def make_tree(folder: Path, repositories: int = REPOSITORIES, tags: int = TAGS, layers: int = LAYERS) -> int:
    """Write a storage as a registry would have; every tenth layer is garbage. Returns how many blobs there are."""
    root = folder / layout.ROOT
    blobs = 0

    def write(path: str, content: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    def blob(content: bytes) -> str:
        nonlocal blobs
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        write(layout.blob_path(digest), content)
        blobs += 1
        return digest

    for number in range(repositories):
        name = f"team-{number % 20}/app-{number}"
        for tag in range(tags):
            contents = [f"{number} {tag} {layer}".encode() for layer in range(layers + 1)]
            digests = [blob(content) for content in contents]
            for digest in digests:
                write(layout.layer_path(name, digest), digest.encode())
            described = [
                {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
                for digest, content in zip(digests, contents)
            ]
            document = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": described[0],
                # The last layer of each tenth image is garbage.
                "layers": described[1 : -1 if tag == 0 else None],
            }
            digest = blob(json.dumps(document).encode())
            write(layout.revision_path(name, digest), digest.encode())
            write(f"{layout.tag_folder(name, str(tag))}/index/{digest.replace(':', '/')}/link", digest.encode())
            write(layout.tag_path(name, str(tag)), digest.encode())
    return blobs


def cost(command: list[str], **environment: str) -> tuple[float, float]:
    """Run a command; returns its seconds and the largest size that it had, in MiB."""
    with tempfile.NamedTemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"{command} failed:\n{Path(output.name).read_text()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


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


def measure() -> tuple[Section, str]:
    """Measure each command once without what an earlier run remembers, and once with it."""
    shared = Path("/dev/shm")  # noqa: S108
    rows = []
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory, upstream() as registry:
        folder = Path(directory)
        blobs = make_tree(folder / "images")
        config = folder / "config.json"
        config.write_text(
            json.dumps(
                {
                    "storage": {"folder": str(folder / "images")},
                    "state_directory": str(folder / "state"),
                    "link_age_seconds": 0,
                }
            )
        )
        theirs = folder / "config.yml"
        theirs.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/images\nlog:\n  level: error\n"
        )
        version = subprocess.run([registry, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        seconds, memory = cost([registry, "garbage-collect", "--dry-run", str(theirs)])
        rows.append((f"registry {version}: garbage-collect --dry-run", seconds, memory))
        for words in (["report"], ["report"], ["check"], ["check", "--digests"], ["collect"]):
            first = not (folder / "state").exists()
            seconds, memory = cost(
                [sys.executable, "-m", "drydock_store", "--config", str(config), *words], PYTHONPATH=str(PACKAGE)
            )
            rows.append((f"{' '.join(words)}{', the first' if first else ''}", seconds, memory))
    section = Section(
        "Looking after a storage",
        f"{REPOSITORIES:,} repositories, {REPOSITORIES * TAGS:,} tags, {blobs:,} blobs in a folder in memory.",
        ("Command", "Seconds", "MiB"),
        [(name, f"{seconds:.1f}", f"{memory:.0f}") for name, seconds, memory in rows],
    )
    return section, f"registry {version}"
