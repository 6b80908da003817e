# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate Manager where moto's differs from AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.acm.models import AWSCertificateManagerBackend, CertBundle
from moto.core.exceptions import JsonRESTError
from moto.elbv2.models import elbv2_backends

from .patching import instead_of
from .zones import records


def gaps() -> None:
    """Close the gaps."""

    # The chain of an imported certificate comes back as it was given; moto adds a root of AWS's.
    @instead_of(CertBundle, "__init__")
    def bundle(
        original: Any,
        self: Any,
        account_id: str,
        certificate: bytes,
        private_key: bytes,
        chain: bytes | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        original(self, account_id, certificate, private_key, chain, *args, **kwargs)
        if self.type == "IMPORTED":
            self.chain = chain or certificate

    # A certificate is issued once the records that prove its names stand in a public zone; moto issues it after a minute.
    @instead_of(CertBundle, "check")
    def check(_original: Any, self: Any) -> None:
        if self.status == "PENDING_VALIDATION" and is_proven(self):
            self.status = "ISSUED"

    # One that a listener has cannot be deleted, and is said to be in use.
    @instead_of(AWSCertificateManagerBackend, "get_certificate")
    def get_certificate(original: Any, self: Any, arn: str) -> Any:
        found = original(self, arn)
        found.in_use_by = list(using(self.account_id, self.region_name, arn))
        return found

    @instead_of(AWSCertificateManagerBackend, "delete_certificate")
    def delete_certificate(original: Any, self: Any, arn: str) -> None:
        if list(using(self.account_id, self.region_name, arn)):
            raise JsonRESTError("ResourceInUseException", f"Certificate {arn} in account {self.account_id} is in use.")
        original(self, arn)
        # moto would fail when somebody asks for another one with the token that this one was requested with.
        tokens = self._idempotency_tokens
        self._idempotency_tokens = {token: each for token, each in tokens.items() if each["arn"] != arn}


def is_proven(certificate: Any) -> bool:
    """Tell whether the CNAME record that proves it stands for each name."""
    present = {
        (record.name.rstrip(".").lower(), value.rstrip("."))
        for record in records()
        if record.type == "CNAME"
        for value in record.values
    }
    wanted = [each["ResourceRecord"] for each in certificate.describe()["Certificate"]["DomainValidationOptions"]]
    return all((record["Name"].rstrip(".").lower(), record["Value"].rstrip(".")) in present for record in wanted)


def using(account: str, region: str, arn: str) -> Iterator[str]:
    """Yield the load balancers that have a certificate."""
    for balancer in list(elbv2_backends[account][region].load_balancers.values()):
        if any(arn in listener.certificates for listener in balancer.listeners.values()):
            yield balancer.arn
