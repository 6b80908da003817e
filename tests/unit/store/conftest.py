# SPDX-License-Identifier: GPL-3.0-or-later
"""The storages that each test runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
