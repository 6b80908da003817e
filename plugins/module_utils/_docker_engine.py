# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role docker_engine does on a host, from its settings and what the host is like."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONFIG = "/etc/docker/daemon.json"
PID_FILE = "/var/run/docker.pid"
SYSTEMD = "/run/systemd/system"
SERVICE = "/usr/sbin/service"
INIT_SCRIPT = "/etc/init.d/docker"

# Keys that would take the engine out of reach of the role and of Docker's own service files.
FORBIDDEN_KEYS = ("hosts", "pidfile")
# What a running daemon takes by a reload: https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior
RELOADED_KEYS = frozenset(
    (
        "allow-nondistributable-artifacts",
        "authorization-plugins",
        "debug",
        "default-runtime",
        "features",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    )
)
# With another one of these, a daemon does not find the containers that it had.
MOVING_KEYS = frozenset(("data-root", "exec-root", "userns-remap"))
# The releases from which on daemon.json may name a proxy, and what older systems have.
PROXIES_SINCE = 23
OLD_PACKAGES = {"Debian 12": "20.10"}
# Half of a logging set-up of ours and half of another's would not work together.
LOGGING_KEYS = ("log-driver", "log-opts")


# With IPv4 alone, with FIPS, and with both kinds of addresses, as the helper knows them.
ECR = re.compile(r"\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.[a-z0-9.-]+")
ECR_HELPER = "ecr-login"
# What Docker's clients call Docker Hub: https://docs.docker.com/reference/cli/docker/login/
DOCKER_HUB = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Plan:
    """What the role found and is going to do."""

    problems: list[str] = field(default_factory=list)
    # An engine that answers is left alone, but for the keys of docker_engine_daemon.
    kept: bool = False
    answers: bool = False
    version: str = ""
    # dockerd is there, even if it does not run.
    installed: bool = False
    installs: bool = False
    installer: str = "distribution"
    # daemon.json as it was, without docker_engine_daemon, and with it.
    existing: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, Any] = field(default_factory=dict)
    mode: str = "0644"
    # A proxy's address may have a password.
    secret: bool = False
    # daemon.json is newer than the daemon: a change of now, or of a run that was interrupted before the restart.
    config_newer: bool = False
    service_manager: str = "none"
    # What becomes of a daemon that runs: it takes some keys by a reload, and is restarted for the others, which ends these containers.
    reloads: bool = False
    restarts: bool = False
    ends: list[str] = field(default_factory=list)
    # What clients read who pull, with passwords.
    client_config: str = ""


def combine(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge recursively; a list is replaced as a whole."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = combine(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


def service_manager(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what manages services, by what is there: a container's or a virtual machine's process 1 can have any name."""
    there = {path for path, file in files.items() if file["exists"]}
    if SYSTEMD in there:
        return "systemd"
    return "sysvinit" if {SERVICE, INIT_SCRIPT} <= there else "none"


def read_config(content: str, host: str) -> tuple[dict[str, Any], list[str]]:
    """Read daemon.json, and say what is wrong with it."""
    if not content:
        return {}, []
    try:
        found = json.loads(content)
    except ValueError as error:
        return {}, [f"{CONFIG} on {host} is not valid JSON ({error}); mend or remove it. Nothing was changed."]
    if not isinstance(found, dict):
        return {}, [
            f"{CONFIG} on {host} does not hold a JSON object (`{{...}}`); mend or remove it. Nothing was changed."
        ]
    return found, []


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What can be said without asking a host."""
    problems = []
    url, key = str(settings["repository_url"]), str(settings["repository_key"])
    if settings["provider"] == "docker" and not (
        re.match(r"https?://[^\s]+[^\s/]$", url) and re.match(r"((https?://|/)[^\s]+)?$", key)
    ):
        problems.append(
            f"docker_engine_repository_url `{url}` must be an http(s) URL without a slash at its end, and docker_engine_repository_key "
            f"`{key}` an http(s) URL, an absolute path on the host or empty."
        )
    forbidden = [name for name in settings["daemon"] if name in FORBIDDEN_KEYS]
    if forbidden:
        problems.append(
            f"docker_engine_daemon sets {' and '.join(forbidden)}, which Docker's service files set already; leave it out."
        )
    return problems


def client_config(credentials: Mapping[str, Any], ecr_registries: Sequence[str]) -> str:
    """Return what Docker's clients read, or nothing where no registry asks."""
    config: dict[str, Any] = {}
    if credentials:
        config["auths"] = {
            DOCKER_HUB if name == "docker.io" else name: {
                "auth": base64.b64encode(f"{who['username']}:{who['password']}".encode()).decode()
            }
            for name, who in sorted(credentials.items())
        }
    if ecr_registries:
        config["credHelpers"] = dict.fromkeys(sorted(set(ecr_registries)), ECR_HELPER)
    return json.dumps(config, indent=1) + "\n" if config else ""


def credentials_problems(credentials: Mapping[str, Any], ecr_registries: Sequence[str]) -> list[str]:
    """Say what leads to no login; no sentence quotes a password."""
    problems = []
    for name, who in credentials.items():
        if ECR.fullmatch(str(name)):
            problems.append(
                f"docker_engine_registry_credentials has {name}, whose passwords end after 12 hours: write it into "
                "docker_engine_ecr_registries, which takes the role of the host."
            )
        elif "/" in str(name):
            problems.append(
                f"docker_engine_registry_credentials has {name}, which is no name of a registry: write one such as "
                "registry.example.com:5000."
            )
        elif not isinstance(who, Mapping) or not who.get("username") or not who.get("password"):
            problems.append(f"docker_engine_registry_credentials lacks username or password for {name}: write both.")
        elif ":" in str(who["username"]):
            problems.append(
                f"docker_engine_registry_credentials has a colon in the username for {name}, which no registry takes: write another."
            )
    problems += [
        f"docker_engine_ecr_registries has {name}, which is no registry in ECR: write one such as "
        "111122223333.dkr.ecr.eu-central-1.amazonaws.com, or give docker_engine_registry_credentials for it."
        for name in ecr_registries
        if not ECR.fullmatch(str(name))
    ]
    return problems


def helper_problems(look: Mapping[str, Any], ecr_registries: Sequence[str], system: str, host: str) -> list[str]:
    """Say whether the helper can be had."""
    if (
        not ecr_registries
        or look["programs"].get(f"docker-credential-{ECR_HELPER}")
        or system.startswith(("Debian", "Ubuntu"))
    ):
        return []
    sentence = (
        f"docker_engine_ecr_registries: {host} runs {system}, for which this role knows no package with docker-credential-{ECR_HELPER}; "
        "install it there (https://github.com/awslabs/amazon-ecr-credential-helper)."
    )
    return [sentence]


def system_problems(provider: str, installer: str, systems: Mapping[str, Any], system: str, host: str) -> list[str]:
    """Say whether the provider has packages for the system."""
    key = {"distribution": "packages", "docker": "repository"}.get(installer, "packages")
    installable = [name for name, ways in systems.items() if key in ways]
    if system in installable:
        return []
    ways = systems.get(system, {})
    if "repository" in ways:
        advice = "Set docker_engine_provider to `docker`."
    elif "packages" in ways:
        advice = "Set docker_engine_provider to `distribution`."
    else:
        advice = "Install and start Docker yourself; `auto` then keeps it."
    sentence = (
        f"docker_engine_provider: `{provider}` cannot install Docker on {host}, which runs {system}; it can on "
        f"{', '.join(installable)}. {advice}"
    )
    return [sentence]


def ended_containers(
    docker: Mapping[str, Any],
    wanted: Mapping[str, Any],
    changes: frozenset[str],
    settings: Mapping[str, Any],
    host: str,
) -> tuple[list[str], list[str]]:
    """Name the containers that a restart ends, and refuse it where that is nobody's wish."""
    lasting = bool(wanted.get("live-restore", docker["live_restore"]))
    if lasting and not changes & MOVING_KEYS:
        return [], []
    ours = [one["name"] for one in docker["containers"] if one["state"] == "running"]
    others = docker["others"]
    if not others or settings["restart_enabled"]:
        return [*ours, *others], []
    keys = ", ".join(sorted(changes - RELOADED_KEYS)) or CONFIG
    instead = (
        ""
        if lasting
        else ", or add `live-restore: true` to docker_engine_daemon, with which containers outlive a restart"
    )
    sentence = (
        f"docker_engine_daemon: for {keys}, Docker on {host} has to be restarted, which ends containers that are not of this "
        f"collection ({', '.join(others)}); set docker_engine_restart_enabled to true to have that{instead}."
    )
    return [*ours, *others], [sentence]


def proxies_problems(version: str, host: str) -> list[str]:
    """Say where Docker is too old to be told of a proxy by daemon.json: it would not start."""
    first = version.partition(".")[0]
    if not first.isdigit() or int(first) >= PROXIES_SINCE:
        return []
    sentence = (
        f"docker_engine_daemon.proxies: Docker {version} on {host} does not know it; with docker_engine_provider `docker` there is a newer "
        "one, or write the proxy into a file of systemd (https://docs.docker.com/engine/daemon/proxy/#systemd-unit-file)."
    )
    return [sentence]


def make_plan(look: Mapping[str, Any], settings: Mapping[str, Any], system: str, host: str) -> Plan:
    """Decide what is done on a host. Without a look at one, only the settings' own problems are known."""
    provider, daemon = settings["provider"], settings["daemon"]
    credentials, ecr_registries = settings["registry_credentials"], settings["ecr_registries"]
    problems = settings_problems(settings)
    wrong_credentials = credentials_problems(credentials, ecr_registries)
    problems += wrong_credentials
    if not look:
        return Plan(problems=problems)
    problems += helper_problems(look, ecr_registries, system, host)

    docker, files = look["docker"], look["files"]
    # An engine of which the program `docker` knows nothing is of no use.
    answers = docker["answers"] and docker["client"] != ""
    installed = look["programs"]["dockerd"] != ""
    kept = provider == "auto" and answers
    # `auto` leaves packages alone that bring a daemon, even one that is stopped.
    installs = provider != "auto" or not (answers or installed)
    installer = "distribution" if provider == "auto" else provider

    if (not kept or daemon) and look["user"]["uid"] != 0:
        problems.append(
            f"docker_engine on {host} needs root to install or configure Docker, and this is user id {look['user']['uid']}; write "
            "`become: true` into the play."
        )
    if installs:
        problems += system_problems(provider, installer, settings["systems"], system, host)

    existing, wrong = read_config(files[CONFIG]["content"].strip(), host)
    problems += wrong
    own_logging = any(key in LOGGING_KEYS for key in (*existing, *daemon))
    defaults = {
        key: value
        for key, value in settings["daemon_defaults"].items()
        if not kept and not (own_logging and key in LOGGING_KEYS)
    }
    base = combine(defaults, existing)
    wanted = combine(base, daemon)
    # The daemon of a swarm's node does not start with it.
    if docker["swarm"] and wanted.get("live-restore") and wanted != existing:
        problems.append(
            f"docker_engine_daemon: {host} is part of a Docker swarm, where the daemon does not start with `live-restore`; write "
            "`docker_engine_daemon: {live-restore: false}`."
        )
    secret = "proxies" in wanted or "proxies" in existing
    if "proxies" in daemon:
        comes = OLD_PACKAGES.get(system, "") if installs and installer == "distribution" else ""
        problems += proxies_problems(docker["version"] if answers and not installs else comes, host)
    config_newer = files[PID_FILE]["exists"] and files[CONFIG]["mtime"] > files[PID_FILE]["mtime"]
    changes = frozenset(key for key in wanted if key not in existing or wanted[key] != existing[key])
    pending = config_newer and (not kept or bool(daemon))
    restarts = answers and (pending or bool(changes - RELOADED_KEYS))
    ends, refused = ended_containers(docker, wanted, changes, settings, host) if restarts else ([], [])
    problems += refused
    return Plan(
        problems=problems,
        kept=kept,
        answers=answers,
        version=docker["version"] if answers else "",
        installed=installed,
        installs=installs,
        installer=installer,
        existing=existing,
        base=base,
        wanted=wanted,
        mode="0600" if secret else files[CONFIG]["mode"] if files[CONFIG]["kind"] == "file" else "0644",
        secret=secret,
        config_newer=config_newer,
        service_manager=service_manager(files),
        reloads=answers and bool(changes & RELOADED_KEYS),
        restarts=restarts,
        ends=ends,
        client_config="" if wrong_credentials else client_config(credentials, ecr_registries),
    )


def plain(value: Any) -> Any:
    """Read what Ansible may still have to template."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def plan_of(look: Mapping[str, Any], settings: Mapping[str, Any], system: str, host: str) -> dict[str, Any]:
    """The plan as Ansible takes it."""
    return dict(make_plan(plain(look), plain(settings), system, host).__dict__)
