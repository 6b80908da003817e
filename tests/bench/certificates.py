# SPDX-License-Identifier: GPL-3.0-or-later
"""What certificates cost: requests that fail while they are swapped, seconds to issue and renew, speed with and without mTLS.

    make bench PARTS=certificates

makes a host of its own, beside a directory of the ACME protocol. Rates are compared within one run, round by round, since two runs
on one machine can differ more than what is compared.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from pathlib import Path

from certified import MANIFEST, Certificates, certified_hosts, requests
from deployment import ADDRESS, MANIFEST_TYPE
from load import Load, under_load

from tests.bench.report import Section

SWAPS = 20
ROUNDS = 5
REQUESTS = 3000
NEW_CONNECTIONS = 500
CLIENTS = 4
PAIR = "/etc/docker/certs.d/" + ADDRESS


def rate(host: Certificates, certified: bool, kept: bool) -> float:
    """Let ApacheBench pull a manifest, by certificate or anonymously; return requests per second."""
    command = ["ab", "-q", "-c", str(CLIENTS), "-n", str(REQUESTS if kept else NEW_CONNECTIONS)]
    command += [
        "-H",
        f"Accept: {MANIFEST_TYPE}",
        *(["-k"] if kept else []),
        *(["-E", "/srv/pair.pem"] if certified else []),
    ]
    said = host.host(*command, f"https://{ADDRESS}{MANIFEST}").stdout
    found = re.search(r"Requests per second:\s+([0-9.]+)", said)
    if not found or not re.search(r"Failed requests:\s+0\n", said) or "Non-2xx" in said:
        sys.exit(f"ab's requests failed:\n{said}")
    return float(found[1])


def ratio(host: Certificates, kept: bool) -> str:
    """Compare mTLS with TLS alone in turns."""
    pairs = [(rate(host, True, kept), rate(host, False, kept)) for _round in range(ROUNDS)]
    ratios = sorted(certified / plain for certified, plain in pairs)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def swaps(load: Load) -> str:
    """Say what became of the requests."""
    asked = sum(count.asked for count in load.counts.values())
    closed = sum(count.closed for count in load.counts.values())
    return f"{len(load.failures)} of {asked}; {closed} on a kept connection that was closed meanwhile"


def measure() -> tuple[Section, str]:
    """Measure; return the versions, too."""
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, certified_hosts(Path(folder)) as host:
        print("deploying ...", file=sys.stderr)
        host.settings.update(registry_auth_anonymous_pull_enabled=True)
        host.play("site.yml")
        host.client_certificates(issue="team-a,scanner")
        host.push("team-a")
        host.host("apt-get", "install", "-qq", "-y", "--no-install-recommends", "apache2-utils")
        host.host("sh", "-c", f"umask 077; cat {PAIR}/client.cert {PAIR}/client.key > /srv/pair.pem")

        print(f"{SWAPS} renewals under load ...", file=sys.stderr)
        with under_load(host.ip, ADDRESS, requests(host), 0.02) as load:
            seconds = [host.renew() for _renewal in range(SWAPS)]
        print(load.table(), file=sys.stderr)
        rows.append((f"failed requests during {SWAPS} renewals", swaps(load)))
        print(f"{SWAPS} lists of revoked certificates under load ...", file=sys.stderr)
        with under_load(host.ip, ADDRESS, requests(host), 0.02) as load:
            for serial in range(1, SWAPS + 1):
                host.publish(*range(1, serial + 1))
        print(load.table(), file=sys.stderr)
        rows.append((f"failed requests during {SWAPS} new lists of revoked certificates", swaps(load)))

        print("without load ...", file=sys.stderr)
        idle = [host.renew() for _renewal in range(3)]
        rows += [
            ("seconds to order, check, swap and reload, under that load", f"{statistics.median(seconds):.1f}"),
            ("the same without load", f"{statistics.median(idle):.1f}"),
            ("requests/s with mTLS to TLS alone, connections kept", ratio(host, kept=True)),
            ("requests/s with mTLS to TLS alone, a new connection each", ratio(host, kept=False)),
        ]
        versions = host.host(
            "sh", "-c", "certbot --version 2>&1; docker exec drydock-proxy nginx -v 2>&1; openssl version"
        )
    section = Section(
        "Certificates",
        "Six clients pull and begin to push, by password and by certificate, on kept and on new connections.",
        ("What", "Measured"),
        rows,
    )
    return section, "; ".join(versions.stdout.strip().splitlines())
