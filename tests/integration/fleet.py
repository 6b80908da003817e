# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in a rehearsal, as tests use it: its hosts, its load balancer, and clients that go on while something is done to it."""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aws_rehearsal import ROOT, STATE, Rehearsal
from into_host import into
from load import MANIFEST_TYPE, TIMEOUT_SECONDS, Ask, Connection, Count, Load, Push, Pusher, Unanswered, under_load

INVENTORY = ROOT / "inventories/rehearsal-fleet"
DOMAIN = "registry.rehearsal.test"
NAME = "rehearsal-registry"
BUCKET = "example-fleet-registry"
KIB, MIB = 1024, 1024 * 1024
# A host boots, which is most of a first deployment; on a busy machine it takes its time.
WAIT_SECONDS = 900
# What docker and skopeo try a layer again.
ATTEMPTS = 5
REPOSITORY = "fleet/load"
MANIFEST = f"/v2/{REPOSITORY}/manifests/pushed"


class Host(NamedTuple):
    """One host of the fleet, as AWS sees it."""

    id: str
    address: str
    zone: str
    # healthy, initial, ...: what the load balancer says.
    health: str
    version: str

    @property
    def container(self) -> str:
        """The container that plays the machine."""
        return f"drydock-rehearsal-{self.id}"


class Direct(Connection):
    """A connection that may come from a certain address of this machine."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext, source: str) -> None:
        super().__init__(address, name, context)
        self._source = source

    def connect(self) -> None:
        """Connect from there."""
        where, source = (self._address, 443), (self._source, 0)
        plain = socket.create_connection(where, TIMEOUT_SECONDS, source if self._source else None)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


class Answer(NamedTuple):
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fleet:
    """A deployment of inventories/rehearsal-fleet."""

    def __init__(self, rehearsed: Rehearsal) -> None:
        self.rehearsed = rehearsed
        self.credentials = rehearsed.credentials
        # What a run is told beside its inventory. Hosts of a golden image boot in seconds.
        self.settings: dict[str, Any] = {"aws_autoscaling_image_provider": "golden"}
        self.blobs: dict[str, str] = {}

    # --- Runs -----------------------------------------------------------------------------------------------------

    def play(self, name: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook with the settings so far and these; it may fail."""
        return self.rehearsed.play(name, "-e", json.dumps({**self.settings, **settings}), *arguments)

    # --- What AWS says --------------------------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """Return boto3's client of somebody who may look at everything."""
        return self.rehearsed.administrator(service)

    def group(self) -> dict[str, Any]:
        """Return the Auto Scaling group."""
        (found,) = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])[
            "AutoScalingGroups"
        ]
        return dict(found)

    def target_group(self) -> str:
        """Return the ARN of the target group."""
        (found,) = self.client("elbv2").describe_target_groups(Names=[NAME])["TargetGroups"]
        return str(found["TargetGroupArn"])

    def hosts(self, *healths: str) -> list[Host]:
        """Return the hosts in service, those with one of these healths if any is named."""
        # The group first: its keeper lets a host go only when another one is healthy, which is to be seen then.
        members = {
            each["InstanceId"]: each for each in self.group()["Instances"] if each["LifecycleState"] == "InService"
        }
        described = self.client("elbv2").describe_target_health(TargetGroupArn=self.target_group())
        health = {each["Target"]["Id"]: each["TargetHealth"]["State"] for each in described["TargetHealthDescriptions"]}
        if not members:
            return []
        pages = self.client("ec2").describe_instances(InstanceIds=list(members))["Reservations"]
        found = [
            Host(
                each["InstanceId"],
                each["PrivateIpAddress"],
                each["Placement"]["AvailabilityZone"],
                health.get(each["InstanceId"], "unused"),
                members[each["InstanceId"]]["LaunchTemplate"]["Version"],
            )
            for page in pages
            for each in page["Instances"]
        ]
        return [host for host in found if not healths or host.health in healths]

    def healthy(self, count: int) -> list[Host]:
        """Wait for this many healthy hosts, and no others in service; return them."""

        def are_there() -> list[Host]:
            found = self.hosts()
            return found if len(found) == count and all(host.health == "healthy" for host in found) else []

        return list(until(are_there, f"{count} healthy hosts"))

    def console(self, instance_id: str) -> str:
        """Return what a host wrote on its console; one that is gone as well."""
        answer = self.client("ec2").get_console_output(InstanceId=instance_id)
        return str(answer.get("Output", ""))

    def boot_seconds(self, host: Host) -> float:
        """Return the time from a host's launch to now, when it has just become healthy."""
        (reservation,) = self.client("ec2").describe_instances(InstanceIds=[host.id])["Reservations"]
        return time.time() - float(reservation["Instances"][0]["LaunchTime"].timestamp())

    # --- On hosts -------------------------------------------------------------------------------------------------

    @staticmethod
    def on(host: Host, *command: str, check: bool = True) -> str:
        """Run a command on a host as root; return its output."""
        done = subprocess.run(
            [*into(host.container), *command], input="", capture_output=True, text=True, check=False, timeout=300
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @staticmethod
    def kill(host: Host) -> None:
        """Let a host die without a word."""
        subprocess.run(["docker", "kill", host.container], capture_output=True, check=True)

    # --- As a client ----------------------------------------------------------------------------------------------

    @property
    def balancer(self) -> str:
        """The load balancer's address, by the name that clients use."""
        return socket.gethostbyname(DOMAIN)

    def login(self, user: str = "admin") -> str:
        """Return a user's name and password."""
        return f"{user}:{(self.credentials / f'{user}.password').read_text(encoding='utf-8').strip()}"

    def headers(self, login: str = "") -> dict[str, str]:
        """Return what a client sends along."""
        return {
            "Authorization": f"Basic {b64encode((login or self.login()).encode()).decode()}",
            "Accept": MANIFEST_TYPE,
        }

    @staticmethod
    def context() -> ssl.SSLContext:
        """Return what clients of the load balancer trust."""
        return ssl.create_default_context(cafile=STATE / "ca.crt")

    def connection(self, host: Host | None = None, source: str = "") -> Connection:
        """Connect to the load balancer, or past it to a host, whose certificate nobody but the balancer sees."""
        if host is None:
            return Connection(self.balancer, DOMAIN, self.context())
        return Direct(host.address, DOMAIN, ssl._create_unverified_context(), source)  # noqa: S323

    def ask(
        self,
        method: str,
        path: str,
        host: Host | None = None,
        login: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request."""
        with closing(self.connection(host)) as connection:
            connection.request(method, path, headers={**self.headers(login), **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())

    def pusher(self, push: Push, host: Host | None = None) -> Pusher:
        """Return a client that pushes when it is told to."""
        counts = {f"{push.name}: {method}": Count() for method in ("POST", "PATCH", "PUT")}
        return Pusher(self.connection(host), push, counts)

    def push(self, repository: str, size: int, name: str = "push") -> Push:
        """Describe a push."""
        return Push(name, repository, size, self.headers(), self.context())

    def prepare(self) -> None:
        """Push what clients pull under load."""
        for name, size in {"4 KiB": 4 * KIB, "1 MiB": MIB}.items():
            with closing(self.pusher(self.push(REPOSITORY, size))) as pusher:
                self.blobs[name], _ = pusher.blob(pusher.layer)
                pusher.once()

    def asks(self) -> Iterator[Ask]:
        """Return all kinds of pulls."""
        headers, context = self.headers(), self.context()
        for kept in (True, False):
            name = f"GET manifest, {'kept' if kept else 'new'}"
            yield Ask(name, "GET", MANIFEST, 200, headers, context, kept, pause_seconds=0.3)
        for size, pause in {"4 KiB": 0.5, "1 MiB": 1.0}.items():
            path = f"/v2/{REPOSITORY}/blobs/{self.blobs[size]}"
            for method in ("HEAD", "GET"):
                yield Ask(f"{method} {size}, kept", method, path, 200, headers, context, kept=True, pause_seconds=pause)

    @contextmanager
    def loaded(self, event: str, record: Callable[[str, object], None]) -> Iterator[Load]:
        """Let clients pull and push through the load balancer meanwhile, and tell what became of their requests."""
        pushes = [
            Push("push 1 MiB", "fleet/pushed", MIB, self.headers(), self.context(), 2.0),
            Push("push 8 MiB slowly", "fleet/slow", 8 * MIB, self.headers(), self.context(), 1.0, body_seconds=5),
        ]
        with under_load(self.balancer, DOMAIN, self.asks(), 0.3, pushes) as load:
            yield load
        print(f"{event}\n{load.table()}")
        for idempotent, kind in ((True, "pulls"), (False, "pushes")):
            failed = load.failed(idempotent=idempotent)
            print(f"{kind}: {len(failed)} of {load.asked(idempotent=idempotent)} requests failed {failed[:5]}")
            record(f"{event}: {kind} asked", load.asked(idempotent=idempotent))
            record(f"{event}: {kind} failed", len(failed))

    def busy(self) -> Host:
        """Return the host that has a request through the load balancer right now."""

        def name() -> str:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(STATE / "haproxy.sock"))
                connection.sendall(b"show stat\n")
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            rows = csv.DictReader(answer.decode().removeprefix("# ").splitlines())
            busy = [row["svname"] for row in rows if row["svname"].startswith("i-") and int(row["scur"] or 0) > 0]
            return busy[0] if len(busy) == 1 else ""

        instance_id = "-".join(until(name, "one request").split("-")[:2])
        return next(host for host in self.hosts() if host.id == instance_id)


def until(question: Callable[[], Any], what: str) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what}: it does not come"
        time.sleep(1)
    return answer


class Pull:
    """A layer that a client fetches as docker does: slowly, and where the connection breaks from there on."""

    def __init__(self, fleet: Fleet, path: str, piece_bytes: int = 256 * KIB) -> None:
        self.fleet, self.path, self.piece_bytes = fleet, path, piece_bytes
        self.data = b""
        self.failures: list[str] = []
        self.begun, self.resume = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _attempt(self) -> bool:
        with closing(self.fleet.connection()) as connection:
            headers = (
                {**self.fleet.headers(), "Range": f"bytes={len(self.data)}-"} if self.data else self.fleet.headers()
            )
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            if answer.status not in {200, 206}:
                self.failures.append(str(answer.status))
                return False
            if answer.status == 200:
                self.data = b""
            while piece := answer.read(self.piece_bytes):
                self.data += piece
                self.begun.set()
                self.resume.wait(WAIT_SECONDS)
            # Python notices a body that is too short only where all of it is read at once.
            return not answer.length

    def _run(self) -> None:
        for _ in range(ATTEMPTS):
            try:
                if self._attempt():
                    return
                self.failures.append("the body is too short")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(1)

    def start(self) -> None:
        """Begin, and hold on in the middle."""
        self._thread.start()
        assert self.begun.wait(WAIT_SECONDS)

    def finish(self) -> str:
        """Go on to the end; return the digest of what came."""
        self.resume.set()
        self._thread.join()
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


def push_again(pusher: Pusher) -> int:
    """Push an image as docker does, beginning anew where something fails; return how many attempts it took."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            pusher.once()
        except Unanswered:
            time.sleep(1)
            continue
        return attempt
    raise AssertionError(f"{ATTEMPTS} attempts failed: {failures(pusher.counts)}")


def failures(counts: Mapping[str, Count]) -> list[str]:
    """Return what failed, by the kind of request, those on a connection that was just closed as well."""
    return [
        f"{name}: {failure}"
        for name, count in counts.items()
        for failure in [*count.failures, *["closed"] * count.closed]
    ]


def run(*command: str | Path) -> str:
    """Run a program; return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def round_trip(folder: Path, certificates: Path, login: str, remote: str, layer_bytes: int) -> None:
    """Push an image of one layer and pull it with skopeo, which trusts and shows what lies in a folder, and compare the two."""
    context, tag = folder / "context", "drydock-test/round-trip:1"
    context.mkdir()
    (context / "layer").write_bytes(os.urandom(layer_bytes))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY layer /layer\n", encoding="utf-8")
    run("docker", "build", "--quiet", "--tag", tag, context)
    try:
        run("docker", "save", "--output", folder / "image.tar", tag)
    finally:
        run("docker", "rmi", tag)
    skopeo, pulled = ("skopeo", "copy", "--quiet"), folder / "pulled"
    run(
        *(*skopeo, "--dest-cert-dir", certificates, "--dest-creds", login),
        *(f"docker-archive:{folder / 'image.tar'}", f"docker://{remote}"),
    )
    run(*skopeo, "--src-cert-dir", certificates, "--src-creds", login, f"docker://{remote}", f"dir:{pulled}")
    (layer,) = json.loads((pulled / "manifest.json").read_text(encoding="utf-8"))["layers"]
    with tarfile.open(pulled / layer["digest"].partition(":")[2]) as archive:
        (name,) = [each for each in archive.getnames() if each.endswith("layer")]
        taken = archive.extractfile(name)
        assert taken is not None
        assert taken.read() == (context / "layer").read_bytes()


def lines_of(text: str, name: str) -> Sequence[str]:
    """Return the lines of a console that have a word in them."""
    return [line.strip() for line in text.splitlines() if name in line]
