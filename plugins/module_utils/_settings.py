# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What argument specifications say about settings, without a secret in any sentence. Runs on the controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

MASK = "********"
Options = Mapping[str, Mapping[str, Any]]


def texts(value: Any) -> Iterator[str]:
    """Yield all that is written in a value, keys of mappings left out."""
    if isinstance(value, Mapping):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, (list, tuple, set)):
        for entry in value:
            yield from texts(entry)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def secrets(options: Options, values: Any) -> Iterator[str]:
    """Yield the values of options that are secret, however deep, and whatever shape the value around them has."""
    if isinstance(values, (list, tuple)):
        for entry in values:
            yield from secrets(options, entry)
    if not isinstance(values, Mapping):
        return
    for name, value in values.items():
        option = options.get(name) or {}
        if option.get("no_log"):
            yield from texts(value)
        elif option.get("options"):
            yield from secrets(option["options"], value)


def masked(text: str, hidden: set[str]) -> str:
    """Hide secrets in a text, the longest first: one may be a part of another."""
    for secret in sorted(hidden, key=len, reverse=True):
        if secret:
            text = text.replace(secret, MASK)
    return text


def sentence(error: Exception) -> str:
    """Return what an error of the validator says. Of unknown keys it gives nothing but their names and a list of known ones."""
    return f"unknown: {error}" if isinstance(error, UnsupportedError) else str(error)


def shape_problems(options: Options, values: Any) -> Iterator[str]:
    """Yield a sentence for each text that is a mapping or a list, however deep: Ansible would make a text of it."""
    if isinstance(values, (list, tuple)):
        for entry in values:
            yield from shape_problems(options, entry)
    if not isinstance(values, Mapping):
        return
    for name, option in options.items():
        value = values.get(name)
        if option.get("options"):
            yield from shape_problems(option["options"], value)
        elif option.get("type", "str") in ("str", "path") and isinstance(value, (Mapping, list, tuple)):
            yield f"{name} is a {'mapping' if isinstance(value, Mapping) else 'list'}; write a text."


def spec_problems(options: Options, values: Mapping[str, Any]) -> list[str]:
    """Validate values against the options of an argument specification."""
    hidden = set(secrets(options, values))
    # The validator converts in place.
    found = ArgumentSpecValidator(dict(options)).validate(dict(values), validate_role_argument_spec=True)
    return [*shape_problems(options, values), *(masked(sentence(error), hidden) for error in found.errors)]


def unique(sentences: list[str]) -> list[str]:
    """Keep the first of sentences that are the same."""
    return list(dict.fromkeys(text for text in sentences if text))
