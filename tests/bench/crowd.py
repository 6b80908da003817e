# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients at once, as when a fleet is rolled out: with nobody's password known, and again; and what monitors see meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import CROWD, GIVEN, Stage, Way, basic

LAYERS = 20
IDLE_SECONDS = 10
# A monitor that asks so often sees what a load balancer could see.
RATE = 50
# The usual way takes too long for all of them, and for more than one round.
SLOW_LAYERS, SLOW_ROUNDS = 2, 1


def write_requests(stage: Stage, way: Way, name: str, digests: Sequence[str], people: bool) -> None:
    """Write down for curl what each client asks for: all layers, on one connection."""
    layers = "".join(f'url = "{way.base}/v2/bench/app/blobs/{one}"\noutput = "/dev/null"\n' for one in digests)
    script = ["mkdir -p /srv/crowd"]
    for number in range(CROWD):
        header = f'header = "{basic(f"client-{number}", GIVEN)}"\n' if people else ""
        script.append(f"cat > /srv/crowd/{name}-{number} <<'END'\n{header}{layers}END")
    stage.host("sh", "-s", stdin="\n".join(script))


def crowd(stage: Stage, way: Way, name: str) -> float:
    """Let all begin at once; return the seconds until the last is done."""
    plain = stage.quoted(way._replace(headers=()))
    # As if they were on other machines, they leave the processors to the servers.
    go = f"seq 0 {CROWD - 1} | chrt --idle 0 xargs -P {CROWD} -I@ {plain} --config /srv/crowd/{name}-@"
    return float(
        stage.shell(
            f"set -e; start=$(date +%s.%N); {go}; end=$(date +%s.%N); echo \"$end - $start\" | awk '{{print $1 - $3}}'"
        )
    )


def health(stage: Stage, seconds: float) -> list[float]:
    """Ask for the health at an even pace; return the milliseconds of each answer."""
    head = stage.quoted(stage.anonymous)
    ask = f"{head} --rate {RATE}/s --output /dev/null --write-out '%{{time_total}}\\n'"
    said = stage.shell(f"{ask} '{stage.anonymous.base}/healthz?[1-{round(seconds * RATE)}]'")
    return [float(line) * 1000 for line in said.split()]


def percentiles(values: Sequence[float]) -> tuple[str, str, str]:
    """Return the one in the middle, the one that 99 of 100 stay below, and the highest."""
    ordered = sorted(values)
    return tuple(f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))]:.1f}" for part in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def measure(stage: Stage, rounds: int) -> Section:
    """Let the crowd in by all ways in turn."""
    digests = []
    for number in range(LAYERS):
        # Each has a digest of its own.
        path = f"/srv/layer-{number}"
        stage.shell(f"[ -e {path} ] || head -c 1048576 /dev/urandom > {path}")
        layer = path, "sha256:" + stage.host("sha256sum", path).stdout.split()[0]
        for way in (stage.bare, stage.password):
            stage.push(way, layer)
        digests.append(layer[1])
    write_requests(stage, stage.bare, "bare", digests, people=False)
    write_requests(stage, stage.usual_open, "open", digests, people=False)
    write_requests(stage, stage.password, "ours", digests, people=True)
    write_requests(stage, stage.usual, "usual", digests[:SLOW_LAYERS], people=True)
    idle = health(stage, IDLE_SECONDS)
    seconds: dict[str, list[float]] = defaultdict(list)
    meanwhile: dict[str, list[float]] = defaultdict(list)
    memory = 0.0

    def together(name: str, way: Way, files: str) -> None:
        """Let the crowd in while a monitor asks for as long as the last crowd took."""
        expected = max(2.0, *(seconds[name][-1:] or [2.0]))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(health, stage, expected)
            seconds[name].append(crowd(stage, way, files))
            meanwhile[name] += asked.result()

    for number in range(rounds):
        together("bare", stage.bare, "bare")
        together("open", stage.usual_open, "open")
        stage.forget_passwords()
        together("cold", stage.password, "ours")
        together("warm", stage.password, "ours")
        memory = max(memory, *(used.mib for name, used in stage.used().items() if name == "drydock-proxy"))
        if number < SLOW_ROUNDS:
            together("usual", stage.usual, "usual")
    names = {
        "bare": "bare registry, HTTP, no password",
        "open": "usual nginx, TLS, no password",
        "cold": "this collection, nobody's password was checked before",
        "warm": "this collection, again",
        "usual": f"usual nginx, TLS, auth_basic; {SLOW_LAYERS} layers of {LAYERS}",
    }
    rows = [("nobody else", "", "", *percentiles(idle))]
    bars = []
    for name, label in names.items():
        ratio = ratios(seconds[name], seconds["open"])
        rows.append(
            (label, str(Spread(seconds[name])), "1" if name == "open" else str(ratio), *percentiles(meanwhile[name]))
        )
        bars.append(Bar.of(label, Spread(seconds[name]), name in {"cold", "warm"}))
    return Section(
        f"{CROWD} clients at once",
        f"{CROWD} users with passwords of their own (bcrypt cost 10) pull {LAYERS} layers of 1 MiB each, in {rounds} rounds"
        f" ({SLOW_ROUNDS} of the usual nginx). A monitor asks `/healthz` {RATE} times a second meanwhile."
        " The clients leave the processors to the servers (SCHED_IDLE), as if they were on other machines. nginx's memory rose to"
        f" {memory:.0f} MiB.",
        ("Who", "seconds", "to TLS without a password", "`/healthz` p50 ms", "p99 ms", "highest ms"),
        rows,
        picture="crowd.svg",
        scale="seconds until the last client has all layers",
        bars=bars,
    )
