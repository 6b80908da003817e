# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-test` runs in a new virtual environment to have pip: the one that Python brings, so nothing has to be downloaded."""

from __future__ import annotations

import ensurepip

ensurepip.bootstrap()
