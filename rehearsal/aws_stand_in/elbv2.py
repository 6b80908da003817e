# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers (ALB and NLB) where moto's differ from AWS's."""

from __future__ import annotations

from typing import Any

from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer, FakeTargetGroup

from .patching import instead_of

# What AWS always says of one, whatever was set.
ATTRIBUTES = {
    "application": {
        "access_logs.s3.enabled": "false",
        "client_keep_alive.seconds": "3600",
        "connection_logs.s3.bucket": "",
        "connection_logs.s3.enabled": "false",
        "connection_logs.s3.prefix": "",
        "idle_timeout.timeout_seconds": "60",
        "load_balancing.cross_zone.enabled": "true",
        "routing.http.desync_mitigation_mode": "defensive",
        "routing.http.drop_invalid_header_fields.enabled": "false",
        "routing.http.preserve_host_header.enabled": "false",
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
        "routing.http.xff_client_port.enabled": "false",
        "routing.http.xff_header_processing.mode": "append",
        "routing.http2.enabled": "true",
        "waf.fail_open.enabled": "false",
        "zonal_shift.config.enabled": "false",
    },
    "network": {
        "access_logs.s3.enabled": "false",
        "dns_record.client_routing_policy": "any_availability_zone",
        "load_balancing.cross_zone.enabled": "false",
        "zonal_shift.config.enabled": "false",
    },
}
# A TLS or TCP target group has these besides.
TCP_TARGET_GROUP_ATTRIBUTES = {
    "deregistration_delay.connection_termination.enabled": "false",
    "preserve_client_ip.enabled": "true",
    "proxy_protocol_v2.enabled": "false",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
}


def gaps() -> None:
    """Close the gaps that have nothing to do with machines."""

    @instead_of(FakeLoadBalancer, "__init__")
    def load_balancer(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.attrs |= ATTRIBUTES.get(self.type, {})

    # One that faces the internet needs a VPC that has a gateway to it; moto asks for none.
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html (InvalidSubnet)
    @instead_of(ELBv2Backend, "create_load_balancer")
    def create_load_balancer(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        gateways = self.ec2_backend.describe_internet_gateways(filters={"attachment.vpc-id": [made.vpc_id]})
        if made.scheme != "internal" and not gateways:
            del self.load_balancers[made.arn]
            raise ELBClientError("InvalidSubnet", f"VPC {made.vpc_id} has no internet gateway")
        return made

    @instead_of(FakeTargetGroup, "__init__")
    def target_group(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if self.protocol in {"TCP", "TLS", "TCP_UDP"}:
            for name, value in TCP_TARGET_GROUP_ATTRIBUTES.items():
                self.attributes.setdefault(name, value)
