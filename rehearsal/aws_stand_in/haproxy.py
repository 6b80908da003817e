# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that balances loads: haproxy. Its listeners stand in its configuration; targets come and go while it runs.

So a change of targets touches no connection but theirs, as on AWS; a change of listeners is a reload, in which the old process finishes
what it has begun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 10
CONNECT_SECONDS = 5
GLOBAL = """\
global
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats timeout 1m
    maxconn 4000
    nbthread 2
    tune.ssl.default-dh-param 2048
    ssl-default-bind-options no-tls-tickets

defaults
    timeout connect {connect}s
    # A request that a target did not take is not given to another one.
    retries 0
    option dontlognull
"""


@dataclass
class Pool:
    """The targets of a group, as seen from one load balancer."""

    name: str
    # Where requests to the targets come from.
    source: str
    # http or tcp; whether requests go to the targets by TLS.
    mode: str
    tls: bool
    idle_seconds: int
    # How haproxy knows each target (name: address and port), and whether it gets requests: ready, drain or maint.
    targets: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def server(self, name: str) -> str:
        """Return the definition of a target."""
        tls = " ssl verify none" if self.tls else ""
        kept = f" pool-purge-delay {self.idle_seconds}s" if self.mode == "http" else ""
        return f"{self.targets[name]}{tls}{kept}"

    def lines(self) -> list[str]:
        """Return this part of the configuration; a target gets requests when it is told so."""
        return [
            f"backend {self.name}",
            f"    mode {self.mode}",
            "    balance roundrobin",
            f"    source {self.source}",
            f"    timeout server {self.idle_seconds}s",
            f"    timeout tunnel {self.idle_seconds}s",
            *(f"    server {name} {self.server(name)} disabled" for name in self.targets),
        ]


@dataclass
class Frontend:
    """A listener."""

    name: str
    address: str
    port: int
    mode: str
    idle_seconds: int
    # What follows the address: certificate, versions of TLS and HTTP.
    tls: str = ""
    # What is done with a request, in haproxy's words.
    action: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return this part of the configuration."""
        return [
            f"frontend {self.name}",
            f"    bind {self.address}:{self.port}{self.tls}",
            f"    mode {self.mode}",
            f"    timeout client {self.idle_seconds}s",
            *([f"    timeout http-keep-alive {self.idle_seconds}s"] if self.mode == "http" else []),
            *(f"    {line}" for line in self.action),
        ]


class Haproxy:
    """The process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "haproxy.cfg"
        self.socket = folder / "haproxy.sock"
        self.log = folder / "haproxy.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._text = ""
        # What the process knows: by pool, the state of each target.
        self._known: dict[str, dict[str, str]] = {}

    def apply(self, frontends: list[Frontend], pools: Mapping[str, Pool]) -> None:
        """Let the process be as described."""
        lines = [line for each in frontends for line in each.lines()]
        # Targets are no part of what a reload is for.
        fixed = "\n".join(
            lines + [line for pool in pools.values() for line in pool.lines() if not line.startswith("    server ")]
        )
        if fixed != self._text:
            lines += [line for pool in pools.values() for line in pool.lines()]
            text = GLOBAL.format(socket=self.socket, connect=CONNECT_SECONDS) + "\n".join(lines) + "\n"
            self.configuration.write_text(text, encoding="utf-8")
            self._restart(bool(frontends))
            self._text = fixed
            self._known = {name: dict.fromkeys(pool.targets, "maint") for name, pool in pools.items()}
        for pool in pools.values():
            self._follow(pool)

    def _restart(self, wanted: bool) -> None:
        process = self._process
        if not wanted:
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait()
                self._process = None
            return
        if process is not None and process.poll() is None:
            pid = self._worker()
            process.send_signal(signal.SIGUSR2)
            self._wait(lambda: self._worker() not in {"", pid})
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "haproxy", "-W", "-f", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: text for name, text in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
        self._wait(lambda: self._worker() != "")

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"haproxy does not run. It said:\n{said}")
            time.sleep(0.05)

    def _worker(self) -> str:
        """Return the number of the process that accepts connections now."""
        with contextlib.suppress(OSError):
            for line in self.command("show info").splitlines():
                if line.startswith("Pid: "):
                    return line
        return ""

    def command(self, line: str) -> str:
        """Give the process a command; return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_SECONDS)
            connection.connect(str(self.socket))
            connection.sendall(f"{line}\n".encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        return answer.decode().strip()

    def _follow(self, pool: Pool) -> None:
        known = self._known.setdefault(pool.name, {})
        for name in list(known):
            if name not in pool.targets:
                self._set(pool.name, name, "maint")
                # It can be removed when nothing uses it any more; until then the next look tries again.
                if "deleted" in self.command(f"del server {pool.name}/{name}").lower():
                    del known[name]
        for name in pool.targets:
            if name not in known:
                self.command(f"add server {pool.name}/{name} {pool.server(name)}")
                known[name] = "maint"
            self._set(pool.name, name, pool.states[name])

    def _set(self, pool: str, name: str, state: str) -> None:
        if self._known[pool][name] == state:
            return
        self.command(f"set server {pool}/{name} state {state}")
        if state == "maint":
            self.command(f"shutdown sessions server {pool}/{name}")
        self._known[pool][name] = state
