# SPDX-License-Identifier: GPL-3.0-or-later
"""The permissions that a bucket needs: with all of them a run works, without one it changes nothing and names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from drydock_store import commands
from drydock_store.store import StoreError
from moto.core import set_initial_no_auth_action_count

from tests.unit.store.model import done, push
from tests.unit.store.places import BUCKET, DAY, Place, bucket

ON_BUCKET = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning"]
ON_OBJECTS = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"]


def allowed(place: Place, monkeypatch: pytest.MonkeyPatch, without: str = "") -> Place:
    """Let a user with these permissions look after a bucket."""
    iam = boto3.client("iam", region_name="eu-central-1")
    # moto asks for the bucket where S3 asks for each key that DeleteObjects names.
    on_bucket = [*ON_BUCKET, "s3:DeleteObject"]
    statements = [
        {
            "Effect": "Allow",
            "Action": [one for one in on_bucket if one != without],
            "Resource": f"arn:aws:s3:::{BUCKET}",
        },
        {
            "Effect": "Allow",
            "Action": [one for one in ON_OBJECTS if one != without],
            "Resource": f"arn:aws:s3:::{BUCKET}/registry/docker/registry/v2/*",
        },
    ]
    iam.create_user(UserName="host")
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="host", PolicyName="storage", PolicyDocument=document)
    key = iam.create_access_key(UserName="host")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return place


def run(place: Place) -> tuple[dict[str, Any], int]:
    """Collect as that user, whose requests are the only ones that are checked."""
    checked: tuple[dict[str, Any], int] = set_initial_no_auth_action_count(0)(place.collect)()
    return checked


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("without", ["", *ON_BUCKET, *ON_OBJECTS])
def test_each_permission_is_needed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    done(place.registry.upload("app", b"garbage"))
    place.driver.age(2 * DAY)
    before = place.images()
    allowed(place, monkeypatch, without)
    if without:
        with pytest.raises(StoreError, match=f"the permission .*{without}\\b.* is missing"):
            run(place)
        assert place.images() == before
    else:
        result, status = run(place)
        assert status == commands.FINE
        assert len(result["links"]) == 1
