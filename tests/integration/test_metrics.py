# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus reads a host: counts are those of the clients, only who may gets them, every alert fires and ends, every panel has data.

One deployed host serves all tests of this file, which run in its order. Prometheus, promtool and mtail are Debian's, on this machine.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deployment import ADDRESS, MANIFEST_TYPE, REGISTRIES, WAIT_SECONDS, Deployment, deployed_hosts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/monitoring"
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))
PROGRAM = ROOT / "roles/registry_metrics/files/requests.mtail"
TEXTFILES = "/var/lib/drydock/metrics/textfile"
STORAGE = "/srv/small"
LIST = "/srv/client.crl"
REPORT = "/var/lib/drydock/maintenance/report.json"
PORT = 19590
HOUR = 3600


# ---- without a host


def counted(folder: Path, *lines: str) -> dict[str, float]:
    """Have mtail count lines; return the values of what is not empty, by series."""
    log = folder / "lines.log"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    shutil.copy(PROGRAM, folder)
    options = ("-logtostderr", "-one_shot", "-one_shot_format=prometheus", "-emit_prog_label=false")
    done = subprocess.run(
        ["mtail", *options, f"-progs={folder}", f"-logs={log}"], capture_output=True, text=True, check=True, timeout=60
    )
    return values(done.stdout)


def values(text: str) -> dict[str, float]:
    """Read Prometheus's text format; without buckets, zeros and what programs tell of themselves."""
    found = re.findall(r"^(drydock_\S+?) ([0-9.e+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if float(value) and "_bucket{" not in name}


def test_lines_are_counted(tmp_path: Path) -> None:
    both = '"unix:/run/drydock/registry-a.sock, unix:/run/drydock/registry-b.sock"'
    found = counted(
        tmp_path,
        'request GET manifest 200 password 300 1200 0.012 "unix:/run/drydock/registry-a.sock" "200"',
        f'request GET manifest 200 certificate 300 1000 0.500 {both} "502, 200"',
        f'request GET blob 502 nobody 300 100 3.000 {both} "504, 502"',
        'request GET base 401 nobody 100 100 0.000 "" ""',
        'request GET base 401 unknown 100 100 1.000 "" ""',
        'request GET manifest 403 password 100 100 0.000 "" ""',
        'request POST upload 202 password 100 100 0.001 "unix:/run/drydock/registry-b.sock" "202"',
        'request PUT upload 201 password 100 100 0.001 "unix:/run/drydock/registry-b.sock" "201"',
        'request GET other 404 nobody 100 100 0.000 "" ""',
        "password 204 0.070",
        "password 401 1.070",
        "password 429 30.000",
        "password 503 5.000",
        "nothing that is known",
    )
    assert {name: value for name, value in found.items() if name.startswith("drydock_requests_total")} == {
        f'drydock_requests_total{{method="{method}",route="{route}",status="{status}",who="{who}"}}': 1
        for method, route, status, who in (
            ("GET", "manifest", 200, "password"),
            ("GET", "manifest", 200, "certificate"),
            ("GET", "blob", 502, "nobody"),
            ("GET", "base", 401, "nobody"),
            ("GET", "base", 401, "unknown"),
            ("GET", "manifest", 403, "password"),
            ("POST", "upload", 202, "password"),
            ("PUT", "upload", 201, "password"),
            ("GET", "other", 404, "nobody"),
        )
    }
    assert found['drydock_registry_failures_total{registry="registry-a"}'] == 2
    assert found['drydock_registry_failures_total{registry="registry-b"}'] == 1
    assert found["drydock_retried_requests_total"] == 2
    assert found["drydock_refused_logins_total"] == 1
    assert found["drydock_refused_rights_total"] == 1
    assert (found["drydock_uploads_begun_total"], found["drydock_uploads_finished_total"]) == (1, 1)
    assert found['drydock_received_bytes_total{route="manifest"}'] == 700
    assert found['drydock_sent_bytes_total{route="manifest"}'] == 2300
    assert found['drydock_request_seconds_count{route="manifest"}'] == 3
    assert found["drydock_password_check_seconds_sum"] == pytest.approx(36.14)
    for result in ("right", "wrong", "busy", "failed"):
        assert found[f'drydock_password_checks_total{{result="{result}"}}'] == 1


def test_the_rules_hold_over_hours(tmp_path: Path) -> None:
    for path in (DOCS / "alerts.yml", Path(__file__).with_name("metrics") / "alerts_test.yml"):
        shutil.copy(path, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- with one


def revocations(days: int) -> str:
    """Make an empty list of revoked certificates that counts for some days."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    made = x509.CertificateRevocationListBuilder(name, now, now + datetime.timedelta(days=days))
    signed = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


class Prometheus:
    """Debian's Prometheus, which reads the host every second and has the rules of the documentation, without their waiting times."""

    def __init__(self, folder: Path, deployment: Deployment) -> None:
        """Write its configuration."""
        self.folder = folder
        (folder / "ca.crt").write_text(deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout, encoding="utf-8")
        for rule in RULES["groups"][0]["rules"]:
            # Of what happens, one second counts; of what a window counts, half a minute.
            rule["for"], rule["expr"] = "0s", rule["expr"].replace("[5m]", "[20s]")
        (folder / "alerts.yml").write_text(yaml.safe_dump(RULES), encoding="utf-8")
        job = {
            "job_name": "registry",
            "scheme": "https",
            "basic_auth": {"username": "scraper", "password": "the-scraper"},
            # By its address, as a host that was found by its tags.
            "tls_config": {"ca_file": str(folder / "ca.crt"), "server_name": ADDRESS},
            "static_configs": [{"targets": [f"{deployment.ip}:443"]}],
        }
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [job],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    @contextlib.contextmanager
    def running(self) -> Iterator[Prometheus]:
        """Run it, and end it."""
        options = (
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{PORT}",
        )
        with (
            (self.folder / "log").open("w", encoding="utf-8") as log,
            subprocess.Popen(["prometheus", *options], stdout=log, stderr=log) as process,
        ):
            try:
                Deployment.until(lambda: process.poll() is not None or self.value('up{job="registry"}') == 1)
                assert process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
                yield self
            finally:
                process.terminate()

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
        except OSError:
            # It is not up yet.
            return None
        assert answer.status in (200, 503), text
        return json.loads(text)["data"] if answer.status == 200 else None

    def series(self, query: str) -> list[dict[str, Any]]:
        """Return what a query finds now."""
        found = self.ask("query", query=query)
        return found["result"] if found else []

    def value(self, query: str) -> float | None:
        """Return the one value that a query finds now, if there is one."""
        found = self.series(query)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = self.ask("alerts") or {"alerts": []}
        return {one["labels"]["alertname"] for one in found["alerts"] if one["state"] == "firing"}


class Host(Deployment):
    """A registry whose requests are counted."""

    def ask(self, path: str, user: str = "", password: str = "", method: str = "GET") -> tuple[int, str]:
        """Ask as a client does; return status and body."""
        login = f'user = "{user}:{password or f"the-{user}"}"\n' if user else ""
        head = ("--head",) if method == "HEAD" else ("--request", method)
        options = ("--silent", "--cacert", "/etc/drydock/tls/ca.crt", "--write-out", "\n%{http_code}", "--config", "-")
        accept = ("--header", f"Accept: {MANIFEST_TYPE}")
        text = self.host(
            "curl", *options, *accept, *head, "--path-as-is", f"https://{ADDRESS}{path}", stdin=login
        ).stdout
        body, _, status = text.rpartition("\n")
        return int(status), body

    def ask_often(self, path: str, times: int, login: str = "", at_once: int = 4) -> None:
        """Make the same request many times."""
        options = f"--silent --output /dev/null --cacert /etc/drydock/tls/ca.crt {f'--user {login}' if login else ''}"
        ask = f"curl {options} --header 'Accept: {MANIFEST_TYPE}' https://{ADDRESS}{path}"
        self.host("sh", "-c", f"seq {times} | xargs -P {at_once} -I % {ask}", check=False)

    def metrics(self) -> dict[str, float]:
        """Read the metrics once what was asked before is counted: lines are, in their order."""
        last = 'drydock_requests_total{method="HEAD",route="catalog",status="401",who="nobody"}'

        def read() -> dict[str, float]:
            return values(self.ask("/metrics", "scraper")[1])

        before = read().get(last, 0)
        assert self.ask("/v2/_catalog", method="HEAD")[0] == 401
        return self.until(lambda: found if (found := read()).get(last, 0) > before else {})

    def collect(self) -> None:
        """Have the host tell of itself now."""
        self.host("systemctl", "start", "drydock-metrics.service")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Start a host that counts, with an image to pull."""
    made = Host("metrics", tmp_path_factory.mktemp("metrics"))
    made.passwords = {name: f"the-{name}" for name in ("admin", "scraper", "reader")}
    with deployed_hosts(made):
        # A disk of its own, to fill.
        made.host("sh", "-c", f"mkdir -p {STORAGE} && mount -t tmpfs -o size=8m tmpfs {STORAGE}")
        made.host("sh", "-c", f"cat > {LIST}", stdin=revocations(days=30))
        made.settings = {
            "registry_metrics_storage_directory": STORAGE,
            "registry_metrics_revocations": {"clients": LIST},
            "registry_metrics_largest_repositories": 2,
        }
        made.play("configure.yml", "--tags=users,proxy,metrics")
        made.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
        assert made.login("admin", "the-admin")
        for name, size in (("team/large", 300), ("team/middle", 200), ("team/small", 100)):
            make = f"mkdir -p /srv/image && head -c {size}K /dev/urandom > /srv/image/x && tar --create --directory /srv/image x"
            made.host(
                "sh", "-c", f"{make} | docker import - {ADDRESS}/{name}:1 && docker push --quiet {ADDRESS}/{name}:1"
            )
        made.host("drydock-storage", "report")
        made.collect()
        yield made


def test_a_second_run_changes_nothing(deployment: Host) -> None:
    assert deployment.play("configure.yml", "--check", "--tags=proxy,metrics").changed == []


@pytest.mark.parametrize(
    ("user", "password", "path", "method", "status"),
    [
        ("scraper", "", "/metrics", "GET", 200),
        ("scraper", "", "/metrics", "HEAD", 200),
        ("scraper", "", "/metrics?x=y", "GET", 200),
        ("admin", "", "/metrics", "GET", 200),
        ("reader", "", "/metrics", "GET", 403),
        ("scraper", "wrong", "/metrics", "GET", 401),
        ("", "", "/metrics", "GET", 401),
        ("scraper", "", "/metrics", "POST", 405),
        ("", "", "/metrics/log", "GET", 404),
        ("scraper", "", "/metrics/log", "GET", 404),
        ("reader", "", "/v2/../metrics", "GET", 404),
        ("reader", "", "/%6detrics", "GET", 404),
        ("scraper", "", "/v2/", "GET", 200),
        ("scraper", "", "/v2/_catalog", "GET", 403),
        ("scraper", "", "/v2/team/large/manifests/1", "GET", 403),
        ("scraper", "", "/v2/team/large/blobs/uploads/", "POST", 403),
    ],
)
def test_who_gets_them(deployment: Host, user: str, password: str, path: str, method: str, status: int) -> None:
    found, text = deployment.ask(path, user, password, method)
    assert found == status
    assert ("drydock_log_reader_up" in text) == (status == 200 and path.startswith("/metrics") and method == "GET")


def test_counts_are_those_of_the_clients(deployment: Host) -> None:
    names = [
        'drydock_requests_total{method="GET",route="manifest",status="200",who="password"}',
        'drydock_requests_total{method="GET",route="manifest",status="403",who="password"}',
        'drydock_request_seconds_count{route="manifest"}',
    ]
    before = deployment.metrics()
    deployment.ask_often("/v2/team/large/manifests/1", 200, "reader:the-reader", at_once=8)
    # Over a reload, and another nginx that takes over.
    deployment.settings.update(registry_proxy_keepalive_seconds=64, registry_proxy_memory_mib=500)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(deployment.play, "configure.yml", "--tags=proxy")
        asked = 0
        while not run.done():
            deployment.ask_often("/v2/team/large/manifests/1", 20, "reader:the-reader", at_once=2)
            asked += 20
            time.sleep(0.2)
    assert "apply | Run nginx, which takes over from the one that runs" in " ".join(run.result().changed)
    deployment.ask_often("/v2/team/large/manifests/1", 20, "scraper:the-scraper")
    after = deployment.metrics()
    assert [after[name] - before.get(name, 0) for name in names] == [200 + asked, 20, 220 + asked]


def test_nothing_in_them_is_a_name_that_somebody_chose(deployment: Host) -> None:
    deployment.ask("/v2/x%22%7Dname/manifests/secret", "reader")
    deployment.ask("/secret", "secret")
    deployment.ask("/v2/", "reader", method="SECRET")
    text = deployment.ask("/metrics", "scraper")[1]
    assert "secret" not in text.lower()
    assert "reader" not in text.replace("log_reader", "")
    # Three repositories are there.
    assert re.findall(r'drydock_repository_bytes\{repository="([^"]*)"', text) == ["team/large", "team/middle"]
    # They are in a file that not every user of the host may read.
    listed = deployment.host("stat", "--format", "%n %U:%G %a", f"{TEXTFILES}/drydock_repositories.prom").stdout
    assert listed.split()[1:] == ["root:drydock", "640"]


class Fault(NamedTuple):
    """What can be wrong: which alerts tell of it, what makes it so, what mends it, and what clients go on with meanwhile."""

    alerts: set[str]
    breaks: Callable[[], None]
    mends: Callable[[], None]
    goes_on: Callable[[], None] = lambda: None


def faults(host: Host) -> list[Fault]:
    """Return a fault for each alert."""
    certificate, manifest = "/etc/drydock/tls/tls.crt", "/v2/team/large/manifests/1"
    registries = " ".join(REGISTRIES)
    failing = "/run/systemd/system/drydock-storage.service.d"
    # systemd starts no service more than a few times in ten seconds, and the timer starts it as well.
    tell = "systemctl reset-failed drydock-metrics.service; systemctl start drydock-metrics.service"

    def do(*scripts: str) -> Callable[[], None]:
        def run() -> None:
            host.host("sh", "-e", "-c", "\n".join(scripts))

        return run

    def revoke(days: int) -> None:
        host.host("sh", "-c", f"cat > {LIST}", stdin=revocations(days))

    def stop_registries() -> None:
        do(f"docker stop {registries}")()
        host.collect()

    def hang() -> None:
        # The requests wait until the registries go on. Without `Accept`, only these answer.
        do(f"docker pause {registries}")()
        ask = f"curl --silent --insecure --user reader:the-reader https://{ADDRESS}{manifest}"
        do(f"(seq 8 | xargs -P 8 -I % {ask} >/dev/null 2>&1 &)", tell, f"docker unpause {registries}")()

    def near_the_end() -> None:
        short = "-key /etc/drydock/tls/tls.key -subj /CN=short -days 2"
        do(f"cp --preserve {certificate} /srv/kept", f"openssl req -x509 {short} -out {certificate}")()
        revoke(days=2)
        host.collect()

    def renewed() -> None:
        do(f"cp --preserve /srv/kept {certificate}")()
        revoke(days=30)
        host.collect()

    return [
        Fault(
            {"RegistryDown", "RegistryContainerDown", "RegistryErrors"},
            stop_registries,
            do(f"docker start {registries}", "until curl -sfk https://127.0.0.1/healthz; do sleep 0.2; done", tell),
            # Manifests nginx may send itself. Of a counter that is new, Prometheus sees no growth until it has grown again.
            lambda: host.ask_often("/v2/team/large/tags/list", 4, "reader:the-reader"),
        ),
        Fault({"RegistryDown", "RegistrySlow"}, hang, do(tell)),
        Fault({"RegistryRefusedLogins"}, lambda: host.ask_often("/v2/", 40, "reader:wrong", at_once=20), lambda: None),
        Fault({"RegistryCertificateEnds", "RegistryRevocationsEnd"}, near_the_end, renewed),
        Fault({"RegistryDiskFull"}, do(f"head -c 7800K /dev/zero > {STORAGE}/x", tell), do(f"rm {STORAGE}/x", tell)),
        Fault(
            {"RegistryMaintenanceOverdue", "RegistryBackupOverdue"},
            do(
                f"""sed -i -E 's/"time": "20[0-9]{{2}}/"time": "2020/' {REPORT}""",
                f"echo drydock_backup_seconds 1577836800 > {TEXTFILES}/backup.prom",
                tell,
            ),
            do("drydock-storage report", f"echo drydock_backup_seconds $(date +%s) > {TEXTFILES}/backup.prom", tell),
        ),
        Fault(
            {"RegistryServiceFailed"},
            do(
                f"mkdir -p {failing}",
                f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {failing}/fail.conf",
                "systemctl daemon-reload",
                "! systemctl start drydock-storage.service",
                tell,
            ),
            do(f"rm -r {failing}", "systemctl daemon-reload", "systemctl start drydock-storage.service", tell),
        ),
        Fault(
            {"RegistryMirrorLimit", "RegistryMirrorProblem"},
            do(
                "mkdir -p /var/lib/drydock/mirror",
                """echo '{"hub": {"limit": 100, "remaining": 9, "window_seconds": 21600, "limit_at": '$(date +%s)',"""
                """ "problem_at": '$(date +%s)'}}' > /var/lib/drydock/mirror/state.json""",
                tell,
            ),
            do("rm -r /var/lib/drydock/mirror", tell),
        ),
        Fault({"RegistryMetricsStale"}, do("docker stop drydock-metrics"), do("docker start drydock-metrics")),
        Fault({"RegistryUnreachable"}, do("docker stop drydock-proxy"), do("docker start drydock-proxy")),
    ]


def test_every_alert_fires_and_ends_and_every_panel_has_data(deployment: Host, tmp_path: Path) -> None:
    fired: set[str] = set()
    with Prometheus(tmp_path, deployment).running() as prometheus:
        for fault in faults(deployment):
            deployment.until(lambda: not prometheus.firing())
            fault.breaks()
            end = time.monotonic() + WAIT_SECONDS
            missing = set(fault.alerts)
            # One of several may have ended when another one begins.
            while missing:
                fault.goes_on()
                assert time.monotonic() < end, f"{missing} does not fire"
                missing -= prometheus.firing()
                time.sleep(0.5)
            fault.mends()
            fired |= fault.alerts
        deployment.until(lambda: not prometheus.firing())
        assert fired == {rule["alert"] for rule in RULES["groups"][0]["rules"]}
        panels = json.loads((DOCS / "dashboard.json").read_text(encoding="utf-8"))["panels"]
        queries = [target["expr"] for panel in panels for target in panel["targets"]]
        asked = {query: query.replace("$__rate_interval", "5m").replace("$instance", ".*") for query in queries}
        assert [query for query, sent in asked.items() if not prometheus.series(sent)] == []


def test_what_counts_may_die_and_the_registry_does_not_notice(deployment: Host) -> None:
    deployment.host("docker", "kill", "drydock-metrics")
    assert deployment.ask("/v2/team/large/manifests/1", "reader")[0] == 200
    status, text = deployment.ask("/metrics", "scraper")
    assert status == 200
    assert "drydock_log_reader_up 0\n" in text
    assert "drydock_registry_up" in text
    assert deployment.play("configure.yml", "--tags=metrics").roles() == {"registry_metrics"}
    assert "drydock_log_reader_up 1\n" in deployment.ask("/metrics", "scraper")[1]
