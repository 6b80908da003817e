# SPDX-License-Identifier: GPL-3.0-or-later
"""A task definition of ECS, run with Docker as ECS would run it.

What of a definition counts here is what ECS does with it: images, users, commands, variables, secrets out of Secrets Manager, read-only
file systems, capabilities, volumes that are empty and root's own, the order of containers, health checks, and one network for all
containers. Of sizes, shares of the CPU count, and the task's memory as the limit of each container; logs stay with Docker. What else a
definition has, or what Fargate refuses, is an error.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection
from aws_account import Account

DOCKER_SOCKET = "/var/run/docker.sock"
# Holds the network of a task, as ECS has a container of its own for it.
PAUSE_IMAGE = "drydock-test-host:debian12"
WAIT_SECONDS = 300
# What a run leaves that was broken off, the next one finds by it.
LABELS = {"drydock.test": "ecs"}

# What a definition may have: what is done here, what AWS adds where it is read back, and what makes no difference here.
TASK_KEYS = {
    *("containerDefinitions", "volumes", "networkMode", "requiresCompatibilities", "cpu", "memory"),
    *("taskDefinitionArn", "family", "revision", "status", "requiresAttributes", "compatibilities"),
    *("registeredAt", "registeredBy", "runtimePlatform", "executionRoleArn", "taskRoleArn"),
}
CONTAINER_KEYS = {
    *("name", "image", "essential", "dependsOn", "user", "entryPoint", "command", "environment", "secrets"),
    *("mountPoints", "readonlyRootFilesystem", "linuxParameters", "ulimits", "cpu", "healthCheck", "stopTimeout"),
    *("dockerLabels", "portMappings", "logConfiguration"),
}
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
FARGATE_LOG_DRIVERS = {"awslogs", "splunk", "awsfirelens"}
FARGATE_ADDED_CAPABILITIES = {"SYS_PTRACE"}
FARGATE_STOP_SECONDS = 120
HEALTH_CHECK_RANGES = {"interval": (5, 300), "timeout": (2, 60), "retries": (1, 10), "startPeriod": (0, 300)}


def docker(method: str, path: str, body: Mapping[str, Any] | None = None, *, missing_ok: bool = False) -> Any:
    """Ask Docker's API: its command line knows health checks through a shell alone, which an image may not have."""
    connection = UnixConnection(DOCKER_SOCKET, 120)
    headers = {"Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if missing_ok and answer.status in (304, 404, 409):
        return None
    assert answer.status < 400, f"{method} {path}: {answer.status} {data.decode(errors='replace')}"
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data


def secret_value(account: Account, reference: str) -> str:
    """Resolve `valueFrom`: an ARN of Secrets Manager, a key, a stage and a version."""
    parts = reference.split(":")
    assert parts[2] == "secretsmanager", reference
    arn, (key, stage, version) = ":".join(parts[:7]), (*parts[7:], "", "", "")[:3]
    which = {name: value for name, value in {"VersionStage": stage, "VersionId": version}.items() if value}
    text = account.client("secretsmanager").get_secret_value(SecretId=arn, **which)["SecretString"]
    return str(json.loads(text)[key]) if key else str(text)


def remove_left_overs() -> None:
    """Remove what a run that was broken off has left, or its network would have the addresses."""
    query = urllib.parse.urlencode(
        {"filters": json.dumps({"label": [f"{key}={value}" for key, value in LABELS.items()]})}
    )
    for container in docker("GET", f"/containers/json?all=true&{query}"):
        docker("DELETE", f"/containers/{container['Id']}?force=true&v=true", missing_ok=True)
    for volume in docker("GET", f"/volumes?{query}")["Volumes"] or []:
        docker("DELETE", f"/volumes/{volume['Name']}?force=true", missing_ok=True)
    for network in docker("GET", f"/networks?{query}"):
        docker("DELETE", f"/networks/{network['Id']}", missing_ok=True)


class Network:
    """A network for tasks, with addresses that are known before."""

    def __init__(self, subnet: str) -> None:
        remove_left_overs()
        self.name = f"drydock-ecs-{uuid.uuid4().hex[:8]}"
        self.prefix = subnet.rpartition(".")[0]
        self.gateway = f"{self.prefix}.1"
        pool = {"Config": [{"Subnet": subnet, "Gateway": self.gateway}]}
        docker("POST", "/networks/create", {"Name": self.name, "IPAM": pool, "Labels": LABELS})

    def remove(self) -> None:
        docker("DELETE", f"/networks/{self.name}")


def check_definition(definition: Mapping[str, Any]) -> None:
    """Refuse what would be left out here, and what Fargate would refuse."""
    assert definition["networkMode"] == "awsvpc"
    assert definition["requiresCompatibilities"] == ["FARGATE"]
    _know(definition, TASK_KEYS)
    for volume in definition.get("volumes", []):
        # One that ECS makes for the task.
        _know({key: value for key, value in volume.items() if key != "host" or value}, {"name"})
    for container in definition["containerDefinitions"]:
        _know(container, CONTAINER_KEYS)
        _know(container.get("linuxParameters", {}), {"capabilities", "initProcessEnabled"})
        capabilities = container.get("linuxParameters", {}).get("capabilities", {})
        _know(capabilities, {"drop", "add"})
        assert set(capabilities.get("add", [])) <= FARGATE_ADDED_CAPABILITIES, container
        assert {each["name"] for each in container.get("ulimits", [])} <= {"nofile"}, container
        assert container["logConfiguration"]["logDriver"] in FARGATE_LOG_DRIVERS, container
        assert container.get("stopTimeout", 30) <= FARGATE_STOP_SECONDS, container
        for port in container.get("portMappings", []):
            _know(port, {"containerPort", "hostPort", "protocol"})
            assert port.get("hostPort", port["containerPort"]) == port["containerPort"], container
        for mount in container.get("mountPoints", []):
            _know(mount, {"sourceVolume", "containerPath", "readOnly"})
        check = container.get("healthCheck", {})
        _know(check, {"command", *HEALTH_CHECK_RANGES})
        for key, (least, most) in HEALTH_CHECK_RANGES.items():
            assert least <= check.get(key, least) <= most, container


def _know(found: Mapping[str, Any], keys: set[str]) -> None:
    # Where a definition is read back, what it does not have may be there as an empty list.
    unknown = {key for key, value in found.items() if value not in (None, [], {})} - keys
    assert not unknown, f"nothing is done here about {sorted(unknown)}: {found}"


class Task:
    """The containers of a task."""

    def __init__(self, account: Account, definition: Mapping[str, Any], network: Network, address: str) -> None:
        self.account = account
        self.definition = definition
        self.network = network
        self.address = address
        self.name = f"drydock-task-{uuid.uuid4().hex[:8]}"
        self.containers = {each["name"]: each for each in definition["containerDefinitions"]}
        self._started: list[str] = []

    # ----- starting and stopping -----

    def start(self) -> None:
        """Start all containers in the order that they ask for."""
        check_definition(self.definition)
        for volume in self.definition.get("volumes", []):
            docker("POST", "/volumes/create", {"Name": self._volume(volume["name"]), "Labels": LABELS})
        self._create(
            "pause",
            {
                "Image": PAUSE_IMAGE,
                "Entrypoint": ["sleep", "infinity"],
                "HostConfig": {"NetworkMode": self.network.name, "Init": True},
                "NetworkingConfig": {
                    "EndpointsConfig": {self.network.name: {"IPAMConfig": {"IPv4Address": self.address}}}
                },
            },
        )
        docker("POST", f"/containers/{self._container('pause')}/start")
        left = dict(self.containers)
        while left:
            ready = [name for name, each in left.items() if not self._dependencies(each) & set(left)]
            assert ready, f"the containers {sorted(left)} wait for each other"
            for name in ready:
                self._start(left.pop(name))

    def stop(self) -> None:
        """Stop all containers, those first that depend on others, and remove everything."""
        for name in reversed(self._started):
            docker("POST", f"/containers/{self._container(name)}/stop", missing_ok=True)
        for name in [*self._started, "pause"]:
            docker("DELETE", f"/containers/{self._container(name)}?force=true&v=true", missing_ok=True)
        for volume in self.definition.get("volumes", []):
            docker("DELETE", f"/volumes/{self._volume(volume['name'])}?force=true", missing_ok=True)

    def _dependencies(self, container: Mapping[str, Any]) -> set[str]:
        return {each["containerName"] for each in container.get("dependsOn", [])}

    def _start(self, container: Mapping[str, Any]) -> None:
        for each in container.get("dependsOn", []):
            self._wait(each["containerName"], each["condition"])
        self._create(container["name"], self.settings(container))
        self._started.append(container["name"])
        docker("POST", f"/containers/{self._container(container['name'])}/start")

    def _create(self, name: str, settings: Mapping[str, Any]) -> None:
        labels = {**settings.get("Labels", {}), **LABELS}
        docker("POST", f"/containers/create?name={self._container(name)}", {**settings, "Labels": labels})

    def settings(self, container: Mapping[str, Any]) -> dict[str, Any]:
        """Translate a container's definition into Docker's terms."""
        linux = container.get("linuxParameters", {})
        memory = int(self.definition["memory"]) * 2**20
        variables = [f"{each['name']}={each['value']}" for each in container.get("environment", [])]
        variables += [
            f"{each['name']}={secret_value(self.account, each['valueFrom'])}" for each in container.get("secrets", [])
        ]
        mounts = [
            {
                "Type": "volume",
                "Source": self._volume(each["sourceVolume"]),
                "Target": each["containerPath"],
                "ReadOnly": each.get("readOnly", False),
                # An empty volume stays empty and root's own, whatever the image has in its place.
                "VolumeOptions": {"NoCopy": True},
            }
            for each in container.get("mountPoints", [])
        ]
        found: dict[str, Any] = {
            "Image": container["image"],
            "User": container.get("user", ""),
            "Env": variables,
            "Labels": container.get("dockerLabels", {}),
            "StopTimeout": container.get("stopTimeout", 30),
            "HostConfig": {
                "NetworkMode": f"container:{self._container('pause')}",
                "ReadonlyRootfs": container.get("readonlyRootFilesystem", False),
                "CapDrop": linux.get("capabilities", {}).get("drop", []),
                "CapAdd": linux.get("capabilities", {}).get("add", []),
                "Init": linux.get("initProcessEnabled", False),
                "CpuShares": max(container.get("cpu", 0), 2),
                # Fargate has no swap.
                "Memory": memory,
                "MemorySwap": memory,
                "Mounts": mounts,
                "Ulimits": [
                    {"Name": each["name"], "Soft": each["softLimit"], "Hard": each["hardLimit"]}
                    for each in container.get("ulimits", [])
                ],
            },
        }
        if "entryPoint" in container:
            found["Entrypoint"] = container["entryPoint"]
        if "command" in container:
            found["Cmd"] = container["command"]
        if "healthCheck" in container:
            check, second = container["healthCheck"], 1_000_000_000
            found["Healthcheck"] = {
                "Test": check["command"],
                "Interval": check["interval"] * second,
                "Timeout": check["timeout"] * second,
                "Retries": check["retries"],
                "StartPeriod": check.get("startPeriod", 0) * second,
            }
        return found

    # ----- looking -----

    def inspect(self, name: str) -> dict[str, Any]:
        """Say what Docker knows of a container."""
        found: dict[str, Any] = docker("GET", f"/containers/{self._container(name)}/json")
        return found

    def health(self, name: str) -> str:
        """Say what the health check of a container has found: starting, healthy or unhealthy; nothing where there is none; or exited."""
        state = self.inspect(name)["State"]
        return str(state.get("Health", {}).get("Status", "")) if state["Running"] else "exited"

    def lost(self) -> set[str]:
        """Return the essential containers that have ended or are unhealthy: with one of them, ECS replaces the task."""
        essential = [name for name, each in self.containers.items() if each.get("essential", True)]
        return {name for name in essential if self.health(name) in ("exited", "unhealthy")}

    def check(self, name: str) -> int:
        """Run a container's health check now, and return how it ended."""
        kind, *command = self.containers[name]["healthCheck"]["command"]
        return self.run(name, *(["sh", "-c"] if kind == "CMD-SHELL" else []), *command)

    def run(self, name: str, *command: str) -> int:
        """Run a command in a container, and return how it ended."""
        made = docker("POST", f"/containers/{self._container(name)}/exec", {"Cmd": command, "AttachStdout": True})
        docker("POST", f"/exec/{made['Id']}/start", {"Detach": False})
        return int(docker("GET", f"/exec/{made['Id']}/json")["ExitCode"])

    def logs(self, name: str) -> str:
        """Return what a container has said."""
        data = docker("GET", f"/containers/{self._container(name)}/logs?stdout=true&stderr=true")
        return data.decode(errors="replace") if isinstance(data, bytes) else json.dumps(data or "")

    def kill(self, name: str) -> None:
        """Kill a container."""
        docker("POST", f"/containers/{self._container(name)}/kill")

    def wait_until_healthy(self) -> None:
        """Wait until all containers with a health check are healthy, as ECS does before a task counts."""
        for name, container in self.containers.items():
            if "healthCheck" in container:
                self._wait(name, "HEALTHY")

    def _wait(self, name: str, condition: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            state = self.inspect(name)["State"]
            ended = state["Status"] == "exited"
            if condition == "START" and state["StartedAt"] > "0002":
                return
            if condition in ("SUCCESS", "COMPLETE") and ended:
                assert condition == "COMPLETE" or state["ExitCode"] == 0, self.logs(name)
                return
            if condition == "HEALTHY" and state.get("Health", {}).get("Status") == "healthy":
                return
            assert condition in ("SUCCESS", "COMPLETE") or not ended, f"{name} has ended:\n{self.logs(name)}"
            assert time.monotonic() < deadline, f"{name} is not {condition}: {json.dumps(state)}\n{self.logs(name)}"
            time.sleep(0.2)

    def _container(self, name: str) -> str:
        return urllib.parse.quote(f"{self.name}-{name}")

    def _volume(self, name: str) -> str:
        return f"{self.name}-{name}"


@contextmanager
def running(account: Account, definition: Mapping[str, Any], network: Network, address: str) -> Iterator[Task]:
    """Run a task for a while."""
    task = Task(account, definition, network, address)
    try:
        task.start()
        task.wait_until_healthy()
        yield task
    finally:
        task.stop()


# Whether what `forwarded` leads to is away.
away = threading.Event()


@contextmanager
def forwarded(address: str, endpoint: str) -> Iterator[str]:
    """Let containers reach a server that listens on this machine's loopback interface alone."""
    target = urllib.parse.urlsplit(endpoint)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if away.is_set():
                return
            with socket.create_connection((str(target.hostname), int(target.port or 80))) as there:
                back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
                back.start()
                _pump(self.request, there)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{address}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while (data := source.recv(65536)) and not away.is_set():
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
