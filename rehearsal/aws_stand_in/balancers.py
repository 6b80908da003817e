# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers that balance: what stands in moto as an ALB or NLB is done by haproxy, at an address of its own in the machines' network.

An ALB ends TLS, asks its targets anew, and says in headers who asked it; an NLB passes connections through. Both send nothing to
targets that are not healthy, unless none is.
"""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moto.acm.models import acm_backends
from moto.elbv2.models import FakeListener, FakeLoadBalancer, elbv2_backends
from moto.elbv2.ssl_policies import SSL_POLICIES
from moto.iam.models import iam_backends

from .ec2 import way_of
from .haproxy import Frontend, Haproxy, Pool
from .machines import Machines, run
from .target_health import Target, TargetHealth

PAUSE_SECONDS = 0.5
# AWS's own default where one cannot be set.
NLB_IDLE_SECONDS = 350
FORWARD_HEADERS = (
    "option forwardfor",
    "http-request set-header X-Forwarded-Proto {scheme}",
    "http-request set-header X-Forwarded-Port {port}",
)


class Balancers:
    """Keeps haproxy as the account's load balancers are."""

    def __init__(
        self, machines: Machines, health: TargetHealth, folder: Path, names_changed: Callable[[dict[str, str]], None]
    ) -> None:
        self.machines = machines
        self.health = health
        self.folder = folder
        self.haproxy = Haproxy(folder)
        # Gets the address of each load balancer's DNS name.
        self.names_changed = names_changed
        self._addresses: dict[str, str] = {}

    def run(self) -> None:
        """Follow the account until the process ends."""
        while True:
            try:
                self.follow()
            except Exception:
                traceback.print_exc(file=sys.stderr)
            time.sleep(PAUSE_SECONDS)

    def follow(self) -> None:
        """Do what is to be done now."""
        present = {balancer.arn: balancer for balancer in balancers()}
        self._address(present)
        sources: dict[str, str] = {}
        frontends: list[Frontend] = []
        pools: dict[str, Pool] = {}
        for arn, address in self._addresses.items():
            reachable = is_reachable(present[arn])
            for listener in list(present[arn].listeners.values()):
                frontend = self._frontend(present[arn], listener, address)
                for group in forwarded_to(listener):
                    # Health checks come from within the VPC in any case.
                    sources[group.arn] = address
                    if reachable:
                        pool = self._pool(present[arn], group, address)
                        pools[pool.name] = pool
                        frontend.action.append(f"default_backend {pool.name}")
                if reachable:
                    frontends.append(frontend)
        self.health.look(sources)
        self.haproxy.apply(frontends, pools)

    # --- Addresses ------------------------------------------------------------------------------------------------

    def _address(self, present: dict[str, FakeLoadBalancer]) -> None:
        before = dict(self._addresses)
        for arn in set(self._addresses) - set(present):
            run("ip", "address", "del", f"{self._addresses.pop(arn)}/32", "dev", self.machines.bridge)
        for arn, balancer in present.items():
            if arn in self._addresses:
                continue
            if self.machines.has_place_for(str(balancer.subnets[0].cidr.network_address)):
                address = balancer.subnets[0].get_available_subnet_ip(balancer)  # type: ignore[arg-type]
                run("ip", "address", "add", f"{address}/32", "dev", self.machines.bridge)
                self._addresses[arn] = address
        for balancer in present.values():
            balancer.activate()
        if before != self._addresses:
            self.names_changed({present[arn].dns_name: address for arn, address in self._addresses.items()})

    # --- What haproxy is told -------------------------------------------------------------------------------------

    def _frontend(self, balancer: FakeLoadBalancer, listener: FakeListener, address: str) -> Frontend:
        name = f"{short(balancer.arn)}-{listener.port}"
        idle = idle_seconds(balancer)
        if balancer.type == "network":
            return Frontend(name, address, int(listener.port), "tcp", idle)
        secure = listener.protocol == "HTTPS"
        tls = f" {self._tls(balancer, listener, name)}" if secure else ""
        action: Any = listener.default_actions[0]
        scheme = "https" if secure else "http"
        words = [line.format(scheme=scheme, port=listener.port) for line in FORWARD_HEADERS]
        if action.type == "redirect":
            words = [redirect(action.data["RedirectConfig"], scheme, str(listener.port))]
        elif action.type == "fixed-response":
            words = [f"http-request return status {action.data['FixedResponseConfig']['StatusCode']}"]
        return Frontend(name, address, int(listener.port), "http", idle, tls, words)

    def _tls(self, balancer: FakeLoadBalancer, listener: FakeListener, name: str) -> str:
        pem = certificate(str(listener.certificates[0]))
        # haproxy reads it when it starts, so another certificate has to be another configuration.
        file = self.folder / f"{name}-{hashlib.sha256(pem).hexdigest()[:12]}.pem"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_bytes(pem)
        oldest = min(SSL_POLICIES.get(str(listener.ssl_policy), {}).get("ssl_protocols", ["TLSv1.2"]))
        # haproxy writes that one in its own way.
        oldest = "TLSv1.0" if oldest == "TLSv1" else oldest
        http2 = balancer.attrs.get("routing.http2.enabled") == "true"
        alpn = "h2,http/1.1" if http2 else "http/1.1"
        return f"ssl crt {file} ssl-min-ver {oldest} alpn {alpn}"

    def _pool(self, balancer: FakeLoadBalancer, group: Any, source: str) -> Pool:
        mode = "tcp" if balancer.type == "network" else "http"
        pool = Pool(short(group.arn), source, mode, group.protocol in {"HTTPS", "TLS"}, idle_seconds(balancer))
        targets = self.health.of(group.arn)
        for target in targets:
            pool.targets[target.name] = f"{target.address}:{target.port}"
            pool.states[target.name] = share(target, targets, mode)
        return pool


def share(target: Target, targets: list[Target], mode: str) -> str:
    """Return whether a target gets requests: when all are unhealthy, all of them do."""
    if target.state == "healthy":
        return "ready"
    if target.state == "unhealthy" and not any(each.state == "healthy" for each in targets):
        return "ready"
    if target.state in {"draining", "unhealthy"}:
        # An NLB breaks the connections to one that is unhealthy.
        return "maint" if target.state == "unhealthy" and mode == "tcp" else "drain"
    return "maint"


def balancers() -> Iterator[FakeLoadBalancer]:
    """Yield the load balancers of all accounts."""
    for account in list(elbv2_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.load_balancers.values())


def is_reachable(balancer: FakeLoadBalancer) -> bool:
    """Tell whether clients get an answer: where one faces the internet, all its subnets have to be public.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#load-balancer-scheme
    """
    ways = [way_of(subnet.ec2_backend, subnet) for subnet in balancer.subnets]
    return balancer.scheme == "internal" or all(way.startswith("igw-") for way in ways)


def short(arn: str) -> str:
    """Return a name that haproxy takes."""
    return "-".join(arn.split("/")[-2:])


def idle_seconds(balancer: FakeLoadBalancer) -> int:
    """Return how long nothing may happen on a connection."""
    return int(balancer.attrs.get("idle_timeout.timeout_seconds", NLB_IDLE_SECONDS))


def forwarded_to(listener: FakeListener) -> Iterator[Any]:
    """Yield the target group of a listener."""
    account, region = listener.arn.split(":")[4], listener.arn.split(":")[3]
    backend = elbv2_backends[account][region]
    for arn in backend._get_target_group_arns_from(listener.default_actions[0].data):
        if arn in backend.target_groups:
            yield backend.target_groups[arn]
            return


def redirect(config: dict[str, str], scheme: str, port: str) -> str:
    """Return a redirect in haproxy's words."""
    to_scheme = config.get("Protocol", "#{protocol}").replace("#{protocol}", scheme).lower()
    to_port = config.get("Port", "#{port}").replace("#{port}", port)
    code = config["StatusCode"].removeprefix("HTTP_")
    return f"http-request redirect code {code} location {to_scheme}://%[req.hdr(host),field(1,:)]:{to_port}%[pathq]"


def certificate(arn: str) -> bytes:
    """Return a certificate of ACM or IAM with its chain and key."""
    account, region = arn.split(":")[4], arn.split(":")[3]
    if arn.split(":")[2] == "acm":
        bundle = acm_backends[account][region].get_certificate(arn)
        parts = [bundle.cert, bundle.chain, bundle.key]
    else:
        found = iam_backends[account]["aws"].get_certificate_by_arn(arn)
        if found is None:
            raise LookupError(f"There is no certificate {arn}.")
        parts = [text.encode() for text in (found.cert_body, found.cert_chain or "", found.private_key)]
    return b"\n".join(part if isinstance(part, bytes) else str(part).encode() for part in parts) + b"\n"
