# SPDX-License-Identifier: GPL-3.0-or-later
"""What certbot prints when an order fails, and what becomes of it."""

from __future__ import annotations

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._acme_errors import sentence

DIRECTORY = "https://ca.example.com/dir"


def said(text: str) -> str:
    told = sentence({"stdout": "", "stderr": text, "msg": "non-zero return code"}, DIRECTORY, "dock1")
    assert told.endswith(".")
    assert "\n" not in told
    assert "Saving debug log" not in told
    return told


def framed(text: str) -> str:
    return (
        f"Saving debug log to /var/log/letsencrypt/letsencrypt.log\n{text}\n"
        "Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile "
        "/var/log/letsencrypt/letsencrypt.log or re-run Certbot with -v for more details.\n"
    )


def report(kind: str, detail: str) -> str:
    return framed(
        "\nCertbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:\n"
        f"  Domain: registry.example.com\n  Type:   {kind}\n  Detail: {detail}\n\n"
        "Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.\n\n"
        "Some challenges have failed."
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            framed(
                "An unexpected error occurred:\nThere were too many requests of a given type :: Error creating new order :: too many "
                "certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after "
                "2030-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers"
            ),
            "already issued for this exact set of identifiers in the last 168h0m0s): run again after 2030-01-02 03:04:05 UTC",
        ),
        (
            framed(
                "An unexpected error occurred:\nThere were too many requests of a given type :: too many failed authorizations (5) for "
                '"registry.example.com" in the last 1h0m0s, retry after 2030-01-02T03:04:05Z: see https://letsencrypt.org/docs/'
            ),
            "run again after 2030-01-02 03:04:05 UTC",
        ),
        (
            framed("urn:ietf:params:acme:error:rateLimited :: There were too many requests of a given type"),
            "run again in some hours",
        ),
        (
            framed(
                "An unexpected error occurred:\nThe client sent an unacceptable anti-replay nonce :: JWS has an invalid anti-replay nonce"
            ),
            "refused the nonces of several attempts in a row",
        ),
        (
            framed(
                "An unexpected error occurred:\nThe server experienced an internal error :: Service busy; retry later."
            ),
            "has an error of its own (Service busy; retry later): try again later",
        ),
        (
            framed(
                "Unable to register an account with ACME server. The ACME server believes admin@example is an invalid email address."
            ),
            "does not take registry_tls_acme_email",
        ),
        (
            framed("Server requires external account binding."),
            "write registry_tls_acme_eab_key_id and registry_tls_acme_eab_key as he gives them",
        ),
        (
            framed(
                'An unexpected error occurred:\nAccount "https://ca.example.com/my-account/5" does not exist :: accountDoesNotExist'
            ),
            "delete /etc/letsencrypt/accounts/ca.example.com/dir there",
        ),
        (
            report("unauthorized", "203.0.113.9: Invalid response from http://registry.example.com/x: 404"),
            "has to lead to dock1",
        ),
        (
            report(
                "connection",
                "203.0.113.9: Fetching http://registry.example.com/x: Timeout during connect (likely firewall problem)",
            ),
            "Timeout during connect (likely firewall problem)): open port 80 of dock1",
        ),
        (
            report(
                "dns",
                "DNS problem: NXDOMAIN looking up A for registry.example.com - check that a DNS record exists for this domain",
            ),
            "make a DNS record of that name that leads to dock1",
        ),
        (
            report("dns", "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.registry.example.com"),
            "the DNS zone that dns-01 wrote to",
        ),
        (
            report("caa", "CAA record for registry.example.com prevents issuance"),
            "A CAA record in the DNS keeps https://ca.example.com/dir from issuing for registry.example.com",
        ),
        (
            framed(
                "An unexpected error occurred:\nThe server will not issue certificates for the identifier :: Error creating new order :: "
                'Cannot issue for "registry.internal": Domain name does not end with a valid public suffix (TLD)'
            ),
            'issues no certificate for a name (Cannot issue for "registry.internal": Domain name does not end with a valid public suffix',
        ),
        (
            framed("Unable to find a Route53 hosted zone for _acme-challenge.registry.example.com"),
            "has no Route 53 zone for _acme-challenge.registry.example.com",
        ),
        (
            framed(
                "An error occurred (AccessDenied) when calling the ListHostedZones operation: User: arn:aws:sts::123456789012:"
                "assumed-role/registry/i-1 is not authorized to perform: route53:ListHostedZones\n"
                "To use certbot-dns-route53, configure credentials as described at https://boto3.readthedocs.io"
            ),
            "AWS refuses route53:ListHostedZones to dock1",
        ),
        (
            framed("Unable to locate credentials\nTo use certbot-dns-route53, configure credentials"),
            "dock1 has no AWS role",
        ),
        (
            framed(
                "An unexpected error occurred:\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='ca.example.com', port=443): "
                "Max retries exceeded with url: /dir (Caused by NewConnectionError('[Errno 111] Connection refused'))"
            ),
            "https://ca.example.com/dir does not answer dock1",
        ),
        (
            framed(
                "requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer"
            ),
            "a certificate that dock1 does not trust",
        ),
        (
            framed("Failed to resolve 'ca.example.com' ([Errno -2] Name or service not known)"),
            "dock1 cannot resolve the host name",
        ),
        (framed("Another instance of Certbot is already running."), "Another certbot has been running on dock1"),
        (framed("OSError: [Errno 28] No space left on device"), "The disk of dock1 is full"),
        (
            framed("certbot: error: unrecognized arguments: --required-profile shortlived"),
            "needs certbot 4.0 or newer on dock1",
        ),
        (framed("Something that nobody has seen before"), "certbot failed: Something that nobody has seen before."),
        ("", "certbot failed: non-zero return code."),
    ],
)
def test_sentence(text: str, part: str) -> None:
    assert part in said(text)


def trace(*errors: str) -> str:
    """As Python prints errors, each raised while the one before it was handled."""
    between = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    one = 'Traceback (most recent call last):\n  File "/usr/lib/python3/dist-packages/acme/client.py", line 575\n    raise\n{}'
    return framed("Exiting abnormally:\n" + between.join(one.format(error) for error in errors))


@pytest.mark.parametrize(
    ("errors", "part"),
    [
        (
            (
                "acme.messages.Error: urn:ietf:params:acme:error:badNonce :: The client sent an unacceptable anti-replay nonce :: x",
                "acme.messages.Error: urn:ietf:params:acme:error:badNonce :: The client sent an unacceptable anti-replay nonce :: y",
                "AttributeError: can't set attribute",
            ),
            "refused the nonces",
        ),
        (
            (
                "acme.messages.Error: urn:ietf:params:acme:error:badNonce :: The client sent an unacceptable anti-replay nonce :: x",
                'acme.messages.Error: urn:ietf:params:acme:error:rejectedIdentifier :: Cannot issue for "registry.internal"',
                "AttributeError: can't set attribute",
            ),
            'issues no certificate for a name (Cannot issue for "registry.internal")',
        ),
        (("certbot.errors.PluginError: the webroot cannot be written",), "the webroot cannot be written."),
    ],
)
def test_error_in_a_traceback(errors: tuple[str, ...], part: str) -> None:
    assert part in said(trace(*errors))
    assert "Traceback" not in said(trace(*errors))


def test_each_name_that_failed_is_told_once() -> None:
    text = report("dns", "no A record") + report("dns", "no A record")
    assert said(text).count("registry.example.com") == 1


def test_text_instead_of_a_result() -> None:
    assert sentence("Another instance of Certbot is already running.").startswith(
        "Another certbot has been running on the host"
    )
