# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies decide as IAM says they do."""

from __future__ import annotations

from typing import Any

import pytest
from aws_stand_in.policies import UNKNOWN_RESOURCE, Decision, Request, decide, matches, strongest

BUCKET = "arn:aws:s3:::images"
ROLE = "arn:aws:iam::111122223333:role/registry"
SESSION = "arn:aws:sts::111122223333:assumed-role/registry/i-1"


def statement(effect: str = "Allow", **rest: Any) -> dict[str, Any]:
    """Return a document of one statement that by itself concerns everything."""
    return {"Statement": {"Effect": effect, "Action": "*", "Resource": "*", **rest}}


def request(action: str = "s3:GetObject", resource: str = f"{BUCKET}/a", **context: tuple[str, ...]) -> Request:
    return Request(
        action,
        resource,
        (ROLE, SESSION),
        {key.replace("__", ":"): values for key, values in context.items()},
        ("aws:requesttag/",),
    )


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("*", "", True),
        ("a*c", "abbc", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("abc", "abcd", False),
        ("A", "a", False),
    ],
)
def test_matches(pattern: str, value: str, expected: bool) -> None:
    assert matches(pattern, value) is expected


@pytest.mark.parametrize(
    ("document", "asked", "expected"),
    [
        (statement(), request(), Decision.ALLOW),
        (statement("Deny"), request(), Decision.DENY),
        # Actions in any letter case, resources in theirs.
        (statement(Action="S3:get*"), request(), Decision.ALLOW),
        (statement(Action=["s3:PutObject", "s3:GetObject"]), request(), Decision.ALLOW),
        (statement(Action="s3:PutObject"), request(), Decision.NOTHING),
        ({"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}, request(), Decision.ALLOW),
        ({"Statement": [{"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"}]}, request(), Decision.NOTHING),
        (statement(Resource=f"{BUCKET}/*"), request(), Decision.ALLOW),
        (statement(Resource=BUCKET), request(), Decision.NOTHING),
        (statement(Resource=f"{BUCKET.upper()}/*"), request(), Decision.NOTHING),
        ({"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": f"{BUCKET}/b"}]}, request(), Decision.ALLOW),
        (
            {"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": f"{BUCKET}/*"}]},
            request(),
            Decision.NOTHING,
        ),
        # What cannot be told never decides against the caller.
        (statement(Resource=BUCKET), request(resource=UNKNOWN_RESOURCE), Decision.ALLOW),
        (statement("Deny", Resource=BUCKET), request(resource=UNKNOWN_RESOURCE), Decision.NOTHING),
        (statement(Condition={"StringEquals": {"aws:Unknown": "x"}}), request(), Decision.ALLOW),
        (statement("Deny", Condition={"StringEquals": {"aws:Unknown": "x"}}), request(), Decision.NOTHING),
        (statement(Condition={"DateLessThan": {"aws:x": "2020"}}), request(aws__x=("1",)), Decision.ALLOW),
        # A list that has no single-thing permissions is asked for with *.
        (statement(Resource=f"{BUCKET}/*"), request(resource="*"), Decision.NOTHING),
    ],
)
def test_actions_and_resources(document: dict[str, Any], asked: Request, expected: Decision) -> None:
    assert decide(document, asked) is expected


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ({"Bool": {"aws:x": "false"}}, ("false",), True),
        ({"Bool": {"aws:x": False}}, ("false",), True),
        ({"Bool": {"aws:x": "false"}}, ("true",), False),
        ({"StringEquals": {"AWS:X": ["a", "b"]}}, ("b",), True),
        ({"StringEquals": {"aws:x": "a"}}, ("A",), False),
        ({"StringEqualsIgnoreCase": {"aws:x": "a"}}, ("A",), True),
        ({"StringLike": {"aws:x": "a*"}}, ("abc",), True),
        ({"StringNotEquals": {"aws:x": ["a", "b"]}}, ("b",), False),
        ({"StringNotEquals": {"aws:x": ["a", "b"]}}, ("c",), True),
        ({"ArnLike": {"aws:x": "arn:aws:iam::*:role/r*"}}, (ROLE,), True),
        ({"NumericLessThan": {"aws:x": "10"}}, ("9",), True),
        # What is missing.
        ({"StringEquals": {"aws:x": "a"}}, (), False),
        ({"StringNotEquals": {"aws:x": "a"}}, (), True),
        ({"StringEqualsIfExists": {"aws:x": "a"}}, (), True),
        ({"Null": {"aws:x": "true"}}, (), True),
        ({"Null": {"aws:x": "true"}}, ("a",), False),
        ({"Null": {"aws:x": "false"}}, ("a",), True),
        # Keys with several values.
        ({"ForAllValues:StringEquals": {"aws:x": ["a", "b"]}}, ("a", "b"), True),
        ({"ForAllValues:StringEquals": {"aws:x": ["a"]}}, ("a", "b"), False),
        ({"ForAllValues:StringEquals": {"aws:x": ["a"]}}, (), True),
        ({"ForAnyValue:StringEquals": {"aws:x": ["a"]}}, ("a", "b"), True),
        ({"ForAnyValue:StringEquals": {"aws:x": ["c"]}}, ("a", "b"), False),
        # Lines and operators must all hold.
        ({"StringEquals": {"aws:x": "a"}, "StringLike": {"aws:x": "b*"}}, ("a",), False),
    ],
)
def test_conditions(condition: dict[str, Any], values: tuple[str, ...], expected: bool) -> None:
    asked = request(aws__x=values)
    assert decide(statement(Condition=condition), asked) is (Decision.ALLOW if expected else Decision.NOTHING)
    assert decide(statement("Deny", Condition=condition), asked) is (Decision.DENY if expected else Decision.NOTHING)


def test_a_tag_that_the_request_does_not_give_is_missing() -> None:
    condition = {"StringEquals": {"aws:RequestTag/owner": "me"}}
    assert decide(statement(Condition=condition), request()) is Decision.NOTHING
    assert decide(statement(Condition=condition), request()._replace(complete=())) is Decision.ALLOW


def test_variables() -> None:
    document = statement(Resource=f"{BUCKET}/${{aws:username}}")
    assert decide(document, request(aws__username=("a",))) is Decision.ALLOW
    assert decide(document, request(aws__username=("b",))) is Decision.NOTHING
    assert decide(document, request()) is Decision.NOTHING


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": ROLE}, True),
        ({"AWS": ["arn:aws:iam::111122223333:user/x", SESSION]}, True),
        ({"AWS": "111122223333"}, True),
        ({"AWS": "arn:aws:iam::111122223333:root"}, True),
        ({"AWS": "arn:aws:iam::444455556666:root"}, False),
        ({"AWS": "arn:aws:iam::111122223333:role/another"}, False),
        ({"Service": "ec2.amazonaws.com"}, False),
    ],
)
def test_principals(principal: Any, expected: bool) -> None:
    assert decide(statement(Principal=principal), request()) is (Decision.ALLOW if expected else Decision.NOTHING)
    assert decide(statement(NotPrincipal=principal), request()) is (Decision.NOTHING if expected else Decision.ALLOW)


def test_a_denial_is_stronger() -> None:
    document = {"Statement": [statement()["Statement"], statement("Deny", Action="s3:Get*")["Statement"]]}
    assert decide(document, request()) is Decision.DENY
    assert decide(document, request("s3:PutObject")) is Decision.ALLOW
    assert strongest([Decision.ALLOW, Decision.DENY, Decision.NOTHING]) is Decision.DENY
    assert strongest([]) is Decision.NOTHING
