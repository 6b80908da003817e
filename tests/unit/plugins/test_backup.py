# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the backup: one sentence for each mistake, and none that shows a password."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._backup import backup_problems

SETTINGS: dict[str, Any] = {
    "host": "registry1",
    "systemd": True,
    "repository": "/mnt/backup",
    "password": "long enough",
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
        ({"keep": {"daily": 0}}, "registry_backup_keep has daily: 0"),
        ({"limit_mib": -1}, "registry_backup_limit_mib is -1"),
        ({"time": "25:00"}, "registry_backup_time is 25:00"),
        ({"paths": ["etc"]}, "registry_backup_paths has etc"),
        ({"paths": ["/srv/"]}, "registry_backup_paths has /srv/, and the images are in /srv/images: leave out"),
        ({"paths": ["/srv/images/docker"]}, "registry_backup_paths has /srv/images/docker, and the images"),
        ({"paths": ["/"]}, "registry_backup_paths has /, and"),
        ({"frozen": "frozen"}, "registry_backup_frozen_directory is frozen: write an absolute path"),
        ({"frozen": "/srv/images/docker/registry"}, "where registries keep their images"),
        ({"report": '{"restoring": "1a2b3c4d"}'}, "registry1 has a part of backup 1a2b3c4d, whose restore was not finished: run"),
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
