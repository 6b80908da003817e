# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy document says about a request, as IAM evaluates it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

# Resources of a request that the stand-in cannot name: no statement's resources decide against the caller then.
UNKNOWN_RESOURCE = ""


class Decision(Enum):
    """What a document says; where it says nothing, another one may allow."""

    NOTHING = 0
    ALLOW = 1
    DENY = 2


class Request(NamedTuple):
    """Who wants to do what."""

    action: str
    resource: str
    # The caller's ARNs: a session is also the role that was assumed.
    principals: Collection[str] = ()
    # Condition keys in lower case. One without values is known to be missing from the request.
    context: Mapping[str, Collection[str]] = {}
    # Beginnings of keys of which `context` holds all there are; any other absent key is unknown.
    complete: tuple[str, ...] = ()

    def values(self, key: str) -> Collection[str] | None:
        """Return the values of a condition key, None where the stand-in does not know them."""
        key = key.lower()
        return self.context.get(key, () if key.startswith(self.complete) else None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Compare with a pattern of IAM, in which * stands for any characters and ? for one."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.IGNORECASE | re.DOTALL if ignore_case else re.DOTALL) is not None


def _matches_action(statement: Mapping[str, Any], action: str) -> bool:
    if "NotAction" in statement:
        return not any(matches(pattern, action, ignore_case=True) for pattern in _listed(statement["NotAction"]))
    return any(matches(pattern, action, ignore_case=True) for pattern in _listed(statement.get("Action", [])))


def _matches_resource(statement: Mapping[str, Any], request: Request) -> bool:
    # A trust policy has none: it is about the role that it belongs to.
    if "Resource" not in statement and "NotResource" not in statement:
        return True
    if request.resource == UNKNOWN_RESOURCE:
        return statement["Effect"] == "Allow" or "*" in _listed(statement.get("Resource", []))
    negated = "NotResource" in statement
    patterns = _listed(statement["NotResource" if negated else "Resource"])
    return any(matches(_with_variables(pattern, request), request.resource) for pattern in patterns) != negated


def _with_variables(pattern: str, request: Request) -> str:
    """Replace ${aws:key} by the key's value."""

    def value(found: re.Match[str]) -> str:
        values = list(request.values(found[1]) or ())
        return values[0] if values else found[0]

    return re.sub(r"\$\{([\w:/-]+)\}", value, pattern)


def _matches_principal(statement: Mapping[str, Any], request: Request) -> bool:
    if "NotPrincipal" in statement:
        return not _is_principal(statement["NotPrincipal"], request)
    # A policy of an identity has none: it is about that identity.
    return "Principal" not in statement or _is_principal(statement["Principal"], request)


def _is_principal(principal: Any, request: Request) -> bool:
    if principal == "*":
        return True
    for kind, names in principal.items():
        for name in _listed(names):
            if kind == "AWS" and (name == "*" or any(_is_caller(name, arn) for arn in request.principals)):
                return True
            if kind == "Service" and name in request.principals:
                return True
    return False


def _is_caller(name: str, arn: str) -> bool:
    """Tell whether a principal is this caller, or the account that the caller belongs to."""
    account = arn.split(":")[4] if arn.count(":") >= 5 else ""
    return name in {arn, account} or (
        bool(account) and re.fullmatch(rf"arn:[\w-]+:iam::{account}:root", name) is not None
    )


def _number(value: str) -> float:
    return float(value)


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda want, have: want == have,
    "StringEqualsIgnoreCase": lambda want, have: want.lower() == have.lower(),
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": lambda want, have: want.lower() == have.lower(),
    "NumericEquals": lambda want, have: _number(have) == _number(want),
    "NumericLessThan": lambda want, have: _number(have) < _number(want),
    "NumericLessThanEquals": lambda want, have: _number(have) <= _number(want),
    "NumericGreaterThan": lambda want, have: _number(have) > _number(want),
    "NumericGreaterThanEquals": lambda want, have: _number(have) >= _number(want),
}
_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}


def _matches_condition(operator: str, key: str, wanted: Any, request: Request) -> bool | None:
    """Evaluate one line of a condition; None where the stand-in knows too little."""
    values = request.values(key)
    if values is None:
        return None
    quantifier, _, name = operator.rpartition(":")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    wants = [str(want).lower() if isinstance(want, bool) else str(want) for want in _listed(wanted)]
    wants = [_with_variables(want, request) for want in wants]
    if name == "Null":
        return (not values) == (wants[0].lower() == "true")
    if not values:
        # What is missing equals nothing, is different from everything, and every one of none does.
        return if_exists or name in _NEGATIONS or quantifier == "ForAllValues"
    negated = name in _NEGATIONS
    compare = _COMPARISONS.get(_NEGATIONS.get(name, name))
    if compare is None:
        return None
    results = [any(compare(want, have) for want in wants) != negated for have in values]
    return any(results) if quantifier == "ForAnyValue" else all(results)


def _matches_conditions(statement: Mapping[str, Any], request: Request) -> bool:
    for operator, lines in (statement.get("Condition") or {}).items():
        for key, wanted in lines.items():
            matched = _matches_condition(operator, key, wanted, request)
            # What the stand-in cannot tell never decides against the caller.
            if matched is None:
                matched = statement["Effect"] == "Allow"
            if not matched:
                return False
    return True


def decide(document: Mapping[str, Any], request: Request) -> Decision:
    """Return what one document says: a denial is stronger than any permission."""
    decision = Decision.NOTHING
    for statement in _listed(document["Statement"]):
        if (
            _matches_action(statement, request.action)
            and _matches_resource(statement, request)
            and _matches_principal(statement, request)
            and _matches_conditions(statement, request)
        ):
            if statement["Effect"] == "Deny":
                return Decision.DENY
            decision = Decision.ALLOW
    return decision


def strongest(decisions: Iterable[Decision]) -> Decision:
    """Return what several documents say together."""
    return max(decisions, key=lambda decision: decision.value, default=Decision.NOTHING)
