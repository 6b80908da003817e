# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for measuring: the registry as deployed, and beside it a bare one and the usual nginx, all asked over loopback.

The bare registry has the same image, configuration, limits and file system; it listens on HTTP, with no password and nobody in front,
and with Go's own defaults, as everybody runs it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deployment import ADDRESS, MANIFEST_TYPE, SHARED, Deployment, deployed_hosts

FOLDER = Path(__file__).parent
RELOAD = "/usr/local/sbin/drydock-reload-proxy"
PAIR = "/srv/pair.pem"
CROWD = 50
# Of a person; those of the crowd cost as much to check.
GIVEN = "a password that somebody chose"
# To requests, MiB and milliseconds.
WRK_UNITS = {
    "": 1.0,
    "B": 2**-20,
    "KB": 2**-10,
    "MB": 1.0,
    "GB": 2.0**10,
    "us": 0.001,
    "ms": 1.0,
    "s": 1000.0,
    "m": 60000.0,
}
SERVERS = (
    "drydock-proxy",
    "drydock-passwords",
    "drydock-registry-a",
    "drydock-registry-b",
    "bench-bare",
    "bench-usual",
)


class Way(NamedTuple):
    """One way to ask: where, and by which right."""

    name: str
    base: str
    headers: tuple[str, ...] = ()
    certified: bool = False


class Used(NamedTuple):
    """What a container has used so far: seconds of CPU, and what it holds in memory now."""

    seconds: float
    mib: float


class Answers(NamedTuple):
    """What wrk got: requests and MiB a second, and what half and 99 of 100 answers stayed below, in milliseconds."""

    rate: float
    mib: float
    half: float
    slowest: float


def basic(user: str, password: str) -> str:
    """Return the header of a user."""
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


def answers(said: str) -> Answers:
    """Read what wrk says in the end."""

    def number(pattern: str) -> float:
        found = re.search(pattern + r":? +([0-9.]+)([A-Za-z]*) *$", said, re.MULTILINE)
        assert found, said
        return float(found[1]) * WRK_UNITS[found[2]]

    return Answers(number("Requests/sec"), number("Transfer/sec"), number("50%"), number("99%"))


class Clients(Deployment):
    """Clients on the host of the registry's name: curl, wrk and ab."""

    @property
    def generated(self) -> str:
        """The administrator's header."""
        password = (self.folder / "credentials/admin.password").read_text(encoding="utf-8").strip()
        return basic("admin", password)

    def options(self, way: Way) -> list[str]:
        """What curl is told in each request."""
        headers = [word for header in way.headers for word in ("--header", header)]
        pair = ["--cert", PAIR] if way.certified else []
        return ["--silent", "--show-error", "--fail", "--http1.1", *self.trust(way), *headers, *pair]

    def trust(self, way: Way) -> list[str]:
        """Say by what curl knows the server."""
        raise NotImplementedError

    def request(self, way: Way, path: str, *more: str) -> tuple[float, str]:
        """Make a request; return its seconds and the address that it leads to."""
        url = path if path.startswith("http") else way.base + path
        form = ("--output", "/dev/null", "--write-out", "%{time_total} %header{location}")
        seconds, _, location = self.host("curl", *self.options(way), *form, *more, url).stdout.partition(" ")
        return float(seconds), location if location.startswith("http") else way.base + location

    def make_blob(self, mib: float) -> tuple[str, str]:
        """Make a blob of random bytes; return its path and its digest."""
        path = f"/srv/blob-{mib:g}"
        self.host("sh", "-c", f"[ -e {path} ] || head -c {int(mib * 2**20)} /dev/urandom > {path}")
        return path, "sha256:" + self.host("sha256sum", path).stdout.split()[0]

    def push(self, way: Way, blob: tuple[str, str], repository: str = "bench/app") -> float:
        """Push a blob as Docker does, in three requests; return their seconds."""
        begun, upload = self.request(way, f"/v2/{repository}/blobs/uploads/", "--request", "POST")
        body = ("--request", "PATCH", "--header", "Expect:", "--header", "Content-Type: application/octet-stream")
        sent, upload = self.request(way, upload, *body, "--upload-file", blob[0])
        ended, _ = self.request(way, f"{upload}&digest={blob[1]}", "--request", "PUT")
        return begun + sent + ended

    def pull(self, way: Way, blob: tuple[str, str]) -> float:
        """Pull a blob; return the seconds."""
        return self.request(way, f"/v2/bench/app/blobs/{blob[1]}")[0]

    def show(self, blob: tuple[str, str]) -> str:
        """Have nginx send a blob as it sends any file, which nothing can be faster than; return its path."""
        name = blob[1].partition(":")[2]
        self.host("cp", "--no-clobber", blob[0], f"/srv/plain/{name}")
        return f"/{name}"

    def push_manifest(self, way: Way, blobs: Sequence[tuple[str, str]]) -> str:
        """Push an image of layers that are there; the first stands for the configuration, too. Return its digest."""
        parts = [{"mediaType": "application/octet-stream", "digest": digest, "size": 1} for _, digest in blobs]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": parts[0], "layers": parts}
        for part, (path, _) in zip(parts, blobs):
            part["size"] = int(self.host("stat", "--format=%s", path).stdout)
        text = json.dumps(manifest)
        self.host("sh", "-c", "cat > /srv/manifest.json", stdin=text)
        header = ("--header", f"Content-Type: {MANIFEST_TYPE}")
        self.request(
            way, "/v2/bench/app/manifests/1", "--request", "PUT", *header, "--data-binary", "@/srv/manifest.json"
        )
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def wrk(self, way: Way, path: str, seconds: int, connections: int, method: str = "GET") -> Answers:
        """Ask as fast as it goes."""
        headers = [word for header in (f"Accept: {MANIFEST_TYPE}", *way.headers) for word in ("--header", header)]
        load: tuple[str, ...] = (
            "--threads=1",
            f"--connections={connections}",
            f"--duration={seconds}s",
            "--latency",
            "--timeout=60s",
        )
        if method != "GET":
            self.host("sh", "-c", "cat > /srv/method.lua", stdin=f'wrk.method = "{method}"\n')
            load += ("--script=/srv/method.lua",)
        said = self.host("wrk", *load, *headers, way.base + path).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            sys.exit(f"{way.name}: requests failed:\n{said}")
        return answers(said)

    def apache_bench(self, way: Way, path: str, requests: int, connections: int) -> float:
        """As wrk, which knows no client certificates; return requests per second."""
        headers = [word for header in (f"Accept: {MANIFEST_TYPE}", *way.headers) for word in ("-H", header)]
        pair = ["-E", PAIR] if way.certified else []
        command = ("ab", "-q", "-k", "-c", str(connections), "-n", str(requests), *headers, *pair, way.base + path)
        said = self.host(*command).stdout
        found = re.search(r"Requests per second:\s+([0-9.]+)", said)
        if not found or not re.search(r"Failed requests:\s+0\n", said) or "Non-2xx" in said:
            sys.exit(f"{way.name}: requests failed:\n{said}")
        return float(found[1])

    def shell(self, script: str) -> str:
        """Run a script on the host."""
        return self.host("sh", "-c", script).stdout

    def quoted(self, way: Way) -> str:
        """The beginning of a command line of curl."""
        return shlex.join(["curl", *self.options(way)])


class Stage(Clients):
    """A deployed registry, what it is compared with, and clients on the same host."""

    def __init__(self, folder: Path) -> None:
        super().__init__("bench", folder)
        self.inventories = (FOLDER / "hosts.yml", SHARED / "inventory")
        crowd = [{"name": f"client-{one}", "password": GIVEN, "access": "pull"} for one in range(CROWD)]
        self.settings = {
            "registry_auth_anonymous_pull_enabled": True,
            "registry_metrics_enabled": True,
            "registry_proxy_client_certificates": "optional",
            "registry_auth_users": [
                {"name": "admin", "access": "admin"},
                {"name": "person", "password": GIVEN, "access": "admin"},
                {"name": "scanner", "access": "pull", "certificate_only": True},
                *crowd,
            ],
        }

    # -- ways to ask

    bare = Way("bare registry, HTTP", "http://127.0.0.1:5000")
    tuned = Way("bare registry, HTTP, Go's collector as ours", "http://127.0.0.1:5001")
    own = Way("registry's own htpasswd, HTTP, chosen password", "http://127.0.0.1:5002", (basic("person", GIVEN),))
    usual_open = Way("usual nginx, TLS, no password", "https://127.0.0.1:8443")
    plain = Way("plain file, TLS, same nginx", "https://127.0.0.1:8443/plain")
    anonymous = Way("this collection, no password", f"https://{ADDRESS}")
    by_certificate = Way("this collection, client certificate", f"https://{ADDRESS}", certified=True)

    @property
    def password(self) -> Way:
        """With the password that a pipeline would have, as a run generated it."""
        return Way("this collection, password", f"https://{ADDRESS}", (self.generated,))

    @property
    def usual(self) -> Way:
        """As the former, but by nginx's own means."""
        return Way("usual nginx, TLS, generated password", "https://127.0.0.1:8444", (self.generated,))

    @property
    def usual_person(self) -> Way:
        """As the former, with the password of a person."""
        return Way("usual nginx, TLS, chosen password", "https://127.0.0.1:8444", (basic("person", GIVEN),))

    @property
    def person(self) -> Way:
        """With the password that a person chose."""
        return Way("this collection, chosen password", f"https://{ADDRESS}", (basic("person", GIVEN),))

    def trust(self, way: Way) -> list[str]:
        """The usual nginx has the right certificate, under another name."""
        return ["--insecure"] if "8443" in way.base or "8444" in way.base else ["--cacert", "/etc/drydock/tls/ca.crt"]

    # -- what runs on the host

    def prepare(self) -> None:
        """Deploy, and start what it is compared with."""
        say("deploying ...")
        self.play("site.yml")
        self.play("client_certificates.yml", "--extra-vars=drydock_client_issue=scanner")
        bundle = self.folder / "credentials/clients/scanner"
        pair = "".join((bundle / f"client.{part}").read_text(encoding="ascii") for part in ("cert", "key"))
        self.host("sh", "-c", f"umask 077; cat > {PAIR}", stdin=pair)
        self.host("apt-get", "install", "-qq", "-y", "--no-install-recommends", "apache2-utils", "wrk")
        self.host("sh", "-c", "cat > /srv/usual.conf", stdin=(FOLDER / "usual.conf").read_text(encoding="utf-8"))
        self.host("install", "-d", "/srv/plain")
        account = self.host("sh", "-c", "echo $(id -u drydock):$(id -g drydock)").stdout.strip()
        owner, group = account.split(":")
        self.host("install", "-d", "-o", owner, "-g", group, "/var/lib/drydock/bare")
        self.docker_run = (
            "docker",
            "run",
            "--detach",
            "--network=host",
            f"--user={account}",
            "--read-only",
            "--tmpfs=/tmp",
        )
        self.start_registry("bench-bare", self.bare)
        self.start_registry("bench-tuned", self.tuned, *self.go_environment())
        self.start_registry(
            "bench-own",
            self.own,
            "REGISTRY_AUTH=htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM=registry",
            "REGISTRY_AUTH_HTPASSWD_PATH=/etc/drydock/auth/htpasswd",
        )
        self.host(
            *self.docker_run,
            *("--name=bench-usual", "--entrypoint=nginx", "--volume=/srv/usual.conf:/srv/usual.conf:ro"),
            "--volume=/srv/plain:/srv/plain:ro",
            *("--volume=/etc/drydock/tls:/etc/drydock/tls:ro", "--volume=/etc/drydock/auth:/etc/drydock/auth:ro"),
            *("--volume=/var/lib/drydock/sockets:/run/drydock:ro", self.image("drydock-proxy")),
            *("-e", "stderr", "-c", "/srv/usual.conf", "-g", "daemon off;"),
        )

    def start_registry(self, name: str, way: Way, *environment: str) -> None:
        """Start a registry with nothing in front, with the configuration of those that are deployed."""
        said = (
            "REGISTRY_HTTP_NET=tcp",
            f"REGISTRY_HTTP_ADDR={way.base.removeprefix('http://')}",
            "OTEL_TRACES_EXPORTER=none",
        )
        self.host(
            *(*self.docker_run, f"--name={name}", "--memory=512m", "--entrypoint=registry"),
            *(f"--env={one}" for one in (*said, *environment)),
            *(
                "--volume=/etc/drydock/registry:/etc/drydock/registry:ro",
                "--volume=/etc/drydock/auth:/etc/drydock/auth:ro",
            ),
            "--volume=/var/lib/drydock/bare:/var/lib/registry",
            *(self.image("drydock-registry-a"), "serve", "/etc/drydock/registry/config.yml"),
        )

    def go_environment(self) -> list[str]:
        """What the role tells Go's garbage collector."""
        form = "{{range .Config.Env}}{{println .}}{{end}}"
        said = self.host("docker", "container", "inspect", f"--format={form}", "drydock-registry-a").stdout.split()
        return [one for one in said if one.startswith("GO")]

    def image(self, container: str) -> str:
        """The image of a container."""
        return self.host("docker", "container", "inspect", "--format={{.Config.Image}}", container).stdout.strip()

    def versions(self) -> str:
        """What is measured."""
        asked = (
            "docker exec drydock-proxy nginx -v 2>&1 | sed 's/^nginx version: //'",
            "docker exec drydock-registry-a registry --version",
            "openssl version",
            "docker version --format 'Docker {{.Server.Version}}'",
            "curl --version | head -1 | cut -d' ' -f1-2",
        )
        return "; ".join(self.host("sh", "-c", one).stdout.strip() for one in asked)

    def used(self) -> dict[str, Used]:
        """Read from the kernel what the processes of each container have used."""
        script = (
            'for name; do echo "= $name"; for pid in $(docker top "$name" -eo pid 2>/dev/null | tail -n +2); do '
            'cut -d")" -f2- "/proc/$pid/stat"; grep ^Pss: "/proc/$pid/smaps_rollup"; done; done; true'
        )
        found: dict[str, Used] = {}
        name = ""
        for line in self.host("sh", "-c", script, "sh", *SERVERS).stdout.splitlines():
            fields = line.split()
            if fields[0] == "=":
                name = fields[1]
                found[name] = Used(0, 0)
            elif fields[0] == "Pss:":
                found[name] = found[name]._replace(mib=found[name].mib + int(fields[1]) / 1024)
            else:
                ticks = int(fields[11]) + int(fields[12])
                found[name] = found[name]._replace(seconds=found[name].seconds + ticks / 100)
        return found

    @contextmanager
    def unlogged(self) -> Iterator[None]:
        """Have nginx write neither the audit log, nor what is pulled, nor what metrics count."""
        path = "/etc/drydock/proxy/nginx.conf"
        logs = r"s/^( *)access_log .* if=\$(audited|pulled|metrics_[a-z]+);/\1# &/"
        self.shell(
            f"cp --preserve=all {path} {path}.kept; sed -E -i '{logs}' {path}; ! cmp -s {path} {path}.kept && {RELOAD}"
        )
        try:
            yield
        finally:
            self.shell(f"mv {path}.kept {path} && {RELOAD}")

    def forget_passwords(self) -> None:
        """Have nginx load anew what decides on passwords, as after each change of a user; nothing is remembered after that."""
        path = "/etc/drydock/auth/htpasswd"
        change = f'{{ grep -v "^# bench" {path}; echo "# bench $(date +%s.%N)"; }} > {path}.new'
        keep = f"chown --reference={path} {path}.new; chmod --reference={path} {path}.new; mv {path}.new {path}"
        self.host("sh", "-c", f"{change}; {keep}; {RELOAD}")


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start the host, deploy, and remove it in the end."""
    stage = Stage(folder)
    with deployed_hosts(stage):
        stage.prepare()
        yield stage
        with contextlib.suppress(AssertionError):
            stage.host("docker", "rm", "--force", "bench-bare", "bench-tuned", "bench-own", "bench-usual")
