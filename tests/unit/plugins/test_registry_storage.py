# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of the storage would mean for the images."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.drydock.registry.plugins.filter.registry_storage_change import FilterModule

change = FilterModule().filters()["registry_storage_change"]
STOP = "`docker stop drydock-registry-a drydock-registry-b`"


def folder(**switches: Any) -> dict[str, Any]:
    return {"storage": {"delete": {"enabled": True}, "filesystem": {"rootdirectory": "/var/lib/registry"}, **switches}}


def bucket(name: str, root: str = "", driver: str = "s3", **more: Any) -> dict[str, Any]:
    return {"storage": {"redirect": {"disable": True}, driver: {"bucket": name, "rootdirectory": root, **more}}}


@pytest.mark.parametrize(
    ("old", "old_directory", "new", "directory"),
    [
        (folder(), "/srv/a", folder(), "/srv/a"),
        (folder(), "/srv/a", folder(tag={"concurrencylimit": 1}), "/srv/a/"),
        (bucket("b", "/team"), "", bucket("b", "team/", "s3aws"), "/srv/a"),
        (bucket("b", accesskey="old"), "", bucket("b", accesskey="new", regionendpoint="https://x"), ""),
        # A host without a registry, without containers, or with a file that is none.
        (None, "", folder(), "/srv/a"),
        (folder(), "", folder(), "/srv/a"),
        ({"storage": "x"}, "/srv/a", folder(), "/srv/b"),
    ],
)
def test_the_same_place(old: Any, old_directory: str, new: Any, directory: str) -> None:
    text = yaml.safe_dump(old) if old else ""
    assert change(new, text, old_directory, directory, "host") == {"changes": False, "problem": ""}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            folder(),
            folder(),
            (
                "registry_server_filesystem_directory: the registry of host keeps its images in the folder /srv/a, and with the folder "
                f"/srv/b they would be out of sight; move them there ({STOP}, `mkdir -p /srv/b`, `cp -a /srv/a/. /srv/b/`) and run again, "
                "or set registry_server_storage_change_enabled to true to begin without them."
            ),
        ),
        (
            folder(),
            bucket("b", "/team"),
            (
                "registry_server_storage_provider: the registry of host keeps its images in the folder /srv/a, and with s3://b/team they "
                f"would be out of sight; move them there ({STOP}, `aws s3 sync /srv/a s3://b/team`) and run once with "
                "`-e registry_server_storage_change_enabled=true`."
            ),
        ),
        (
            bucket("b", "one"),
            bucket("b", "two"),
            (
                "registry_server_s3: the registry of host keeps its images in s3://b/one, and with s3://b/two they would be out of sight; "
                f"move them there ({STOP}, `aws s3 sync s3://b/one s3://b/two`) and run once with "
                "`-e registry_server_storage_change_enabled=true`."
            ),
        ),
        (
            bucket("b", driver="gcs"),
            bucket("c", driver="gcs"),
            (
                "registry_server_config: the registry of host keeps its images in gcs://b, and with gcs://c they would be out of sight; "
                f"move them there ({STOP}, then copy all of gcs://b to gcs://c) and run once with "
                "`-e registry_server_storage_change_enabled=true`."
            ),
        ),
    ],
    ids=["folder", "kind", "root directory", "another driver"],
)
def test_another_place_hides_images(old: Any, new: Any, sentence: str) -> None:
    found = change(new, yaml.safe_dump(old), "/srv/a", "/srv/b", "host")
    assert found == {"changes": True, "problem": sentence}


def test_images_that_were_moved_are_seen() -> None:
    found = change(folder(), yaml.safe_dump(folder()), "/srv/a", "/srv/b", "host", has_images=True)
    assert found == {"changes": True, "problem": ""}


def test_a_file_that_is_no_yaml_tells_nothing_and_no_key_is_told() -> None:
    assert not change(folder(), "a: [", "/srv/a", "/srv/b", "host")["changes"]
    assert "hidden" not in change(bucket("b"), yaml.safe_dump(bucket("c", secretkey="hidden")), "", "", "h")["problem"]
