# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of hosts as modules, and an AWS account for tests of what asks one: moto's, in this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_stand_in.ec2 import default_vpcs
from moto import mock_aws
from moto.ec2.models import amis

# Each account's default VPC has a way out.
default_vpcs()

ROLES = Path(__file__).parents[3] / "roles"


@pytest.fixture(scope="session")
def host_program() -> Callable[[str], Any]:
    """Import a program that a role installs on hosts, by its path below `roles`; each call makes a module of its own."""

    def imported(path: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_of_hosts", ROLES / path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture
def aws_images() -> list[dict[str, Any]]:
    """The images of machines that there are, in place of moto's list of a thousand, which it reads anew for each test."""
    return []


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, aws_images: list[dict[str, Any]]) -> Iterator[None]:
    """An account of its own, and nothing of the user's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    # With it set, moto reads no other list than this one.
    monkeypatch.setenv("MOTO_AMIS_PATH", "/dev/null")
    monkeypatch.setattr(amis, "AMIS", [dict(image) for image in aws_images])
    with mock_aws():
        yield
