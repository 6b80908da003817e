# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWS account as somebody sees it who may ask it questions, and the problems that come up on the way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._aws_errors import code_of, error_sentence

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says what to install
    BotoCoreError = ClientError = Exception

# The tag that marks what belongs to a deployment; its value is the deployment's name.
TAG = "drydock-deployment"
# Tells the address of a NAT gateway from that of a host.
ADDRESS_TAG = "drydock-address"

# boto3 carries no types.
Client = Any
Answer = dict[str, Any]


ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+")


class AwsProblem(Exception):
    """A question that AWS did not answer; the text is a sentence for the user."""


@dataclass
class Account:
    """Where to ask, who asks, and what was found wrong so far."""

    clients: Callable[[str], Client]
    region: str
    deployment: str
    account_id: str = ""
    partition: str = "aws"
    caller_arn: str = ""
    # What is to be removed need not be fit to be made: then settings and what they meet are not judged.
    removing: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What AWS things of the deployment are called."""
        return resource_name(self.deployment)

    @property
    def iam_name(self) -> str:
        """What its IAM things are called."""
        return iam_name(self.deployment, self.region)

    def ask(self, service: str, operation: str, missing: Sequence[str] = (), **parameters: Any) -> Optional[Answer]:
        """Ask one question. None means that AWS answered with one of the codes in `missing`."""
        try:
            answer: Answer = getattr(self.clients(service), operation)(**parameters)
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in missing:
                return None
            raise AwsProblem(error_sentence(error, service, self.caller_arn)) from error
        return answer

    def ask_all(self, service: str, operation: str, key: str, **parameters: Any) -> list[Answer]:
        """Ask for a list, all pages of it."""
        try:
            pages = self.clients(service).get_paginator(operation).paginate(**parameters)
            return [item for page in pages for item in page.get(key, [])]
        except (ClientError, BotoCoreError) as error:
            raise AwsProblem(error_sentence(error, service, self.caller_arn)) from error

    def refuse(self, problem: str) -> None:
        """Note what is wrong with the settings or with what they meet."""
        if not self.removing:
            self._note(problem)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Let what comes after go on when a question was not answered."""
        try:
            yield
        except AwsProblem as problem:
            self._note(str(problem))

    def identify(self) -> None:
        """Ask who asks, which needs no permission; nothing else is worth asking when this fails."""
        answer = self.ask("sts", "get_caller_identity") or {}
        self.account_id = str(answer.get("Account", ""))
        self.caller_arn = str(answer.get("Arn", ""))
        self.partition = self.caller_arn.split(":")[1] if self.caller_arn.count(":") >= 5 else "aws"

    def is_ours(self, tags: Mapping[str, str]) -> bool:
        """Tell whether something belongs to this deployment."""
        return tags.get(TAG) == self.deployment

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def resource_name(deployment: str) -> str:
    """Name what a deployment makes in a region: VPC, key pair, instance."""
    return f"{deployment}-registry"


def iam_name(deployment: str, region: str) -> str:
    """Name what a deployment makes in IAM, which knows no regions: role, policy, instance profile."""
    return f"{deployment}-registry-{region}"


def tags_of(pairs: Optional[Sequence[Mapping[str, str]]]) -> dict[str, str]:
    """Turn the tags of an answer into a dictionary."""
    return {pair["Key"]: pair["Value"] for pair in pairs or []}


def filters(**values: Any) -> list[dict[str, Any]]:
    """Write EC2's filters; underscores stand for hyphens, two of them for a dot, and `tag` names our tag."""
    return [
        {
            "Name": f"tag:{TAG}" if name == "tag" else name.replace("__", ".").replace("_", "-"),
            "Values": list(value) if isinstance(value, (list, tuple, set)) else [value],
        }
        for name, value in values.items()
    ]


def open_account(region: str, deployment: str, zone_role_arn: str = "") -> Account:
    """Make an account that asks AWS itself, with the credentials and the endpoint of the environment.

    Route 53 is asked as a role of the account that has the zone, where there is one. One session for all clients: it reads boto3's data
    once. Nobody waits minutes for an API that does not answer.
    """
    # Here, because filters need other things of this file, and each task that uses one would load boto3, which takes a third of a second.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    try:
        session = boto3.session.Session(region_name=region or None)
    except (BotoCoreError, ValueError) as error:
        raise AwsProblem(error_sentence(error)) from error
    region = session.region_name or ""
    known = [
        name
        for partition in session.get_available_partitions()
        # A small one of the services that are everywhere, which is asked anyway: boto3 reads all that it knows of the service.
        for name in session.get_available_regions("sts", partition)
    ]
    problem = region_problem(region, known)
    if problem:
        raise AwsProblem(problem)
    config = Config(
        connect_timeout=10,
        read_timeout=30,
        retries={"mode": "standard", "max_attempts": 4},
        user_agent_extra="drydock.registry",
    )
    made: dict[str, Client] = {}

    def clients(service: str) -> Client:
        if service not in made:
            try:
                keys: dict[str, str] = {}
                # What is no role, the role of Ansible refuses.
                if service == "route53" and ROLE_ARN.fullmatch(zone_role_arn):
                    answer = session.client("sts", config=config).assume_role(
                        RoleArn=zone_role_arn, RoleSessionName=f"drydock-{deployment}"[:64]
                    )["Credentials"]
                    keys = {
                        "aws_access_key_id": answer["AccessKeyId"],
                        "aws_secret_access_key": answer["SecretAccessKey"],
                        "aws_session_token": answer["SessionToken"],
                    }
                made[service] = session.client(service, config=config, **keys)
            except (BotoCoreError, ClientError, ValueError) as error:
                # Only the role is asked for here; no client asks anything by being made.
                refused = isinstance(error, ClientError)
                more = f" The trust policy of {zone_role_arn} has to let it in as well." if refused else ""
                raise AwsProblem(error_sentence(error, "sts" if refused else service) + more) from error
        return made[service]

    return Account(clients, region, deployment)


def region_problem(region: str, known: Sequence[str]) -> str:
    """Say what is wrong with a region's name, or nothing."""
    if not region:
        return "No AWS region is set: write drydock_region, for example eu-central-1."
    if region in known:
        return ""
    similar = difflib.get_close_matches(region, known, n=1)
    advice = f"write {similar[0]}" if similar else "write one such as eu-central-1"
    return f"drydock_region is {region!r}, which is no AWS region that boto3 knows: {advice}, or install a newer boto3."
