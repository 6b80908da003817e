# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for AWS in a rehearsal: moto's API with its gaps closed, containers as instances, their metadata service."""
