# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with systemd and sshd that are the machines behind EC2 instances.

Each has the instance's private address in one Docker network, which plays the VPC, and answers to its public one as well.
"""

from __future__ import annotations

import io
import ipaddress
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

LABEL = "drydock.rehearsal"
FIRST_BOOT = Path(__file__).parents[1] / "first_boot"
# systemd in the container has its services to stop, the Docker engine among them.
STOP_SECONDS = 60

# One before sshd, whose keys it makes, and one at the end. Their output is what the console shows.
IDENTITY_UNIT = """\
[Unit]
Description=Identity of the instance
ConditionPathExists=!/var/lib/cloud/instance/boot-finished
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/first_boot identity
StandardOutput=journal+console
StandardError=journal+console
"""
USER_DATA_UNIT = """\
[Unit]
Description=User data of the instance
ConditionPathExists=!/var/lib/cloud/instance/boot-finished
After=multi-user.target first-boot-identity.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/first_boot user-data
StandardOutput=journal+console
StandardError=journal+console
"""


class MachineError(Exception):
    """Docker refused; the message is Docker's."""


def run(*command: str, stdin: bytes | None = None) -> str:
    """Run a program and return its output."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise MachineError(done.stderr.decode(errors="replace").strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout.decode(errors="replace")


def first_boot_archive(ca_certificate: str) -> bytes:
    """Return the tar file that makes Debian's image an AMI: the script of the first boot, its units, and whom the machine trusts."""
    texts = {
        "usr/local/sbin/first_boot": (FIRST_BOOT.read_text(encoding="utf-8"), 0o755),
        "etc/systemd/system/first-boot-identity.service": (IDENTITY_UNIT, 0o644),
        "etc/systemd/system/first-boot-user-data.service": (USER_DATA_UNIT, 0o644),
        "usr/local/share/ca-certificates/rehearsal.crt": (ca_certificate, 0o644),
    }
    links = {
        "etc/systemd/system/multi-user.target.wants/first-boot-identity.service": "../first-boot-identity.service",
        # After multi-user.target, and so wanted by the one that comes next.
        "etc/systemd/system/graphical.target.wants/first-boot-user-data.service": "../first-boot-user-data.service",
        "usr/bin/cloud-init": "/usr/local/sbin/first_boot",
    }
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as archive:
        for name, (text, mode) in texts.items():
            member = tarfile.TarInfo(name)
            content = text.encode()
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return result.getvalue()


class Machines:
    """The machines of one Docker network.

    They find AWS under some of its names at another address, and trust the CA whose certificate it has there.
    """

    def __init__(
        self,
        network: str,
        image: str,
        public_network: ipaddress.IPv4Network,
        names: Mapping[str, str],
        ca_certificate: str,
    ) -> None:
        self.network = network
        self.image = image
        self.public_network = public_network
        self.names = names
        self.ca_certificate = ca_certificate
        (found,) = json.loads(run("docker", "network", "inspect", network))
        self.subnet = ipaddress.IPv4Network(found["IPAM"]["Config"][0]["Subnet"])
        options: Mapping[str, str] = found.get("Options") or {}
        self.bridge = options.get("com.docker.network.bridge.name", f"br-{found['Id'][:12]}")

    def has_place_for(self, address: str) -> bool:
        """Return whether an address lies in the network; elsewhere nothing could reach a machine."""
        return ipaddress.IPv4Address(address) in self.subnet

    @staticmethod
    def name(instance_id: str) -> str:
        """Return the container's name."""
        return f"drydock-rehearsal-{instance_id}"

    def launch(self, instance_id: str, address: str) -> None:
        """Make a machine and boot it."""
        name = self.name(instance_id)
        run(
            *("docker", "create", "--name", name, "--label", f"{LABEL}={self.network}"),
            *("--hostname", f"ip-{address.replace('.', '-')}", "--network", self.network, "--ip", address),
            *(f"--add-host={name}:{where}" for name, where in self.names.items()),
            # It becomes /dev/console, and what is written there is the console's output.
            "--tty",
            # Like --privileged, but without what a container that runs Docker may not have itself.
            *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--cap-drop=SYS_MODULE"),
            *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=private"),
            *("--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"),
            # Docker's overlay file system cannot lie on the container's own.
            *("--volume=/var/lib/docker", "--stop-signal=SIGRTMIN+3", "--pull=never", self.image),
        )
        try:
            run("docker", "cp", "-", f"{name}:/", stdin=first_boot_archive(self.ca_certificate))
            self.start(instance_id)
        except MachineError:
            self.remove(instance_id)
            raise

    def start(self, instance_id: str) -> None:
        """Boot a machine that exists; it has lost its public addresses."""
        run("docker", "start", self.name(instance_id))

    def stop(self, instance_id: str) -> None:
        """Shut a machine down."""
        run("docker", "stop", f"--time={STOP_SECONDS}", self.name(instance_id))

    def remove(self, instance_id: str) -> None:
        """Remove a machine with all that it stored; one that is gone is gone."""
        try:
            run("docker", "rm", "--force", "--volumes", self.name(instance_id))
        except MachineError as error:
            if "No such container" not in str(error):
                raise

    def set_public_addresses(self, instance_id: str, wanted: Iterable[str]) -> None:
        """Let a machine answer to these public addresses and to no others."""
        name = self.name(instance_id)
        shown = json.loads(run("docker", "exec", name, "ip", "-json", "-4", "address", "show", "dev", "eth0"))
        present = {entry["local"] for link in shown for entry in link["addr_info"]}
        public = {address for address in present if ipaddress.IPv4Address(address) in self.public_network}
        wanted = set(wanted)
        for verb, addresses in (("del", public - wanted), ("add", wanted - public)):
            for address in sorted(addresses):
                run("docker", "exec", name, "ip", "address", verb, f"{address}/32", "dev", "eth0")
                # This machine may still know the hardware address of who had it before.
                run("ip", "neighbour", "flush", "to", address, "dev", self.bridge)

    def console(self, instance_id: str) -> str:
        """Return what a machine wrote on its console."""
        # Docker says on standard error what the container wrote there, which is nothing with a terminal.
        return run("docker", "logs", self.name(instance_id))
