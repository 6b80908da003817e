# SPDX-License-Identifier: GPL-3.0-or-later
"""How an instance asks S3: signed as AWS signs, patient for a while, and with a sentence where it gives up."""

from __future__ import annotations

import datetime
import time
import urllib.error
from email.message import Message
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _instance_fetch
from ansible_collections.drydock.registry.plugins.module_utils._instance_fetch import (
    Fetched,
    Keys,
    Problem,
    Source,
    fetch,
    patiently,
    signed,
)
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 1, 12, 30, 59, tzinfo=datetime.timezone.utc)
SOURCE = Source(
    "https://bucket.s3.eu-central-1.amazonaws.com/bundles/0123.tar.gz",
    "eu-central-1",
    "123456789012",
    "hosts",
    "run the playbook again",
)
KEYS = Keys("host", "AKIAIOSFODNN7EXAMPLE", "secret", "token")


def test_it_signs_as_boto_does(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = {"x-amz-expected-bucket-owner": SOURCE.bucket_owner}
    ours = signed(SOURCE.url, SOURCE.region, KEYS, owner, NOW)
    request = AWSRequest("GET", SOURCE.url, headers={"x-amz-expected-bucket-owner": SOURCE.bucket_owner})
    request.context["payload_signing_enabled"] = True
    request.context["client_config"] = None
    auth = S3SigV4Auth(Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token"), "s3", SOURCE.region)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    auth.add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours["authorization"] == theirs["authorization"]


def test_it_signs_a_call_of_the_group_as_boto_does(monkeypatch: pytest.MonkeyPatch) -> None:
    url, body = "https://autoscaling.eu-central-1.amazonaws.com/", b"Action=CompleteLifecycleAction&InstanceId=i-1"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    ours = signed(url, SOURCE.region, KEYS, kind, NOW, body)
    request = AWSRequest("POST", url, headers=kind, data=body)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    SigV4Auth(Credentials(KEYS.id, KEYS.secret, KEYS.token), "autoscaling", SOURCE.region).add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def answer(monkeypatch: pytest.MonkeyPatch, result: Any) -> list[dict[str, str]]:
    """Have S3 answer so; return the headers of the questions as they come."""
    asked: list[dict[str, str]] = []

    def ask(_opener: Any, url: str, headers: dict[str, str], _method: str = "GET") -> tuple[bytes, str]:
        assert url == SOURCE.url
        asked.append(headers)
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]

    monkeypatch.setattr(_instance_fetch, "role_keys", lambda _profile: KEYS)
    monkeypatch.setattr(_instance_fetch, "ask", ask)
    return asked


def refused(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError(SOURCE.url, code, "", Message(), None)


def test_it_says_which_version_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, (b"content", '"abc"'))
    assert fetch(SOURCE) == Fetched(b"content", '"abc"')
    assert "if-none-match" not in asked[0]
    answer(monkeypatch, refused(304))
    assert fetch(SOURCE, '"abc"') is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refused(403), "the role host may not read .* give the instance the profile hosts, or run the playbook again"),
        (refused(404), r"or there is nothing \(404\)"),
        (refused(500), "answers 500"),
        (OSError("no route"), r"does not answer \(no route\)"),
    ],
)
def test_a_refusal_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str) -> None:
    answer(monkeypatch, error)
    with pytest.raises(Problem, match=sentence):
        fetch(SOURCE)


def test_it_is_patient_and_says_the_same_thing_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    problems = iter([Problem("no role"), Problem("no role"), Problem("no bucket")])

    def action() -> str:
        problem = next(problems, None)
        if problem:
            raise problem
        return "done"

    assert patiently(action, 100) == "done"
    assert capsys.readouterr().out == "drydock: not yet: no role.\ndrydock: not yet: no bucket.\n"


def test_its_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    def action() -> None:
        raise Problem("no role")

    with pytest.raises(Problem, match="no role"):
        patiently(action, time.monotonic())
