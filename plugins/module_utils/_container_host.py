# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the container action needs done on the host, by docker's command line and a request."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.drydock.registry.plugins.module_utils._container import (
    Answer,
    Container,
    Step,
    StepFailed,
    limits_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection

# As they are listed. What stands in a label may be anything, so each value is JSON.
FORMAT = (
    '{"name":{{json .Names}},"id":{{json .ID}},"state":{{json .State}},"image":{{json .Image}},"network":{{json .Networks}},'
    '"specification":{{json (.Label "drydock.specification")}},"user":{{json (.Label "drydock.user")}}}'
)
REQUEST_SECONDS = 5
PAUSE_SECONDS = 0.25


class Done(NamedTuple):
    """How a command ended. The code is None where it had not ended in time."""

    code: Optional[int]
    stdout: str
    stderr: str


Docker = Callable[..., Done]


def docker(*arguments: str, seconds: Optional[float] = None) -> Done:
    """Run docker's command line."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(None, "", "it has not ended in time")
    except OSError as error:
        return Done(127, "", f"docker: {error.strerror}")
    return Done(done.returncode, done.stdout, done.stderr)


def family_pattern(name: str) -> str:
    """Return the pattern of the names of a container, of the one that it replaces, and of those that it has replaced."""
    return f"^/?{re.escape(name)}(-old|-finishing-[0-9a-f]+)?$"


def listed(name: str, run: Docker = docker) -> list[Container]:
    """List the containers of one family. Raises StepFailed where Docker does not answer."""
    done = run("container", "ls", "--all", "--no-trunc", "--filter", f"name={family_pattern(name)}", "--format", FORMAT)
    if done.code != 0:
        raise StepFailed(done.stderr.strip())
    return [Container(**json.loads(line)) for line in done.stdout.splitlines()]


def image_id(reference: str, run: Docker = docker) -> str:
    """Return which image a name means by now: another one after a pull, and none where it is missing."""
    done = run("image", "inspect", "--format", "{{.Id}}", reference)
    return done.stdout.strip() if done.code == 0 else ""


def limits(name: str, run: Docker = docker) -> dict[str, Any]:
    """Return what can be changed of a container while it runs; nothing where it is gone."""
    done = run("container", "inspect", name)
    return all_limits(json.loads(done.stdout)[0]) if done.code == 0 else {}


def all_limits(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits of a container that is inspected, with what only its host can tell."""
    return {**limits_of(details), "stale": stale(details)}


def stale(details: Mapping[str, Any], proc: str = "/proc") -> list[str]:
    """Return the mounts at which a container goes on seeing a folder that has been replaced on the host since the container started."""
    root = f"{proc}/{(details.get('State') or {}).get('Pid') or 0}/root"
    binds = [mount for mount in details.get("Mounts") or [] if mount.get("Type") == "bind"]
    return [mount["Destination"] for mount in binds if is_another(f"{root}{mount['Destination']}", mount["Source"])]


def is_another(seen: str, source: str) -> bool:
    """Tell whether two paths lead to different things. What the container sees cannot be told where it runs on another machine."""
    try:
        inside = os.stat(seen)
    except OSError:
        return False
    try:
        return not os.path.samestat(inside, os.stat(source))
    except OSError:
        return True


def listed_entry(entry: Mapping[str, Any]) -> Container:
    """Read one container of the list of Docker's API."""
    labels = entry.get("Labels") or {}
    # Links give others, with a slash in them.
    names = [name.lstrip("/") for name in entry["Names"]]
    return Container(
        name=next((name for name in names if "/" not in name), ""),
        id=entry["Id"],
        state=entry["State"],
        image=entry["Image"],
        network=",".join((entry.get("NetworkSettings") or {}).get("Networks") or {}),
        specification=labels.get("drydock.specification", ""),
        user=labels.get("drydock.user", ""),
    )


def seen(wanted: Sequence[Mapping[str, str]], ask: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
    """Look at several containers by Docker's API: what each family has, the running one's limits, and what it answers."""
    containers = [listed_entry(entry) for entry in ask("/containers/json?all=true")] if wanted else []
    found = {}
    for one in wanted:
        family = [container for container in containers if re.search(family_pattern(one["name"]), container.name)]
        running = [container for container in family if container.name == one["name"] and container.state == "running"]
        found[one["name"]] = {
            "asked": dict(one),
            "containers": family,
            "limits": all_limits(ask(f"/containers/{running[0].id}/json")) if running else {},
            "answer": asked(one["url"], one["unix_socket"], one["header"])
            if running and one["url"]
            else Answer(0, "", ""),
        }
    return found


def commands(step: Step) -> list[str]:
    """Return docker's arguments for a step."""
    return {
        "rename": ["rename", step.name, step.argument],
        "update": ["update", f"--restart={step.argument}", step.name],
        "kill": ["kill", f"--signal={step.argument}", step.name],
        "wait": ["wait", step.name],
        "start": ["start", step.name],
        "stop": ["stop", "-t", step.argument, step.name],
        # With the volumes that have no name, as docker_container removes one.
        "remove": ["rm", "--force", "--volumes", step.name],
    }[step.verb]


def perform(steps: Sequence[Step], run: Docker = docker) -> list[bool]:
    """Do the steps up to the first that fails. A `wait` is false where the container still runs, all others are true."""
    done = []
    for step in steps:
        ended = run(*commands(step), seconds=float(step.argument) if step.verb == "wait" else None)
        if ended.code is None:
            done.append(False)
        elif ended.code != 0 and not harmless(step, ended.stderr):
            raise StepFailed(f"`docker {' '.join(commands(step))}` failed: {ended.stderr.strip()}")
        else:
            done.append(True)
    return done


def harmless(step: Step, complaint: str) -> bool:
    """Tell whether a step failed because it has nothing to do any more."""
    if step.verb == "kill":
        # It has ended on its own.
        return "is not running" in complaint
    return step.verb in ("stop", "remove") and "No such container" in complaint


def connection(url: str, unix_socket: str) -> http.client.HTTPConnection:
    """Return a connection to the address, or to the socket where one is given."""
    parts = urlsplit(url)
    if unix_socket:
        return UnixConnection(unix_socket, REQUEST_SECONDS)
    if parts.scheme == "https":
        # The question is whether this container answers; that the certificate is right, the client's view checks.
        unverified = ssl._create_unverified_context()  # noqa: S323
        return http.client.HTTPSConnection(parts.netloc, timeout=REQUEST_SECONDS, context=unverified)
    return http.client.HTTPConnection(parts.netloc, timeout=REQUEST_SECONDS)


def asked(url: str, unix_socket: str, header: str) -> Answer:
    """Ask once, and return the status and that header of the answer."""
    link = connection(url, unix_socket)
    try:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        link.request("GET", target, headers={"Host": parts.netloc, "Connection": "close"})
        response = link.getresponse()
        return Answer(response.status, response.getheader(header) or "" if header else "", "")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, "", getattr(error, "strerror", None) or str(error) or type(error).__name__)
    finally:
        link.close()


def with_storage(answer: Answer, unix_socket: str, problem: Callable[[str], str]) -> Answer:
    """Have a registry that answers show that its storage works, which its own health may not know yet."""
    wrong = problem(unix_socket) if answer.status == 200 else ""
    return Answer(503, answer.header, wrong) if wrong else answer


def complaint(answer: Answer, where: str, hostname: str) -> str:
    """Return what is wrong with an answer, or nothing."""
    if answer.status == 0:
        return f"nothing answers at {where} ({answer.reason})."
    if answer.reason:
        return f"{where} answers, but {answer.reason}."
    if answer.status != 200:
        return f"{where} answers {answer.status} and not 200."
    if hostname and answer.header != hostname:
        return f"{where} is answered by {answer.header or 'another program'} and not by {hostname}."
    return ""


def ask_until(
    ask: Callable[[], Answer],
    where: str,
    hostname: str,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = time.sleep,
) -> str:
    """Ask until the container with this name answers, for so many seconds. Returns what is wrong in the end, or nothing."""
    end = clock() + seconds
    while True:
        wrong = complaint(ask(), where, hostname)
        if not wrong or clock() >= end:
            return wrong
        sleep(PAUSE_SECONDS)


def log(name: str, run: Docker = docker) -> str:
    """Return the last lines of a container, of its output and then of its errors."""
    done = run("logs", "--tail", "30", name)
    return "\n".join(part.rstrip("\n") for part in (done.stdout, done.stderr) if part.strip())
