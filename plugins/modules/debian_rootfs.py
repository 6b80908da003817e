#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's file system from the host's own apt sources."""

from __future__ import annotations

DOCUMENTATION = r"""
module: debian_rootfs
short_description: Make a container's root file system from Debian packages
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Takes a few programs out of Debian's (or Ubuntu's) packages, adds just the shared libraries that they link, the CA
    certificates and the account files that a C library expects, and packs all of it as one tar file for C(ADD rootfs.tar /).
  - The packages come from the host's own apt sources, with their signatures checked by apt as for any installation. Nothing is
    installed on the host, and no maintainer script is run.
  - Without O(path) it only plans, so that a caller can look whether the image of RV(tag) exists already.
options:
  packages:
    description:
      - The packages to take files from. What they depend on is fetched too. The first one gives the image its version.
    type: list
    elements: str
    required: true
  programs:
    description:
      - Absolute paths of the programs, and of shared objects that a program loads by itself, as the packages name them.
    type: list
    elements: str
    required: true
  links:
    description:
      - Symbolic links to add, as a dict of absolute path to target.
    type: dict
    default: {}
  path:
    description:
      - Where to write the tar file on the host.
    type: path
requirements:
  - apt and dpkg on the host
  - root, for the call of chroot(8)
attributes:
  check_mode:
    support: full
    description: Plans without writing. Where the host has no package lists yet, RV(tag) is V(not-known-yet).
  diff_mode:
    support: none
    description: The result is a binary file.
  idempotent:
    support: partial
    details:
      - With O(path) the file is written each time.
    description: Whether a second call changes nothing.
  platform:
    support: full
    platforms: debian
    description: The host's operating system family.
"""

EXAMPLES = r"""
- name: Plan the image
  drydock.registry.debian_rootfs:
    packages: [docker-registry]
    programs: [/usr/bin/docker-registry]
  register: plan

- name: Write its file system
  drydock.registry.debian_rootfs:
    packages: [docker-registry]
    programs: [/usr/bin/docker-registry]
    links:
      /usr/bin/registry: docker-registry
    path: /var/tmp/registry/rootfs.tar
"""

RETURN = r"""
tag:
  description: A tag for the image, of the first package's version and a hash over the recipe and the versions of all packages.
  returned: always
  type: str
  sample: 2.8.2_ds1-1-0123456789ab
version:
  description: The version of the first package.
  returned: always
  type: str
  sample: 2.8.2+ds1-1
path:
  description: The file that was written.
  returned: when O(path) is given
  type: str
"""

import glob
import os
import shutil
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._debian_rootfs import (
    image_tag,
    linked_libraries,
    missing_packages,
    packages_to_install,
    recipe_key,
)

# In an empty system apt resolves the whole tree, with the sources, keys, pins and proxies of the host.
APT_GET = ["apt-get", "--yes", "--quiet", "--no-install-recommends"]

# Merged /usr, the layout that both suites expect: https://wiki.debian.org/UsrMerge
MERGED = ("bin", "lib", "lib64", "sbin")

ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


class Builder:
    """One call's work: a scratch folder, and what is made in it."""

    def __init__(self, module: AnsibleModule, scratch: str) -> None:
        self.module = module
        self.scratch = scratch
        self.tree = os.path.join(scratch, "tree")
        self.root = os.path.join(scratch, "root")

    def apt_options(self) -> list[str]:
        status = os.path.join(self.scratch, "status")
        archives = os.path.join(self.scratch, "archives")
        os.makedirs(os.path.join(archives, "partial"), exist_ok=True)
        with open(status, "w", encoding="utf-8"):
            pass
        return [
            *("-o", f"Dir::State::status={status}"),
            *("-o", f"Dir::State::extended_states={self.scratch}/extended_states"),
            *("-o", f"Dir::Cache::archives={archives}"),
            # The scratch folder is root's alone, so apt's own unprivileged downloader has no way in.
            *("-o", "APT::Sandbox::User=root"),
            # The host's configuration may ask for recommended packages or for hooks after each installation.
            *("-o", "DPkg::Post-Invoke="),
        ]

    def simulate(self, packages: list[str]) -> tuple[dict[str, str], str]:
        """What would be installed, and apt's complaint where that is not everything."""
        command = [*APT_GET, *self.apt_options(), "--simulate", "install", *packages]
        code, out, err = self.module.run_command(command, environ_update={"LC_ALL": "C"})
        found = packages_to_install(out)
        missing = missing_packages(packages, found)
        return found, (err.strip() or f"no package {' '.join(missing)}") if code != 0 or missing else ""

    def download(self, packages: list[str]) -> None:
        command = [*APT_GET, *self.apt_options(), "--download-only", "install", *packages]
        self.module.run_command(command, check_rc=True, environ_update={"LC_ALL": "C"})

    def extract(self) -> None:
        for name in MERGED:
            os.makedirs(os.path.join(self.tree, "usr", name), exist_ok=True)
            os.symlink(f"usr/{name}", os.path.join(self.tree, name))
        for package in sorted(glob.glob(os.path.join(self.scratch, "archives", "*.deb"))):
            # `dpkg-deb --extract` would turn the links of merged /usr into folders; tar keeps a folder's link with this flag.
            contents = os.path.join(self.scratch, "contents.tar")
            code, _out, err = self.module.run_command(
                ["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > "$2"', "sh", package, contents]
            )
            if code != 0:
                self.module.fail_json(msg=f"dpkg-deb could not read {package}: {err.strip()}")
            self.module.run_command(
                ["tar", "--extract", "--keep-directory-symlink", "--directory", self.tree, "--file", contents],
                check_rc=True,
            )

    def keep(self, path: str) -> None:
        """Copy one file to the root as it is reached in the tree: the file itself, at the path asked for."""
        source = os.path.join(self.tree, path.lstrip("/"))
        if not os.path.exists(source):
            self.module.fail_json(msg=f"programs names {path}, which none of the packages holds.")
        # /lib/x is kept as /usr/lib/x, since /lib is a link there.
        first, _, rest = path.lstrip("/").partition("/")
        target = os.path.join(self.root, *(("usr", first, rest) if first in MERGED else (first, rest)))
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=True)

    def reduce(self, programs: list[str], links: dict[str, str]) -> None:
        os.umask(0o022)
        for name in MERGED:
            os.makedirs(os.path.join(self.root, "usr", name), exist_ok=True)
            os.symlink(f"usr/{name}", os.path.join(self.root, name))
        os.makedirs(os.path.join(self.root, "etc", "ssl", "certs"))
        os.makedirs(os.path.join(self.root, "var"))
        os.makedirs(os.path.join(self.root, "tmp"))
        os.chmod(os.path.join(self.root, "tmp"), 0o1777)  # noqa: S103 (what /tmp is everywhere)
        loaders = sorted(glob.glob(os.path.join(self.tree, "usr", "lib*", "ld-linux*.so.*"))) + sorted(
            glob.glob(os.path.join(self.tree, "usr", "lib", "*", "ld-linux*.so.*"))
        )
        if not loaders:
            self.module.fail_json(
                msg="packages depend on no C library: only dynamically linked programs are supported."
            )
        loader = "/" + os.path.relpath(loaders[0], self.tree)
        wanted = set(programs)
        for program in programs:
            _code, out, _err = self.module.run_command(
                ["chroot", self.tree, loader, "--list", program], check_rc=True, environ_update={"LC_ALL": "C"}
            )
            wanted.update(linked_libraries(out))
        for path in sorted(wanted):
            self.keep(path)
        # What update-ca-certificates(8) would write.
        authorities = sorted(glob.glob(os.path.join(self.tree, "usr/share/ca-certificates/mozilla/*.crt")))
        with open(os.path.join(self.root, "etc/ssl/certs/ca-certificates.crt"), "wb") as bundle:
            for authority in authorities:
                with open(authority, "rb") as certificate:
                    bundle.write(certificate.read())
        for name, text in ACCOUNTS.items():
            with open(os.path.join(self.root, name), "w", encoding="utf-8") as file:
                file.write(text)
        for link, target in links.items():
            os.symlink(target, os.path.join(self.root, link.lstrip("/")))

    def pack(self, path: str) -> None:
        def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            return member

        with tarfile.open(path, "w") as archive:
            archive.add(self.root, arcname=".", filter=as_root)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "programs": {"type": "list", "elements": "str", "required": True},
            "links": {"type": "dict", "default": {}},
            "path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    # Always wanted: a registry talks to S3 and to token servers over TLS.
    packages = [*module.params["packages"], "ca-certificates"]
    programs: list[str] = module.params["programs"]
    links: dict[str, str] = module.params["links"]
    path: str | None = module.params["path"]
    if shutil.which("apt-get") is None:
        module.fail_json(msg="This host has no apt-get, so no image can be built from Debian packages here.")

    with tempfile.TemporaryDirectory(prefix="debian-rootfs-", dir=module.tmpdir) as scratch:
        builder = Builder(module, scratch)
        found, complaint = builder.simulate(packages)
        if complaint:
            if module.check_mode:
                module.exit_json(changed=False, tag="not-known-yet", version="")
            module.fail_json(msg=f"apt-get cannot install {' '.join(packages)} from this host's sources: {complaint}")
        version = found[packages[0]]
        recipe = {"packages": packages, "programs": programs, "links": links, "accounts": ACCOUNTS}
        result = {"tag": image_tag(version, recipe_key(recipe, found)), "version": version}
        if path is not None and not module.check_mode:
            builder.download(packages)
            builder.extract()
            builder.reduce(programs, links)
            builder.pack(path)
    if path is not None:
        result["path"] = path
    module.exit_json(changed=path is not None, **result)


if __name__ == "__main__":
    main()
