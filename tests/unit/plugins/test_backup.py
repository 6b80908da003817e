# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the backup: one sentence for each mistake, and none that shows a password."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.drydock.registry.plugins.module_utils._backup import backup_problems

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
SETTINGS: dict[str, Any] = {
    "host": "registry1",
    "systemd": True,
    "repository": "/mnt/backup",
    "password": "long enough",
    "environment": {"AWS_SECRET_ACCESS_KEY": "hidden"},
    "keep": {"daily": 7},
    "limit_mib": 0,
    "time": "01:47",
    "provider": "filesystem",
    "folder": "/srv/images",
    "frozen": "/srv/images/frozen",
    "paths": ["/etc/drydock", "/srv/images-of-others"],
    "report_path": "/var/lib/drydock/backup/report.json",
    "report": '{"restoring": null, "backup": {}}',
}


@pytest.mark.parametrize(
    "repository", ["/mnt/backup", "s3:https://s3.amazonaws.com/b", "sftp:a@b:/c", "rest:https://u:p@h/"]
)
def test_settings_that_work_have_no_problem(repository: str) -> None:
    assert backup_problems({**SETTINGS, "repository": repository, "keep": None}) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"repository": ""}, "registry_backup_repository is empty"),
        ({"repository": "https://user:hidden@host"}, "registry_backup_repository begins with neither"),
        ({"systemd": False}, "registry1 has no systemd"),
        ({"password": ""}, "registry_backup_password is empty"),
        ({"password": "hidden\nhidden"}, "registry_backup_password has several lines"),
        ({"environment": {"SECRET KEY": "hidden"}}, "registry_backup_environment has 'SECRET KEY': write the name"),
        (
            {"environment": {"AWS_ACCESS_KEY_ID": None}},
            "registry_backup_environment has 'AWS_ACCESS_KEY_ID': write the name",
        ),
        ({"keep": {"daily": 0}}, "registry_backup_keep has daily: 0"),
        ({"limit_mib": -1}, "registry_backup_limit_mib is -1"),
        ({"time": "25:00"}, "registry_backup_time is 25:00"),
        ({"paths": ["etc"]}, "registry_backup_paths has etc"),
        ({"paths": ["/srv/"]}, "registry_backup_paths has /srv/, and the images are in /srv/images: leave out"),
        ({"paths": ["/srv/images/docker"]}, "registry_backup_paths has /srv/images/docker, and the images"),
        ({"paths": ["/"]}, "registry_backup_paths has /, and"),
        ({"frozen": "frozen"}, "registry_backup_frozen_directory is frozen: write an absolute path"),
        ({"frozen": "/srv/images/docker/registry"}, "where registries keep their images"),
        (
            {"report": '{"restoring": "1a2b3c4d"}'},
            "registry1 has a part of backup 1a2b3c4d, whose restore was not finished: run",
        ),
        ({"frozen": "/srv/images/"}, "where registries keep their images"),
    ],
)
def test_each_mistake_has_its_sentence(wrong: dict[str, Any], sentence: str) -> None:
    problems = backup_problems({**SETTINGS, **wrong})
    assert len(problems) == 1
    assert sentence in problems[0]
    assert "hidden" not in problems[0]


@pytest.mark.parametrize("report", ["", "no JSON", "[]", "{}"])
def test_a_report_that_says_nothing_of_a_restore_is_no_problem(report: str) -> None:
    assert backup_problems({**SETTINGS, "report": report}) == []


def test_a_bucket_is_not_frozen() -> None:
    assert backup_problems({**SETTINGS, "provider": "s3", "frozen": ""}) == []


# A program of its own, since Ansible's loader of collections, which lookups need, is there once and for all.
RENDER = """
import sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
loader = DataLoader()
known = loader.load_from_file(sys.argv[1], trusted_as_template=True)
known.update(__backup_credentials=sys.argv[2], registry_backup_password=12345678)
print(Templar(loader=loader, variables=known).template(known[sys.argv[3]]), end="")
"""


def rendered(name: str, credentials: Path) -> bytes:
    """Return a variable of the playbooks, for a folder that is kept beside the inventory."""
    words = [sys.executable, "-c", RENDER, str(PLAYBOOKS / "vars/backup.yml"), str(credentials), name]
    return subprocess.run(words, check=True, capture_output=True).stdout


def archive_of(credentials: Path) -> bytes:
    """Return what the playbooks hand to the host, before it is encrypted."""
    return base64.b64decode(rendered("__backup_content", credentials))


def test_the_archive_of_the_controller_has_all_or_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with a space" / ".credentials"
    (folder / "storage").mkdir(parents=True)
    (folder / "ci.password").write_text("secret", encoding="utf-8")
    with tarfile.open(fileobj=io.BytesIO(archive_of(folder))) as archive:
        assert sorted(archive.getnames()) == [".", "./ci.password"]
    # With a password that YAML takes for a number.
    vault = VaultLib([("default", VaultSecret(b"12345678"))])
    assert base64.b64decode(vault.decrypt(rendered("registry_backup_archive", folder))) == archive_of(folder)
    # As tar does where it cannot read a file.
    (tmp_path / "tar").write_text("#!/bin/sh\necho half\nexit 2\n", encoding="utf-8")
    (tmp_path / "tar").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(subprocess.CalledProcessError):
        archive_of(folder)
