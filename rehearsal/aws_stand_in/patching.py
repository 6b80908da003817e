# SPDX-License-Identifier: GPL-3.0-or-later
"""How functions of moto are replaced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def instead_of(owner: Any, name: str) -> Callable[[Function], Function]:
    """Put the decorated function in the place of one of moto's, which it gets as its first argument.

    A function that moto no longer has is an error, so that no patch loses its effect unseen.
    """
    original = getattr(owner, name)

    def decorate(function: Function) -> Function:
        @functools.wraps(original)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, name, replacement)
        return function

    return decorate


def added_to(owner: Any, name: str) -> Callable[[Function], Function]:
    """Give moto a function that it lacks; one that it has by now is an error."""
    if hasattr(owner, name):
        raise AttributeError(f"{owner.__name__}.{name} exists; the patch is no longer needed")

    def decorate(function: Function) -> Function:
        setattr(owner, name, function)
        return function

    return decorate
