# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Ansible's modules begin and end sooner, on the hosts of tests and on the machine that runs them.

Ansible sends each module as an archive of sources. Python keeps no bytecode of archives, so each task compiles them anew, which is half of
what a small module takes.
"""

from __future__ import annotations

import _imp
import atexit
import gc
import marshal
import os
import sys
import zipimport
from typing import Any


def hasten(folder: str) -> None:
    """Change how this process begins and ends; what is kept lies in a folder."""
    keep_bytecode(folder)
    leave_garbage()


def keep_bytecode(folder: str) -> None:
    """Have the importer of archives look for bytecode of the same source before it unpacks and compiles that."""
    make_anew = zipimport._get_module_code  # type: ignore[attr-defined]

    def get_module_code(self: Any, fullname: str) -> tuple[object, bool, str]:
        path = zipimport._get_module_path(self, fullname)  # type: ignore[attr-defined]
        files = zipimport._zip_directory_cache.get(self.archive, {})  # type: ignore[attr-defined]
        suffix = next((suffix for suffix in ("/__init__.py", ".py") if path + suffix in files), "")
        if not suffix:
            return make_anew(self, fullname)  # type: ignore[no-any-return]
        entry = files[path + suffix]
        # What the archive's directory says of a file: where it is now, its size and the checksum of what it holds.
        where, size, checksum = entry[0], entry[3], entry[7]
        kept = f"{folder}/{(path + suffix).replace('/', '.')}-{sys.implementation.cache_tag}-{size:x}-{checksum:08x}"
        try:
            with open(kept, "rb") as file:
                code = marshal.loads(file.read())  # noqa: S302 (as Python does with its own)
        except (OSError, EOFError, ValueError):
            code = make_anew(self, fullname)[0]
            part = f"{kept}-{os.getpid()}"
            try:
                os.makedirs(folder, exist_ok=True)
                with open(part, "wb") as file:
                    file.write(marshal.dumps(code))
                os.rename(part, kept)
            except OSError:
                # Whoever may not keep it compiles it again the next time.
                pass
        else:
            # Tracebacks name the archive of this task.
            _imp._fix_co_filename(code, where)  # type: ignore[attr-defined]
        return code, suffix == "/__init__.py", where

    zipimport._get_module_code = get_module_code  # type: ignore[attr-defined]


def leave_garbage() -> None:
    """Have a module, which is a program on standard input, not look for garbage: it is over before there is any."""
    if len(sys.orig_argv) == 1:
        gc.disable()
        # The end of a process looks at all that there is, or at nothing.
        atexit.register(gc.freeze)
