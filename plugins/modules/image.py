#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Ensure that a container image is on the host
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Looks whether the host has the image, and only where it has not pulls it, loads it from an archive of the controller, or builds it
    from the host's own apt sources.
  - An image that is there costs one call on the host, and none where O(known) says so.
  - A run that was interrupted leaves no half an image. The next run goes on.
options:
  name:
    description:
      - Short name of the image; one that is built on the host is called C(drydock/NAME).
    type: str
    required: true
  variable:
    description:
      - What the names of the caller's inputs begin with, for messages. With V(web_image) these name C(web_image_reference) and so on.
    type: str
    required: true
  provider:
    description:
      - How the image gets to the host.
      - V(pull) pulls O(reference) unless the host has it.
      - V(archive) loads O(archive) unless the host has its image.
      - V(debian) builds O(debian) from the host's apt sources, and again when a package has a newer version.
      - V(auto) takes O(reference) where the host has it, else what was built on the host earlier, else pulls, else builds.
    type: str
    choices: [auto, pull, archive, debian]
    default: auto
  reference:
    description:
      - The image that V(pull) and V(auto) take.
    type: str
    default: ""
  archive:
    description:
      - The tar file of C(docker save) on the controller that V(archive) loads.
    type: str
    default: ""
  debian:
    description:
      - What V(debian) and V(auto) build; see M(drydock.registry.debian_image).
    type: dict
    suboptions:
      packages:
        description: The packages that hold the programs. The first one gives the image its version.
        type: list
        elements: str
        required: true
      programs:
        description: Absolute paths of the programs, and of shared objects that they load by themselves.
        type: list
        elements: str
        required: true
      links:
        description: Symbolic links to add, as a dict of absolute path to target.
        type: dict
        default: {}
      entrypoint:
        description: The program that a container runs.
        type: str
        required: true
      stop_signal:
        description: The signal that ends it gracefully; Docker's default is V(SIGTERM).
        type: str
        default: ""
  version_command:
    description:
      - A command that is run in the image, without a network, to learn its version. An image that was built on the host says it without.
    type: list
    elements: str
    default: []
  known:
    description:
      - What M(drydock.registry.host_look) has said in this run, while nothing was changed since that the image depends on. Where it was
        asked the same and the image is there, the host is not asked again.
    type: dict
    default: {}
    suboptions:
      containers:
        description: RV(drydock.registry.host_look#module:containers).
        type: dict
        default: {}
      images:
        description: RV(drydock.registry.host_look#module:images).
        type: dict
        default: {}
requirements:
  - Docker on the host
  - for V(pull), V(auto) and V(archive) what M(community.docker.docker_image_pull) needs
  - for V(debian) and V(auto) package lists of apt on the host
attributes:
  action:
    support: full
    description: The action plugin runs on the controller.
  check_mode:
    support: full
    description:
      - Says which image a run would take. Where the host has no package lists yet, the tag is V(not-known-yet).
      - With V(auto) on a host without the image, the registry is asked whether a pull would succeed.
  diff_mode:
    support: none
    description: An image is a binary file.
  idempotent:
    support: full
    description: Whether a second call changes nothing.
  platform:
    support: full
    platforms: posix
    description: The host's operating system family.
"""

EXAMPLES = r"""
- name: Ensure nginx's image is on the host
  drydock.registry.image:
    name: web
    variable: web_image
    provider: auto
    reference: docker.io/library/nginx:stable
    debian:
      packages: [nginx]
      programs: [/usr/sbin/nginx]
      entrypoint: nginx
      stop_signal: SIGQUIT
    version_command: [nginx, -v]
  register: web_image
"""

RETURN = r"""
reference:
  description: The image, by the name that a container can be made of.
  returned: success
  type: str
  sample: drydock/web:1.22.1-9_deb12u10-0123456789ab
id:
  description: The image's id; empty in a dry run on a host without the image.
  returned: success
  type: str
source:
  description: How the host got it, V(kept), V(pulled), V(loaded) or V(built). In a dry run, how it would.
  returned: success
  type: str
version_output:
  description: What O(version_command) printed, or the version of the first package that an image was built of; empty in a dry run on a host
    without the image.
  returned: success
  type: str
  sample: "nginx version: nginx/1.22.1"
"""
