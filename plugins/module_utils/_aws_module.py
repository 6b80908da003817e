# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules that ask AWS have in common; their documentation has the fragment `aws_account`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem, open_account

REGION = {
    "type": "str",
    "aliases": ["aws_region"],
    "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"]),
}


def aws_module(argument_spec: Mapping[str, Any], **more: Any) -> AnsibleAWSModule:
    """Make a module with these options and `region`."""
    return AnsibleAWSModule(
        # Credentials come from the environment alone.
        default_args=False,
        argument_spec={**argument_spec, "region": REGION},
        supports_check_mode=True,
        **more,
    )


def account_of(module: AnsibleAWSModule) -> Account:
    """Open the account, for what belongs to the deployment that the module names, if any."""
    options = module.params
    return open_account(options["region"] or "", options.get("deployment", ""), options.get("zone_role_arn", ""))


def finish(module: AnsibleAWSModule, run: Callable[[], Mapping[str, object]]) -> None:
    """End the module with the result, or with the sentence of an AwsProblem."""
    try:
        result = run()
    except AwsProblem as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)
