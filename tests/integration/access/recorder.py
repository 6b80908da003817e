# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands between nginx and a registry, on unix sockets, and writes down what the registry gets.

python3 recorder.py LISTEN REGISTRY LOG

While there is a file LOG.hold, what begins with PUT waits.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, log: Path | None = None) -> None:
    """Pass on all that comes."""
    while data := await source.read(65536):
        if log is not None:
            with log.open("ab") as file:
                file.write(data)
            while data.startswith(b"PUT ") and log.with_suffix(".hold").exists():
                await asyncio.sleep(0.05)
        target.write(data)
        await target.drain()
    target.close()


async def main(listen: str, registry: str, log: str) -> None:
    """Serve until the end."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_registry, to_registry = await asyncio.open_unix_connection(registry)
        both = (pump(reader, to_registry, Path(log)), pump(from_registry, writer))
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_unix_server(connected, listen)
    Path(listen).chmod(0o666)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
