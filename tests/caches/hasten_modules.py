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


def hasten(folder: str) -> None:
    """Change how this process begins and ends; what is kept lies in a folder."""
    keep_bytecode(folder)
    leave_garbage()


def keep_bytecode(folder: str) -> None:
    """Have the importer of archives look for bytecode of the same source before it compiles."""
    compile_anew = zipimport._compile_source  # type: ignore[attr-defined]

    def compile_source(path: str, source: bytes) -> object:
        name = path.rpartition(".zip/")[2].replace("/", ".")
        kept = f"{folder}/{name}-{sys.implementation.cache_tag}-{_imp.source_hash(0, source).hex()}"
        try:
            with open(kept, "rb") as file:
                code = marshal.loads(file.read())  # noqa: S302 (as Python does with its own)
        except (OSError, EOFError, ValueError):
            code = compile_anew(path, source)
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
            _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]
        return code

    zipimport._compile_source = compile_source  # type: ignore[attr-defined]


def leave_garbage() -> None:
    """Have a module, which is a program on standard input, not look for garbage: it is over before there is any."""
    if len(sys.orig_argv) == 1:
        gc.disable()
        # The end of a process looks at all that there is, or at nothing.
        atexit.register(gc.freeze)
