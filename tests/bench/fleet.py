# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts behind one load balancer, with one bucket: what each further host adds, and what Redis spares the bucket.

The host of the registry's name is everything but the registries: the load balancer (haproxy, which like AWS's ends TLS, begins it anew
and sends each request to the host with the fewest of them), clients, Redis, and the way to the bucket.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import boto3
import yaml
from deployment import ADDRESS, MANIFEST_TYPE, SHARED, deployed_hosts
from moto.server import ThreadedMotoServer

from tests.bench import images
from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import FOLDER, Clients, Way, say

HOSTS = 3
# Of one core for each host, with all of its containers: three of them leave more than one of two cores to everything else.
SHARE = 0.2
SECONDS = 4
CONNECTIONS = 24
LAYER_MIB = 4
MANIFEST = "/v2/bench/app/manifests/1"
BUCKET = {"bucket": "bench", "region": "eu-central-1", "access_key": "bench", "secret_key": secrets.token_hex(16)}
# Port 8001 leads to one host, 8002 to two, 8003 to three; this one to the one with Redis.
REDIS_PORT, REDIS_HOST = 8010, 2


class Processor(NamedTuple):
    """Seconds so far: on the clock, that the machine was idle, summed over its cores, and that each host was busy."""

    clock: float
    idle: float
    busy: Mapping[str, float]


class Questions(NamedTuple):
    """Requests to the bucket: those that list, which cost twelve times as much, and all others."""

    lists: int
    others: int

    def __str__(self) -> str:
        return f"{self.lists + self.others} ({self.lists} LIST)"


def questions(log: str) -> Questions:
    """Count what the log has."""
    of_images = [line for line in log.splitlines() if re.search(r"docker(?:/|%2F)registry", line)]
    lists = sum(bool(re.search(r"^GET [^ ]*[?&](?:list-type|prefix|delimiter)=", line)) for line in of_images)
    return Questions(lists, len(of_images) - lists)


def idle_seconds(stat: str) -> float:
    """Read /proc/stat."""
    fields = stat.splitlines()[0].split()
    return int(fields[4]) / 100


def busy_seconds(counters: str) -> float:
    """Read a cgroup's own counter: of version 2, or else of version 1."""
    found = re.search(r"^usage_usec (\d+)$", counters, re.MULTILINE)
    return int(found[1]) / 1e6 if found else int(counters) / 1e9


def balancer(hosts: Mapping[int, Sequence[str]]) -> str:
    """Return haproxy's configuration: each port leads to hosts of its own."""
    lines = [
        "defaults",
        "  mode http",
        "  timeout connect 5s",
        "  timeout client 900s",
        "  timeout server 900s",
        "  balance leastconn",
        "  http-reuse always",
        "  option forwardfor",
        "  option httpchk",
        "  http-check send meth GET uri /healthz",
        "  default-server ssl verify none check inter 10s",
    ]
    for port, addresses in hosts.items():
        lines += [f"listen {port}", f"  bind :{port} ssl crt /srv/balancer.pem"]
        lines += [f"  server host-{number} {address}:443" for number, address in enumerate(addresses, 1)]
    return "\n".join(lines) + "\n"


class Fleet(Clients):
    """The hosts, and what stands before and behind them."""

    def __init__(self, folder: Path) -> None:
        super().__init__("bench-fleet", folder)
        self.registries = [f"registry-{number}.test" for number in range(1, HOSTS + 1)]
        inventory = yaml.safe_load((FOLDER / "hosts.yml").read_text(encoding="utf-8"))
        groups = inventory["all"]["children"]
        image = groups["test_hosts"]["hosts"][ADDRESS]
        groups["test_hosts"]["hosts"] = dict.fromkeys([ADDRESS, *self.registries], image)
        groups["registry"]["hosts"] = dict.fromkeys(self.registries)
        path = folder / "hosts.yml"
        path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        self.inventories = (path, SHARED / "inventory")
        self.settings = {
            "drydock_domain": ADDRESS,
            "registry_server_storage_provider": "s3",
            "registry_server_http_secret": secrets.token_hex(32),
            "registry_auth_users": [{"name": "admin", "access": "admin"}],
        }

    def way(self, count: int) -> Way:
        """Ask through the balancer, with so many hosts behind it."""
        return Way(f"{count} host{'s' if count > 1 else ''}", f"https://{ADDRESS}:{8000 + count}", (self.generated,))

    @property
    def with_redis(self) -> Way:
        """As with one host, but with the one that has Redis."""
        return Way("1 host, Redis", f"https://{ADDRESS}:{REDIS_PORT}", (self.generated,))

    def trust(self, way: Way) -> list[str]:
        """The balancer's certificate is its own."""
        del way
        return ["--cacert", "/srv/balancer.pem"]

    # -- what runs

    def prepare(self, bucket: str) -> None:
        """Deploy the hosts without a limit, then start the balancer, and push what is pulled later."""
        self.host("apt-get", "update", "-qq")
        self.host(
            "apt-get",
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            "haproxy",
            "nginx-light",
            "redis-server",
            "wrk",
        )
        self.write("/etc/nginx/nginx.conf", (FOLDER / "s3.conf").read_text(encoding="utf-8").replace("BUCKET", bucket))
        own = self.address(ADDRESS)
        self.write("/etc/redis/redis.conf", f"bind {own}\nprotected-mode no\nsave ''\nsupervised systemd\n")
        self.host("systemctl", "restart", "nginx", "redis-server")
        endpoint = f"http://{own}:9000"
        self.settings["registry_server_s3"] = {**BUCKET, "endpoint": endpoint, "secure": False}
        self.settings["registry_proxy_trusted_networks"] = [f"{own}/32"]
        say(f"deploying on {HOSTS} hosts ...")
        self.play("configure.yml")
        addresses = [self.address(name) for name in self.registries]
        ports = {8000 + count: addresses[:count] for count in range(1, HOSTS + 1)}
        self.shell(
            "cd /srv; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out crt.pem"
            f" -subj /CN={ADDRESS} -addext subjectAltName=DNS:{ADDRESS} 2>&1; cat crt.pem key.pem > balancer.pem"
        )
        self.write("/etc/haproxy/haproxy.cfg", balancer({**ports, REDIS_PORT: [addresses[REDIS_HOST - 1]]}))
        self.host("systemctl", "restart", "haproxy")
        self.layer = self.make_blob(LAYER_MIB)
        # Three requests, which three hosts get.
        self.push(self.way(HOSTS), self.layer)
        self.push_manifest(self.way(HOSTS), [self.layer])

    def add_redis(self) -> None:
        """Give Redis to one host, for which it may use what it needs."""
        say("Redis for one host ...")
        self.settings["registry_server_redis"] = {"address": f"{self.address(ADDRESS)}:6379"}
        self.limit(os.cpu_count() or 1)
        self.play("configure.yml", f"--limit={self.registries[REDIS_HOST - 1]}")
        self.limit(SHARE)

    def limit(self, cores: float) -> None:
        """Set what each host may use of the processors, the containers in it included."""
        names = [self.names[name] for name in self.registries]
        subprocess.run(["docker", "update", f"--cpus={cores}", *names], check=True, capture_output=True)

    def remember(self, whether: bool) -> None:
        """Let the answers of the bucket be remembered, or be asked for anew."""
        self.host(*(("touch",) if whether else ("rm", "-f")), "/srv/remember")

    # -- looking

    def rate(self, way: Way, path: str) -> float:
        """Ask as fast as it goes; return requests a second, of layers MiB, since few of them come to an end."""
        got = self.wrk(way, path, SECONDS, CONNECTIONS)
        return got.mib if "/blobs/" in path else got.rate

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.host("sh", "-c", f"cat > {path}", stdin=text)

    def on(self, name: str, *command: str) -> str:
        """Run a command on one of the hosts."""
        done = subprocess.run(
            ["docker", "exec", self.names[name], *command], capture_output=True, text=True, check=True
        )
        return done.stdout

    def address(self, name: str) -> str:
        """The address of a host's container."""
        said = subprocess.run(
            ["docker", "container", "inspect", self.names[name]], capture_output=True, text=True, check=True
        )
        networks = json.loads(said.stdout)[0]["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def processor(self) -> Processor:
        """Look at the clocks."""
        read = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage"
        busy = {name: busy_seconds(self.on(name, "sh", "-c", read)) for name in self.registries}
        return Processor(time.monotonic(), idle_seconds(Path("/proc/stat").read_text(encoding="ascii")), busy)

    def versions(self) -> str:
        """What is measured."""
        registry = "docker exec drydock-registry-a registry --version; docker exec drydock-proxy nginx -v 2>&1 | sed 's/^.*: //'"
        balancer_and_bucket = "haproxy -v | head -1 | cut -d' ' -f1-3; redis-server --version | cut -d' ' -f1-3"
        said = self.on(self.registries[0], "sh", "-c", registry) + self.shell(balancer_and_bucket)
        return "; ".join([*said.splitlines(), f"moto {version('moto')}"])

    def questions(self, act: Callable[[], object]) -> Questions:
        """Count the requests that something makes to the bucket; health checks do not ask for what belongs to a repository."""
        self.shell(": > /srv/s3.log")
        act()
        return questions(self.shell("cat /srv/s3.log"))


def measure(fleet: Fleet, rounds: int) -> Section:
    """Ask one host, two and three in turn, round by round."""
    fleet.remember(True)
    layer = f"/v2/bench/app/blobs/{fleet.layer[1]}"
    whats = {
        "`GET /v2/`, requests/s": "/v2/",
        "manifest, requests/s": MANIFEST,
        f"layer of {LAYER_MIB} MiB, MiB/s": layer,
    }
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    shares: dict[tuple[str, int], list[float]] = defaultdict(list)
    idle: dict[tuple[str, int], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for what, path in whats.items():
            for count in range(1, HOSTS + 1):
                before = fleet.processor()
                rate = fleet.rate(fleet.way(count), path)
                after = fleet.processor()
                # The first round fills caches.
                if number > 0:
                    seconds = after.clock - before.clock
                    used = [after.busy[name] - before.busy[name] for name in fleet.registries[:count]]
                    rates[what, count].append(rate)
                    shares[what, count].append(sum(used) / count / seconds)
                    idle[what, count].append((after.idle - before.idle) / seconds)
    rows, bars = [], []
    for what in whats:
        for count in range(1, HOSTS + 1):
            ratio = ratios(rates[what, count], rates[what, 1])
            rows.append(
                (
                    what,
                    str(count),
                    f"{Spread(rates[what, count]).median:,.0f}",
                    str(ratio) if count > 1 else "1",
                    f"{Spread(shares[what, count]).median:.2f}",
                    f"{Spread(idle[what, count]).median:.1f}",
                )
            )
            if count > 1:
                bars.append(Bar.of(f"{what.partition(',')[0].strip('`')}: {count} hosts", ratio))
    return Section(
        "Several hosts behind one load balancer",
        "haproxy ends TLS and begins it anew to the hosts, the one with the fewest requests first; all hosts have one bucket. Each host has"
        f" {SHARE} of a core and no more, so that all of them, the balancer and the client find room on one machine: what counts are the"
        f" ratios, not the rates. wrk asks with a password on {CONNECTIONS} kept connections for {SECONDS} s in each of {rounds} rounds."
        " The bucket is moto's, behind an nginx that remembers answers, or it would be the slowest part. Layers go through the hosts; with"
        " `registry_server_redirect_enabled` they would not.",
        ("What", "Hosts", "Rate", "to one host", "cores that each host used", "cores that stayed idle"),
        rows,
        picture="fleet.svg",
        scale="rate, to that of one host (dashed)",
        bars=bars,
    )


def redis(fleet: Fleet, rounds: int) -> Section:
    """Count what reaches the bucket, and compare two hosts, one of which has Redis."""
    fleet.add_redis()
    ways = [fleet.way(1), fleet.with_redis]
    accept = ("--header", f"Accept: {MANIFEST_TYPE}")
    whats: dict[str, Callable[[Way], object]] = {
        "manifest by tag": lambda way: fleet.request(way, MANIFEST, *accept),
        "layer": lambda way: fleet.pull(way, fleet.layer),
        "whether a layer is there (`HEAD`)": lambda way: fleet.request(
            way, f"/v2/bench/app/blobs/{fleet.layer[1]}", "--head"
        ),
        "push of a layer that is there": lambda way: fleet.push(way, fleet.layer),
        f"image of {images.LAYERS} layers": lambda way: [
            fleet.request(way, path, "--header", images.ACCEPT) for path in image
        ],
    }
    image = images.push_image(fleet, fleet.way(1))
    fleet.remember(False)
    counted: dict[tuple[str, str], Questions] = {}
    for what, act in whats.items():
        for way in ways:
            # The first time, Redis learns.
            act(way)
            counted[what, way.name] = fleet.questions(lambda act=act, way=way: act(way))  # type: ignore[misc]
    fleet.remember(True)
    paths = {"manifest by tag": MANIFEST, "layer": f"/v2/bench/app/blobs/{fleet.layer[1]}"}
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for what, path in paths.items():
            for way in ways:
                rate = fleet.rate(way, path)
                if number > 0:
                    rates[what, way.name].append(rate)
    one, other = (way.name for way in ways)
    return Section(
        "Redis",
        "Requests that reach the bucket when something is asked for again, and the rate of a host with Redis to that of one without. This"
        " bucket answers at once; where S3 takes its time, each request that is spared saves it.",
        ("What", "requests to the bucket", "with Redis", "rate with Redis to without"),
        [
            (
                what,
                str(counted[what, one]),
                str(counted[what, other]),
                str(ratios(rates[what, other], rates[what, one])) if what in paths else "",
            )
            for what in whats
        ],
    )


@contextmanager
def balanced(folder: Path) -> Iterator[Fleet]:
    """Start hosts, bucket and balancer, and remove them in the end."""
    fleet = Fleet(folder)
    with deployed_hosts(fleet):
        # Containers reach this machine where they go for everything else.
        gateway = fleet.shell("ip route show default").split()[2]
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(gateway, 0, verbose=False)
        server.start()
        try:
            place = "{}:{}".format(*server.get_host_and_port())
            keys = {"aws_access_key_id": BUCKET["access_key"], "aws_secret_access_key": BUCKET["secret_key"]}
            client = boto3.client("s3", endpoint_url=f"http://{place}", region_name=BUCKET["region"], **keys)
            client.create_bucket(
                Bucket=BUCKET["bucket"], CreateBucketConfiguration={"LocationConstraint": BUCKET["region"]}
            )
            fleet.prepare(place)
            fleet.limit(SHARE)
            yield fleet
        finally:
            server.stop()
