# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What modules that ask AWS have in common."""

    DOCUMENTATION = r"""
options:
  region:
    description:
      - The AWS region. When empty or not set, what C(AWS_REGION), C(AWS_DEFAULT_REGION) or the profile say.
    type: str
    aliases: [aws_region]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
requirements:
  - boto3 1.34 or newer
"""
