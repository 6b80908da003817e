# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects Ansible to the containers that play hosts in tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible.errors import AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

sys.path.append(str(Path(__file__).parents[1]))
from into_host import into

DOCUMENTATION = """
name: test_host
short_description: Run tasks in a container that plays a host
description:
  - Enters a container of this machine as root. A machine is reached by SSH on a connection that is kept; a C(docker exec) for
    each task would take twenty times the CPU of that.
author: The authors of drydock.registry
options:
  remote_addr:
    description: The container's name.
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  remote_user:
    description: The user, which is always C(root).
    default: root
    vars:
      - name: ansible_user
"""


class Connection(ConnectionBase):  # type: ignore[misc]
    """One container."""

    transport = "test_host"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def _run(self, command: list[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        # Tests count how often a run enters a host: with pipelining, once for each call of a module.
        if record := os.environ.get("TEST_HOST_ENTERED"):
            with Path(record).open("a", encoding="utf-8") as stream:
                stream.write(f"{self.get_option('remote_addr')}\n")
        return subprocess.run(
            [*into(self.get_option("remote_addr")), *command], input=stdin, capture_output=True, check=False
        )

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command of the shell."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._run(["/bin/sh", "-c", cmd], in_data or b"")
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the controller on the host."""
        super().put_file(in_path, out_path)
        if not Path(in_path).is_file():
            raise AnsibleFileNotFound(f"file or module does not exist: {in_path}")
        done = self._run(["/bin/sh", "-c", 'cat >"$0"', out_path], Path(in_path).read_bytes())
        if done.returncode:
            raise AnsibleError(f"{in_path} was not written to {out_path}: {done.stderr.decode()}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the host on the controller."""
        super().fetch_file(in_path, out_path)
        done = self._run(["cat", in_path], b"")
        if done.returncode:
            raise AnsibleError(f"{in_path} was not read: {done.stderr.decode()}")
        Path(out_path).write_bytes(done.stdout)

    def reset(self) -> None:
        """Connect again, which is nothing here."""
        self.close()
        self._connect()

    def close(self) -> None:
        """End the connection."""
        self._connected = False
