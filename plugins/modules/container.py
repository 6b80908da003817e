#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container
short_description: Run a hardened container, and let it take over from the one that runs
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Ensures that a container runs as described and answers, or that it is absent.
  - M(community.docker.docker_container) makes and compares the container. This action adds what happens around that.
    It looks whether the container runs as described, waits until it answers, and fails with the end of its log otherwise.
  - With O(hand_over) the running container goes on under the name C(NAME-old) until the new one answers. Then it is told to
    finish, and goes on as C(NAME-finishing-ID) until its last request is answered. Where the new one does not answer, it is
    removed, and the old one gets its name back.
  - A run that is interrupted anywhere is completed by the next. With O(hand_over) there is a container that serves at every moment.
  - The container has a read-only root file system, no capabilities and no new privileges, a small C(/tmp) in memory, a log of
    limited size, and starts with the host.
  - A container that is there and runs as described costs one call of a module on the host. It carries a checksum of its description as
    the label C(drydock.specification). What can be changed of a container afterwards is compared each time.
options:
  name:
    description: The container's name.
    type: str
    required: true
  state:
    description:
      - V(present) runs the container.
      - V(absent) removes it, the one that it replaces, and those that it has replaced.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - The image, which must be on the host. Another image under the same name makes another container.
      - Required where O(state=present).
    type: str
  entrypoint:
    description: The program, with its first arguments. By default the image's own.
    type: list
    elements: str
  command:
    description: The arguments that follow.
    type: list
    elements: str
  env:
    description: Environment variables. C(docker inspect) shows them, so they are no place for secrets.
    type: dict
    default: {}
  labels:
    description: Labels. A label with the checksum of a file makes another container when the file changes.
    type: dict
    default: {}
  user:
    description:
      - The account that the container runs as, such as V(999:999).
      - Required where O(state=present).
    type: str
  mounts:
    description: Folders of the host that the container sees.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: The kind of mount.
        type: str
        default: bind
      source:
        description: The folder on the host.
        type: str
        required: true
      target:
        description: The folder in the container.
        type: str
        required: true
      read_only:
        description: Whether the container may only read it.
        type: bool
        default: false
  memory_mib:
    description: How much memory the container may take; V(0) for no limit.
    type: int
    default: 0
  log:
    description:
      - Where Docker keeps what the container says. Otherwise on the host, 30 MB of it.
    type: dict
    default: {}
    suboptions:
      driver:
        description: One of Docker's logging drivers, such as V(awslogs) or V(journald).
        type: str
        default: ""
      options:
        description:
          - Its options. With V(awslogs) and neither C(tag) nor C(awslogs-stream), streams are called by host, container and its id.
        type: dict
        default: {}
  pids:
    description: How many processes and threads it may have; V(0) for no limit.
    type: int
    default: 0
  cpu_shares:
    description: Its weight where the processors are busy. Docker's own default is 1024.
    type: int
  network:
    description: The network, V(host) or V(none).
    type: str
    default: none
  published_ports:
    description: Ports that Docker publishes.
    type: list
    elements: str
    default: []
  stop_signal:
    description: The signal by which the container is told to finish.
    type: str
    default: SIGTERM
  stop_timeout_seconds:
    description: How long Docker waits for it to end before it is killed.
    type: int
    default: 10
  hand_over:
    description:
      - How the container takes over from the one that runs. By default it is replaced in its place.
      - The two run side by side only on the network V(host) and as the same account, since Linux lets two processes share a port
        under these conditions. The program has to listen with C(SO_REUSEPORT).
    type: dict
    suboptions:
      header:
        description: The header of an answer that holds the container's host name, by which the new one is told from the old one.
        type: str
        required: true
      seconds:
        description: How long to wait for the old container to finish. If it has not by then, it goes on, and a later run removes it.
        type: int
        required: true
  known:
    description:
      - What M(drydock.registry.host_look) has said in this run, while nothing was changed since that the container depends on. Where it was
        asked the same and all is well, the host is not asked again.
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
  health:
    description: How to ask whether the container answers. By default it is not asked.
    type: dict
    suboptions:
      url:
        description: What to ask with C(GET). The answer has to be 200. The certificate is not checked.
        type: str
        required: true
      unix_socket:
        description: The unix socket at which it answers.
        type: str
        default: ""
      storage:
        description:
          - Whether it is a registry at O(health.unix_socket), one of several with one storage. It has to read that, and where it was
            made or started, to write to it.
          - One that was made and does not is stopped, so that requests reach the others.
        type: bool
        default: false
      seconds:
        description: How long to wait for the answer. While the old container runs beside it, at most 15 seconds.
        type: int
        default: 60
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
  async:
    support: none
  bypass_host_loop:
    support: none
  check_mode:
    support: full
    details:
      - Works without the image and without Docker, which a dry run does not install, and says that the container would run.
  diff_mode:
    support: full
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
  platform:
    platforms: posix
requirements:
  - Docker with its command line, and Python's C(requests), on the host
notes:
  - In a loop over containers that stand in for each other, set C(break_when) of C(loop_control) to C(RESULT is failed), or the
    next one is replaced although the one before does not answer.
seealso:
  - module: community.docker.docker_container
    description: Makes the container.
"""

EXAMPLES = r"""
- name: Run nginx, which takes over from the nginx that runs
  drydock.registry.container:
    name: web
    image: nginx:1.28
    entrypoint: [nginx]
    command: [-g, daemon off;]
    user: "999:999"
    network: host
    mounts:
      - source: /etc/web
        target: /etc/nginx
        read_only: true
    memory_mib: 256
    stop_signal: SIGQUIT
    hand_over:
      header: Web-Container
      seconds: 30
    health:
      url: https://127.0.0.1/healthz

- name: Run two servers, one after the other
  drydock.registry.container:
    name: "server-{{ item }}"
    image: example.com/server:3
    user: "999:999"
    mounts:
      - source: /run/server
        target: /run/server
    health:
      url: http://server/
      unix_socket: "/run/server/{{ item }}.sock"
  register: server
  loop: [a, b]
  loop_control:
    break_when: server is failed

- name: Remove nginx
  drydock.registry.container:
    name: web
    state: absent
"""

RETURN = r"""
handed_over:
  description: Whether the container took over from another one that ran beside it.
  type: bool
  returned: success
finishing:
  description: The names of containers that were replaced and still answer requests. A later run removes them.
  type: list
  elements: str
  returned: success
  sample: [web-finishing-0123456789ab]
msg:
  description: What would run, where a dry run has no image or no Docker to compare with.
  type: str
  returned: in check mode
"""
