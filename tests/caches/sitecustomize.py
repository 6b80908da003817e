# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the runs of Ansible in tests share what each of their processes would make anew: a third of the CPU that they take.

Ansible forks a process for each task, and what a process has compiled ends with it. Nothing that a task does is left out, and what is kept
ends with the tests. Python imports this file whenever it starts: tests/conftest.py puts this folder on PYTHONPATH, and tests/hosts/build
puts the file beside those of the hosts' Python. There it is found in virtual environments as well, and a host of a fleet makes itself one.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import importlib.util
import marshal
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import hasten_modules

# On a host there is no such variable.
FOLDER = os.environ.get("DRYDOCK_TEST_CACHES", "/var/cache/drydock-test")


def kept(kind: str, key: str, make: Callable[[], Any], form: Any = marshal) -> Any:
    """Return what was made before under the same key; make and keep it where nothing was. None is never kept."""
    path = f"{FOLDER}/{kind}-{hashlib.sha256(f'{sys.version} {key}'.encode()).hexdigest()}"
    try:
        with open(path, "rb") as file:
            return form.loads(file.read())
    except OSError:
        made = make()
        if made is not None:
            part = f"{path}-{os.getpid()}"
            # Not everybody on a host may write there.
            with contextlib.suppress(OSError):
                with open(part, "wb") as file:
                    file.write(form.dumps(made))
                # Others may be reading.
                os.rename(part, path)
        return made


def keep_payloads() -> None:
    """Make the archive of a module once, not in each run; it is another one when a source of ours is."""
    from ansible import constants

    # A test may run another copy of the collection.
    state = hashlib.sha256(repr((constants.COLLECTIONS_PATHS, constants.DEFAULT_MODULE_PATH)).encode())
    for path in constants.COLLECTIONS_PATHS:
        plugins = f"{path}/ansible_collections/drydock/registry/plugins"
        for part in ("modules", "module_utils"):
            with contextlib.suppress(OSError), os.scandir(f"{plugins}/{part}") as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    state.update(f"{path} {entry.name} {entry.stat().st_mtime_ns}\n".encode())
    kept = f"{FOLDER}/payloads-{state.hexdigest()}"
    os.makedirs(kept, exist_ok=True)
    # Ansible looks here; the folder around it is removed with the run, and the link with it.
    os.symlink(kept, f"{constants.DEFAULT_LOCAL_TMP}/ansiballz_cache")


def keep_templates() -> None:
    """Compile an expression of Jinja once, not for each task that it is a part of."""
    import jinja2
    from ansible._internal._templating import _jinja_bits as bits
    from ansible.release import __version__

    versions = f"{jinja2.__version__} {__version__}"
    environment = bits.AnsibleEnvironment
    compile_anew = environment.compile

    def compile_template(self: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        # A file of templates has a name, and a condition has been parsed already.
        if arguments or options or not isinstance(source, str):
            return compile_anew(self, source, *arguments, **options)
        context = bits._TemplateCompileContext.current(optional=True)
        overrides = [getattr(self, name) for name in bits._TEMPLATE_OVERRIDE_FIELD_NAMES]
        key = repr((versions, str(source), context and context.escape_backslashes, overrides))
        return kept("template", key, lambda: compile_anew(self, source))

    environment.compile = compile_template


def keep_plugins() -> None:
    """Compile a plugin of a collection once, not in each task that uses it: Ansible's importer keeps no bytecode."""
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionPkgLoaderBase as Loader

    def compile_source(source: Any, filename: str, *arguments: Any, **options: Any) -> Any:
        return kept("plugin", f"{filename} {source}", lambda: compile(source, filename, *arguments, **options))

    # What it calls by this name.
    sys.modules[Loader.__module__].compile = compile_source  # type: ignore[attr-defined]


def keep_routing(meta: Any) -> None:
    """Parse the long list of what a collection has moved and renamed once, not in each run."""
    parse_anew = meta._meta_yml_to_dict

    def parse(data: Any, content_id: Any) -> Any:
        return kept("routing", f"{data}", lambda: parse_anew(data, content_id))

    meta._meta_yml_to_dict = parse


def keep_models(loaders: Any) -> None:
    """Keep what boto3 reads of AWS, the models of its services and which there are: a tenth of the CPU of a module."""
    import pickle

    def change(owner: Any, name: str) -> None:
        read_anew = getattr(owner, name)

        def read(self: Any, *arguments: Any, **options: Any) -> Any:
            # Of a file its path; of a kind of models its name, and where they are looked for.
            key = repr((arguments[:1], options, getattr(self, "search_paths", None)))
            return kept("models", key, lambda: read_anew(self, *arguments, **options), form=pickle)

        setattr(owner, name, read)

    change(loaders.JSONFileLoader, "_load_file")
    change(loaders.Loader, "list_available_services")


class Changes:
    """What is changed of a file as soon as it is imported."""

    of: ClassVar[dict[str, Callable[[Any], None]]] = {
        "ansible.utils.collection_loader._collection_meta": keep_routing,
        "botocore.loaders": keep_models,
    }

    @classmethod
    def find_spec(cls, name: str, *_arguments: Any) -> Any:
        """Find a file as others do, and change it after it has run."""
        change = cls.of.pop(name, None)
        spec = importlib.util.find_spec(name) if change else None
        if change and spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                change(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def enter_hosts() -> None:
    """Let tasks enter test hosts without Docker, and ask Docker for its version never: it only tells the oldest apart."""
    import into_host
    from ansible.plugins.loader import connection_loader

    connection = connection_loader.get("community.docker.docker", class_only=True)
    build = connection._build_exec_cmd

    def build_command(self: Any, command: list[str]) -> list[Any]:
        if self.remote_user != "root":
            return list(build(self, command))
        return [*into_host.into(self.get_option("remote_addr")), *command]

    connection._build_exec_cmd = build_command
    connection._get_docker_version = lambda self: "20.10"  # noqa: ARG005 (self)


def before_fork() -> None:
    """Prepare the process from which those of all tasks are forked, before the first."""
    if "ansible.executor.process.worker" in sys.modules and not prepared:
        prepared.append(True)
        keep_payloads()
        keep_templates()
        keep_plugins()
        # Hosts have no other hosts.
        if "DRYDOCK_TEST_CACHES" in os.environ:
            enter_hosts()
        # What lives until the end needs no look by the collector of garbage.
        gc.freeze()


# A run makes little garbage and much that stays, and looking for garbage takes a tenth of its CPU.
if any(word.endswith("ansible-playbook") for word in sys.orig_argv[:3]):
    gc.set_threshold(100_000, 50, 100)
    # Nor does the end of a process, which looks at all that there is.
    atexit.register(gc.freeze)
prepared: list[bool] = []
hasten_modules.hasten(f"{FOLDER}/bytecode")
sys.meta_path.insert(0, Changes)
# A task is over before there is garbage; to look for it would copy the memory that the process shares with the one it comes from.
os.register_at_fork(before=before_fork, after_in_child=gc.disable)
