# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosted zones of Route 53, as names resolve by them: in a hosts file, and by a name server for who looks up other records too."""

from __future__ import annotations

import ipaddress
import socketserver
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from moto.route53.models import FakeZone, Route53Backend, route53_backends

from .hosts_file import HostsFile
from .patching import instead_of


def zones() -> Iterator[FakeZone]:
    """Yield the zones of all accounts."""
    for account in list(route53_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.zones.values())


def addresses(balancers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the address of each load balancer, and of each A record in all zones; an alias has what it stands for."""
    yield from balancers.items()
    for zone in zones():
        for record in list(zone.rrsets):
            # A wildcard cannot stand in a hosts file.
            if record.type == "A" and not record.name.startswith(("*", "\\052")):
                alias = str((record.alias_target or {}).get("DNSName", "")).rstrip(".").removeprefix("dualstack.")
                of_alias = [balancers[alias]] if alias in balancers else []
                for address in record.records or of_alias:
                    yield record.name.rstrip("."), str(ipaddress.IPv4Address(address))


class Record(NamedTuple):
    """The records of one name and type, their values as a zone file has them, which is how Route 53 writes them."""

    name: str
    ttl: int
    type: str
    values: list[str]


def records() -> Iterator[Record]:
    """Yield the records that the internet sees: a private zone is for its VPC, and an alias has no values of its own."""
    for zone in zones():
        if not zone.private_zone:
            for record in list(zone.rrsets):
                # moto writes the values of its own SOA record in another way than all others.
                values = [each["Value"] if isinstance(each, dict) else each for each in record.records or []]
                if values:
                    yield Record(record.name, int(record.ttl or 60), str(record.type), values)


def respond(wire: bytes, known: Iterable[Record]) -> bytes:
    """Answer one question of DNS; what is no question gets no answer."""
    try:
        query = dns.message.from_wire(wire)
        (asked,) = query.question
    except (dns.exception.DNSException, ValueError):
        return b""
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    named = [record for record in known if dns.name.from_text(record.name) == asked.name]
    answer.answer = [
        dns.rrset.from_text(asked.name, record.ttl, "IN", record.type, *record.values)
        for record in named
        if record.type == dns.rdatatype.to_text(asked.rdtype)
    ]
    if not named:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


class NameServer(socketserver.ThreadingUDPServer):
    """A name server that knows the zones as they are when it is asked."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, listener = self.request
        if answer := respond(wire, records()):
            listener.sendto(answer, self.client_address)


def keep(hosts_file: HostsFile) -> Callable[[Mapping[str, str]], None]:
    """Let the address records of all zones resolve on this machine; return what to call when load balancers come or go."""
    balancers: dict[str, str] = {}

    def names_changed(present: Mapping[str, str]) -> None:
        balancers.clear()
        balancers.update(present)
        hosts_file.write(addresses(balancers))

    @instead_of(Route53Backend, "change_resource_record_sets")
    def change(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        hosts_file.write(addresses(balancers))
        return result

    @instead_of(Route53Backend, "delete_hosted_zone")
    def delete(original: Any, self: Any, *args: Any, **kwargs: Any) -> FakeZone | None:
        zone: FakeZone | None = original(self, *args, **kwargs)
        hosts_file.write(addresses(balancers))
        return zone

    return names_changed
