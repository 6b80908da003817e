# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA that speaks ACME: pebble, which Let's Encrypt tests its clients with. It ends with this process.

Its root is another one each time that it starts, and is kept in a file, since who reaches a server with one of its certificates has
to know it.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import trustme

START_SECONDS = 30
# As Let's Encrypt.
VALID_SECONDS = 90 * 24 * 3600
SETTINGS = {
    # A second order is validated as the first one was, and as an order is whose authorization has run out.
    "PEBBLE_AUTHZREUSE": "0",
    # It refuses one in twenty good nonces otherwise, to see a client try again. certbot does, once, so that one order in forty fails.
    "PEBBLE_WFE_NONCEREJECT": "0",
    # No pause of up to fifteen seconds before it looks.
    "PEBBLE_VA_NOSLEEP": "1",
}


class Acme(NamedTuple):
    """Where it listens and whom it asks for names."""

    host: str
    port: int
    management_port: int
    dns_port: int

    def start(self, folder: Path, ca: trustme.CA) -> None:
        """Start it with a certificate of this CA, and write its root into the folder."""
        certificate = ca.issue_cert(self.host)
        certificate.cert_chain_pems[0].write_to_path(folder / "acme.crt")
        key = folder / "acme.key"
        key.touch(mode=0o600)
        key.write_bytes(certificate.private_key_pem.bytes())
        settings = {
            "listenAddress": f"{self.host}:{self.port}",
            "managementListenAddress": f"{self.host}:{self.management_port}",
            "certificate": str(folder / "acme.crt"),
            "privateKey": str(key),
            # Where it looks for challenges.
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": VALID_SECONDS,
        }
        (folder / "acme.json").write_text(json.dumps({"pebble": settings}), encoding="utf-8")
        with (folder / "acme.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("pebble", "-config", str(folder / "acme.json"), "-dnsserver", f"{self.host}:{self.dns_port}"),
                ],
                env={**os.environ, **SETTINGS},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        (folder / "acme_root.crt").write_bytes(self._root(process, ca, folder / "acme.log"))

    def _root(self, process: subprocess.Popen[bytes], ca: trustme.CA, log: Path) -> bytes:
        """Wait until it answers, and return its root."""
        context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        # Whatever proxy the environment names.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with opener.open(f"https://{self.host}:{self.management_port}/roots/0", timeout=10) as answer:
                    root: bytes = answer.read()
                    return root
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                    raise RuntimeError(f"pebble does not answer at {self.host}. It said:\n{said}") from error
                time.sleep(0.1)
