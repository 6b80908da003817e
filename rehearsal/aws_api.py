# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of AWS for a rehearsal or a test: `python aws_api.py -H 127.0.0.1 -p 5580`; --help says the rest."""

from __future__ import annotations

import os
import sys

# What AWS checks and moto leaves out unless it is told, some of it when it is imported.
SETTINGS = {
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
    "MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS": "false",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

from aws_stand_in.server import main  # noqa: E402 (after the settings)

if __name__ == "__main__":
    sys.exit(main())
