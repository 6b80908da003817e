# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance metadata service, versions 1 and 2: what an instance asks at 169.254.169.254.

Who asks is told by the source address. The credentials of an instance's role are sessions of STS, so that what the
registry may do is decided by the role's policies.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from .autoscaling import target_state
from .ec2 import all_instances

TOKEN_PATH = "/latest/api/token"
TOKEN_SECONDS_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TOKEN_SECONDS = 21600
ROLE_SESSION_SECONDS = 6 * 3600
# AWS hands out new credentials that long before the old ones expire.
ROLE_SESSION_RENEW_BEFORE = timedelta(minutes=15)
CREDENTIALS = "iam/security-credentials/"


class Answer(Exception):
    """An answer other than a value."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def asking_instance(address: str) -> Any:
    """Return the instance that has an address, or nothing."""
    for instance in all_instances():
        if instance.state not in {"stopped", "terminated"} and address in {instance.private_ip, instance.public_ip}:
            return instance
    return None


def aws_time(moment: datetime) -> str:
    """Return a time as AWS writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Sessions:
    """The credentials of roles, one set for each instance and role until it is about to expire."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, str], tuple[datetime, Any]] = {}

    def credentials(self, instance: Any, role: Any) -> dict[str, str]:
        """Return credentials as the metadata service writes them."""
        key = (instance.id, role.arn)
        now = utcnow()
        issued, session = self._sessions.get(key, (now, None))
        if session is None or session.expiration - now < ROLE_SESSION_RENEW_BEFORE:
            issued = now
            # The service itself asks, not somebody in the account: nobody else may assume a role that trusts EC2.
            session = sts_backends[instance.owner_id]["aws"].assume_role(
                region_name=instance.region_name,
                role_session_name=instance.id,
                role_arn=role.arn,
                policy="",
                duration=ROLE_SESSION_SECONDS,
                external_id="",
            )
            self._sessions[key] = (issued, session)
        return {
            "Code": "Success",
            "LastUpdated": aws_time(issued),
            "Type": "AWS-HMAC",
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "Token": session.session_token,
            "Expiration": aws_time(session.expiration),
        }


class MetadataTree:
    """What the service says about one instance."""

    def __init__(self, instance: Any, sessions: Sessions) -> None:
        self.instance = instance
        self.sessions = sessions

    def _role(self) -> Any:
        profile_arn = (self.instance.iam_instance_profile or {}).get("Arn")
        if not profile_arn:
            return None
        for profile in iam_backends[self.instance.owner_id]["aws"].get_instance_profiles():
            if profile.arn == profile_arn and profile.roles:
                return profile.roles[0]
        return None

    def _public_key(self) -> str:
        pair = self.instance.ec2_backend.key_pairs[self.instance.key_name]
        return f"{pair.public_key.strip()}\n"

    def _entries(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield the paths below meta-data/ with what makes their values."""
        instance = self.instance
        zone = instance.availability_zone
        fixed = {
            "ami-id": instance.image_id,
            "ami-launch-index": str(instance.ami_launch_index),
            "hostname": instance.private_dns_name,
            "instance-id": instance.id,
            "instance-life-cycle": "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": instance.private_ip,
            "mac": instance.nics[0].mac_address,
            "placement/availability-zone": zone,
            "placement/region": instance.region_name,
            "security-groups": "\n".join(group.name for group in instance.security_groups),
            "services/domain": "amazonaws.com",
            "services/partition": "aws",
        }
        for path, value in fixed.items():
            yield path, lambda value=value: value  # type: ignore[misc]
        if instance.public_ip:
            yield "public-ipv4", lambda: str(instance.public_ip)
            yield "public-hostname", lambda: str(instance.public_dns_name)
        if instance.key_name:
            yield "public-keys/0/openssh-key", self._public_key
        if state := target_state(instance):
            yield "autoscaling/target-lifecycle-state", lambda: state
        if (role := self._role()) is not None:
            yield f"{CREDENTIALS}{role.name}", lambda: json.dumps(self.sessions.credentials(instance, role), indent=2)
        if instance.metadata_options.instance_metadata_tags == "enabled":
            for tag in instance.get_tags():
                yield f"tags/instance/{tag['key']}", lambda value=tag["value"]: str(value)  # type: ignore[misc]

    def _identity(self) -> str:
        instance = self.instance
        return json.dumps(
            {
                "accountId": instance.owner_id,
                "architecture": instance.architecture,
                "availabilityZone": instance.availability_zone,
                "imageId": instance.image_id,
                "instanceId": instance.id,
                "instanceType": instance.instance_type,
                "pendingTime": aws_time(instance.launch_time),
                "privateIp": instance.private_ip,
                "region": instance.region_name,
                "version": "2017-09-30",
            },
            indent=2,
        )

    def value(self, path: str) -> str:
        """Return what stands at a path; a path that ends with a slash is a folder."""
        path = path.removeprefix("/latest/")
        if path == "dynamic/instance-identity/document":
            return self._identity()
        if path == "user-data" and self.instance.user_data:
            return base64.b64decode(str(self.instance.user_data)).decode()
        if path != "meta-data" and not path.startswith("meta-data/"):
            raise Answer(404)
        path = path.removeprefix("meta-data").removeprefix("/")
        entries = dict(self._entries())
        if path in entries:
            return entries[path]()
        if path == "public-keys/" and "public-keys/0/openssh-key" in entries:
            return f"0={self.instance.key_name}"
        folder = f"{path.rstrip('/')}/" if path else ""
        below = {entry.removeprefix(folder) for entry in entries if entry.startswith(folder)}
        if not below:
            raise Answer(404)
        return "\n".join(sorted({name if "/" not in name else f"{name.partition('/')[0]}/" for name in below}))


class MetadataServer(ThreadingHTTPServer):
    """The service, with the tokens and sessions that it handed out."""

    daemon_threads = True
    # So many containers ask at once when Docker starts after a reboot.
    request_queue_size = 64

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self.sessions = Sessions()
        # Until when a token is good, and whose it is.
        self.tokens: dict[str, tuple[float, str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: MetadataServer
    server_version = "EC2ws"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def _say(self, status: int, body: str = "", headers: dict[str, str] | None = None) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _instance(self) -> Any:
        instance = asking_instance(self.client_address[0])
        if instance is None:
            raise Answer(404)
        if instance.metadata_options.http_endpoint == "disabled":
            raise Answer(403)
        return instance

    def _token(self) -> None:
        if self.path != TOKEN_PATH:
            raise Answer(404)
        # A proxy that passes everything on must not get one.
        if "X-Forwarded-For" in self.headers:
            raise Answer(403)
        instance = self._instance()
        seconds = self.headers.get(TOKEN_SECONDS_HEADER, "")
        if not (seconds.isascii() and seconds.isdigit() and 1 <= int(seconds) <= MAX_TOKEN_SECONDS):
            raise Answer(400)
        token = secrets.token_urlsafe(40)
        self.server.tokens[token] = (time.monotonic() + int(seconds), instance.id)
        # The hop limit is the TTL of the packets with the token: each container network in between takes one away,
        # and where none is left the token never arrives. It holds for what is sent again too, so the connection ends here.
        self.connection.setsockopt(
            socket.IPPROTO_IP, socket.IP_TTL, instance.metadata_options.http_put_response_hop_limit
        )
        self.close_connection = True
        self._say(200, token, {TOKEN_SECONDS_HEADER: seconds, "Connection": "close"})

    def _value(self) -> None:
        instance = self._instance()
        token = self.headers.get("X-aws-ec2-metadata-token")
        if token is None and instance.metadata_options.http_tokens == "required":
            raise Answer(401)
        if token is not None:
            good_until, owner = self.server.tokens.get(token, (0.0, ""))
            if good_until < time.monotonic() or owner != instance.id:
                raise Answer(401)
        self._say(200, MetadataTree(instance, self.server.sessions).value(self.path.partition("?")[0]))

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except Answer as other:
            self._say(other.status)

    def do_PUT(self) -> None:
        """Answer with a token of version 2."""
        self._answer(self._token)

    def do_GET(self) -> None:
        """Answer with a value."""
        self._answer(self._value)
