#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from the host's own apt sources."""

from __future__ import annotations

DOCUMENTATION = r"""
module: debian_image
short_description: Build a container image from Debian packages
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Takes a few programs out of Debian's (or Ubuntu's) packages and adds just the shared libraries that they link, the CA
    certificates and the account files that a C library expects. There is nothing else in the image, but the list of the
    packages that something was taken from, as CycloneDX in C(/usr/share/sbom.cdx.json).
  - The packages come from the host's own apt sources, with their signatures checked by apt as for any installation. Nothing is
    installed on the host, and no maintainer script is run.
  - The image's tag follows from the recipe and the versions of all packages. An image of that tag that Docker has is kept.
  - Docker loads a finished archive, so that no builder (C(docker build), buildx) is needed.
options:
  name:
    description:
      - The image's name without a tag, for instance V(drydock/registry).
    type: str
    required: true
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
  entrypoint:
    description:
      - The program that a container runs.
    type: str
    required: true
  stop_signal:
    description:
      - The signal that ends it gracefully; Docker's default is V(SIGTERM).
    type: str
    default: ""
  labels:
    description:
      - Labels of the image. The label C(org.opencontainers.image.version) is the version of the first package.
    type: dict
    default: {}
  notes:
    description:
      - More labels. Other than O(labels), they do not count for the tag, so an image that Docker has stays as it is.
    type: dict
    default: {}
  path:
    description:
      - Writes the image to this file on the host, as C(docker save) would, instead of loading it into Docker.
    type: path
requirements:
  - apt and dpkg on the host
  - Docker's command line client, without O(path)
  - root, for the call of chroot(8)
attributes:
  check_mode:
    support: full
    description: Plans without building. Where the host has no package lists yet, the tag is V(not-known-yet).
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
- name: Build an image of the registry
  drydock.registry.debian_image:
    name: drydock/registry
    packages: [docker-registry]
    programs: [/usr/bin/docker-registry]
    links:
      /usr/bin/registry: docker-registry
    entrypoint: registry

- name: Write it to a file
  drydock.registry.debian_image:
    name: drydock/registry
    packages: [docker-registry]
    programs: [/usr/bin/docker-registry]
    entrypoint: docker-registry
    path: /var/tmp/registry.tar
"""

RETURN = r"""
reference:
  description: The image, whose tag is made of the first package's version and a hash over the recipe and the versions of all packages.
  returned: always
  type: str
  sample: drydock/registry:2.8.2_ds1-1-0123456789ab
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

import datetime
import glob
import hashlib
import io
import os
import shutil
import tarfile
import tempfile

from ansible.module_utils import distro
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._debian_image import (
    ACCOUNTS,
    CACHE,
    NO_APT,
    NOTES_OPTION,
    PACKAGE_FORMAT,
    PARTS,
    RECIPE_OPTIONS,
    Apt,
    Package,
    Plan,
    Recipe,
    archive_manifest,
    image_configuration,
    linked_libraries,
    owners,
    parts_list,
    plan_problem,
    recipe_of,
)

# Merged /usr, the layout that both suites expect: https://wiki.debian.org/UsrMerge
MERGED = ("bin", "lib", "lib64", "sbin")

# Debian's names of architectures, where Docker has others: https://wiki.debian.org/SupportedArchitectures
ARCHITECTURES = {"armel": "arm", "armhf": "arm", "i386": "386", "mips64el": "mips64le", "ppc64el": "ppc64le"}


class Builder:
    """One call's work: a scratch folder, and what is made in it."""

    def __init__(self, module: AnsibleModule, scratch: str) -> None:
        self.module = module
        self.scratch = scratch
        self.tree = os.path.join(scratch, "tree")
        self.root = os.path.join(scratch, "root")
        # The files of each package, as tar lists them.
        self.listings: dict[str, str] = {}
        self.kept: set[str] = set()

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
            _code, self.listings[package], _err = self.module.run_command(
                [
                    "tar",
                    "--extract",
                    "--verbose",
                    "--keep-directory-symlink",
                    "--directory",
                    self.tree,
                    "--file",
                    contents,
                ],
                check_rc=True,
            )

    def keep(self, path: str) -> None:
        """Copy one file to the root as it is reached in the tree: the file itself, at the path asked for."""
        source = os.path.join(self.tree, path.lstrip("/"))
        if not os.path.exists(source):
            self.module.fail_json(msg=f"programs names {path}, which none of the packages holds.")
        # /lib/x is kept as /usr/lib/x, since /lib is a link there.
        first, _slash, rest = path.lstrip("/").partition("/")
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
        # glibc loads it by itself when a thread is cancelled or exits, and aborts the program where it is missing.
        helpers = glob.glob(os.path.join(self.tree, "usr", "lib", "*", "libgcc_s.so.1"))
        wanted.update("/" + os.path.relpath(helper, self.tree) for helper in helpers)
        for path in sorted(wanted):
            self.keep(path)
        self.kept = wanted
        # What update-ca-certificates(8) would write.
        authorities = sorted(glob.glob(os.path.join(self.tree, "usr/share/ca-certificates/mozilla/*.crt")))
        self.kept.update("/" + os.path.relpath(authority, self.tree) for authority in authorities)
        with open(os.path.join(self.root, "etc/ssl/certs/ca-certificates.crt"), "wb") as bundle:
            for authority in authorities:
                with open(authority, "rb") as certificate:
                    bundle.write(certificate.read())
        for name, text in ACCOUNTS.items():
            with open(os.path.join(self.root, name), "w", encoding="utf-8") as file:
                file.write(text)
        for link, target in links.items():
            os.symlink(target, os.path.join(self.root, link.lstrip("/")))

    def tell_parts(self, plan: Plan) -> None:
        """Write into the image what it is made of: the packages that something was taken from."""
        packages = []
        for package in owners(self.listings, self.kept):
            _code, told, _err = self.module.run_command(
                ["dpkg-deb", "--show", "--showformat", PACKAGE_FORMAT, package], check_rc=True
            )
            packages.append(Package(self.module.sha256(package), *told.split("\t")))
        path = os.path.join(self.root, PARTS)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "wb") as file:
            file.write(parts_list(plan.reference, packages, distro.id(), distro.version() or distro.codename()))

    def pack(self, recipe: Recipe, plan: Plan, path: str) -> None:
        """Write the archive: a layer, its configuration, and the manifest that names both."""

        def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            return member

        layer = os.path.join(self.scratch, "layer.tar")
        with tarfile.open(layer, "w") as archive:
            archive.add(self.root, arcname=".", filter=as_root)
        digest = hashlib.sha256()
        with open(layer, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
        _code, architecture, _err = self.module.run_command(["dpkg", "--print-architecture"], check_rc=True)
        configuration = image_configuration(
            recipe,
            plan.version,
            self.module.params["notes"],
            architecture=ARCHITECTURES.get(architecture.strip(), architecture.strip()),
            layer=digest.hexdigest(),
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        name = f"{hashlib.sha256(configuration).hexdigest()}.json"
        with tarfile.open(path, "w") as archive:
            archive.add(layer, arcname="layer.tar", filter=as_root)
            for member, content in (
                (name, configuration),
                ("manifest.json", archive_manifest(plan.reference, name, "layer.tar")),
            ):
                about = tarfile.TarInfo(member)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))


def build(module: AnsibleModule, recipe: Recipe, plan: Plan, apt: Apt, path: str | None) -> None:
    """Make the image and load it into Docker, or write it to a file."""
    code, _out, err = apt.download(recipe)
    if code != 0:
        module.fail_json(msg=plan_problem(recipe, err.strip()))
    builder = Builder(module, apt.scratch)
    builder.extract()
    builder.reduce(recipe.programs, recipe.links)
    builder.tell_parts(plan)
    archive = path or os.path.join(apt.scratch, "image.tar")
    builder.pack(recipe, plan, archive)
    if path is None:
        code, out, err = module.run_command(["docker", "load", "--input", archive])
        if code != 0:
            module.fail_json(msg=f"Docker does not load {plan.reference}: {err.strip() or out.strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            **RECIPE_OPTIONS,
            "notes": NOTES_OPTION,
            "path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    recipe = recipe_of(module.params["name"], module.params)
    path: str | None = module.params["path"]
    if shutil.which("apt-get") is None:
        module.fail_json(msg=NO_APT)
    if module.check_mode:
        with tempfile.TemporaryDirectory(prefix="drydock-image-", dir=module.tmpdir) as scratch:
            plan = Apt(module.run_command, scratch, None).plan(recipe)
        module.exit_json(changed=path is not None or not there(module, plan), **result(plan, path))

    # A name of its own: what a killed call has left here is removed by the next.
    scratch = os.path.join(CACHE, "image-" + recipe.name.replace("/", "_"))
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch, mode=0o700)
    try:
        apt = Apt(module.run_command, scratch, os.path.join(CACHE, "apt"))
        plan = apt.plan(recipe)
        if plan.problem:
            module.fail_json(msg=plan.problem)
        wanted = path is not None or not there(module, plan)
        if wanted:
            build(module, recipe, plan, apt, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    module.exit_json(changed=wanted, **result(plan, path))


def there(module: AnsibleModule, plan: Plan) -> bool:
    """Whether Docker has the image."""
    if shutil.which("docker") is None:
        return False
    code, _out, _err = module.run_command(["docker", "image", "inspect", "--format", "{{.Id}}", plan.reference])
    return bool(code == 0)


def result(plan: Plan, path: str | None) -> dict[str, str]:
    """What the caller gets."""
    return {"reference": plan.reference, "version": plan.version, **({"path": path} if path else {})}


if __name__ == "__main__":
    main()
