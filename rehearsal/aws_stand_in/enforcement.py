# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM's enforcement as AWS does it: who calls, what the call needs, what the policies say, and which error it is.

moto checks signatures, and that part is left to it but for a GET without a query. What it has instead of the rest:
- policies: actions in one letter case only, no `?`, no Deny by a condition (a condition that does not hold denies, one with
  an operator that it does not know holds), and one resource, which mostly is `*` and so never matches an ARN;
- no PassRole, no permissions for tags given at creation, none for what services do in the caller's name, no permissions boundary,
  no end of a session;
- errors with IAM's codes and in XML from every service, which a client of SSM or KMS cannot read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import has_request_context, request
from moto.acm.models import acm_backends
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.iam import access_control
from moto.iam.access_control import CreateAccessKeyFailure, IAMRequestBase, S3IAMRequest
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Policy, iam_backends
from moto.kms.models import kms_backends
from moto.s3.models import FakeBucket, s3_backends
from moto.sts.models import sts_backends

from .calls import Call, Need, needs
from .implied import implied, object_keys
from .patching import instead_of
from .policies import UNKNOWN_RESOURCE, Decision, Request, decide, strongest

# Of these keys a request says all there is to say.
KNOWN_KEYS = (
    "application-autoscaling:",
    "aws:requesttag/",
    "ec2:createaction",
    "iam:awsservicename",
    "iam:passedtoservice",
    "kms:viaservice",
    "route53:changeresourcerecordsets",
    "s3:delimiter",
    "s3:prefix",
    "s3:x-amz-",
)

# What policies call a service, where requests are signed for another name.
PREFIXES = {"monitoring": "cloudwatch"}


class Refused(ServiceException):
    """A call that is refused, in the words of its service."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


def _speaks_json(headers: Mapping[str, str]) -> bool:
    return "X-Amz-Target" in headers


def _denied(service: str, headers: Mapping[str, str], caller: str, need: Need, decision: Decision) -> Refused:
    on = f" on resource: {need.resource}" if need.resource not in {UNKNOWN_RESOURCE, "*"} else ""
    why = (
        "with an explicit deny in an identity-based policy"
        if decision is Decision.DENY
        else f"because no identity-based policy allows the {need.action} action"
    )
    message = f"User: {caller} is not authorized to perform: {need.action}{on} {why}"
    if service == "ec2":
        return Refused(403, "UnauthorizedOperation", f"You are not authorized to perform this operation. {message}")
    if _speaks_json(headers):
        return Refused(400, "AccessDeniedException", message)
    return Refused(403, "AccessDenied", message)


def _unknown_key(service: str, headers: Mapping[str, str], reason: str) -> Refused:
    if reason == "Expired":
        message = "The security token included in the request is expired"
        if service == "ec2":
            return Refused(400, "RequestExpired", "Request has expired.")
        if service == "s3":
            return Refused(400, "ExpiredToken", "The provided token has expired.")
        return (
            Refused(400, "ExpiredTokenException", message)
            if _speaks_json(headers)
            else Refused(403, "ExpiredToken", message)
        )
    if service == "ec2":
        return Refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    if service == "s3" and reason == "InvalidToken":
        return Refused(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    if service == "s3":
        return Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    message = "The security token included in the request is invalid."
    if _speaks_json(headers):
        return Refused(400, "UnrecognizedClientException", message)
    return Refused(403, "InvalidClientTokenId", message)


def _wrong_signature(service: str, headers: Mapping[str, str]) -> Refused:
    if service == "ec2":
        return Refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    message = (
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method."
    )
    return Refused(403, "InvalidSignatureException" if _speaks_json(headers) else "SignatureDoesNotMatch", message)


def is_secure() -> bool:
    """Tell whether a request counts as sent over TLS: most come without it here, so every one does unless a test wants to know."""
    if os.environ.get("AWS_API_ASSUME_TLS", "true").lower() != "false":
        return True
    return bool(has_request_context() and request.is_secure)


def _document(policy: Any) -> dict[str, Any]:
    """Return the document of one of moto's many kinds of policies."""
    if isinstance(policy, Policy):
        policy = next(version.document for version in policy.versions if version.is_default)
    elif not isinstance(policy, str):
        policy = policy["policy_document"]
    document: dict[str, Any] = json.loads(policy)
    return document


class Caller:
    """Who calls: an IAM user, or a session of a role."""

    def __init__(self, key: Any, account: str) -> None:
        self.key = key
        self.account = account
        self.arn: str = key.arn
        self.arns = {self.arn}
        # As conditions see it: a session is its role.
        self.principal_arn = self.arn
        self.boundary_arn = ""
        self._policies: list[Any] = []
        # A role may be deleted while its sessions live; they may do nothing any more.
        with contextlib.suppress(NotFoundException):
            self._policies = list(key.collect_policies())
            if role_name := getattr(key, "_owner_role_name", ""):
                role = key.backend.get_role(role_name)
                self.arns.add(role.arn)
                self.principal_arn = role.arn
                self.boundary_arn = role.permissions_boundary_arn or ""

    def decide(self, question: Request) -> Decision:
        """Return what the policies of the caller say."""
        decision = strongest(decide(_document(policy), question) for policy in self._policies)
        if self.boundary_arn and decision is Decision.ALLOW:
            return decide(_document(self.key.backend.get_policy(self.boundary_arn)), question)
        return decision


def _resource_tags(need: Need, call: Call) -> dict[str, tuple[str, ...]] | None:
    """Return the tags of what a call is about, None where they are not known."""
    service, name = "".join(need.resource.split(":")[2:3]), need.resource.rpartition("/")[2]
    tags: Mapping[str, Any] | None = None
    if service == "ec2":
        tags = ec2_backends[call.account][call.region].tags.get(name, {})
    elif service == "acm":
        certificate = acm_backends[call.account][call.region]._certificates.get(need.resource)
        tags = certificate.tags if certificate else {}
    elif service == "kms":
        tags = kms_backends[call.account][call.region].tagger.get_tag_dict_for_resource(name)
    return None if tags is None else {f"aws:resourcetag/{key}".lower(): (str(value),) for key, value in tags.items()}


def _with_paths(need: Need, call: Call) -> Need:
    """Complete the ARN of a thing of IAM by its path, which a call that is about it does not say."""
    backend = iam_backends[call.account]["aws"]
    kind, _, name = need.resource.rpartition(":")[2].partition("/")
    things: dict[str, Callable[[], Any]] = {
        "role": backend.roles.values,
        "instance-profile": backend.instance_profiles.values,
        "server-certificate": backend.certificates.values,
        "user": backend.users.values,
    }
    if call.service == "iam" and kind in things and not call.action.startswith(("Create", "Upload")):
        for thing in list(things[kind]()):
            if getattr(thing, "name", "") == name or getattr(thing, "cert_name", "") == name:
                return need._replace(resource=thing.arn)
    return need


def _with_key(need: Need, call: Call) -> Need:
    """Replace an alias by the key that it stands for, which is what KMS asks permission for."""
    alias = need.resource.rpartition(":")[2]
    if call.service != "kms" or not alias.startswith("alias/") or call.parameters.get("AliasName") == alias:
        return need
    backend = kms_backends[call.account][call.region]
    key_id = backend.get_key_id_from_alias(alias)
    return need._replace(resource=backend.keys[key_id].arn) if key_id in backend.keys else need


class Enforcement:
    """The decision about one call."""

    def __init__(self, iam_request: Any, resource: str) -> None:
        self.iam_request = iam_request
        self.caller = Caller(iam_request._access_key, iam_request.account_id)
        self.headers: Mapping[str, str] = iam_request._headers
        service, _, action = iam_request._action.partition(":")
        service = PREFIXES.get(service, service)
        parameters = iam_request.drydock_parameters
        self.call = Call(service, action, parameters, self.caller.account, iam_request._region)
        # moto knows buckets and keys, which stand in the path and not among the parameters.
        self.s3_resource = resource if service == "s3" else ""

    def _context(self, need: Need) -> dict[str, tuple[str, ...]]:
        context: dict[str, tuple[str, ...]] = {
            "aws:requestedregion": (self.call.region,),
            "aws:securetransport": ("true" if is_secure() else "false",),
            "aws:principalarn": (self.caller.principal_arn,),
            "aws:principalaccount": (self.caller.account,),
            "aws:resourceaccount": (self.call.account,),
            **need.context,
        }
        if ":user/" in self.caller.arn:
            context["aws:username"] = (self.caller.arn.rpartition("/")[2],)
        if self.call.service == "s3":
            context |= {
                f"s3:{name}".lower(): (value,)
                for name, value in self.headers.items()
                if name.lower().startswith("x-amz-")
            }
            for name in ("prefix", "delimiter"):
                if values := self.iam_request._data.get(name):
                    context[f"s3:{name}"] = (values[0] if isinstance(values, list) else values,)
        return context

    def _decide(self, need: Need) -> Decision:
        need = _with_key(_with_paths(need, self.call), self.call)
        context = self._context(need)
        complete: tuple[str, ...] = KNOWN_KEYS
        if (tags := _resource_tags(need, self.call)) is not None:
            context |= tags
            complete += ("aws:resourcetag/",)
        question = Request(need.action, need.resource, self.caller.arns, context, complete)
        decisions = [self.caller.decide(question)]
        if self.call.service == "s3" and (policy := _bucket_policy(need.resource)):
            decisions.append(decide(policy, question))
        if need.action == "sts:AssumeRole" and not self._is_trusted(need.resource, question):
            return Decision.NOTHING
        return strongest(decisions)

    def _keys(self) -> Iterator[Need]:
        """Yield what S3 does with keys."""
        asked = self.iam_request
        if self.s3_resource:
            yield from object_keys(self.call, self.s3_resource, asked._method, asked._path, self.headers)

    def _is_trusted(self, role_arn: str, question: Request) -> bool:
        for role in list(iam_backends[role_arn.split(":")[4]]["aws"].roles.values()):
            if role.arn == role_arn:
                return decide(_document(role.assume_role_policy_document), question) is Decision.ALLOW
        return False

    def check(self) -> None:
        """Refuse the call unless everything that it needs is allowed."""
        # Everybody may ask who they are, whatever a policy says.
        if self.iam_request._action == "sts:GetCallerIdentity":
            return
        wanted = (
            [Need(f"{self.call.service}:{self.call.action}", self.s3_resource)]
            if self.s3_resource
            else list(needs(self.call))
        )
        for need in [*wanted, *implied(self.call), *self._keys()]:
            decision = self._decide(need)
            if decision is not Decision.ALLOW:
                raise _denied(self.call.service, self.headers, self.caller.arn, need, decision)


def _bucket_policy(resource: str) -> dict[str, Any] | None:
    """Return the policy of the bucket that an ARN is about."""
    name = resource.rpartition(":::")[2].partition("/")[0]
    if name not in s3_backends.bucket_accounts:
        return None
    partition, account = s3_backends.bucket_accounts[name]
    policy = s3_backends[account][partition].buckets[name].policy
    return json.loads(policy.decode()) if policy else None


def _parameters(response: Any) -> Mapping[str, Any]:
    """Return the parameters of a call, however its service sends them."""
    if response.automated_parameter_parsing:
        return {**response.uri_match, **response.params}
    if _speaks_json(response.headers):
        parameters: dict[str, Any] = json.loads(response.body or "{}")
        return parameters
    return {}


def apply() -> None:
    """Put all this in the place of moto's."""

    @instead_of(BaseResponse, "_authenticate_and_authorize_action")
    def authenticate(original: Any, self: Any, iam_request_class: type, resource: str = "*") -> None:
        class IAMRequest(iam_request_class):  # type: ignore[misc]
            drydock_parameters = _parameters(self)

        original(self, IAMRequest, resource)

    @instead_of(BaseResponse, "call_action")
    def call_action(original: Any, self: Any) -> Any:
        try:
            return original(self)
        except Refused as refused:
            _, headers, body = self.serialized(ActionResult(refused))
            headers["status"] = str(refused.status)
            return refused.status, headers, body

    @instead_of(IAMRequestBase, "check_action_permitted")
    def check_action_permitted(_original: Any, self: Any, resource: str) -> None:
        Enforcement(self, resource).check()

    for request_class in (access_control.IAMRequest, S3IAMRequest):

        @instead_of(request_class, "_raise_invalid_access_key")
        def unknown_key(_original: Any, self: Any, reason: str) -> None:
            raise _unknown_key(self._service, self._headers, reason)

        @instead_of(request_class, "_raise_signature_does_not_match")
        def wrong_signature(_original: Any, self: Any) -> None:
            raise _wrong_signature(self._service, self._headers)

    @instead_of(access_control, "create_access_key")
    def create_access_key(
        original: Any, account_id: str, partition: str, access_key_id: str, headers: Mapping[str, str]
    ) -> Any:
        for session in sts_backends[account_id][partition].assumed_roles:
            if session.access_key_id == access_key_id and session.expiration < utcnow():
                raise CreateAccessKeyFailure(reason="Expired")
        return original(account_id, partition, access_key_id, headers)

    @instead_of(IAMRequestBase, "__init__")
    def init(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        headers, path = kwargs["headers"], kwargs["path"]
        self.drydock_presigned = False
        if "Authorization" not in headers:
            headers = dict(headers)
            # A presigned URL has in its query what a signed request has in headers; moto looks at headers only.
            query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(path).query).items()}
            if "x-amz-credential" not in query:
                raise Refused(
                    403,
                    "AccessDenied" if kwargs["data"].get("BucketName") else "MissingAuthenticationToken",
                    "Access Denied",
                )
            headers["Authorization"] = (
                f"AWS4-HMAC-SHA256 Credential={query['x-amz-credential']}, SignedHeaders=host, "
                f"Signature={query.get('x-amz-signature', '')}"
            )
            if "x-amz-security-token" in query:
                headers["X-Amz-Security-Token"] = query["x-amz-security-token"]
            self.drydock_presigned = True
        original(self, *args, **{**kwargs, "headers": headers})

    @instead_of(IAMRequestBase, "_create_aws_request")
    def create_aws_request(original: Any, self: Any) -> Any:
        # A form's body is not kept, so moto writes it anew from the fields. It does so for a GET without a body as well,
        # whose fields are then those of its query or its headers.
        fields = self._data
        if not self._headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            self._data = b""
        try:
            return original(self)
        finally:
            self._data = fields

    @instead_of(IAMRequestBase, "check_signature")
    def check_signature(original: Any, self: Any) -> None:
        # A signature in the query is not computed again; its key must exist and be allowed to do it.
        if not self.drydock_presigned:
            original(self)

    # moto asks the bucket's policy before it knows the caller, and applies a Deny whatever its condition says.
    @instead_of(FakeBucket, "get_permission")
    def get_permission(_original: Any, self: Any, action: str, resource: str) -> Any:
        results = {
            Decision.NOTHING: access_control.PermissionResult.NEUTRAL,
            Decision.ALLOW: access_control.PermissionResult.PERMITTED,
            Decision.DENY: access_control.PermissionResult.DENIED,
        }
        if self.policy is None:
            return results[Decision.NOTHING]
        context = {"aws:securetransport": ("true" if is_secure() else "false",)}
        return results[decide(json.loads(self.policy.decode()), Request(action, resource, (), context))]
