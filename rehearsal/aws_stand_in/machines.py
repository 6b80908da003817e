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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LABEL = "drydock.rehearsal"
FIRST_BOOT = Path(__file__).parents[1] / "machine/first_boot"
# systemd in the container has its services to stop, the Docker engine among them.
STOP_SECONDS = 60
METADATA_ADDRESS = "169.254.169.254"
# How the first process of a container ends that called for a reboot: by this signal, as if the kernel had been restarted.
REBOOT_STATUS = 128 + 1
# What a company's own image brings along on a network of its own: CAs, and where pip finds packages.
CA_CERTIFICATES = Path("/usr/local/share/ca-certificates")
PIP_CONFIGURATION = Path("/etc/pip.conf")

# What is no part of a container's own file system, because Docker's overlay file system cannot lie on another one.
VOLUME = "/var/lib/docker"

# One before sshd, whose keys it makes, and one at the end. What they did at an instance's first boot they do not do again. Their output
# is what the console shows.
IDENTITY_UNIT = """\
[Unit]
Description=Identity of the instance
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


def network_settings() -> dict[str, tuple[str, int]]:
    """Return what this machine has set up to reach the internet through its network, for machines on the same one."""
    found = [path for path in CA_CERTIFICATES.rglob("*.crt") if path.is_file()]
    found += [PIP_CONFIGURATION] if PIP_CONFIGURATION.is_file() else []
    return {str(path).lstrip("/"): (path.read_text(encoding="utf-8"), 0o644) for path in found}


def first_boot_archive(ca_certificate: str) -> bytes:
    """Return the tar file that makes Debian's image an AMI: the script of the first boot, its units, and whom the machine trusts."""
    texts = {
        **network_settings(),
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
        # The images that were made of machines.
        self.captured: set[str] = set()
        # The machines that reach nothing outside.
        self.shut_in: set[str] = set()
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

    @staticmethod
    def disk(image_id: str) -> str:
        """Return the name of what a machine left for an image: a Docker image and a volume."""
        return f"drydock-rehearsal-{image_id}"

    def launch(self, instance_id: str, address: str, image_id: str) -> None:
        """Make a machine and boot it, from another one's disk if the image is one."""
        name, captured = self.name(instance_id), image_id in self.captured
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
            *(f"--volume={VOLUME}", "--stop-signal=SIGRTMIN+3", "--pull=never"),
            self.disk(image_id) if captured else self.image,
        )
        try:
            if captured:
                self._copy(self._volume(image_id), self._volume_of(name))
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

    def capture(self, instance_id: str, image_id: str) -> None:
        """Keep the disk of a machine that is shut down as an image."""
        name, disk, label = self.name(instance_id), self.disk(image_id), f"{LABEL}={self.network}"
        run("docker", "commit", "--change", f"LABEL {label}", name, disk)
        run("docker", "volume", "create", "--label", label, disk)
        self._copy(self._volume_of(name), self._volume(image_id))
        self.captured.add(image_id)

    def forget(self, image_id: str) -> None:
        """Remove such an image; machines that were started from it live on."""
        if image_id in self.captured:
            self.captured.remove(image_id)
            run("docker", "image", "rm", "--force", self.disk(image_id))
            run("docker", "volume", "rm", self.disk(image_id))

    def _volume(self, image_id: str) -> str:
        return run("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", self.disk(image_id)).strip()

    @staticmethod
    def _volume_of(container: str) -> str:
        mounts = json.loads(run("docker", "inspect", "--format", "{{json .Mounts}}", container))
        return next(str(mount["Source"]) for mount in mounts if mount["Destination"] == VOLUME)

    @staticmethod
    def _copy(source: str, target: str) -> None:
        # With the devices and extended attributes by which overlay file systems say what is deleted.
        run("cp", "--archive", f"{source}/.", target)

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

    def set_way_out(self, instance_id: str, let_out: bool) -> None:
        """Lead a machine out of its network, or nowhere but to the metadata service.

        S3 and the other services stay within reach, as they lie in this network: as through endpoints of the VPC.
        """
        # One that boots is led out by Docker.
        if let_out and instance_id not in self.shut_in:
            return
        name, gateway = self.name(instance_id), str(self.subnet.network_address + 1)
        change = ("docker", "exec", name, "ip", "route")
        if let_out:
            run(*change, "replace", "default", "via", gateway, "dev", "eth0")
            self.shut_in.discard(instance_id)
        else:
            run(*change, "replace", f"{METADATA_ADDRESS}/32", "via", gateway, "dev", "eth0")
            run(*change, "flush", "exact", "default")
            self.shut_in.add(instance_id)

    def ended(self) -> Iterator[tuple[str, int]]:
        """Yield the id and the exit status of each machine that ends, by itself or because it was stopped, as long as Docker runs."""
        events = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "docker", "events", "--format", "{{json .Actor.Attributes}}"),
                *("--filter", f"label={LABEL}={self.network}", "--filter", "event=die"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in events.stdout or ():
            found = json.loads(line)
            yield found["name"].removeprefix(self.name("")), int(found["exitCode"])

    def runs(self, instance_id: str) -> bool:
        """Tell whether a machine runs; one that is gone does not."""
        try:
            return run("docker", "inspect", "--format", "{{.State.Running}}", self.name(instance_id)).strip() == "true"
        except MachineError:
            return False

    def console(self, instance_id: str) -> str:
        """Return what a machine wrote on its console."""
        # Docker says on standard error what the container wrote there, which is nothing with a terminal.
        return run("docker", "logs", self.name(instance_id))
