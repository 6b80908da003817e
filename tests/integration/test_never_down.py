# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is pulled from and pushed to while everything is changed that can be: no pull may fail.

One host serves all tests, which run in the order of this file. What a client may send again by itself (GET, HEAD) has to get its answer
each time; of the requests of pushes, the exact number that failed is printed and recorded with the test.
"""

from __future__ import annotations

import io
import json
import ssl
import subprocess
import tarfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from deployment import (
    ADDRESS,
    MANIFEST_TYPE,
    REGISTRIES,
    WAIT_SECONDS,
    Container,
    Deployment,
    deployed_hosts,
)
from http_proxy import Passed, http_proxy
from load import Ask, Connection, Count, Load, Push, Pusher, under_load

PROXY = "drydock-proxy"
REPOSITORY = "load/pulled"
MANIFEST = f"/v2/{REPOSITORY}/manifests/pushed"
TAGS = f"/v2/{REPOSITORY}/tags/list"
KIB, MIB = 1024, 1024 * 1024


class Busy(Deployment):
    """A registry with clients that never stop."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.passwords = {"changes": "before the change", "leaves": "soon of no use"}
        # The clients' own user has a generated password.
        self.settings["registry_auth_users"] = [
            {"name": "load", "access": "admin"},
            *({"name": name, "password": password, "access": "pull"} for name, password in self.passwords.items()),
        ]
        self.blobs: dict[str, str] = {}
        self.images: list[Path] = []

    @property
    def headers(self) -> dict[str, str]:
        """What the clients send along."""
        password = (self.folder / "credentials/load.password").read_text(encoding="utf-8").strip()
        self.passwords["load"] = password
        return {"Authorization": f"Basic {b64encode(f'load:{password}'.encode()).decode()}", "Accept": MANIFEST_TYPE}

    def context(self) -> ssl.SSLContext:
        """What the clients trust."""
        return ssl.create_default_context(cadata=(self.folder / "credentials/ca.crt").read_text(encoding="ascii"))

    def pusher(self, push: Push) -> Pusher:
        """Return a client that pushes when it is told to."""
        counts = {f"{push.name}: {method}": Count() for method in ("POST", "PATCH", "PUT")}
        return Pusher(Connection(self.ip, ADDRESS, push.context), push, counts)

    def prepare(self) -> None:
        """Push what the clients pull."""
        for name, size in {"4 KiB": 4 * KIB, "1 MiB": MIB, "64 MiB": 64 * MIB}.items():
            with closing(self.pusher(Push(name, REPOSITORY, size, self.headers, self.context()))) as pusher:
                self.blobs[name], _ = pusher.blob(pusher.layer)
                # The last one is whose manifest is pulled.
                pusher.once()

    def asks(self) -> Iterator[Ask]:
        """Return all kinds of pulls."""
        headers, context = self.headers, self.context()
        yield Ask("GET /healthz, new", "GET", "/healthz", 200, {}, context, kept=False, pause_seconds=0.1)
        yield Ask("GET /v2/, new", "GET", "/v2/", 200, headers, context, kept=False)
        for kept in (True, False):
            name = f"GET manifest, {'kept' if kept else 'new'}"
            yield Ask(name, "GET", MANIFEST, 200, headers, context, kept)
            # What nginx answers by no means itself.
            yield Ask(f"GET tags, {'kept' if kept else 'new'}", "GET", TAGS, 200, headers, context, kept)
        for size, pause in {"4 KiB": 0.1, "1 MiB": 0.5, "64 MiB": 5.0}.items():
            path = f"/v2/{REPOSITORY}/blobs/{self.blobs[size]}"
            for method in ("HEAD", "GET"):
                yield Ask(f"{method} {size}, kept", method, path, 200, headers, context, kept=True, pause_seconds=pause)

    def pushes(self) -> Iterator[Push]:
        """Return pushes of all sizes, and a slow one that is on its way most of the time."""
        headers, context = self.headers, self.context()
        for name, size, pause in (("4 KiB", 4 * KIB, 0.5), ("1 MiB", MIB, 1.0), ("16 MiB", 16 * MIB, 5.0)):
            yield Push(f"push {name}", f"load/{size}", size, headers, context, pause)
        yield Push("push 16 MiB slowly", "load/slow", 16 * MIB, headers, context, 0.5, body_seconds=15)

    @contextmanager
    def loaded(self, record: Callable[[str, object], None]) -> Iterator[Load]:
        """Let all clients go on meanwhile; see that no pull failed, and tell what became of the pushes."""
        with under_load(self.ip, ADDRESS, self.asks(), 0.2, self.pushes()) as load:
            yield load
        print(load.table())
        for idempotent, kind in ((True, "pulls"), (False, "pushes")):
            failed = load.failed(idempotent=idempotent)
            print(f"{kind}: {len(failed)} of {load.asked(idempotent=idempotent)} requests failed {failed[:5]}")
            record(f"{kind} asked", load.asked(idempotent=idempotent))
            record(f"{kind} failed", len(failed))
        assert load.failed(idempotent=True) == []
        assert load.asked(idempotent=True) > 50
        # Whatever was changed meanwhile: each push is in the audit log, and none twice.
        assert load.taken
        text = self.host("sh", "-c", "cat /var/log/drydock/audit-*.log").stdout
        lines = [json.loads(line) for line in text.splitlines() if line]
        audited = [one["digest"] for one in lines if one["event"] == "push" and one["status"] == 201]
        assert len(audited) == len(set(audited))
        assert set(load.taken) <= set(audited)

    def here(self, name: str) -> dict[str, Container]:
        """Look at the containers whose names begin so."""
        names = self.host(
            "docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^/?{name}"
        ).stdout.split()
        details = json.loads(self.host("docker", "container", "inspect", *names).stdout)
        return {
            one["Name"].lstrip("/"): Container(one["Id"], one["State"]["StartedAt"], one["State"]["Pid"])
            for one in details
        }

    def another_image(self, name: str, program: str = "") -> Path:
        """Make another image of the same programs, or one of the same name whose nginx is a script, with the former as `nginx-before`."""
        form = "{{.Config.Image}} {{.Image}}"
        reference, before = self.host("docker", "container", "inspect", "--format", form, name).stdout.split()
        archive = self.folder / f"{name}-{len(self.images)}.tar"
        tag = reference if program else f"drydock-test/{archive.stem}:1"
        # Upstream's registry has a volume of its own as well.
        lines = [f"FROM {reference} AS before", f"FROM {reference}", "LABEL another=yes", "VOLUME /srv/kept"]
        if program:
            lines += ["COPY --from=before /usr/sbin/nginx /usr/sbin/nginx-before", "COPY nginx /usr/sbin/nginx"]
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            for path, text in (("Dockerfile", "\n".join(lines)), ("nginx", program)):
                member = tarfile.TarInfo(path)
                member.size, member.mode = len(text), 0o755
                tar.addfile(member, io.BytesIO(text.encode()))
        (self.folder / "context.tar").write_bytes(context.getvalue())
        host = self.names[ADDRESS]
        subprocess.run(["docker", "cp", self.folder / "context.tar", f"{host}:/srv/"], capture_output=True, check=True)
        self.host(
            "sh", "-c", f"docker build --tag {tag} - </srv/context.tar && docker save --output /srv/image.tar {tag}"
        )
        subprocess.run(["docker", "cp", f"{host}:/srv/image.tar", archive], capture_output=True, check=True)
        self.host("docker", *(("tag", before, tag) if program else ("rmi", tag)))
        self.images.append(archive)
        return archive


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """A registry with something to pull."""
    made = Busy("never_down", tmp_path_factory.mktemp("never_down"))
    with deployed_hosts(made):
        # As on a machine that nobody has told otherwise.
        made.host("sysctl", "--write", "net.ipv4.ip_unprivileged_port_start=1024")
        made.play("site.yml")
        made.prepare()
        yield made


Change = Callable[[Busy], None]


def changed_registry_configuration(deployment: Busy) -> None:
    before = deployment.containers()
    deployment.settings["registry_server_log_level"] = "debug"
    done = deployment.play("configure.yml", "--tags=server")
    assert done.roles() == {"registry_server"}
    after = deployment.containers()
    assert after[PROXY] == before[PROXY]
    assert all(after[name].id != before[name].id for name in REGISTRIES)
    assert "level=debug" in deployment.host("sh", "-c", f"docker logs {REGISTRIES[0]} 2>&1").stdout


def new_images(deployment: Busy) -> None:
    before = deployment.here("drydock-")
    for role, name in (("server", REGISTRIES[0]), ("proxy", PROXY)):
        deployment.settings |= {
            f"registry_{role}_image_provider": "archive",
            f"registry_{role}_image_archive": str(deployment.another_image(name)),
        }
    deployment.play("configure.yml", "--tags=server,proxy")
    after = deployment.here("drydock-")
    assert all(after[name].id != before[name].id for name in (PROXY, *REGISTRIES))


def changed_files_of_nginx(deployment: Busy) -> None:
    """Its users, who come, go and change, its certificate, and its configuration."""
    before, served = deployment.containers(), deployment.certificate()
    authority = deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout
    # The present certificate has 90 days left and so is due.
    deployment.settings |= {"registry_tls_valid_days": 120, "registry_tls_renew_before_days": 100}
    deployment.settings["registry_proxy_realm"] = "Another realm"
    deployment.settings["registry_auth_users"] = [
        {"name": "load", "access": "admin"},
        {"name": "changes", "password": "after the change", "access": "push"},
        {"name": "arrives", "password": "new here", "access": "pull"},
    ]
    assert deployment.status("/v2/", user="leaves") == 200
    done = deployment.play("configure.yml", "--tags=tls,users,proxy")
    assert done.roles() == {"registry_tls", "registry_auth", "registry_proxy"}
    assert deployment.containers() == before
    renewed = deployment.certificate()
    assert renewed["serial"] != served["serial"]
    assert renewed["issuer"] == served["issuer"]
    assert deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout == authority
    assert 'realm="Another realm"' in deployment.curl("/v2/")
    assert deployment.status("/v2/", user="leaves") == 401
    assert deployment.status("/v2/", user="changes") == 401
    log = deployment.host("sh", "-c", "cat /var/log/drydock/audit-*.log").stdout
    told = [json.loads(line) for line in log.splitlines() if '"users"' in line][-1]
    assert (told["added"], told["removed"], told["changed"]) == (["arrives"], ["leaves"], ["changes"])


def replaced_password_server(deployment: Busy) -> None:
    deployment.host("docker", "rm", "--force", "--volumes", "drydock-passwords")
    time.sleep(5)
    deployment.play("configure.yml", "--tags=proxy")


@pytest.mark.parametrize(
    "change",
    [
        changed_registry_configuration,
        new_images,
        changed_files_of_nginx,
        replaced_password_server,
    ],
)
def test_change_fails_no_pull(deployment: Busy, change: Change, record_property: Callable[[str, object], None]) -> None:
    start = time.monotonic()
    with deployment.loaded(record_property):
        change(deployment)
    print(f"{change.__name__}: {time.monotonic() - start:.0f} s")


# It passes the check of its configuration, checks passwords, and ends where it should answer clients.
BROKEN = """#!/bin/sh
case "$*" in
*/proxy/nginx.conf*daemon*) echo it breaks >&2; exit 1 ;;
esac
exec nginx-before "$@"
"""


def test_nginx_that_does_not_answer_gives_way_to_the_one_before(
    deployment: Busy, record_property: Callable[[str, object], None]
) -> None:
    before, settings = deployment.here(PROXY), dict(deployment.settings)
    archive = deployment.another_image(PROXY, BROKEN)
    deployment.settings |= {"registry_proxy_image_provider": "archive", "registry_proxy_image_archive": str(archive)}
    with deployment.loaded(record_property):
        failed = deployment.attempt("configure.yml", "--tags=proxy")
        assert failed.returncode != 0
        assert "The one that ran before goes on." in failed.failures[-1]
        assert "it breaks" in failed.failures[-1]
        assert deployment.here(PROXY) == before
        policy = deployment.host("docker", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", PROXY).stdout
        assert policy.strip() == "unless-stopped"
        deployment.settings = settings
        deployment.play("configure.yml", "--tags=proxy")
    assert deployment.here(PROXY) == before


def test_run_that_is_killed_between_two_containers_is_mended(
    deployment: Busy, record_property: Callable[[str, object], None]
) -> None:
    before = deployment.here(PROXY)
    deployment.settings["registry_proxy_memory_mib"] = 300
    with deployment.loaded(record_property):
        deployment.kill_when(f"docker container inspect {PROXY}-old >/dev/null 2>&1", "configure.yml", "--tags=proxy")
        assert deployment.here(PROXY)[f"{PROXY}-old"] == before[PROXY]
        # Whichever nginx serves, it forgets who is no longer among the users.
        deployment.passwords["arrives"] = "new here"
        assert deployment.status("/v2/", user="arrives") == 200
        deployment.settings["registry_auth_users"].pop()
        deployment.play("configure.yml", "--tags=users")
        assert [deployment.status("/v2/", user="arrives") for _ in range(10)] == [401] * 10
        deployment.play("configure.yml", "--tags=proxy")
    after = deployment.here(PROXY)
    assert set(after) == {PROXY}
    assert after[PROXY].id != before[PROXY].id
    # Each of its containers, and of the password server's, had a volume.
    assert deployment.host("docker", "volume", "ls", "--quiet", "--filter=dangling=true").stdout == ""


def test_upload_of_any_length_outlives_its_nginx(deployment: Busy) -> None:
    before = deployment.here(PROXY)
    push = Push("long", "load/long", 16 * MIB, deployment.headers, deployment.context())
    deployment.settings |= {"registry_proxy_memory_mib": 310, "registry_proxy_drain_seconds": 2}
    with closing(deployment.pusher(push)) as pusher, ThreadPoolExecutor(1) as pool:
        pusher.resume.clear()
        pushed = pool.submit(pusher.once)
        while pusher.counts["long: PATCH"].asked == 0 and not pushed.done():
            time.sleep(0.1)
        try:
            deployment.play("configure.yml", "--tags=proxy")
            both = deployment.here(PROXY)
        finally:
            pusher.resume.set()
        (finishing,) = set(both) - {PROXY}
        assert both[finishing] == before[PROXY]
        pushed.result()
    assert all(count.failures == [] for count in pusher.counts.values())
    # What is left of it, the next run removes.
    deployment.host("timeout", str(WAIT_SECONDS), "docker", "wait", finishing)
    deployment.play("configure.yml", "--tags=proxy")
    assert set(deployment.here(PROXY)) == {PROXY}


def test_killed_processes_come_back_by_themselves(
    deployment: Busy, record_property: Callable[[str, object], None]
) -> None:
    before = {name: one for name, one in deployment.here("drydock-").items() if one.pid > 0}
    for name in sorted(before):
        deployment.host("kill", "-KILL", str(before[name].pid))
        seconds = deployment.healthy_again()
        print(f"{name}: a registry answers after {seconds} s")
        record_property(f"{name} killed, seconds", seconds)
    deployment.until(lambda: all(deployment.here(name)[name].pid not in {0, one.pid} for name, one in before.items()))
    after = deployment.here("drydock-")
    assert all(after[name].id == one.id for name, one in before.items())
    assert deployment.status(MANIFEST, user="load") == 200


def test_a_registry_that_hangs_is_ended_and_no_pull_fails(deployment: Busy) -> None:
    before = deployment.here(REGISTRIES[0])[REGISTRIES[0]]

    def pull(_: int) -> str:
        return deployment.curl(TAGS, "--max-time", str(WAIT_SECONDS), user="load")[-3:]

    deployment.host("kill", "-STOP", str(before.pid))
    start = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(pull, range(20)))
    print(f"20 questions: the last one answered after {time.monotonic() - start:.1f} s")
    assert answers == ["200"] * 20
    deployment.until(lambda: deployment.here(REGISTRIES[0])[REGISTRIES[0]].pid not in {0, before.pid})
    said = deployment.host("journalctl", "--unit", "drydock-watch", "--output", "cat").stdout
    assert f"{REGISTRIES[0].removeprefix('drydock-')}.sock: its registry does not answer" in said


def test_containers_outlive_a_killed_docker(deployment: Busy, record_property: Callable[[str, object], None]) -> None:
    before = deployment.here("drydock-")
    with deployment.loaded(record_property):
        deployment.host("sh", "-c", "kill -KILL $(cat /run/docker.pid)")
        start = time.monotonic()
        deployment.until(lambda: deployment.host("docker", "ps", check=False).returncode == 0)
        print(f"dockerd: back after {time.monotonic() - start:.1f} s")
    assert deployment.here("drydock-") == before
    # It has its containers in hand again: a dead one is started.
    deployment.host("kill", "-KILL", str(before[REGISTRIES[0]].pid))
    deployment.until(lambda: deployment.here(REGISTRIES[0])[REGISTRIES[0]].pid not in {0, before[REGISTRIES[0]].pid})
    assert deployment.status(MANIFEST, user="load") == 200


def test_docker_reaches_registries_through_a_proxy_whose_password_nobody_sees(deployment: Busy) -> None:
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    before = deployment.here("drydock-")
    with http_proxy({ADDRESS: (deployment.ip, 443)}) as proxy:
        address = f"http://docker:the-proxys@{deployment.gateway}:{proxy.server_port}"
        daemon = {"live-restore": True, "proxies": {"http-proxy": address, "https-proxy": address}}
        deployment.settings["docker_engine_daemon"] = daemon
        with deployment.start("configure.yml", "--tags=docker", "--diff", "-vvv") as process:
            said = "".join(process.communicate(timeout=300))
        assert process.returncode == 0, said[-3000:]
        assert deployment.login("load", deployment.passwords["load"])
    credentials = f"Basic {b64encode(b'docker:the-proxys').decode()}"
    assert Passed("CONNECT", f"{ADDRESS}:443", credentials) in proxy.passed
    assert deployment.here("drydock-") == before
    assert "the-proxys" not in said
    shown = deployment.host("sh", "-c", "docker info; docker inspect $(docker ps -q); journalctl --unit docker").stdout
    assert "the-proxys" not in shown
    assert deployment.host("stat", "--format=%a", "/etc/docker/daemon.json").stdout == "600\n"


def test_host_comes_back_after_a_reboot(deployment: Busy, record_property: Callable[[str, object], None]) -> None:
    # Also in the middle of a change of nginx's container.
    deployment.settings["registry_proxy_memory_mib"] = 320
    deployment.kill_when(f"docker container inspect {PROXY}-old >/dev/null 2>&1", "configure.yml", "--tags=proxy")
    start = time.monotonic()
    subprocess.run(["docker", "restart", deployment.names[ADDRESS]], capture_output=True, check=True, timeout=120)
    deployment.healthy_again()
    record_property("reboot, seconds", round(time.monotonic() - start, 1))
    print(f"reboot: a registry answers after {time.monotonic() - start:.1f} s")
    assert deployment.status(MANIFEST, user="load") == 200
    deployment.play("configure.yml", "--tags=proxy")
    assert set(deployment.here(PROXY)) == {PROXY}
    assert deployment.status(MANIFEST, user="load") == 200
