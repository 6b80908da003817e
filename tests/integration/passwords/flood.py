# SPDX-License-Identifier: GPL-3.0-or-later
"""Guess passwords from many addresses of this host, and be somebody else meanwhile; print what came of it as JSON.

Reads from standard input: how many `addresses` guess, on how many `connections` each, by which header (`guess`, with another ending each
time); and headers that are right: `remembered`, which was so before, is sent from an address of the guesses, and each of `fresh` from one
that sends nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from itertools import count
from typing import Any

CONTEXT = ssl._create_unverified_context()  # noqa: S323 (the certificate is not what this is about)
SECONDS = 10
NUMBERS = count()


async def ask(address: str, path: str, authorization: str = "") -> dict[str, Any]:
    """Make one request from an address, on a connection of its own."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", 443, ssl=CONTEXT, local_addr=(address, 0))
    lines = [f"GET {path} HTTP/1.1", "Host: registry.test", "Connection: close"]
    lines += [f"Authorization: {authorization}"] if authorization else []
    writer.write("\r\n".join([*lines, "", ""]).encode())
    status, *headers = (await reader.read()).decode().partition("\r\n\r\n")[0].split("\r\n")
    writer.close()
    named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
    return {
        "status": int(status.split()[1]),
        "seconds": time.monotonic() - began,
        "retry_after": named.get("retry-after"),
    }


async def guess(address: str, header: str, end: float, answers: list[dict[str, Any]]) -> None:
    """Guess until the end; where there is no place, again after a second."""
    credentials = base64.b64decode(header.split()[1]).decode()
    while time.monotonic() < end:
        encoded = base64.b64encode(f"{credentials} {next(NUMBERS)}".encode()).decode()
        answers.append(await ask(address, "/v2/", f"Basic {encoded}"))
        if answers[-1]["status"] == 429:
            await asyncio.sleep(1)


async def main() -> None:
    """Run as a program."""
    given = json.load(sys.stdin)
    guesses: list[dict[str, Any]] = []
    meanwhile: dict[str, list[dict[str, Any]]] = {"healthz": [], "remembered": [], "fresh": []}
    meanwhile["remembered"].append(await ask("127.0.1.1", "/v2/", given["remembered"]))
    began = time.monotonic()
    end = began + SECONDS
    tasks = [
        asyncio.create_task(guess(f"127.0.1.{address + 1}", given["guess"], end, guesses))
        for address in range(given["addresses"])
        for _ in range(given["connections"])
    ]
    await asyncio.sleep(2)

    async def remembered() -> None:
        while time.monotonic() < end:
            meanwhile["remembered"].append(await ask("127.0.1.1", "/v2/", given["remembered"]))
            await asyncio.sleep(0.5)

    async def fresh() -> None:
        for number, header in enumerate(given["fresh"]):
            meanwhile["healthz"].append(await ask("127.0.0.3", "/healthz"))
            meanwhile["fresh"].append(await ask(f"127.0.2.{number + 1}", "/v2/", header))

    await asyncio.gather(remembered(), fresh())
    await asyncio.gather(*tasks)
    print(json.dumps({"guesses": guesses, "seconds": time.monotonic() - began, "meanwhile": meanwhile}))


asyncio.run(main())
