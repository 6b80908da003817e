# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that are EC2 instances to AWS's API: on a network of their own, with the metadata service at its own address.

As a program it is the server: the API with TLS, and the metadata service. It runs beside a rehearsal, whose network is another one.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from into_host import into
from networks import free_prefix

STAND_INS = Path(__file__).parents[2] / "rehearsal"
IMAGE = "drydock-test-host:debian12"
REGION = "eu-central-1"
METADATA = "169.254.169.254"
START_SECONDS = 300
PORT, METADATA_PORT = 5580, 5581
# What systemd and Docker need in a container; see tests/hosts.
OPTIONS = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--cap-drop=SYS_MODULE", "--security-opt=seccomp=unconfined"),
    *(
        "--security-opt=apparmor=unconfined",
        "--cgroupns=private",
        "--tmpfs=/run",
        "--tmpfs=/run/lock",
        "--tmpfs=/tmp:exec",
    ),
    *("--volume=/var/lib/docker", "--stop-signal=SIGRTMIN+3", "--pull=never"),
)


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program on this machine."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)
    assert not check or done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def as_root(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program on this machine as root."""
    return run(*(() if os.geteuid() == 0 else ("sudo", "--non-interactive")), *command, check=check)


class Machine:
    """A container on the network."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def run(self, command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the shell as root."""
        return run(*into(self.name), "sh", "-ec", command, check=check, input=stdin)

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run(f"cat >{shlex.quote(path)}", stdin=text)


class Cloud:
    """The account, as its administrator sees it, and its machines."""

    def __init__(self, folder: Path, network: str, prefix: str) -> None:
        self.folder = folder
        self.network = network
        self.prefix = prefix
        self.endpoint = f"https://{prefix}.1:{PORT}"
        self.ca = folder / "ca.crt"
        self.subnet = ""

    def client(self, service: str, key: str = "", secret: str = "", token: str | None = None) -> Any:
        """Return boto3's client of a service, as the administrator or with the keys of somebody else."""
        if not key:
            config = configparser.RawConfigParser()
            config.read(self.folder / "administrator")
            profile = config["profile administrator"]
            key, secret = profile["aws_access_key_id"], profile["aws_secret_access_key"]
        session = boto3.session.Session(key, secret, token, REGION)
        return session.client(service, endpoint_url=self.endpoint, verify=str(self.ca))

    def machine(self, name: str, number: int) -> Machine:
        """Boot a container that trusts the API's certificate."""
        machine = Machine(f"{self.network}-{name}", f"{self.prefix}.{number}")
        run(
            "docker",
            "run",
            "--detach",
            "--name",
            machine.name,
            "--network",
            self.network,
            "--ip",
            machine.address,
            *OPTIONS,
            IMAGE,
        )
        # Before that, /tmp is another one.
        machine.run("until systemctl is-active --quiet multi-user.target; do sleep 0.1; done")
        machine.write("/usr/local/share/ca-certificates/aws.crt", self.ca.read_text(encoding="utf-8"))
        machine.run("update-ca-certificates")
        return machine

    def instance(self, name: str, number: int, profile: str, user_data: str) -> tuple[str, Machine]:
        """Start an instance, and the machine that it is; return the instance's id as well."""
        ec2 = self.client("ec2")
        if not self.subnet:
            vpc = ec2.create_vpc(CidrBlock=f"{self.prefix}.0/24")["Vpc"]["VpcId"]
            self.subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{self.prefix}.0/24")["Subnet"]["SubnetId"]
        image = self.client("ssm").get_parameter(Name="/aws/service/debian/release/12/latest/amd64")["Parameter"]
        (made,) = ec2.run_instances(
            ImageId=image["Value"],
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            PrivateIpAddress=f"{self.prefix}.{number}",
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            UserData=user_data,
            **({"IamInstanceProfile": {"Name": profile}} if profile else {}),
        )["Instances"]
        return made["InstanceId"], self.machine(name, number)


def _network() -> tuple[str, str]:
    """Make a network in the first range that is free; return its name, which its bridge has too, and how addresses begin."""
    first = 0
    while True:
        prefix = free_prefix(range(first, 100))
        first = int(prefix.rpartition(".")[2]) + 1
        name = f"dd-clients-{first - 1}"
        subnet = ("--subnet", f"{prefix}.0/24", "--gateway", f"{prefix}.1")
        bridge = ("--opt", f"com.docker.network.bridge.name={name}")
        # Another run may have taken it since.
        if run("docker", "network", "create", *subnet, *bridge, name, check=False).returncode == 0:
            return name, prefix


def _wait_for(address: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=10):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The AWS API did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")
        time.sleep(0.1)


@contextlib.contextmanager
def cloud() -> Iterator[Cloud]:
    """Start an account in which IAM's policies are enforced, and end it with all of its machines."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drydock-aws-")))
        name, prefix = _network()
        stack.callback(run, "docker", "network", "rm", name)
        stack.callback(_remove_machines, name)
        # On AWS this address is the metadata service; the second rule is for a machine with a firewall.
        redirect = ("-t", "nat", "PREROUTING", "-i", name, "-d", f"{METADATA}/32", "-p", "tcp", "--dport", "80")
        for table, *rule in (
            (*redirect, "-j", "DNAT", "--to-destination", f"{prefix}.1:{METADATA_PORT}"),
            ("-t", "filter", "INPUT", "-i", name, "-p", "tcp", "--dport", f"{PORT}:{METADATA_PORT}", "-j", "ACCEPT"),
        ):
            kind, chain, *words = rule
            as_root("iptables", table, kind, "-I", chain, *words)
            stack.callback(as_root, "iptables", table, kind, "-D", chain, *words)
        log = folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, __file__, f"{prefix}.1", folder],
                # It imports from where this process does.
                env={
                    **os.environ,
                    "AWS_API_ASSUME_TLS": "false",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        stack.callback(process.wait, timeout=30)
        stack.callback(process.terminate)
        _wait_for((f"{prefix}.1", PORT), process, log)
        yield Cloud(folder, name, prefix)


def _remove_machines(network: str) -> None:
    found = run("docker", "ps", "--all", "--quiet", "--filter", f"network={network}").stdout.split()
    if found:
        run("docker", "rm", "--force", "--volumes", *found)


def serve(address: str, folder: Path) -> None:
    """Be the API with TLS, and the metadata service."""
    sys.path.insert(0, str(STAND_INS))
    # Sets what moto reads when it is imported.
    import aws_api  # noqa: F401, PLC0415
    import trustme  # noqa: PLC0415
    from aws_stand_in import server  # noqa: PLC0415
    from aws_stand_in.metadata import MetadataServer  # noqa: PLC0415
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    options = server.arguments(["--host", address, "--administrator", str(folder / "administrator")])
    server.patch()
    server.begin_account(options)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(address).configure_cert(context)
    threading.Thread(target=MetadataServer((address, METADATA_PORT)).serve_forever, daemon=True).start()
    application = DomainDispatcherApplication(create_backend_app)
    api = make_server(
        address, PORT, application, threaded=True, request_handler=MotoRequestHandler, ssl_context=context
    )
    api.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
