# SPDX-License-Identifier: GPL-3.0-or-later
"""Names resolve as the zones of Route 53 say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import dns.flags
import dns.message
import dns.rcode
import pytest
from aws_stand_in.zones import Record, addresses, records, respond
from moto import mock_aws

CHALLENGE = "_acme-challenge.registry.rehearsal.test"
KNOWN = [
    Record("registry.rehearsal.test.", 60, "A", ["198.51.100.10"]),
    Record("\\052.rehearsal.test.", 60, "A", ["198.51.100.11"]),
    Record(f"{CHALLENGE}.", 10, "TXT", ['"first"', '"sec" "ond"', '"a \\"quoted\\" \\\\ text; and no comment"']),
    Record("Mixed.rehearsal.test", 60, "TXT", ['"x"']),
]


def ask(name: str, kind: str) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=True)
    answer = dns.message.from_wire(respond(query.to_wire(), KNOWN))
    assert query.is_response(answer)
    assert answer.flags & dns.flags.AA
    return answer


def texts(answer: dns.message.Message) -> set[bytes]:
    """Return the texts that an answer has, each put together from its parts."""
    return {b"".join(value.strings) for found in answer.answer for value in found}


@pytest.mark.parametrize("name", [CHALLENGE, f"{CHALLENGE}.", CHALLENGE.upper()])
def test_texts_come_without_their_quotes(name: str) -> None:
    assert texts(ask(name, "TXT")) == {b"first", b"second", b'a "quoted" \\ text; and no comment'}


def test_addresses_and_letter_case() -> None:
    (found,) = ask("registry.rehearsal.test", "A").answer
    assert [value.address for value in found] == ["198.51.100.10"]
    assert texts(ask("mixed.REHEARSAL.test", "TXT")) == {b"x"}


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        # The name is there, and has no such record.
        (CHALLENGE, "A", dns.rcode.NOERROR),
        ("registry.rehearsal.test", "AAAA", dns.rcode.NOERROR),
        ("other.rehearsal.test", "TXT", dns.rcode.NXDOMAIN),
        ("example.com", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_what_is_not_there(name: str, kind: str, code: dns.rcode.Rcode) -> None:
    answer = ask(name, kind)
    assert (answer.rcode(), answer.answer) == (code, [])


@pytest.mark.parametrize("wire", [b"", b"x", b"\x00" * 12])
def test_what_is_no_question_gets_no_answer(wire: bytes) -> None:
    assert respond(wire, KNOWN) == b""


@pytest.fixture
def route53(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with mock_aws():
        yield boto3.client("route53", region_name="eu-central-1")


def test_records_come_and_go_with_route_53(route53: Any) -> None:
    def change(zone: str, action: str, kind: str, name: str, *values: str) -> None:
        found = {"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value} for value in values]}
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": found}]}
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    zone = route53.create_hosted_zone(Name="rehearsal.test", CallerReference="1")["HostedZone"]["Id"]
    private = route53.create_hosted_zone(
        Name="rehearsal.test",
        CallerReference="2",
        HostedZoneConfig={"Comment": "", "PrivateZone": True},
        VPC={"VPCRegion": "eu-central-1", "VPCId": "vpc-1"},
    )["HostedZone"]["Id"]

    def known() -> list[tuple[str, str, list[str]]]:
        return [(found.name, found.type, found.values) for found in records() if found.type not in {"NS", "SOA"}]

    change(zone, "UPSERT", "TXT", CHALLENGE, '"first"')
    change(zone, "UPSERT", "TXT", CHALLENGE, '"first"', '"second"')
    change(zone, "CREATE", "A", "registry.rehearsal.test", "198.51.100.10")
    change(zone, "CREATE", "A", "*.rehearsal.test", "198.51.100.11")
    change(private, "CREATE", "A", "inside.rehearsal.test", "10.0.0.1")
    assert known() == [
        (f"{CHALLENGE}.", "TXT", ['"first"', '"second"']),
        ("registry.rehearsal.test.", "A", ["198.51.100.10"]),
        ("*.rehearsal.test.", "A", ["198.51.100.11"]),
    ]
    # This machine sees what a VPC sees.
    assert dict(addresses({})) == {"registry.rehearsal.test": "198.51.100.10", "inside.rehearsal.test": "10.0.0.1"}
    # All that there is can be sent, the records that come with a zone included.
    query = dns.message.make_query("rehearsal.test", "SOA").to_wire()
    assert dns.message.from_wire(respond(query, records())).answer

    change(zone, "DELETE", "TXT", CHALLENGE, '"first"', '"second"')
    assert [name for name, _, _ in known()] == ["registry.rehearsal.test.", "*.rehearsal.test."]
