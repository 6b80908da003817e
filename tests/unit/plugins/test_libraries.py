# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of Python libraries that a host lacks."""

from __future__ import annotations

import pytest
from ansible_collections.drydock.registry.plugins.filter.library_problems import library_problems


@pytest.mark.parametrize(
    ("missing", "system", "lacks", "pip"),
    [
        ([], False, "", ""),
        (["requests"], False, "", ""),
        (["passlib"], True, "", ""),
        (["passlib"], False, "passlib", "libpass"),
        (["bcrypt", "passlib", "requests"], False, "passlib, bcrypt", "libpass bcrypt"),
    ],
)
def test_libraries_that_a_host_lacks(missing: list[str], system: bool, lacks: str, pip: str) -> None:
    found = {"present": [], "missing": missing, "system": system, "python": "/opt/python"}
    sentence = (
        f"/opt/python on web1 lacks {lacks}; run `/opt/python -m pip install {pip}` "
        "or set ansible_python_interpreter to a Python that has it."
    )
    assert library_problems(found, ["passlib", "bcrypt"], "web1") == ([sentence] if lacks else [])


def test_a_host_that_was_not_asked() -> None:
    assert library_problems({}, ["passlib"], "web1") == []
