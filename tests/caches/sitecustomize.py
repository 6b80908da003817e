# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the runs of Ansible in tests share what each of their processes would make anew: a third of the CPU that they take.

Ansible forks a process for each task, and what a process has compiled ends with it. Nothing that a task does is left out, and what is kept
ends with the tests. tests/conftest.py puts this folder on PYTHONPATH, from which Python imports this file whenever it starts.
"""

from __future__ import annotations

import gc
import hashlib
import marshal
import os
import sys
from typing import Any

import keep_bytecode

FOLDER = os.environ["DRYDOCK_TEST_CACHES"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def keep(path: str, content: bytes) -> None:
    """Write a file that others may be reading."""
    part = f"{path}-{os.getpid()}"
    with open(part, "wb") as file:
        file.write(content)
    os.rename(part, path)


def keep_payloads() -> None:
    """Make the archive of a module once, not in each run; it is another one when a source of ours is."""
    from ansible import constants

    # A test may run another copy of the collection.
    state = hashlib.sha256(repr((constants.COLLECTIONS_PATHS, constants.DEFAULT_MODULE_PATH)).encode())
    for part in ("modules", "module_utils"):
        with os.scandir(f"{ROOT}/plugins/{part}") as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                state.update(f"{entry.name} {entry.stat().st_mtime_ns}\n".encode())
    kept = f"{FOLDER}/payloads-{state.hexdigest()}"
    os.makedirs(kept, exist_ok=True)
    # Ansible looks here; the folder around it is removed with the run, and the link with it.
    os.symlink(kept, f"{constants.DEFAULT_LOCAL_TMP}/ansiballz_cache")


def keep_templates() -> None:
    """Compile an expression of Jinja once, not for each task that it is a part of."""
    from ansible._internal._templating import _jinja_bits as bits

    environment = bits.AnsibleEnvironment
    compile_anew = environment.compile

    def compile_template(self: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        # A file of templates has a name, and a condition has been parsed already.
        if arguments or options or not isinstance(source, str):
            return compile_anew(self, source, *arguments, **options)
        context = bits._TemplateCompileContext.current(optional=True)
        overrides = [getattr(self, name) for name in bits._TEMPLATE_OVERRIDE_FIELD_NAMES]
        key = repr((str(source), context and context.escape_backslashes, overrides))
        kept = f"{FOLDER}/template-{hashlib.sha256(key.encode()).hexdigest()}"
        try:
            with open(kept, "rb") as file:
                return marshal.loads(file.read())  # noqa: S302 (made by the tests themselves)
        except FileNotFoundError:
            code = compile_anew(self, source)
            keep(kept, marshal.dumps(code))
            return code

    environment.compile = compile_template


def keep_plugins() -> None:
    """Compile a plugin of a collection once, not in each task that uses it: Ansible's importer keeps no bytecode."""
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionPkgLoaderBase as Loader

    def compile_source(source: Any, filename: str, *arguments: Any, **options: Any) -> Any:
        kept = f"{FOLDER}/plugin-{hashlib.sha256(f'{filename} {source}'.encode()).hexdigest()}"
        try:
            with open(kept, "rb") as file:
                return marshal.loads(file.read())  # noqa: S302 (made by the tests themselves)
        except FileNotFoundError:
            code = compile(source, filename, *arguments, **options)
            keep(kept, marshal.dumps(code))
            return code

    # What it calls by this name.
    sys.modules[Loader.__module__].compile = compile_source  # type: ignore[attr-defined]


class KeepModels:
    """Keep what boto3 reads of its models of AWS, which is a tenth of the CPU of a module: the models, and which there are."""

    @staticmethod
    def find_spec(name: str, *_arguments: Any) -> Any:
        """Wait for the file that reads them."""
        if name != "botocore.loaders":
            return None
        import importlib.util

        sys.meta_path.remove(KeepModels)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                KeepModels.change(module.JSONFileLoader, "_load_file")
                KeepModels.change(module.Loader, "list_available_services")

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    @staticmethod
    def change(loader: Any, name: str) -> None:
        """Let a method look for what was kept."""
        import pickle

        read_anew = getattr(loader, name)

        def read(self: Any, *arguments: Any, **options: Any) -> Any:
            # Of a file its path; of a kind of models its name, and where they are looked for.
            key = repr((arguments[:1], options, getattr(self, "search_paths", None)))
            kept = f"{FOLDER}/models-{hashlib.sha256(key.encode()).hexdigest()}"
            try:
                with open(kept, "rb") as file:
                    return pickle.loads(file.read())  # noqa: S301 (made by the tests themselves)
            except FileNotFoundError:
                found = read_anew(self, *arguments, **options)
                # A file that is not there may be there under another name.
                if found is not None:
                    keep(kept, pickle.dumps(found))
                return found

        setattr(loader, name, read)


def know_docker() -> None:
    """Ask Docker for its version never, not twice for each task: it only tells the oldest apart."""
    from ansible.plugins.loader import connection_loader

    connection = connection_loader.get("community.docker.docker", class_only=True)
    connection._get_docker_version = lambda self: "20.10"  # noqa: ARG005 (self)


def before_fork() -> None:
    """Prepare the process from which those of all tasks are forked, before the first."""
    if "ansible.executor.process.worker" in sys.modules and not prepared:
        prepared.append(True)
        keep_payloads()
        keep_templates()
        keep_plugins()
        know_docker()
        # What lives until the end needs no look by the collector of garbage.
        gc.freeze()


# A run makes little garbage and much that stays, and looking for garbage takes a tenth of its CPU.
if any(word.endswith("ansible-playbook") for word in sys.orig_argv[:3]):
    gc.set_threshold(100_000, 50, 100)
prepared: list[bool] = []
keep_bytecode.keep(f"{FOLDER}/bytecode")
sys.meta_path.insert(0, KeepModels)
# A task is over before there is garbage; to look for it would copy the memory that the process shares with the one it comes from.
os.register_at_fork(before=before_fork, after_in_child=gc.disable)
