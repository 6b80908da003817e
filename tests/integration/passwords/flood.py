# SPDX-License-Identifier: GPL-3.0-or-later
"""Guess passwords from one address of this host, and be somebody else from another one meanwhile; print what came of it as JSON.

Reads from standard input: `guesses` headers that are sent at once, and headers that are right: `remembered`, which was so before,
is sent from the address of the guesses, and `fresh` from another one.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import threading
import time
from typing import Any

GUESSES_FROM, ANOTHER = "127.0.0.2", "127.0.0.3"
CONTEXT = ssl._create_unverified_context()  # noqa: S323 (the certificate is not what this is about)


def ask(address: str, path: str, authorization: str = "") -> dict[str, Any]:
    """Make one request from an address."""
    began = time.monotonic()
    connection = http.client.HTTPSConnection(
        "127.0.0.1", 443, context=CONTEXT, source_address=(address, 0), timeout=120
    )
    headers = {"Host": "registry.test"} | ({"Authorization": authorization} if authorization else {})
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    return {
        "status": answer.status,
        "seconds": time.monotonic() - began,
        "retry_after": answer.getheader("Retry-After"),
    }


def main() -> None:
    """Run as a program."""
    given = json.load(sys.stdin)
    guesses: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda header=header: guesses.append(ask(GUESSES_FROM, "/v2/", header)))
        for header in given["guesses"]
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(3)
    meanwhile = {
        "healthz": [ask(ANOTHER, "/healthz") for _ in range(5)],
        "remembered": [ask(GUESSES_FROM, "/v2/", given["remembered"]) for _ in range(5)],
        "fresh": [ask(ANOTHER, "/v2/", header) for header in given["fresh"]],
    }
    still_guessing = sum(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    print(
        json.dumps({"guesses": guesses, "seconds": seconds, "meanwhile": meanwhile, "still_guessing": still_guessing})
    )


main()
