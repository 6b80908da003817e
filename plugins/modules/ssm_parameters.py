#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssm_parameters
short_description: Ensure which parameters SSM has below a path, and their values
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Makes, changes and deletes what differs, so that below O(path) there are O(values) and nothing else.
  - M(community.aws.ssm_parameter) takes one parameter a call, and knows none that are to go.
  - The parameters are plain strings; no secret belongs there.
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it.
options:
  path:
    description: What the names of all parameters begin with, such as V(/drydock/prod). A slash follows by itself.
    type: str
    required: true
  values:
    description: The values by the rest of the name. Empty values are left out, since SSM takes none. Without any, all parameters go.
    type: dict
    default: {}
  tags:
    description: Tags of new parameters.
    type: dict
    default: {}
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
notes:
  - The permissions for it are C(ssm:GetParametersByPath), C(ssm:PutParameter), C(ssm:AddTagsToResource) and C(ssm:DeleteParameters).
seealso:
  - module: community.aws.ssm_parameter
"""

EXAMPLES = r"""
- name: Say what others need to know
  drydock.registry.ssm_parameters:
    path: /drydock/prod
    values:
      storage/bucket: example-prod-registry
      network/vpc_id: vpc-0123456789abcdef0
"""

RETURN = r"""
names:
  description: The names of the parameters that are there, or would be after a dry run.
  returned: success
  type: list
  elements: str
  sample: [/drydock/prod/storage/bucket]
"""

from collections.abc import Mapping

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html
DELETED_AT_ONCE = 10


def ensure(
    account: Account, path: str, wanted: Mapping[str, str], tags: Mapping[str, object], check_mode: bool
) -> bool:
    """Make what is below the path what is wanted, and tell whether anything differed."""
    listed = account.ask_all("ssm", "get_parameters_by_path", "Parameters", Path=path, Recursive=True)
    found = {parameter["Name"]: parameter["Value"] for parameter in listed}
    different = {name: value for name, value in wanted.items() if found.get(name) != value}
    superfluous = sorted(set(found) - set(wanted))
    if not check_mode:
        pairs = [{"Key": key, "Value": str(value)} for key, value in tags.items()]
        for name, value in different.items():
            # SSM takes tags of a new one only.
            more = {"Overwrite": True} if name in found else {"Tags": pairs}
            account.ask("ssm", "put_parameter", Name=name, Value=value, Type="String", **more)
        for first in range(0, len(superfluous), DELETED_AT_ONCE):
            account.ask("ssm", "delete_parameters", Names=superfluous[first : first + DELETED_AT_ONCE])
    return bool(different or superfluous)


def main() -> None:
    module = aws_module(
        {
            "path": {"type": "str", "required": True},
            "values": {"type": "dict", "default": {}},
            "tags": {"type": "dict", "default": {}},
        },
    )
    path = module.params["path"].rstrip("/")
    values = {f"{path}/{name}": str(value) for name, value in module.params["values"].items()}
    wanted = {name: value for name, value in values.items() if value}
    finish(
        module,
        lambda: {
            "changed": ensure(account_of(module), path, wanted, module.params["tags"], module.check_mode),
            "names": sorted(wanted),
        },
    )


if __name__ == "__main__":
    main()
