# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role docker_engine decides: which engine is kept, what daemon.json becomes, what is wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._docker_engine import (
    CONFIG,
    INIT_SCRIPT,
    PID_FILE,
    SERVICE,
    SYSTEMD,
    Plan,
    combine,
    make_plan,
    plan_of,
)

SYSTEMS = {
    "Debian 12": {"packages": ["docker.io"], "repository": "debian"},
    "Amazon 2023": {"packages": ["docker"]},
    "RedHat 9": {"repository": "rhel"},
}
DEFAULTS = {"live-restore": True, "log-driver": "local"}


def settings(**changed: Any) -> dict[str, Any]:
    return {
        "provider": "auto",
        "daemon": {},
        "daemon_defaults": DEFAULTS,
        "restart_enabled": False,
        "repository_url": "https://download.docker.com",
        "repository_key": "",
        "systems": SYSTEMS,
        "registry_credentials": {},
        "ecr_registries": [],
        **changed,
    }


def file(*, mtime: float = 1.0, content: str = "", exists: bool = True, mode: str = "0644") -> dict[str, Any]:
    return {"exists": exists, "kind": "file" if exists else "", "mode": mode, "mtime": mtime, "content": content}


def host(
    *,
    answers: bool = False,
    client: str = "/usr/bin/docker",
    dockerd: bool = False,
    swarm: bool = False,
    live_restore: bool = False,
    others: tuple[str, ...] = (),
    uid: int = 0,
    **files: Any,
) -> dict[str, Any]:
    """Return what host_look says of a host."""
    paths = {"config": CONFIG, "pid": PID_FILE, "systemd": SYSTEMD, "service": SERVICE, "script": INIT_SCRIPT}
    return {
        "user": {"uid": uid, "name": "someone"},
        "docker": {
            "answers": answers,
            "client": client,
            "version": "20.10.24" if answers else "",
            "swarm": swarm,
            "live_restore": live_restore,
            "containers": [{"name": "drydock-proxy", "state": "running"}, {"name": "drydock-old", "state": "exited"}],
            "others": list(others),
        },
        "programs": {"dockerd": "/usr/sbin/dockerd" if dockerd or answers else ""},
        "files": {path: files.get(name, file(exists=False, mtime=0.0)) for name, path in paths.items()},
    }


BARE, STOPPED, RUNNING = host(client=""), host(dockerd=True), host(answers=True)


def plan(look: dict[str, Any], system: str = "Debian 12", **changed: Any) -> Plan:
    return make_plan(look, settings(**changed), system, "web1")


@pytest.mark.parametrize(
    ("look", "provider", "kept", "installs"),
    [
        (BARE, "auto", False, True),
        (STOPPED, "auto", False, False),
        (RUNNING, "auto", True, False),
        # An engine without its client answers nobody.
        (host(answers=True, client=""), "auto", False, False),
        (RUNNING, "distribution", False, True),
        (RUNNING, "docker", False, True),
        (BARE, "docker", False, True),
    ],
)
def test_auto_keeps_an_engine_that_is_there(look: dict[str, Any], provider: str, *, kept: bool, installs: bool) -> None:
    found = plan(look, provider=provider)
    assert (found.kept, found.installs, found.problems) == (kept, installs, [])
    assert found.installer == ("distribution" if provider == "auto" else provider)


@pytest.mark.parametrize(
    ("look", "existing", "daemon", "base", "wanted"),
    [
        (BARE, "", {}, DEFAULTS, DEFAULTS),
        (STOPPED, '{"labels": ["a"]}', {}, {**DEFAULTS, "labels": ["a"]}, {**DEFAULTS, "labels": ["a"]}),
        # The file wins over the defaults, and the caller over the file.
        (
            STOPPED,
            '{"live-restore": false}',
            {},
            {**DEFAULTS, "live-restore": False},
            {**DEFAULTS, "live-restore": False},
        ),
        (STOPPED, '{"labels": ["a"]}', {"labels": ["b"]}, {**DEFAULTS, "labels": ["a"]}, {**DEFAULTS, "labels": ["b"]}),
        # Someone's logging is not mixed with ours, be it in the file or the caller's.
        (
            STOPPED,
            '{"log-opts": {}}',
            {},
            {"live-restore": True, "log-opts": {}},
            {"live-restore": True, "log-opts": {}},
        ),
        (
            BARE,
            "",
            {"log-driver": "journald"},
            {"live-restore": True},
            {"live-restore": True, "log-driver": "journald"},
        ),
        # An engine that is kept gets what it is told and no defaults.
        (RUNNING, "", {}, {}, {}),
        (RUNNING, '{"labels": ["a"]}', {}, {"labels": ["a"]}, {"labels": ["a"]}),
        (RUNNING, '{"a": {"b": 1, "c": 1}}', {"a": {"c": 2}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": 1, "c": 2}}),
    ],
)
def test_the_configuration(
    look: dict[str, Any], existing: str, daemon: dict[str, Any], base: dict[str, Any], wanted: dict[str, Any]
) -> None:
    look = {**look, "files": {**look["files"], CONFIG: file(content=existing)}}
    found = plan(look, daemon=daemon)
    assert (found.base, found.wanted, found.problems) == (base, wanted, [])


@pytest.mark.parametrize(("existing", "mode"), [(file(mode="0600"), "0600"), (file(exists=False, mode=""), "0644")])
def test_the_file_keeps_its_mode(existing: dict[str, Any], mode: str) -> None:
    assert plan(host(config=existing)).mode == mode


@pytest.mark.parametrize(
    ("config", "pid", "newer"),
    [(5.0, 4.0, True), (4.0, 5.0, False), (5.0, None, False), (None, 4.0, False)],
)
def test_a_file_that_is_newer_than_the_daemon(config: float | None, pid: float | None, *, newer: bool) -> None:
    files: dict[str, Any] = {
        name: file(mtime=mtime) for name, mtime in (("config", config), ("pid", pid)) if mtime is not None
    }
    assert plan(host(answers=True, **files)).config_newer is newer


LIVE = file(content='{"live-restore": true}')
NEWER: Any = {"config": file(mtime=5.0, content='{"debug": true}'), "pid": file(mtime=4.0)}
OURS = ["drydock-proxy"]
BOTH = [*OURS, "shop"]


@pytest.mark.parametrize(
    ("look", "changed", "reloads", "restarts", "ends"),
    [
        # A reload ends nothing, whoever else has containers there.
        (host(answers=True, others=("shop",)), {"daemon": {"live-restore": True}}, True, False, []),
        (host(answers=True, config=LIVE), {"daemon": {"live-restore": True}}, False, False, []),
        (host(answers=True, config=LIVE), {"daemon": {"live-restore": True, "labels": ["a"]}}, True, False, []),
        # Of what nobody asks for, nothing comes.
        (host(answers=True, **NEWER), {}, False, False, []),
        (host(answers=True), {"daemon": {"ipv6": True}}, False, True, OURS),
        (host(answers=True), {"daemon": {"ipv6": True}, "restart_enabled": True}, False, True, OURS),
        (host(answers=True, others=("shop",)), {"daemon": {"ipv6": True}, "restart_enabled": True}, False, True, BOTH),
        # Containers outlive it with live-restore, be it new.
        (host(answers=True, others=("shop",), live_restore=True), {"daemon": {"ipv6": True}}, False, True, []),
        (host(answers=True, others=("shop",)), {"daemon": {"ipv6": True, "live-restore": True}}, True, True, []),
        # A run that was interrupted before the daemon knew.
        (host(answers=True, **NEWER), {"daemon": {"debug": True}}, False, True, OURS),
        # Where none runs, it starts with everything.
        (STOPPED, {"daemon": {"ipv6": True, "debug": True}}, False, False, []),
        (BARE, {"daemon": {"ipv6": True}}, False, False, []),
    ],
)
def test_a_running_daemon_is_reloaded_where_that_will_do(
    look: dict[str, Any], changed: dict[str, Any], *, reloads: bool, restarts: bool, ends: list[str]
) -> None:
    found = plan(look, **changed)
    assert (found.reloads, found.restarts, found.ends, found.problems) == (reloads, restarts, ends, [])


@pytest.mark.parametrize(
    ("look", "daemon", "sentence"),
    [
        (
            host(answers=True, others=("db", "shop")),
            {"ipv6": True},
            (
                "docker_engine_daemon: for ipv6, Docker on web1 has to be restarted, which ends containers that are not of this collection "
                "(db, shop); set docker_engine_restart_enabled to true to have that, or add `live-restore: true` to docker_engine_daemon, "
                "with which containers outlive a restart."
            ),
        ),
        # They would not be found again.
        (
            host(answers=True, others=("shop",), live_restore=True),
            {"data-root": "/srv/docker"},
            (
                "docker_engine_daemon: for data-root, Docker on web1 has to be restarted, which ends containers that are not of this "
                "collection (shop); set docker_engine_restart_enabled to true to have that."
            ),
        ),
        (host(answers=True, others=("shop",), **NEWER), {"debug": True}, "for /etc/docker/daemon.json, Docker on web1"),
        (host(answers=True, others=("shop",)), {"live-restore": False, "ipv6": True}, "for ipv6, Docker on web1"),
    ],
)
def test_a_restart_that_ends_containers_of_others_has_to_be_asked_for(
    look: dict[str, Any], daemon: dict[str, Any], sentence: str
) -> None:
    (problem,) = plan(look, daemon=daemon).problems
    assert sentence in problem


@pytest.mark.parametrize(
    ("there", "manager"),
    [
        ((), "none"),
        (("systemd",), "systemd"),
        (("systemd", "service", "script"), "systemd"),
        (("service", "script"), "sysvinit"),
        (("service",), "none"),
        (("script",), "none"),
    ],
)
def test_what_manages_services(there: tuple[str, ...], manager: str) -> None:
    files: dict[str, Any] = {name: file() for name in there}
    assert plan(host(**files)).service_manager == manager


@pytest.mark.parametrize(
    ("look", "system", "changed", "sentence"),
    [
        (
            BARE,
            "Debian 12",
            {"daemon": {"hosts": [], "pidfile": "x"}},
            "docker_engine_daemon sets hosts and pidfile, which",
        ),
        ({}, "", {"daemon": {"hosts": []}}, "docker_engine_daemon sets hosts, which"),
        (
            BARE,
            "Debian 12",
            {"provider": "docker", "repository_url": "https://mirror.example/"},
            "docker_engine_repository_url `https://mirror.example/` must be an http(s) URL without a slash at its end",
        ),
        (
            {},
            "",
            {"provider": "docker", "repository_key": "gpg"},
            "and docker_engine_repository_key `gpg` an http(s) URL",
        ),
        (
            host(uid=1000),
            "Debian 12",
            {},
            "docker_engine on web1 needs root to install or configure Docker, and this is user id 1000; write `become: true`",
        ),
        (host(answers=True, uid=1000), "Debian 12", {"daemon": {"debug": True}}, "needs root to install or configure"),
        (
            BARE,
            "RedHat 9",
            {},
            (
                "`auto` cannot install Docker on web1, which runs RedHat 9; it can on Debian 12, Amazon 2023. Set "
                "docker_engine_provider to `docker`."
            ),
        ),
        (
            BARE,
            "Amazon 2023",
            {"provider": "docker"},
            "it can on Debian 12, RedHat 9. Set docker_engine_provider to `distribution`.",
        ),
        (BARE, "Alpine 3", {}, "Install and start Docker yourself; `auto` then keeps it."),
        (
            host(config=file(content='{"a": 1,')),
            "Debian 12",
            {},
            "/etc/docker/daemon.json on web1 is not valid JSON (Expecting property name enclosed in double quotes: line 1 column 9",
        ),
        (
            host(config=file(content="[]")),
            "Debian 12",
            {},
            "does not hold a JSON object (`{...}`); mend or remove it.",
        ),
        (
            host(answers=True, swarm=True),
            "Debian 12",
            {"provider": "distribution"},
            "web1 is part of a Docker swarm, where the daemon does not start with `live-restore`",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    look: dict[str, Any], system: str, changed: dict[str, Any], sentence: str
) -> None:
    (problem,) = make_plan(look, settings(**changed), system, "web1").problems
    assert sentence in problem


@pytest.mark.parametrize(
    ("look", "changed"),
    [
        ({}, {}),
        ({}, {"provider": "docker", "repository_key": "/etc/docker.asc"}),
        (host(answers=True, uid=1000), {}),
        (host(answers=True, swarm=True), {"daemon": {"live-restore": False}}),
        (host(answers=True, swarm=True), {}),
    ],
)
def test_what_is_right_is_no_problem(look: dict[str, Any], changed: dict[str, Any]) -> None:
    assert make_plan(look, settings(**changed), "Debian 12", "web1").problems == []


@pytest.mark.parametrize(
    ("version", "changed", "problem"),
    [
        ("26.1.5+dfsg1", {}, False),
        ("23.0.0", {}, False),
        ("20.10.24+dfsg1", {}, True),
        ("20.10.24+dfsg1", {"provider": "docker"}, False),
        ("26.1.5", {"provider": "distribution"}, True),
        ("", {}, True),
        ("", {"provider": "docker"}, False),
    ],
)
def test_a_proxy_is_secret_and_needs_a_docker_that_knows_it(
    version: str, changed: dict[str, Any], *, problem: bool
) -> None:
    look = host(answers=bool(version), live_restore=True)
    look["docker"]["version"] = version
    found = plan(look, daemon={"proxies": {"https-proxy": "http://me:hidden@proxy.example.com:3128"}}, **changed)
    assert [sentence.partition(":")[0] for sentence in found.problems] == ["docker_engine_daemon.proxies"] * problem
    assert "hidden" not in str(found.problems)
    assert (found.secret, found.mode) == (True, "0600")
    assert not plan(look, **changed).secret


def test_all_problems_are_told_together() -> None:
    look = host(uid=1000, config=file(content="{"))
    problems = plan(look, "Alpine 3", daemon={"hosts": []}).problems
    assert len(problems) == 4


def test_combining_leaves_its_arguments_alone() -> None:
    below = {"a": {"b": 1}, "c": [1]}
    assert combine(below, {"a": {"d": 2}, "c": [2]}) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert below == {"a": {"b": 1}, "c": [1]}


def test_ansible_gets_a_dictionary() -> None:
    found = plan_of(RUNNING, settings(), "Debian 12", "web1")
    assert found == plan(RUNNING).__dict__


ECR = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"


def test_what_clients_read_who_pull() -> None:
    robot = {"username": "robot", "password": "pass:word"}
    made = make_plan({}, settings(registry_credentials={"docker.io": robot}, ecr_registries=[ECR]), "", "h")
    assert made.problems == []
    plan = make_plan(
        host(),
        settings(
            registry_credentials={"docker.io": robot, "registry.example.com:5000": robot}, ecr_registries=[ECR, ECR]
        ),
        "Debian 12",
        "h",
    )
    assert plan.problems == []
    auth = base64.b64encode(b"robot:pass:word").decode()
    assert json.loads(plan.client_config) == {
        "auths": {"https://index.docker.io/v1/": {"auth": auth}, "registry.example.com:5000": {"auth": auth}},
        "credHelpers": {ECR: "ecr-login"},
    }
    assert make_plan(host(), settings(), "Debian 12", "h").client_config == ""


@pytest.mark.parametrize(
    ("changed", "system", "words"),
    [
        (
            {"registry_credentials": {ECR: {"username": "AWS", "password": "x"}}},
            "Debian 12",
            "passwords end after 12 hours",
        ),
        (
            {"registry_credentials": {"example.com": {"username": "a"}}},
            "Debian 12",
            "lacks username or password for example.com",
        ),
        (
            {"registry_credentials": {"example.com/x": {"username": "a", "password": "b"}}},
            "Debian 12",
            "no name of a registry",
        ),
        (
            {"registry_credentials": {"example.com": {"username": "a:b", "password": "b"}}},
            "Debian 12",
            "a colon in the username",
        ),
        ({"ecr_registries": ["registry.example.com"]}, "Debian 12", "is no registry in ECR"),
        ({"ecr_registries": [ECR]}, "RedHat 9", "knows no package with docker-credential-ecr-login"),
    ],
)
def test_credentials_that_lead_nowhere(changed: dict[str, Any], system: str, words: str) -> None:
    (problem,) = make_plan(host(answers=True, dockerd=True), settings(**changed), system, "h").problems
    assert words in problem
    assert problem.endswith(".")
