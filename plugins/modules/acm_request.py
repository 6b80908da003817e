#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acm_request
short_description: Request a certificate from ACM, or wait until it is issued
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Without O(certificate_arn), requests a certificate that ACM renews by itself and that is validated by DNS, and returns the records that
    prove whose domain it is. Within an hour, calls with the same O(domain) and O(tags) request one certificate, however many there are;
    after that, each requests another one.
  - With O(certificate_arn), waits until ACM has issued that one.
  - The records are for another module to write; they have to stay, since ACM looks at them again whenever it renews.
  - The region has to be the load balancer's.
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it.
options:
  domain:
    description: The name that the certificate is for.
    type: str
  tags:
    description: Tags of a new certificate.
    type: dict
    default: {}
  certificate_arn:
    description: The certificate to wait for.
    type: str
    default: ""
  timeout_seconds:
    description: How long ACM may take, to make up the records or to issue.
    type: int
    default: 900
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
attributes:
  check_mode:
    details:
      - Requests nothing and waits for nothing.
notes:
  - The permissions for it are C(acm:RequestCertificate), C(acm:AddTagsToCertificate) and C(acm:DescribeCertificate).
seealso:
  - name: DNS validation
    description: What ACM does with the records.
    link: https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
  - module: community.aws.acm_certificate
"""

EXAMPLES = r"""
- name: Request a certificate
  drydock.registry.acm_request:
    domain: registry.example.com
    tags: {team: build}
  register: requested

- name: Prove whose domain it is
  amazon.aws.route53:
    zone: example.com
    record: "{{ item['name'] }}"
    type: CNAME
    value: "{{ item['value'] }}"
    ttl: 300
    state: present
  loop: "{{ requested['records'] }}"

- name: Wait until it is issued
  drydock.registry.acm_request:
    certificate_arn: "{{ requested['certificate_arn'] }}"
"""

RETURN = r"""
certificate_arn:
  description: The certificate's ARN; empty when a dry run requested none.
  returned: success
  type: str
  sample: arn:aws:acm:eu-central-1:123456789012:certificate/12345678-1234-1234-1234-123456789012
status:
  description: What ACM says of it.
  returned: success
  type: str
  sample: ISSUED
records:
  description: The CNAME records that prove whose domain it is.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The record's name.
      type: str
      sample: _d930b28be6c5927595552b219965053e.registry.example.com
    value:
      description: Where it leads.
      type: str
      sample: _c9edd76ee4a0e2a74388032f3861cc50.ykybfrwcxw.acm-validations.aws.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_certificates import (
    describe,
    idempotency_token,
    is_unusable,
    proofs,
    refuse_unissued,
    refuse_unproven,
    wait_for,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish

# ACM makes the records up within seconds.
RECORDS_SECONDS = 60


def request(
    account: Account,
    domain: str,
    tags: Mapping[str, Any],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, Mapping[str, Any]]:
    """Request a certificate, and wait until ACM has said how to prove whose domain it is."""
    # With the same token, ACM goes on answering with a certificate that has failed or was deleted since.
    for token in ({"IdempotencyToken": idempotency_token(domain, tags)}, {}):
        answer = account.ask(
            "acm",
            "request_certificate",
            DomainName=domain,
            ValidationMethod="DNS",
            Tags=[{"Key": key, "Value": str(value)} for key, value in tags.items()],
            **token,
        )
        arn = str((answer or {})["CertificateArn"])
        look = functools.partial(describe, account, arn)
        found = wait_for(look, lambda seen: bool(proofs(seen)), RECORDS_SECONDS, sleep, clock)
        if not is_unusable(found):
            break
    refuse_unproven(found, domain, RECORDS_SECONDS)
    return arn, found


def run(module: AnsibleAWSModule) -> dict[str, object]:
    parameters = module.params
    arn, requests = parameters["certificate_arn"], not parameters["certificate_arn"]
    if module.check_mode:
        return {"changed": requests, "certificate_arn": arn, "status": "", "records": []}
    account = account_of(module)
    if requests:
        arn, found = request(account, parameters["domain"], parameters["tags"])
    else:
        seconds = parameters["timeout_seconds"]
        found = wait_for(
            lambda: describe(account, arn),
            lambda seen: seen.get("Status") == "ISSUED",
            seconds,
            time.sleep,
            time.monotonic,
        )
        refuse_unissued(found, seconds)
    return {
        "changed": requests,
        "certificate_arn": arn,
        "status": str(found.get("Status", "")),
        "records": proofs(found),
    }


def main() -> None:
    module = aws_module(
        {
            "domain": {"type": "str"},
            "tags": {"type": "dict", "default": {}},
            "certificate_arn": {"type": "str", "default": ""},
            "timeout_seconds": {"type": "int", "default": 900},
        },
    )
    if not module.params["certificate_arn"] and not module.params["domain"]:
        module.fail_json(msg="Neither domain nor certificate_arn is set: write one of them.")
    finish(module, lambda: run(module))


if __name__ == "__main__":
    main()
