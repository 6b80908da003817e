#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_host_keys
short_description: Learn an EC2 instance's SSH host keys over the AWS API
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Reads from an instance's console the SSH host keys that cloud-init prints there, and writes them to a file of known hosts. SSH
    then proves on the very first connection that it is this machine, without trust in the network.
  - Waits until cloud-init has printed them, which it does once, on an instance's first boot.
  - Of the console only lines that are nothing but a well-formed key count, and only inside the last whole block between C(-----BEGIN
    SSH HOST KEY KEYS-----) and C(-----END SSH HOST KEY KEYS-----).
  - An alias that the file has a key for is left alone, and the console is not asked.
  - Lines of other hosts, comments and hashed names stay as they are. The file is replaced by an atomic rename.
  - Credentials, the API's address and a proxy come from the environment alone, as for M(drydock.registry.aws_preflight).
options:
  instance_id:
    description:
      - The instance.
    type: str
    required: true
  known_hosts:
    description:
      - The file of known hosts. A new file gets mode V(0600), and a folder that is missing is made with V(0700).
    type: path
    required: true
  alias:
    description:
      - The name in the file, to be given to SSH as C(HostKeyAlias). Letters, digits, dots, hyphens and underscores.
      - Defaults to O(instance_id), which unlike an address never comes back for another machine.
    type: str
  timeout_seconds:
    description:
      - How long to wait for the keys, in seconds. They show one to three minutes after the start.
    type: int
    default: 300
    aliases: [timeout]
  state:
    description:
      - With V(absent), the alias is taken out of the file, and AWS is not asked.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
attributes:
  check_mode:
    details:
      - Does not ask the console, so that it says what would change and returns no keys that are new.
notes:
  - The permission for it is C(ec2:GetConsoleOutput).
  - Images whose cloud-init is told not to print keys (C(ssh.emit_keys_to_console), C(ssh_key_console_blacklist)) never show them.
seealso:
  - name: GetConsoleOutput
    description: What AWS shows of a console, the last 64 KiB, at any time on instances of the Nitro system.
    link: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
  - name: Keys to console
    description: What cloud-init prints.
    link: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#keys-to-console
"""

EXAMPLES = r"""
- name: Know the host before the first connection
  drydock.registry.ec2_host_keys:
    instance_id: i-0123456789abcdef0
    known_hosts: "{{ playbook_dir }}/.credentials/known_hosts"

- name: Forget it
  drydock.registry.ec2_host_keys:
    instance_id: i-0123456789abcdef0
    known_hosts: "{{ playbook_dir }}/.credentials/known_hosts"
    state: absent
"""

RETURN = r"""
keys:
  description: The keys that the file has for the alias.
  returned: success
  type: list
  elements: dict
  contains:
    type:
      description: The key's type.
      type: str
      sample: ssh-ed25519
    sha256:
      description: Its fingerprint, as SSH shows it.
      type: str
      sample: SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDQcO+NzyV8hqUCZPE
known_hosts:
  description: The file.
  returned: success
  type: str
alias:
  description: The name in the file.
  returned: success
  type: str
"""

import os
import tempfile
import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem
from ansible_collections.drydock.registry.plugins.module_utils._aws_host_keys import (
    ALIAS,
    known_keys,
    wait_for_keys,
    with_keys,
    without,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish


def console(account: Account, instance_id: str) -> str:
    """What the console shows now; nothing while there is nothing."""
    # An instance that was just started is not known everywhere yet.
    unknown = ["InvalidInstanceID.NotFound"]
    # Only the Nitro system shows the console of this moment.
    refused = ["UnsupportedOperation", "InvalidParameterCombination"]
    answer = account.ask("ec2", "get_console_output", missing=unknown + refused, InstanceId=instance_id, Latest=True)
    if answer is None:
        answer = account.ask("ec2", "get_console_output", missing=unknown, InstanceId=instance_id)
    return str((answer or {}).get("Output") or "")


def read(path: str) -> str:
    """The file as it is, to the last byte."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write(module: AnsibleAWSModule, path: str, text: str) -> None:
    """Replace the file in one step; it is readable by its owner alone, as its folder is when it is new."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".known_hosts-")
    module.add_cleanup_file(temporary)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    module.atomic_move(temporary, path)
    os.chmod(path, 0o600)


def run(module: AnsibleAWSModule) -> dict[str, object]:
    parameters = module.params
    instance_id = parameters["instance_id"]
    alias = parameters["alias"] or instance_id
    # A link to a file elsewhere stays one.
    path = os.path.realpath(parameters["known_hosts"])
    if not ALIAS.fullmatch(alias):
        raise AwsProblem(f"The alias {alias!r} is no plain name: write letters, digits, dots, hyphens and underscores.")
    before = read(path)
    keys = known_keys(before, alias)
    after = before
    if parameters["state"] == "absent":
        after, keys = without(before, alias), []
    elif not keys:
        if module.check_mode:
            return {"changed": True, "keys": [], "known_hosts": path, "alias": alias}
        account = account_of(module)
        keys = wait_for_keys(
            lambda: console(account, instance_id), parameters["timeout_seconds"], time.sleep, time.monotonic
        )
        if not keys:
            raise AwsProblem(
                f"The console of {instance_id} showed no SSH host keys within {parameters['timeout_seconds']} s: look at it (aws ec2 "
                f"get-console-output --latest --output text --instance-id {instance_id}), raise aws_instance_ssh_timeout_seconds, or write "
                "aws_instance_host_key_provider: first_use to trust the first connection."
            )
        after = with_keys(before, alias, keys)
    changed = after != before
    if changed and not module.check_mode:
        write(module, path, after)
    return {
        "changed": changed,
        "keys": [{"type": key.type, "sha256": key.sha256} for key in keys],
        "known_hosts": path,
        "alias": alias,
    }


def main() -> None:
    module = aws_module(
        {
            "instance_id": {"type": "str", "required": True},
            # Names and public keys, no secrets.
            "known_hosts": {"type": "path", "required": True, "no_log": False},
            "alias": {"type": "str"},
            "timeout_seconds": {"type": "int", "default": 300, "aliases": ["timeout"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    )
    try:
        finish(module, lambda: run(module))
    except OSError as error:
        module.fail_json(
            msg=f"The file {module.params['known_hosts']} cannot be used ({error.strerror}): correct its owner and mode, or write another "
            "path."
        )


if __name__ == "__main__":
    main()
