# SPDX-License-Identifier: GPL-3.0-or-later
"""The storages that each test runs on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from drydock_store.folder import Folder
from moto import mock_aws

from tests.unit.store.places import Place, bucket, folder


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide S3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield


@pytest.fixture(params=["folder", "bucket", "bucket without versions"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Provide a storage of each kind."""
    if request.param == "folder":
        return folder(tmp_path)
    request.getfixturevalue("aws")
    return bucket(tmp_path, versioned=request.param == "bucket")


@pytest.fixture
def fast() -> Iterator[Path]:
    """Provide a folder in memory, where there is one: thousands of trees are made."""
    shared = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: what counts is when it is waited for. It has to be an open one all the same."""

    def barrier(store: Folder) -> None:
        os.fstat(store._root)

    monkeypatch.setattr(Folder, "barrier", barrier)
